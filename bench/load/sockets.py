"""The load client: raw sockets with hand-made RFC 6455 frames, thousands in one process, and a check that nothing is lost.

A library client would need a core of its own and be what is measured. ``Counted`` follows one stream on one socket; ``Frames`` reads
a frame's numbers once for all sockets that get the same bytes.
"""

import asyncio
import base64
import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from bench.load.token_marks import all_in

EVENTS: Final = b'{"op":"events"'
END: Final = b'"type":"message_end"'
VERSION: Final = b'","version":'
HANDSHAKE_TIMEOUT_S: Final = 60.0
KEPT_FRAMES_MAX: Final = 64


class Read(NamedTuple):
    """What the load client looks at of an ``events`` frame."""

    first: int  # version
    last: int
    whole: bool  # the versions between have no gap
    marks: Sequence[tuple[int, int]]
    ended: bool


def read_events(payload: bytes) -> Read:
    # Each event begins {"stream":"kind/uuid","version":N,"position":…
    versions = [int(piece[: piece.index(b",")]) for piece in payload.split(VERSION)[1:]]
    whole = versions == list(range(versions[0], versions[-1] + 1))
    # The end repeats the whole text: its marks are not new.
    deltas, end, _ = payload.partition(END)
    return Read(versions[0], versions[-1], whole, all_in(deltas), bool(end))


class Frames:
    """The newest frames, for sockets that get the same bytes: read once, compared by their hash."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Read] = {}

    def read(self, payload: bytes) -> Read:
        made = self._kept.get(payload)
        if made is None:
            made = read_events(payload)
            if len(self._kept) >= KEPT_FRAMES_MAX:
                del self._kept[next(iter(self._kept))]
            self._kept[payload] = made
        return made


class Socket(asyncio.Protocol):
    """One client. ``on_text(payload)`` gets each text frame as it stands in the read buffer's turn."""

    def __init__(self, request: bytes, on_text: Callable[["Socket", bytes], None]) -> None:
        self._request = request
        self._on_text = on_text
        self._head: bytes | None = b""
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._needed = 0
        self._transport: Any = None
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.wire_bytes = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(self._request)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(f"closed in the handshake: {error}"))
            self.opened.exception()
        if not self.closed.done():
            self.closed.set_result(str(error or "closed"))

    def data_received(self, data: bytes) -> None:
        self.wire_bytes += len(data)
        if self._head is not None:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._head = None
            if not head.startswith(b"HTTP/1.1 101"):
                self.opened.set_exception(ConnectionError(head.decode(errors="replace")[:300]))
                self._transport.close()
                return
            self.opened.set_result(None)
        if self._rest:
            self._rest.append(data)
            self._rest_bytes += len(data)
            if self._rest_bytes < self._needed:
                return
            data = b"".join(self._rest)
            self._rest.clear()
            self._rest_bytes = 0
        at, size = 0, len(data)
        while size - at >= 2:
            length = data[at + 1] & 127
            start = at + 2
            if length == 126:
                start = at + 4
                length = int.from_bytes(data[at + 2 : at + 4], "big") if size >= start else size
            elif length == 127:
                start = at + 10
                length = int.from_bytes(data[at + 2 : at + 10], "big") if size >= start else size
            end_at = start + length
            if end_at > size:
                self._needed = end_at - at
                break
            kind = data[at] & 15
            if kind == 1:
                self._on_text(self, data[start:end_at])
            elif kind == 9:
                self._transport.write(framed(data[start:end_at], kind=10))
            elif kind == 8:
                code = int.from_bytes(data[start : start + 2], "big")
                if not self.closed.done():
                    self.closed.set_result(f"{code} {data[start + 2 : end_at].decode()}")
                self._transport.close()
            at = end_at
        else:
            self._needed = 2
        if at < size:
            self._rest.append(data[at:])
            self._rest_bytes = size - at
            self._needed = max(self._needed, 2)

    def say(self, **fields: Any) -> None:
        self.send(json.dumps(fields).encode())

    def send(self, text: bytes) -> None:
        self._transport.write(framed(text))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def framed(payload: bytes, *, kind: int = 1) -> bytes:
    """A client's frame: masked, with a mask of zeros, which changes nothing and is as valid as any."""
    length = len(payload)
    if length < 126:
        return bytes((0x80 | kind, 0x80 | length)) + bytes(4) + payload
    return bytes((0x80 | kind, 0x80 | 126)) + length.to_bytes(2, "big") + bytes(4) + payload


def handshake(port: int, token: str, path: str = "/ws") -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = (
        f"GET {path} HTTP/1.1",
        f"host: 127.0.0.1:{port}",
        "upgrade: websocket",
        "connection: Upgrade",
        f"sec-websocket-key: {key}",
        "sec-websocket-version: 13",
        f"authorization: Bearer {token}",
    )
    return "\r\n".join((*lines, "", "")).encode()


async def connected(port: int, token: str, on_text: Callable[[Socket, bytes], None], path: str = "/ws") -> Socket:
    """An open socket. Raises ``ConnectionError`` with the server's answer if it is not 101."""
    request = handshake(port, token, path)
    loop = asyncio.get_running_loop()
    _, socket = await loop.create_connection(lambda: Socket(request, on_text), "127.0.0.1", port)
    await asyncio.wait_for(socket.opened, HANDSHAKE_TIMEOUT_S)
    return socket


class Counted:
    """One stream on one socket: what came, how late, and whether anything was lost or doubled."""

    def __init__(self, frames: Frames | None = None) -> None:
        self._read = frames.read if frames is not None else read_events
        self.socket: Socket | None = None
        self.version = 0  # of the last event that came
        self.numbers = 0  # marks that came
        self.frames = 0
        self.events = 0
        self.light = False  # look at the versions alone: where what comes is more than can be looked at
        self.faults: list[str] = []
        self.latencies_ms: list[float] = []
        self.first: tuple[int, int, int] | None = None  # (received ns, sent ns, the provider's own µs) of the first mark
        self.caught_up_ns = 0
        self.caught_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self, port: int, token: str) -> None:
        self.socket = await connected(port, token, self.take)

    def subscribe(self, stream: str, after: str) -> None:
        assert self.socket is not None
        self.version = int(after.rpartition(":")[2]) if ":" in after else 0
        self.socket.say(op="subscribe", id=1, stream=stream, after=after)

    def take(self, _: Socket, payload: bytes) -> None:
        now_ns = time.monotonic_ns()
        if payload.startswith(EVENTS):
            self._events(now_ns, self._read(payload))
        elif b'"op":"caught_up"' in payload[:20]:
            if b'"stream":"user/' not in payload and not self.caught_up.done():
                self.caught_up_ns = now_ns
                self.caught_up.set_result(None)
        elif b'"op":"error"' in payload[:20] or b'"op":"unsubscribed"' in payload[:24]:
            self.faults.append(payload.decode())

    def _events(self, now_ns: int, read: Read) -> None:
        self.frames += 1
        self.events += read.last - read.first + 1
        if read.first != self.version + 1 or not read.whole:
            self.faults.append(f"expected version {self.version + 1}, received {read.first} to {read.last}")
        self.version = read.last
        if read.ended and not self.ended.done():
            self.ended.set_result(None)
        if self.light:
            return
        for sent_ns, number in read.marks:
            if self.numbers and number != self.numbers:
                self.faults.append(f"expected token {self.numbers}, received {number}")
            elif not self.numbers:
                self.first = (now_ns, sent_ns, number)
            self.numbers += 1
            self.latencies_ms.append((now_ns - sent_ns) / 1e6)

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
