"""``Activity`` in memory."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID


class MemoryActivity:
    def __init__(self) -> None:
        self._active: dict[UUID, datetime] = {}

    async def note_active(self, user_ids: Sequence[UUID]) -> None:
        now = datetime.now(UTC)
        self._active.update((user_id, now) for user_id in user_ids)

    async def last_active(self, user_ids: Sequence[UUID]) -> Mapping[UUID, datetime]:
        return {user_id: self._active[user_id] for user_id in user_ids if user_id in self._active}
