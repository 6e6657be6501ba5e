"""``python-socketio``: a chat followed as Open WebUI's page follows it, the connection cut off again and again."""

import asyncio
from typing import Any

import socketio
from driver import GIVEN, TOKEN, URL, finish

CHAT: str = GIVEN["chat_id"]


async def main() -> None:
    client = socketio.AsyncClient(reconnection_delay=0.05, reconnection_delay_max=0.2, randomization_factor=0)
    texts: dict[str, str] = {}
    shown: list[str] = []  # of the answer, after each envelope
    over = asyncio.Event()
    joins = 0

    @client.event  # type: ignore[untyped-decorator]
    async def connect() -> None:
        nonlocal joins
        joins += 1
        await client.emit("events:chat", {"chat_id": CHAT, "data": {"type": "join"}})
        await client.emit("user-join", {"auth": {"token": TOKEN}})

    @client.on("events")  # type: ignore[untyped-decorator]
    async def heard(envelope: dict[str, Any]) -> None:
        message_id, kind, data = envelope["message_id"], envelope["data"]["type"], envelope["data"]["data"]
        if kind == "chat:completion":
            texts[message_id] = data["content"]
        elif kind == "response:completion":
            texts[message_id] = texts.get(message_id, "") + data["delta"]
        else:
            return
        shown.append(texts[message_id])
        if data.get("done"):
            over.set()

    await client.connect(URL, socketio_path="/ws/socket.io", transports=["websocket"], auth={"token": TOKEN}, retry=True)
    async with asyncio.timeout(120):
        await over.wait()
    await client.disconnect()
    finish("python-socketio", shown=shown, joins=joins)


asyncio.run(main())
