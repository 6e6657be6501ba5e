"""When people were last seen: a client of theirs connected, or sent a heartbeat."""

import asyncio
from typing import Final
from uuid import UUID

import structlog

from commands.ports import Activity
from domain.errors import StenographError

log = structlog.get_logger("activity")

EVERY_S: Final = 5.0
WAITING_MAX: Final = 50_000


class Seen:
    """``note`` never waits; whom it noted is written within five seconds, all in one statement."""

    def __init__(self, activity: Activity) -> None:
        self._activity = activity
        self._waiting: set[UUID] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="activity")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._write()

    def note(self, user_id: UUID) -> None:
        if len(self._waiting) < WAITING_MAX:
            self._waiting.add(user_id)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            await self._write()

    async def _write(self) -> None:
        waiting, self._waiting = self._waiting, set()
        if waiting:
            try:
                await self._activity.note_active(list(waiting))
            except StenographError as error:
                log.warning("activity_not_noted", people=len(waiting), error=str(error))
