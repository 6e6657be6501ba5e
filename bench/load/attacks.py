"""``python -m bench.load.attacks NAME PORT TOKEN CHAT_ID``: does to a server what a hostile client would, until it is ended.

A process of its own, so that it does not slow down the client that measures. Each attack is one coroutine in ``ATTACKS``; it runs
``AT_ONCE`` times at once, and again whenever the server has ended it.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

import uvloop

from bench.load.http import Http, ask_for
from bench.load.sockets import framed, handshake

AT_ONCE: Final = 8
SILENT_EACH: Final = 60
PAUSE_S: Final = 0.05  # before it comes back: also an attacker waits for its connections
KIB: Final = 1024
BODY_BYTES: Final = 15 * 1024 * KIB
EMITS: Final = 250
EMIT_BYTES: Final = 100 * 1000
BUSY_TOKENS: Final = 20_000
BUSY_PER_S: Final = 500.0
SILENCE_S: Final = 3600.0


class Target(NamedTuple):
    """The server, and the account and the chat of the one who attacks it."""

    port: int
    token: str
    chat_id: str


async def connect(target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", target.port)


async def send_body(target: Target, begin: bytes, piece: bytes, size: int) -> None:
    """A new chat of about that many bytes, as fast as the server takes them."""
    reader, writer = await connect(target)
    head = (
        f"POST /api/v1/chats/new HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {target.token}\r\n"
        f"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    writer.write(head.encode())
    pieces = [begin, *[piece] * (size // len(piece))]
    try:
        for one in pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(one), one))
            await writer.drain()
        writer.write(b"4\r\n1]}}\r\n0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()


async def nested(target: Target) -> None:
    await send_body(target, b'{"chat":{"x":', b"[" * 64 * KIB, BODY_BYTES)


async def many_values(target: Target) -> None:
    await send_body(target, b'{"chat":{"x":[', b"{}," * 20 * KIB, BODY_BYTES)


async def costly_values(target: Target) -> None:
    """As many as are accepted: what is decoded."""
    await send_body(target, b'{"chat":{"x":[', b'{"a":{}},' * KIB, 48 * KIB * 9)


async def endless_header(target: Target) -> None:
    _, writer = await connect(target)
    try:
        writer.write(b"GET /health HTTP/1.1\r\nx-endless: ")
        for _ in range(50 * 16):
            writer.write(b"a" * 64 * KIB)
            await writer.drain()
    finally:
        writer.close()


async def silent(target: Target) -> None:
    """Connections that say nothing, half a line, half a head, half a body, or a handshake and nothing after it."""
    said = (
        *(b"", b"GET /hea", b"GET /health HTTP/1.1\r\nhost: x\r\n", handshake(target.port, "")[:-40]),
        b"POST /api/v1/auths/signin HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{",
    )
    writers = []
    try:
        for number in range(SILENT_EACH):
            _, writer = await connect(target)
            writers.append(writer)
            writer.write(said[number % len(said)])
        await asyncio.sleep(SILENCE_S)
    finally:
        for writer in writers:
            writer.close()


async def before_hello(target: Target) -> None:
    """A socket without a token: pings and empty fragments."""
    reader, writer = await connect(target)
    try:
        writer.write(handshake(target.port, "").replace(b"\r\nauthorization: Bearer ", b""))
        await reader.readuntil(b"\r\n\r\n")
        flood = framed(b"", kind=9) * 2000 + bytes((0x01, 0x80)) + bytes(4) + (bytes((0x00, 0x80)) + bytes(4)) * 8000
        while True:
            writer.write(flood)
            await writer.drain()
            if reader.at_eof():
                break
            await asyncio.sleep(0)
    finally:
        writer.close()


async def never_read(target: Target) -> None:
    """A socket that follows a chat in which much is said, and reads nothing of it."""
    http = await Http.open(target.port, target.token)
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port, limit=KIB)
    try:
        with contextlib.suppress(RuntimeError):  # another of these has asked already
            await ask_for(http, target.chat_id, BUSY_TOKENS, BUSY_PER_S)
        writer.write(handshake(target.port, target.token))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(framed(json.dumps({"op": "subscribe", "id": 1, "stream": f"chat/{target.chat_id}", "after": "start"}).encode()))
        await asyncio.sleep(SILENCE_S)
    finally:
        writer.close()
        http.close()


async def status_flood(target: Target) -> None:
    http = await Http.open(target.port, target.token)
    try:
        message = await http.post(f"/api/v1/chats/{target.chat_id}/messages", {"role": "user", "content": "x", "parent_id": None})
        path = f"/api/v1/chats/{target.chat_id}/messages/{message['message_id']}/event"
        for _ in range(EMITS):
            await http.post(path, {"type": "status", "data": {"description": "x" * EMIT_BYTES}})
    finally:
        http.close()


ATTACKS: Final[Mapping[str, Callable[[Target], Awaitable[None]]]] = {
    "nested JSON": nested,
    "15 MB of {}": many_values,
    "JSON at the bound": costly_values,
    "endless headers": endless_header,
    "silent connections": silent,
    "floods before hello": before_hello,
    "sockets that never read": never_read,
    "status flood": status_flood,
}


async def attack(name: str, target: Target) -> None:
    async def again_and_again() -> None:
        while True:
            # The server refuses and ends what it is sent: that is what is attacked.
            with contextlib.suppress(OSError, RuntimeError, EOFError, asyncio.LimitOverrunError):
                await ATTACKS[name](target)
            await asyncio.sleep(PAUSE_S)

    await asyncio.gather(*(again_and_again() for _ in range(AT_ONCE)))


if __name__ == "__main__":
    uvloop.run(attack(sys.argv[1], Target(int(sys.argv[2]), sys.argv[3], sys.argv[4])))
