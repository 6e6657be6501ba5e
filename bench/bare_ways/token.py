"""The bare way of a token: provider → one ``CALL append_batch`` at a time → raw socket. No domain, no hub, no framework.

A process of its own: ``python -m bench.bare_ways.token DSN PROVIDER_PORT PORT``. It speaks just enough WebSocket for the load client:
``subscribe`` names a chat, ``go`` starts its answer. What arrives while a call is on its way goes with the next one, and a chat whose
tokens wait is not read further: the least that keeps the promises of the log, and so the limit that we measure ourselves by.
"""

import asyncio
import json
import sys
from typing import Any, Final
from uuid import UUID, uuid4

import uvloop

from adapters.postgres.appending.appender import CALL
from adapters.postgres.connections.connection import connect

ACCEPTED: Final = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n"
CONTENT: Final = b'"content":"'
WAITING_MAX: Final = 64  # pieces of one chat, above which its provider is not read
EVENTS_PER_CALL_AND_CHAT: Final = 16  # as the server does: above it, pieces are joined


def frame(payload: bytes) -> bytes:
    """A server's text frame: unmasked."""
    length = len(payload)
    if length < 126:
        return b"\x81" + bytes((length,)) + payload
    if length < 65536:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload


class Chat:
    """One stream: its subscriber's socket, and the connection to its provider."""

    def __init__(self, writer: "Writer", name: str, socket: Any) -> None:
        self.writer = writer
        self.name = name.encode()
        self.id = UUID(name.partition("/")[2])
        self.message_id = uuid4()
        self.socket = socket
        self.version = 0
        self.pieces: list[bytes] = []
        self.over = False
        self.provider: Any = None
        self.paused = False


class Answer(asyncio.Protocol):
    """The provider's side. Only the pieces of text are looked for."""

    def __init__(self, chat: Chat, request: bytes) -> None:
        self._chat = chat
        self._request = request
        self._rest = b""

    def connection_made(self, transport: Any) -> None:
        self._chat.provider = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        chat = self._chat
        whole, end, self._rest = (self._rest + data).rpartition(b"\n\n")
        if not end:
            return
        for piece in whole.split(CONTENT)[1:]:
            chat.pieces.append(piece[: piece.index(b'"')])
        if b"data: [DONE]" in whole:
            chat.over = True
        chat.writer.wake(chat)
        if len(chat.pieces) > WAITING_MAX and not chat.paused:
            chat.paused = True
            chat.provider.pause_reading()


class Writer:
    def __init__(self, connection: Any, provider_port: int) -> None:
        self._connection = connection
        self._provider_port = provider_port
        self._waiting: dict[Chat, None] = {}
        self._wake = asyncio.Event()

    def wake(self, chat: Chat) -> None:
        self._waiting[chat] = None
        self._wake.set()

    def go(self, chat: Chat, asked: dict[str, Any]) -> None:
        body = json.dumps({"bench": asked}).encode()
        request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        loop = asyncio.get_running_loop()
        chat.writer.task = loop.create_task(loop.create_connection(lambda: Answer(chat, request), "127.0.0.1", self._provider_port))

    task: "asyncio.Task[Any] | None" = None

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            chats = list(self._waiting)
            self._waiting.clear()
            await self._write(chats)

    async def _write(self, chats: list[Chat]) -> None:
        counts: list[int] = []
        types: list[str] = []
        datas: list[bytes] = []
        messages: list[str] = []
        for chat in chats:
            pieces, chat.pieces = chat.pieces, []
            if len(pieces) > EVENTS_PER_CALL_AND_CHAT:
                each = -(-len(pieces) // EVENTS_PER_CALL_AND_CHAT)
                pieces = [b"".join(pieces[at : at + each]) for at in range(0, len(pieces), each)]
            datas += [b'{"index":0,"text":"%b"}' % piece for piece in pieces]
            types += ["message_delta"] * len(pieces)
            if chat.over:
                datas.append(b"{}")
                types.append("message_end")
            counts.append(len(pieces) + chat.over)
            messages += [chat.message_id.hex] * counts[-1]
            if chat.paused:
                chat.paused = False
                chat.provider.resume_reading()
        numbers = range(1, len(chats) + 1)
        touches = [number for number, count in zip(numbers, counts, strict=True) for _ in range(count)]
        in_touch = [number for count in counts for number in range(1, count + 1)]
        ids = array([chat.id.hex for chat in chats])
        requests = text(list(numbers))
        row = await self._connection.fetchrow(
            CALL, len(chats), False, *["{}"] * 9,
            requests, ids, array(["chat"] * len(chats)), text([chat.version for chat in chats]), text(counts),
            text(touches), text(in_touch), array(types), array(messages), "", b"\x1e".join(datas).decode(), "{}",
        )  # fmt: skip
        at = row["recorded"].isoformat(timespec="microseconds").encode()
        position = row["positions"][0] - counts[0]
        done = 0
        for chat, count in zip(chats, counts, strict=True):
            events = []
            for name, data in zip(types[done : done + count], datas[done : done + count], strict=True):
                chat.version += 1
                position += 1
                events.append(
                    b'{"stream":"%b","version":%d,"position":%d,"at":"%b","chat_id":"%b","message_id":"%b","user":null,'
                    b'"data":{"type":"%b","data":%b}}'
                    % (chat.name, chat.version, position, at, chat.name[5:], str(chat.message_id).encode(), name.encode(), data)
                )
            done += count
            chat.socket.write(frame(b'{"op":"events","stream":"%b","events":[%b]}' % (chat.name, b",".join(events))))


def array(elements: list[str]) -> str:
    return f"{{{','.join(elements)}}}"


def text(numbers: list[int]) -> str:
    return f"{{{str(numbers)[1:-1]}}}"


class Subscriber(asyncio.Protocol):
    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._transport: Any = None
        self._opened = False
        self._chat: Chat | None = None
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._opened:
            _, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            self._opened, self._buffer = True, rest
            self._transport.write(ACCEPTED)
        while len(self._buffer) > 6:  # masked by zeros, as the load client does
            length = self._buffer[1] & 127
            start = 6 if length < 126 else 8
            if length == 126:
                length = int.from_bytes(self._buffer[2:4], "big")
            if len(self._buffer) < start + length:
                return
            said = json.loads(self._buffer[start : start + length])
            self._buffer = self._buffer[start + length :]
            if said["op"] == "subscribe":
                self._chat = Chat(self._writer, said["stream"], self._transport)
                self._transport.write(frame(b'{"op":"caught_up","stream":"%b","version":0}' % self._chat.name))
            elif said["op"] == "go" and self._chat is not None:
                self._writer.go(self._chat, said["asked"])


async def serve(dsn: str, provider_port: int, port: int) -> None:
    writer = Writer(await connect(dsn, application="bare"), provider_port)
    server = await asyncio.get_running_loop().create_server(lambda: Subscriber(writer), "127.0.0.1", port, backlog=2048)
    await asyncio.gather(writer.run(), server.serve_forever())


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
