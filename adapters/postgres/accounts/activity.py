"""``Activity`` on Postgres: when each person was seen last, by the database's clock."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from adapters.postgres.connections.queries import text
from adapters.postgres.connections.query_reader import QueryReader

NOTE_ACTIVE: Final = text("note_active")
LAST_ACTIVE: Final = text("last_active")
COUNT_ACTIVE: Final = text("count_active")


class PostgresActivity:
    def __init__(self, reader: QueryReader) -> None:
        self._reader = reader

    async def note_active(self, user_ids: Sequence[UUID]) -> None:
        await self._reader.execute(NOTE_ACTIVE, user_ids)

    async def last_active(self, user_ids: Sequence[UUID]) -> Mapping[UUID, datetime]:
        return {row["user_id"]: row["last_active_at"] for row in await self._reader.fetch(LAST_ACTIVE, user_ids)}

    async def count_active(self, within_s: float) -> int:
        [row] = await self._reader.fetch(COUNT_ACTIVE, within_s)
        return int(row["active"])
