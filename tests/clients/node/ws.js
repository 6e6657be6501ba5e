// `ws`: follows a chat, and goes on behind the last event that it has whenever it is cut off. Prints one object.
import { readFileSync } from "node:fs";
import WebSocket from "ws";

const [baseURL, token, chatId] = process.argv.slice(2);
const url = baseURL.replace("http", "ws") + "/ws";
const stream = `chat/${chatId}`;
const events = [];
let cursor = "start";
let connections = 0;

// Whether the answer has ended; false when the connection did first.
const follow = () =>
  new Promise((resolve) => {
    connections++;
    let epoch;
    const socket = new WebSocket(url, { headers: { authorization: `Bearer ${token}` } });
    socket.on("error", () => {}); // "close" follows
    socket.on("close", () => resolve(false));
    socket.on("message", (data) => {
      const frame = JSON.parse(data);
      if (frame.op === "welcome") {
        epoch = frame.epoch;
        socket.send(JSON.stringify({ op: "subscribe", id: "1", stream, after: cursor }));
      }
      if (frame.op !== "events" || frame.stream !== stream) return;
      for (const event of frame.events) {
        events.push(event);
        cursor = `${epoch}:${event.version}`;
        if (event.data.type === "message_end") {
          resolve(true);
          socket.close();
        }
      }
    });
  });

const refused = () =>
  new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.on("open", () => socket.send(JSON.stringify({ op: "hello", token: "sk-wrong" })));
    socket.on("close", (code) => resolve(code));
  });

while (!(await follow()));
const { version } = JSON.parse(readFileSync("node_modules/ws/package.json"));
console.log(JSON.stringify({ client: "ws", version, events, connections, refused: await refused() }));
