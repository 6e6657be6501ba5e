"""``Tickets`` on Postgres. How long a ticket is valid is decided by the database's clock."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from adapters.postgres.connections.queries import text
from adapters.postgres.connections.query_reader import QueryReader

PUT: Final = text("put_ticket")
TAKE: Final = text("take_ticket")


class PostgresTickets:
    def __init__(self, reader: QueryReader) -> None:
        self._reader = reader

    async def put(self, ticket_hash: bytes, user_id: UUID, session: Mapping[str, Any], ttl_s: float) -> None:
        await self._reader.execute(PUT, ticket_hash, user_id, msgspec.json.encode(session), timedelta(seconds=ttl_s))

    async def take(self, ticket_hash: bytes) -> tuple[UUID, Mapping[str, Any]] | None:
        for row in await self._reader.fetch(TAKE, ticket_hash):
            return row["user_id"], msgspec.json.decode(row["session"])
        return None
