"""A balancer before several servers: each connection goes to the next of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit

CLOSED_WITHIN_S = 60  # only ends a test that hangs


class Side(asyncio.Protocol):
    """One end of a connection that is passed on. What comes before the other end is there waits; one that ends, ends the other."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.other: Side | None = None
        self.gone = False
        self._early = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def joined_to(self, other: "Side") -> None:
        self.other = other
        if self._early:
            other.transport.write(self._early)
        if self.gone:
            other.transport.close()

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early += data
        else:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, _: Exception | None) -> None:
        self.gone = True
        if self.other is not None:
            self.other.transport.close()


@contextlib.asynccontextmanager
async def by_turns(urls: Sequence[str]) -> AsyncIterator[str]:
    """Its address."""
    loop = asyncio.get_running_loop()
    servers = cycle(urlsplit(url) for url in urls)
    sides: list[Side] = []
    joining: set[asyncio.Task[None]] = set()

    class Accepted(Side):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            server = next(servers)
            task = asyncio.create_task(self._join(server.hostname, server.port))
            joining.add(task)
            task.add_done_callback(joining.discard)

        async def _join(self, host: str | None, port: int | None) -> None:
            _, up = await loop.create_connection(Side, host, port)
            sides.extend((self, up))
            up.other = self
            self.joined_to(up)

    listening = await loop.create_server(Accepted, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        await asyncio.gather(*joining, return_exceptions=True)
        for side in sides:
            if not side.gone:
                side.transport.abort()
        async with asyncio.timeout(CLOSED_WITHIN_S):
            while not all(side.gone for side in sides):  # noqa: ASYNC110  # nothing there offers an event
                await asyncio.sleep(0.001)
