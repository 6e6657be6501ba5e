"""When people were last seen: a client of theirs connected, or sent a heartbeat."""

from typing import Final
from uuid import UUID

import structlog

from api.periodic import Periodic
from commands.ports import Activity
from domain.errors import StenographError

logger = structlog.get_logger("activity")

EVERY_S: Final = 5.0
WAITING_MAX: Final = 50_000


class LastActiveWriter(Periodic):
    """``note`` never waits; the accounts that it noted are written within five seconds, all in one statement."""

    def __init__(self, activity: Activity) -> None:
        super().__init__(EVERY_S, "activity")
        self._activity = activity
        self._waiting: set[UUID] = set()

    def note(self, user_id: UUID) -> None:
        if len(self._waiting) < WAITING_MAX:
            self._waiting.add(user_id)

    async def _write(self) -> None:
        waiting, self._waiting = self._waiting, set()
        if waiting:
            try:
                await self._activity.note_active(list(waiting))
            except StenographError as error:
                logger.warning("activity_not_noted", people=len(waiting), error=str(error))
