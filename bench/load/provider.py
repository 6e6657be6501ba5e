"""A model that costs nothing: an OpenAI-compatible server that streams marks, at a rate or as fast as its reader reads.

A process of its own: ``python -m bench.load.provider PORT``. What is asked for stands in the request's body beside what is usual:
``{"bench": {"chunks": 500, "per_s": 50}}``; without a rate it goes as fast as it can. Streams that have a rate are sent
by one clock, each with a phase of its own, as independent answers would be.
"""

import asyncio
import json
import sys
import time
from typing import Any, Final

import uvloop

from bench.load.token_marks import mark

HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
MODELS: Final = b'{"object":"list","data":[{"id":"bench","object":"model","created":0,"owned_by":"bench"}]}'
BEFORE: Final = b'data: {"id":"c","object":"chat.completion.chunk","created":0,"model":"bench","choices":[{"index":0,"delta":{"content":"'
AFTER: Final = b'"},"finish_reason":null}]}\n\n'
LAST: Final = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
END: Final = LAST + b"data: [DONE]\n\n"
BURST: Final = 16  # chunks to a write at full speed


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Asked(asyncio.Protocol):
    """One connection, one answer at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._buffer = b""
        self._resume: asyncio.Future[None] | None = None
        self._paused = False
        self._streaming: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(high=64 * 1024)

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        if self._streaming is not None:
            self._streaming.cancel()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._resume is not None and not self._resume.done():
            self._resume.set_result(None)

    def data_received(self, data: bytes) -> None:
        received_ns = time.monotonic_ns()
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        if head.startswith(b"GET"):
            self._transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(MODELS), MODELS)
            )
            return
        asked = json.loads(rest[:length]).get("bench") or {}
        self._streaming = self._loop.create_task(self._stream(int(asked.get("chunks", 100)), float(asked.get("per_s", 0)), received_ns))

    async def _stream(self, chunks: int, per_s: float, received_ns: int) -> None:
        self._transport.write(HEAD)
        first = (time.monotonic_ns() - received_ns) // 1000
        self._say(first)
        if per_s:
            start = self._loop.time()
            for number in range(1, chunks):
                await asyncio.sleep(max(0.0, start + number / per_s - self._loop.time()))
                if self._paused:
                    await self._writable()
                self._say(number)
        else:
            for number in range(1, chunks, BURST):
                if self._paused:
                    await self._writable()
                upto = min(chunks, number + BURST)
                self._transport.write(b"".join([chunked(b"%b%b%b" % (BEFORE, mark(one), AFTER)) for one in range(number, upto)]))
                await asyncio.sleep(0)
        self._transport.write(chunked(END) + b"0\r\n\r\n")

    def _say(self, number: int) -> None:
        self._transport.write(chunked(b"%b%b%b" % (BEFORE, mark(number), AFTER)))

    async def _writable(self) -> None:
        while self._paused:
            self._resume = self._loop.create_future()
            await self._resume


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Asked, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
