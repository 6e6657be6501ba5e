"""When accounts were last seen, and tokens and API keys last used."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

import structlog

from api.periodic import Periodic
from domain.errors import StenographError

logger = structlog.get_logger("activity")

EVERY_S: Final = 5.0
WAITING_MAX: Final = 50_000


class LastActiveWriter(Periodic):
    """``note`` never waits; the ids that it noted are given to ``write`` within five seconds, all at once."""

    def __init__(self, write: Callable[[Sequence[UUID]], Awaitable[None]], name: str) -> None:
        super().__init__(EVERY_S, name)
        self._write_all = write
        self._waiting: set[UUID] = set()

    def note(self, noted_id: UUID) -> None:
        if len(self._waiting) < WAITING_MAX:
            self._waiting.add(noted_id)

    async def _write(self) -> None:
        waiting, self._waiting = self._waiting, set()
        if waiting:
            try:
                await self._write_all(list(waiting))
            except StenographError as error:
                logger.warning("activity_not_noted", of=self._name, count=len(waiting), error=str(error))
