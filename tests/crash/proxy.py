"""What stands between a server and its Postgres, and breaks off, stalls, or loses the answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import psycopg

PIECE_BYTES = 64 * 1024
# The end of a call's answer: the portal is suspended after the one row that was asked for, or the command is complete. What only
# prepares a statement has neither. (PostgreSQL's manual, "Message Formats")
ANSWERED = (b"s\0\0\0\x04Z", b"CALL\0")


class Link:
    """One connection through the proxy."""

    def __init__(self, down: asyncio.StreamWriter, up: asyncio.StreamWriter) -> None:
        self.down = down  # to the server of ours
        self.up = up  # to Postgres
        self.carries_appends = False

    def cut(self) -> None:
        for writer in (self.down, self.up):
            writer.transport.abort()


class Proxy:
    """``url`` is that of the database, through here."""

    def __init__(self, dsn: str) -> None:
        parts = psycopg.conninfo.conninfo_to_dict(dsn)
        self._host, self._port = str(parts.get("host") or "127.0.0.1").split(",")[0], int(parts.get("port") or 5432)
        self._dsn = dsn
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._answers_lost = 0
        self.refuses = False
        self.appends = 0  # calls of append_batch that went through
        self.port = 0

    @property
    def url(self) -> str:
        split = urlsplit(self._dsn)
        userinfo = split.netloc.rpartition("@")[0]
        return f"{split.scheme}://{userinfo}@127.0.0.1:{self.port}{split.path}?sslmode=disable"

    # What a test does

    def cut(self) -> None:
        """Every connection, now. New ones are let in."""
        for link in list(self._links):
            link.cut()

    def stall(self) -> None:
        """Nothing passes, in either direction, and nothing is refused."""
        self._flows.clear()

    def flow(self) -> None:
        self._flows.set()

    def lose_answers(self, count: int) -> None:
        """The next ``count`` appends reach Postgres whole; as soon as it answers, the answer is dropped and the connection cut."""
        self._answers_lost = count

    @property
    def answers_to_lose(self) -> int:
        return self._answers_lost

    # How

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        link = None
        try:
            if self.refuses:
                writer.transport.abort()
                return
            await self._flows.wait()
            if self._host.startswith("/"):
                up_reader, up_writer = await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
            else:
                up_reader, up_writer = await asyncio.open_connection(self._host, self._port)
            link = Link(writer, up_writer)
            self._links.add(link)
            ways = [asyncio.create_task(self._upwards(reader, link)), asyncio.create_task(self._downwards(up_reader, link))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass
        finally:
            if link is not None:
                link.cut()
                self._links.discard(link)
            writer.transport.abort()
            self._tasks.discard(task)

    async def _upwards(self, reader: asyncio.StreamReader, link: Link) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE_BYTES):
                await self._flows.wait()
                if b"CALL append_batch" in data or b"stenograph appender" in data:
                    link.carries_appends = True
                link.up.write(data)
                await link.up.drain()

    async def _downwards(self, reader: asyncio.StreamReader, link: Link) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE_BYTES):
                await self._flows.wait()
                if link.carries_appends and self._answers_lost > 0 and any(mark in data for mark in ANSWERED):
                    self._answers_lost -= 1
                    self.appends += 1
                    link.cut()
                    return
                link.down.write(data)
                await link.down.drain()

    async def close(self) -> None:
        self.flow()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def proxied(dsn: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(dsn)
    server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
