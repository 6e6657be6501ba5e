"""How far people have read, joined to at most one event a second for each of their streams."""

import asyncio
import contextlib
from typing import Final

import structlog

from commands.account import Accounts, Principal, actor_of
from domain.errors import StenographError
from domain.stream import Stream
from domain.user import MarkRead

log = structlog.get_logger("reads")

EVERY_S: Final = 1.0
WAITING_MAX: Final = 50_000


class Reads:
    """``note`` never waits; what it noted is written within a second, the furthest version only."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._waiting: dict[tuple[Principal, Stream], int] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="reads")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._write()

    def note(self, principal: Principal, stream: Stream, version: int) -> None:
        key = (principal, stream)
        if key in self._waiting or len(self._waiting) < WAITING_MAX:
            self._waiting[key] = max(version, self._waiting.get(key, 0))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            await self._write()

    async def _write(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for (principal, stream), version in waiting.items():
            try:
                command = MarkRead(user_id=principal.user_id, stream=str(stream), version=version)
                await self._accounts.handle(command, actor=actor_of(principal))
            except StenographError as error:
                log.warning("read_not_marked", stream=str(stream), error=str(error))
