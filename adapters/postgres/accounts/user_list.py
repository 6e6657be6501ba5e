"""``UserList`` on Postgres."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from adapters.postgres.connections.queries import text
from adapters.postgres.connections.query_reader import QueryReader
from commands.ports import UserSearch

USERS: Final = text("users")
FOUND: Final = text("users_found")


class PostgresUserList:
    def __init__(self, reader: QueryReader) -> None:
        self._reader = reader

    async def users(self, *, offset: int, limit: int) -> tuple[Sequence[UUID], int]:
        rows = await self._reader.fetch(USERS, offset, limit)
        return [row["stream_id"] for row in rows], rows[0]["total"] if rows else 0

    async def search(self, asked: UserSearch, *, offset: int, limit: int) -> tuple[Sequence[UUID], int]:
        chosen = asked.text.lower(), asked.by_email, asked.inactive, asked.by_name, asked.descending
        rows = await self._reader.fetch(FOUND, *chosen, offset, limit)
        return [row["stream_id"] for row in rows], rows[0]["total"] if rows else 0
