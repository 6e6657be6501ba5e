"""A proxy between us and Postgres that can be told to break: it cuts, or stalls, what goes one way or the other.

It listens on a Unix socket of its own and passes bytes on to the server of a DSN, TCP or Unix socket alike.
"""

import asyncio
import contextlib
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from psycopg.conninfo import conninfo_to_dict

Fault = Literal["cut before it arrives", "cut before the answer", "stall before it arrives", "stall before the answer"]
FAULTS: list[Fault] = ["cut before it arrives", "cut before the answer", "stall before it arrives", "stall before the answer"]
PORT = 5432
GONE = (OSError, RuntimeError)  # the second is what uvloop says of a connection that was closed meanwhile


class Proxy:
    """``fault`` is applied once, to the next bytes that a client sends; ``release`` lets go what was stalled."""

    def __init__(self, dsn: str) -> None:
        target = conninfo_to_dict(dsn)
        self._host, self._port = str(target.get("host", "localhost")), int(str(target.get("port", PORT)))
        self._folder = tempfile.TemporaryDirectory(prefix="steno-proxy-", dir="/tmp")  # short enough for a socket's name
        parts = urlsplit(dsn)
        user = parts.netloc.rpartition("@")[0] or quote(str(target.get("user", "")))
        self.dsn = urlunsplit(
            (parts.scheme, f"{user}@" if user else "", parts.path, f"host={quote(self._folder.name, safe='')}&port={PORT}", "")
        )
        self._server: asyncio.Server | None = None
        self._ways: set[asyncio.Task[None]] = set()
        self._fault: Fault | None = None
        self._released = asyncio.Event()
        self.faults = 0
        self.hit = asyncio.Event()
        self.late = asyncio.Event()  # Postgres has dealt with what arrived late

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._connected, Path(self._folder.name) / f".s.PGSQL.{PORT}")
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()
        for way in self._ways:
            way.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)
        self._folder.cleanup()

    def next(self, fault: Fault) -> None:
        self._fault = fault
        self.hit.clear()
        self.late.clear()
        self._released.clear()

    def release(self) -> None:
        self._released.set()

    async def _connected(self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter) -> None:
        try:
            if self._host.startswith("/"):
                server_reader, server_writer = await asyncio.open_unix_connection(f"{unquote(self._host)}/.s.PGSQL.{self._port}")
            else:
                server_reader, server_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:  # the server is away: so is the proxy
            client_writer.close()
            return
        pipe = Pipe(self, client_writer, server_writer)
        for way in (pipe.to_server(client_reader), pipe.to_client(server_reader)):
            task = asyncio.create_task(way)
            self._ways.add(task)
            task.add_done_callback(self._ways.discard)

    def take(self) -> Fault | None:
        fault, self._fault = self._fault, None
        if fault is not None:
            self.faults += 1
        return fault

    async def released(self) -> None:
        await self._released.wait()


class Pipe:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._at_answer: Fault | None = None
        self._is_late = False

    async def to_server(self, client: asyncio.StreamReader) -> None:
        with contextlib.suppress(*GONE):
            while data := await client.read(65_536):
                match self._proxy.take():
                    case "cut before it arrives":
                        self._proxy.hit.set()
                        break
                    case "stall before it arrives":
                        # It arrives late: also when the client has long given up and gone.
                        self._proxy.hit.set()
                        await self._proxy.released()
                        self._is_late = True
                    case "cut before the answer" | "stall before the answer" as fault:
                        self._at_answer = fault
                    case None:
                        pass
                self._server.write(data)
                await self._server.drain()
        self._close()

    async def to_client(self, server: asyncio.StreamReader) -> None:
        with contextlib.suppress(*GONE):
            while data := await server.read(65_536):
                if self._is_late:
                    self._proxy.late.set()
                fault, self._at_answer = self._at_answer, None
                if fault is not None:
                    self._proxy.hit.set()
                if fault == "cut before the answer":
                    break
                if fault == "stall before the answer":
                    await self._proxy.released()
                self._client.write(data)
                await self._client.drain()
        if self._is_late:
            self._proxy.late.set()
        self._close()

    def _close(self) -> None:
        self._client.close()
        self._server.close()
