"""One TCP connection to a test's server, and what is sent on it byte by byte: for what no client library would send."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec

from api.settings import Settings
from tests.api.conftest import WAIT_S, Running, running

KIB = 1024
GET = b"GET /health HTTP/1.1\r\nhost: x\r\n"


class Raw:
    """One TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @property
    def answered(self) -> bool:
        """Whether the server has said or ended something that was not read yet."""
        buffered: bytearray = cast("Any", self.reader)._buffer  # nothing public says it without waiting
        return bool(buffered) or self.reader.at_eof()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_until_refused(self, piece: bytes, most: int) -> int:
        """How many bytes the server took before it answered or closed; never more than ``most``."""
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < most and not self.answered:
                await self.send(piece)
                sent += len(piece)
                await asyncio.sleep(0)
        return sent

    async def answer(self) -> tuple[int, dict[str, str], dict[str, Any]]:
        """``(status, headers, body)`` of the next response."""
        async with asyncio.timeout(WAIT_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await self.reader.readexactly(int(headers["content-length"]))
        return int(first.split()[1]), headers, json.loads(body) if body.startswith(b"{") else {}

    async def ended(self) -> bytes:
        """What still came until the server closed."""
        async with asyncio.timeout(WAIT_S):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


Connect = Callable[..., Awaitable[Raw]]


@contextlib.asynccontextmanager
async def raw_connections(server: Running) -> AsyncIterator[Connect]:
    port = urlsplit(server.url).port
    async with contextlib.AsyncExitStack() as stack:

        async def connect(address: str = "127.0.0.1") -> Raw:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
            stack.callback(writer.close)
            return Raw(reader, writer)

        yield connect


@contextlib.asynccontextmanager
async def bounded(settings: Settings, **more: Any) -> AsyncIterator[tuple[Running, Connect]]:
    async with running(msgspec.structs.replace(settings, **more)) as server, raw_connections(server) as connect:
        yield server, connect


def handshake(more: bytes = b"") -> bytes:
    return (
        b"GET /ws HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
        b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" + more + b"\r\n"
    )


async def opened(connect: Connect, more: bytes = b"") -> Raw:
    """An open WebSocket that has said nothing yet."""
    raw = await connect()
    await raw.send(handshake(more))
    async with asyncio.timeout(WAIT_S):
        assert (await raw.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    return raw


def client_frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A masked frame (RFC 6455 §5.2) of less than 126 bytes; the mask is zeros."""
    return bytes((0x80 * fin | opcode, 0x80 | len(payload))) + bytes(4) + payload


async def close_code(raw: Raw) -> int:
    """The code that the server closes the WebSocket with. What it sends before is passed over."""
    async with asyncio.timeout(WAIT_S):
        while True:
            first, length = await raw.reader.readexactly(2)
            if length == 126:
                length = int.from_bytes(await raw.reader.readexactly(2))
            payload = await raw.reader.readexactly(length)
            if first & 15 == 8:
                return int.from_bytes(payload[:2])
