"""``Credentials`` on Postgres."""

from typing import Final
from uuid import UUID

from adapters.postgres.queries import text
from adapters.postgres.query_reader import QueryReader

ADD_PASSWORD: Final = text("add_password")
NEWEST_PASSWORD: Final = text("newest_password")
ADD_API_KEY: Final = text("add_api_key")
API_KEY_OWNER: Final = text("api_key_owner")
PROPOSE_SECRET: Final = text("propose_secret")
SECRET: Final = text("secret")


class PostgresCredentials:
    def __init__(self, reader: QueryReader) -> None:
        self._reader = reader

    async def add_password(self, user_id: UUID, password_hash: str) -> None:
        await self._reader.execute(ADD_PASSWORD, user_id, password_hash)

    async def password(self, user_id: UUID) -> str | None:
        for row in await self._reader.fetch(NEWEST_PASSWORD, user_id):
            return str(row["password_hash"])
        return None

    async def add_api_key(self, key_id: UUID, user_id: UUID, key_hash: bytes) -> None:
        await self._reader.execute(ADD_API_KEY, key_hash, key_id, user_id)

    async def api_key_owner(self, key_hash: bytes) -> tuple[UUID, UUID] | None:
        for row in await self._reader.fetch(API_KEY_OWNER, key_hash):
            return row["key_id"], row["user_id"]
        return None

    async def secret(self, name: str, proposed: bytes) -> bytes:
        await self._reader.execute(PROPOSE_SECRET, name, proposed)
        (row,) = await self._reader.fetch(SECRET, name)
        return bytes(row["value"])
