"""``UserList`` on Postgres."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from adapters.postgres.queries import text
from adapters.postgres.query_reader import QueryReader

USERS: Final = text("users")


class PostgresUserList:
    def __init__(self, reader: QueryReader) -> None:
        self._reader = reader

    async def users(self, *, offset: int, limit: int) -> tuple[Sequence[UUID], int]:
        rows = await self._reader.fetch(USERS, offset, limit)
        return [row["stream_id"] for row in rows], rows[0]["total"] if rows else 0
