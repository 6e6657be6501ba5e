"""``aiohttp``: a completion as server-sent events that goes on as the chat's events, and a WebSocket, both cut off again and again."""

import asyncio
import json
from typing import Any

import aiohttp
from driver import GIVEN, TOKEN, URL, finish

HEADERS = {"Authorization": f"Bearer {TOKEN}"}
CUT = (aiohttp.ClientError, ConnectionError)


async def frames(response: aiohttp.ClientResponse) -> Any:
    """``(id, data)`` of each whole frame; a line that begins with a colon is a comment."""
    last_id, data = "", ""
    async for line in response.content:
        text = line.decode().rstrip("\n")
        if text.startswith("id: "):
            last_id = text.removeprefix("id: ")
        elif text.startswith("data: "):
            data = text.removeprefix("data: ")
        elif not text:
            yield last_id, data
            data = ""


async def completed_and_resumed(session: aiohttp.ClientSession) -> dict[str, Any]:
    """The text of a completion: its chunks up to the cut, then the events behind the last one's id."""
    text, cursor, chat_id, connections = "", "", "", 1
    body = {"model": GIVEN["model"], "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    try:
        async with session.post(f"{URL}/v1/chat/completions", json=body) as response:
            chat_id = response.headers["x-chat-id"]
            async for last_id, data in frames(response):
                if data == "[DONE]":
                    return {"text": text, "connections": connections, "chat_id": chat_id}
                text += "".join(choice["delta"].get("content") or "" for choice in json.loads(data)["choices"])
                cursor = last_id
    except CUT:
        pass
    while True:
        connections += 1
        headers = {"Accept": "text/event-stream", "Last-Event-ID": cursor}
        try:
            async with session.get(f"{URL}/api/v1/streams/chat/{chat_id}/events", headers=headers) as response:
                async for last_id, data in frames(response):
                    event = json.loads(data) if data else {}
                    cursor = last_id
                    if event.get("data", {}).get("type") == "message_delta":
                        text += event["data"]["data"]["text"]
                    if event.get("data", {}).get("type") == "message_end":
                        return {"text": text, "connections": connections, "chat_id": chat_id}
        except CUT:
            continue


async def followed(session: aiohttp.ClientSession) -> dict[str, Any]:
    """All events of a chat by WebSocket."""
    stream, events, cursor, connections = f"chat/{GIVEN['chat_id']}", [], "start", 0
    while True:
        connections += 1
        try:
            async with session.ws_connect(f"{URL}/ws") as socket:
                epoch = (await socket.receive_json())["epoch"]
                await socket.send_json({"op": "subscribe", "id": "1", "stream": stream, "after": cursor})
                async for message in socket:
                    frame = message.json()
                    for event in frame["events"] if frame["op"] == "events" and frame["stream"] == stream else ():
                        events.append(event)
                        cursor = f"{epoch}:{event['version']}"
                        if event["data"]["type"] == "message_end":
                            return {"events": events, "connections": connections}
        except (*CUT, TypeError):  # the last: a socket that closes before its first message
            continue


async def main() -> None:
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        finish("aiohttp", completed=await completed_and_resumed(session), followed=await followed(session))


asyncio.run(main())
