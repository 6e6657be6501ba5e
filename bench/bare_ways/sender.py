"""A bare ASGI sender under the server's own WebSocket implementation: what frames and handshakes cost without a chat behind them.

A process of its own: ``python -m bench.bare_ways.sender PORT``. A client that says ``go`` has frames sent to everybody who is connected:
``per_s`` of them, or as fast as they go, each with ``events`` events of the size of a token's, for ``seconds``.
An event says when it was due, not when it was made: a sender that falls behind is late.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import uvicorn
import uvloop

from bench.load.token_marks import mark

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

STREAM: Final = b"chat/00000000-0000-4000-8000-000000000000"
SENDS: Final[dict[Send, None]] = {}


def event(version: int, due_ns: int) -> bytes:
    return (
        b'{"stream":"%b","version":%d,"position":%d,"at":"2026-01-01T00:00:00.000000Z","chat_id":"%b","message_id":"%b","user":null,'
        b'"data":{"type":"message_delta","data":{"index":0,"text":"%b"}}}'
        % (STREAM, version, version, STREAM[5:], STREAM[5:], mark(version - 1, due_ns))
    )


async def app(scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    SENDS[send] = None
    going: asyncio.Task[None] | None = None
    try:
        while True:
            said = await receive()
            if said["type"] == "websocket.disconnect":
                return
            asked = json.loads(said["text"])
            if asked["op"] == "go":
                going = asyncio.create_task(go(float(asked["per_s"]), float(asked["seconds"]), int(asked["events"])))
    finally:
        SENDS.pop(send, None)
        if going is not None:
            going.cancel()


async def go(per_s: float, seconds: float, events: int) -> None:
    started = time.monotonic()
    frames = version = 0
    while time.monotonic() - started < seconds:
        due = started + frames / per_s if per_s else time.monotonic()
        if per_s:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        made = b",".join([event(version + number, int(due * 1e9)) for number in range(1, events + 1)])
        version += events
        frames += 1
        text = (b'{"op":"events","stream":"%b","events":[%b]}' % (STREAM, made)).decode()
        for send in list(SENDS):
            await send({"type": "websocket.send", "text": text})
        await asyncio.sleep(0)


async def serve(port: int) -> None:
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        backlog=2048,
        loop="none",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
