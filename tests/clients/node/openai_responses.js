// A response that is cut after every few events and taken up again: prints the events as the client gave them, one in a line.
import OpenAI from "openai";

const [baseURL, apiKey, model, cutAfter] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${baseURL}/v1`, apiKey, maxRetries: 0 });

let stream = await client.responses.create({ model, input: "Tell me", stream: true, background: true });
let responseId;
let last;
while (last?.type !== "response.completed") {
  let left = Number(cutAfter);
  for await (const event of stream) {
    last = event;
    responseId ??= event.response.id;
    console.log(JSON.stringify(event));
    if (--left === 0) break; // leaving the loop closes the stream
  }
  if (last.type !== "response.completed") {
    stream = await client.responses.retrieve(responseId, { stream: true, starting_after: last.sequence_number });
  }
}
console.log(JSON.stringify(await client.responses.retrieve(responseId)));
