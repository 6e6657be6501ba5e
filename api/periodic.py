"""What is gathered as it comes and written every so often."""

import asyncio
from abc import ABC, abstractmethod


class Periodic(ABC):
    """``_write`` runs every ``every_s`` seconds from ``start`` on, and once more at ``close``. It must not raise."""

    def __init__(self, every_s: float, name: str) -> None:
        self._every_s = every_s
        self._name = name
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._write()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self._write()

    @abstractmethod
    async def _write(self) -> None:
        """What has gathered since the last time."""
