"""``RunSlots`` on Postgres: one row for each generation that is running, in all processes."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from adapters.postgres.connections.queries import text
from adapters.postgres.connections.query_reader import QueryReader

TAKE: Final = text("take_run_slots")
GIVE_BACK: Final = text("give_back_run_slots")
COUNT: Final = text("count_run_slots")


class PostgresRunSlots:
    def __init__(self, reader: QueryReader) -> None:
        self._reader = reader

    async def take(self, user_id: UUID, node_id: UUID, chat_id: UUID, message_ids: Mapping[UUID, UUID], *, runs_max: int) -> int | None:
        rows = await self._reader.fetch(TAKE, user_id, node_id, chat_id, list(message_ids), list(message_ids.values()), runs_max)
        held: int | None = rows[0]["held"]
        return held

    async def give_back(self, task_ids: Sequence[UUID]) -> None:
        await self._reader.execute(GIVE_BACK, list(task_ids))

    async def count(self, user_id: UUID) -> int:
        rows = await self._reader.fetch(COUNT, user_id)
        held: int = rows[0]["held"]
        return held
