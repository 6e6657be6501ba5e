// A message with a tool, accumulated by the client itself: prints it, and then the error of a model that is not there.
import Anthropic from "@anthropic-ai/sdk";

const [baseURL, apiKey, model] = process.argv.slice(2);
const client = new Anthropic({ baseURL, apiKey, maxRetries: 0 });
const tools = [{ name: "look_up", input_schema: { type: "object" } }];
const messages = [{ role: "user", content: "Where is it?" }];

const stream = client.messages.stream({ model, max_tokens: 1000, messages, tools });
console.log(JSON.stringify(await stream.finalMessage()));
try {
  await client.messages.create({ model: "nobody/at:all", max_tokens: 10, messages });
} catch (error) {
  console.log(JSON.stringify({ name: error.constructor.name, status: error.status, type: error.error.error.type }));
}
