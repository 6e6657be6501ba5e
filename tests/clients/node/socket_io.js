// `socket.io-client`: follows a chat and a channel as Open WebUI's page does, the connection cut off again and again. Prints one object.
import { readFileSync } from "node:fs";
import { io } from "socket.io-client";

const [baseURL, directURL, token, strangersToken, chatId, channelId, count] = process.argv.slice(2);
const options = { path: "/ws/socket.io", transports: ["websocket"], reconnectionDelay: 50, reconnectionDelayMax: 200, randomizationFactor: 0 };
const texts = new Map();
const shown = []; // of the answer, after each envelope
const heard = []; // what was said in the channel
let joins = 0;

const post = async (content) => {
  const answer = await fetch(`${directURL}/api/v1/channels/${channelId}/messages/post`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ content }),
  });
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
};

const postAll = async () => {
  for (let number = 0; number < Number(count); number++) {
    await post(String(number));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

// Of a chat and a channel that are not theirs nobody hears.
const stranger = io(baseURL, { ...options, auth: { token: strangersToken } });
let strangers = 0;
stranger.on("connect", () => {
  stranger.emit("events:chat", { chat_id: chatId, data: { type: "join" } });
  stranger.emit("events:channel", { channel_id: channelId, message_id: null, data: { type: "last_read_at" } });
});
stranger.onAny(() => strangers++);

const socket = io(baseURL, { ...options, auth: (give) => give({ token }) });
let posting;
const over = new Promise((resolve) => {
  let answered = false;
  const look = () => answered && heard.length >= Number(count) && resolve();
  socket.on("connect", () => {
    if (joins++ === 0) socket.emit("events:channel", { channel_id: channelId, message_id: null, data: { type: "last_read_at" } });
    socket.emit("events:chat", { chat_id: chatId, data: { type: "join" } });
    socket.emit("user-join", { auth: { token } });
  });
  socket.on("offset", () => (posting ??= postAll()));
  socket.on("events:channel", (envelope) => {
    if (envelope.data.type === "message") heard.push(envelope.data.data.content);
    look();
  });
  socket.on("events", ({ message_id: id, data: { type, data } }) => {
    if (type === "chat:completion") texts.set(id, data.content);
    else if (type === "response:completion") texts.set(id, (texts.get(id) ?? "") + data.delta);
    else return;
    shown.push(texts.get(id));
    answered ||= Boolean(data.done);
    look();
  });
});
await over;
await posting;
socket.close();
stranger.close();
const { version } = JSON.parse(readFileSync("node_modules/socket.io-client/package.json"));
console.log(JSON.stringify({ client: "socket.io-client", version, shown, heard, joins, strangers }));
