"""How far people have read, joined to at most one event a second for each of their streams."""

from typing import Final
from uuid import UUID

import structlog

from api.periodic import Periodic
from commands.account import Accounts, Principal, actor_of
from domain.errors import StenographError
from domain.event import Actor
from domain.stream import Stream
from domain.user import MarkRead

log = structlog.get_logger("reads")

EVERY_S: Final = 1.0
WAITING_MAX: Final = 50_000


class Reads(Periodic):
    """``note`` never waits; what it noted is written within a second, the furthest version only."""

    def __init__(self, accounts: Accounts) -> None:
        super().__init__(EVERY_S, "reads")
        self._accounts = accounts
        # By person, not by session: two tabs of one person write once.
        self._waiting: dict[tuple[UUID, Stream], tuple[int, Actor]] = {}

    def note(self, principal: Principal, stream: Stream, version: int) -> None:
        key = (principal.user_id, stream)
        known = self._waiting.get(key)
        if known is not None or len(self._waiting) < WAITING_MAX:
            self._waiting[key] = (max(version, known[0] if known is not None else 0), actor_of(principal))

    async def _write(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for (user_id, stream), (version, actor) in waiting.items():
            try:
                command = MarkRead(user_id=user_id, stream=str(stream), version=version)
                await self._accounts.handle(command, actor=actor)
            except StenographError as error:
                log.warning("read_not_marked", stream=str(stream), error=str(error))
