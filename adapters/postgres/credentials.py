"""``Credentials`` and ``Tickets`` on Postgres."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from adapters.postgres.log import Reader
from adapters.postgres.queries import text

ADD_PASSWORD: Final = text("add_password")
NEWEST_PASSWORD: Final = text("newest_password")
ADD_API_KEY: Final = text("add_api_key")
API_KEY_OWNER: Final = text("api_key_owner")
PROPOSE_SECRET: Final = text("propose_secret")
SECRET: Final = text("secret")
PUT_TICKET: Final = text("put_ticket")
TAKE_TICKET: Final = text("take_ticket")


class PostgresCredentials:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def add_password(self, user_id: UUID, password_hash: str) -> None:
        await self._reader.execute(ADD_PASSWORD, user_id, password_hash)

    async def password(self, user_id: UUID) -> str | None:
        for row in await self._reader.fetch(NEWEST_PASSWORD, user_id):
            return str(row[0])
        return None

    async def add_api_key(self, key_id: UUID, user_id: UUID, key_hash: bytes) -> None:
        await self._reader.execute(ADD_API_KEY, key_hash, key_id, user_id)

    async def api_key_owner(self, key_hash: bytes) -> tuple[UUID, UUID] | None:
        for row in await self._reader.fetch(API_KEY_OWNER, key_hash):
            return row[0], row[1]
        return None

    async def secret(self, name: str, proposed: bytes) -> bytes:
        await self._reader.execute(PROPOSE_SECRET, name, proposed)
        rows = await self._reader.fetch(SECRET, name)
        return bytes(rows[0][0])

    async def put(self, ticket_hash: bytes, user_id: UUID, session: Mapping[str, Any], ttl_s: float) -> None:
        await self._reader.execute(PUT_TICKET, ticket_hash, user_id, msgspec.json.encode(session), timedelta(seconds=ttl_s))

    async def take(self, ticket_hash: bytes) -> tuple[UUID, Mapping[str, Any]] | None:
        for row in await self._reader.fetch(TAKE_TICKET, ticket_hash):
            return row[0], msgspec.json.decode(row[1])
        return None
