"""A bad line: it passes bytes on, and breaks off after as many as each connection is granted."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

PIECE_BYTES = 64 * 1024


class Line:
    """``grants`` are used up by connections, in bytes from the server; a connection without one is a good one."""

    def __init__(self, url: str, grants: list[int]) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self.grants = grants
        self.cuts = 0
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        granted = self.grants.pop(0) if self.grants else None
        up_reader, up_writer = await asyncio.open_connection(self._host, self._port)
        ways = [asyncio.create_task(self.pass_on(reader, up_writer, None)), asyncio.create_task(self.pass_on(up_reader, writer, granted))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            up_writer.transport.abort()
            writer.transport.abort()
            self._tasks.discard(task)

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, granted: int | None) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE_BYTES):
                if granted is not None and len(data) >= granted:
                    writer.write(data[:granted])
                    await writer.drain()
                    self.cuts += 1
                    return
                granted = granted - len(data) if granted is not None else None
                writer.write(data)
                await writer.drain()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def bad_line(url: str, grants: list[int]) -> AsyncIterator[Line]:
    line = Line(url, grants)
    server = await asyncio.start_server(line.accept, "127.0.0.1", 0)
    line.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield line
    finally:
        server.close()
        await line.close()
