"""A proxy that cuts connections after a random number of bytes, wherever that is in a frame."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LEAST_BYTES, MOST_BYTES = 1_500, 6_000  # enough for the answer to the handshake and some events


@dataclass
class Cutting:
    """``cuts``: how many connections were cut until now; after ``cuts_max`` all that comes passes. ``used``: somebody has connected."""

    host: str
    port: int
    random: random.Random
    cuts_max: int
    url: str = ""
    cuts: int = 0
    used: asyncio.Event = field(default_factory=asyncio.Event)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.used.set()
        up_reader, up_writer = await asyncio.open_connection(self.host, self.port)
        ways = [asyncio.create_task(self._pass(reader, up_writer)), asyncio.create_task(self._pass_or_cut(up_reader, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            up_writer.transport.abort()
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()

    async def _pass_or_cut(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.cuts >= self.cuts_max:
            await self._pass(reader, writer)
            writer.close()  # what was written goes out first
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return
        left = self.random.randint(LEAST_BYTES, MOST_BYTES)
        with contextlib.suppress(OSError):
            while left and (data := await reader.read(left)):
                writer.write(data)
                await writer.drain()
                left -= len(data)
            if left == 0:
                self.cuts += 1
                # What was written has to go out before the connection is aborted, or nothing would ever arrive.
                writer.close()
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def cutting(url: str, *, seed: int, cuts_max: int = 12) -> AsyncIterator[Cutting]:
    parts = urlsplit(url)
    assert parts.hostname is not None and parts.port is not None
    proxy = Cutting(parts.hostname, parts.port, random.Random(seed), cuts_max)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
