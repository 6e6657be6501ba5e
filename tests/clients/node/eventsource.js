// `eventsource`: follows a chat; it reconnects by itself, with the id of the last event that it has. Prints one object.
import { EventSource } from "eventsource";
import { readFileSync } from "node:fs";

const [baseURL, token, chatId] = process.argv.slice(2);
const url = `${baseURL}/api/v1/streams/chat/${chatId}/events?after=start`;
const authorized = (key) => ({
  fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, authorization: `Bearer ${key}` } }),
});

const alive = setInterval(() => {}, 1000); // its own timer does not keep Node running
const events = [];
let connections = 0;
await new Promise((resolve) => {
  const source = new EventSource(url, authorized(token));
  source.addEventListener("open", () => connections++);
  source.addEventListener("message", ({ data }) => {
    const event = JSON.parse(data);
    events.push(event);
    if (event.data.type === "message_end") {
      source.close();
      resolve();
    }
  });
});
const refused = await new Promise((resolve) => {
  const source = new EventSource(url, authorized("sk-wrong"));
  source.addEventListener("error", (error) => {
    resolve({ code: error.code, state: source.readyState });
    source.close();
  });
});
const { version } = JSON.parse(readFileSync("node_modules/eventsource/package.json"));
console.log(JSON.stringify({ client: "eventsource", version, events, connections, refused }));
clearInterval(alive);
