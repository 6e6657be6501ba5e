// `ai` with `@ai-sdk/openai-compatible`: whole, streamed, with a tool, stopped, and what it throws. Prints one object.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { readFileSync } from "node:fs";
import { z } from "zod";

const [baseURL, apiKey] = process.argv.slice(2);
const provider = (key) => createOpenAICompatible({ name: "stenograph", baseURL: `${baseURL}/v1`, apiKey: key, includeUsage: true });
const ask = (name, key = apiKey) => ({ model: provider(key)(name), prompt: "Hello", maxRetries: 0 });
const lookUp = tool({
  description: "Say where a thing is.",
  inputSchema: z.object({ thing: z.string() }),
  execute: ({ thing }) => `where ${thing} always is`,
});

async function streamed(name, more = {}) {
  let failed;
  const pieces = [];
  const result = streamText({ ...ask(name), onError: ({ error }) => (failed = error), ...more });
  for await (const piece of result.textStream) {
    pieces.push(piece);
    if (more.stop) more.stop(); // the client's own way to end an answer
  }
  if (failed) throw failed;
  return pieces;
}

async function caught(call) {
  try {
    await call();
  } catch (error) {
    return {
      type: error.name, status: error.statusCode, retryable: error.isRetryable, retry_after: error.responseHeaders?.["retry-after"],
      text: String(error.message),
    };
  }
  return { type: null };
}

const whole = await generateText(ask("words"));
const called = await generateText({ ...ask("calling"), tools: { look_up: lookUp }, stopWhen: stepCountIs(3) });
const stopping = new AbortController();
const left = await streamed("endless", { abortSignal: stopping.signal, stop: () => stopping.abort() });
const { version } = JSON.parse(readFileSync("node_modules/ai/package.json"));
console.log(JSON.stringify({
  client: "ai",
  version,
  whole: whole.text,
  tokens: whole.usage.totalTokens,
  streamed: await streamed("words"),
  silent: (await streamed("silent")).join(""),
  called: called.text,
  left: left[0],
  errors: {
    "wrong key": await caught(() => generateText(ask("words", "sk-wrong"))),
    "unknown model": await caught(() => generateText(ask("nobody/at:all"))),
    "limited": await caught(() => generateText(ask("limited"))),
    "refused": await caught(() => generateText(ask("refusing"))),
    "failed": await caught(() => generateText(ask("failing"))),
    "limited stream": await caught(() => streamed("limited")),
    "broken stream": await caught(() => streamed("broken")),
  },
}));
