"""``UserList`` in memory."""

from collections.abc import Sequence
from uuid import UUID

from adapters.memory.log import MemoryLog


class MemoryUserList:
    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def users(self, *, offset: int, limit: int) -> tuple[Sequence[UUID], int]:
        ids = [stream.id for stream in self._log.claimed("email")]
        return ids[offset : offset + limit], len(ids)
