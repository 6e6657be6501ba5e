"""A socket as Open WebUI's page opens it, by hand: Engine.IO and Socket.IO in text frames, one chat, and how late its tokens come."""

import asyncio
import json
import time
from typing import Final

from bench.load.sockets import HANDSHAKE_TIMEOUT_S, Socket, connected
from bench.load.token_marks import all_in

PATH: Final = "/ws/socket.io/?EIO=4&transport=websocket"
EVENTS: Final = b'42["events",'
PIECE: Final = b'"response.output_text.delta"'
WHOLE: Final = b'"type":"chat:completion"'
ITEMS: Final = b'"output":'  # they repeat the text


class PageCounted:
    """As ``Counted``: what came of one chat on one socket."""

    def __init__(self) -> None:
        self.socket: Socket | None = None
        self.numbers = 0
        self.events = 0
        self.faults: list[str] = []
        self.latencies_ms: list[float] = []
        self.first: tuple[int, int, int] | None = None
        loop = asyncio.get_running_loop()
        self.signed_in: asyncio.Future[None] = loop.create_future()
        self.joined: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._token = ""

    async def open(self, port: int, token: str) -> None:
        self._token = token
        self.socket = await connected(port, token, self.take, PATH)
        await asyncio.wait_for(self.signed_in, HANDSHAKE_TIMEOUT_S)

    def join(self, chat_id: str) -> None:
        assert self.socket is not None
        self.socket.send(b'421["events:chat",' + json.dumps({"chat_id": chat_id, "data": {"type": "join"}}).encode() + b"]")

    def begin(self) -> None:
        """What comes from here on is counted: a page that joins is told of the answer that has ended last."""
        self.numbers, self.first = 0, None
        self.faults.clear()
        self.latencies_ms.clear()
        if self.ended.done():
            self.ended = asyncio.get_running_loop().create_future()

    def take(self, socket: Socket, payload: bytes) -> None:
        now_ns = time.monotonic_ns()
        if payload.startswith(EVENTS):
            self._event(now_ns, payload)
        elif payload == b"2":
            socket.send(b"3")
        elif payload.startswith(b"0{"):
            socket.send(b"40" + json.dumps({"token": self._token}).encode())
        elif payload.startswith(b"40"):
            self.signed_in.set_result(None)
        elif payload == b"431[true]":
            self.joined.set_result(None)

    def _event(self, now_ns: int, payload: bytes) -> None:
        self.events += 1
        if PIECE in payload:
            marks = all_in(payload)
        elif WHOLE in payload:  # while the page settles; what it had before is not new
            marks = all_in(payload.partition(ITEMS)[0])[self.numbers :]
        else:
            return
        for sent_ns, number in marks:
            if self.numbers and number != self.numbers:
                self.faults.append(f"expected token {self.numbers}, received {number}")
            elif not self.numbers:
                self.first = (now_ns, sent_ns, number)
            self.numbers += 1
            self.latencies_ms.append((now_ns - sent_ns) / 1e6)
        if b'"done":true' in payload and not self.ended.done():
            self.ended.set_result(None)

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
