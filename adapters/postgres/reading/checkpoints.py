"""Waits until projections hold everything up to a position."""

import asyncio
from collections.abc import Sequence
from typing import Final

from adapters.postgres.connections.queries import text
from adapters.postgres.connections.query_reader import QueryReader
from domain.errors import LogUnavailable

REACHED: Final = text("projections_reached")
LOOK_S: Final = 0.01  # between two looks at the checkpoints that somebody waits for


class Checkpoints:
    """Those of the projections named ``names``, for all who wait for them."""

    def __init__(self, reader: QueryReader, names: Sequence[str]) -> None:
        self._reader = reader
        self._names = list(names)
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []  # for the checkpoints to be at a position
        self._looking: asyncio.Task[None] | None = None

    async def reached(self, position: int, timeout_s: float) -> bool:
        """Whether all of them hold everything up to ``position`` within ``timeout_s``. Raises ``LogUnavailable``."""
        if await self._position() >= position:
            return True
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append((position, waiter))
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._waiting.remove((position, waiter))
        return True

    async def _look(self) -> None:
        try:
            while self._waiting:
                reached = await self._position()
                for position, waiter in self._waiting:
                    if position <= reached and not waiter.done():
                        waiter.set_result(None)
                await asyncio.sleep(LOOK_S)
        except LogUnavailable as error:
            for _, waiter in self._waiting:
                if not waiter.done():
                    waiter.set_exception(error)
        finally:
            self._looking = None

    async def _position(self) -> int:
        rows = await self._reader.fetch(REACHED, self._names)
        position: int = rows[0]["position"]
        return position
