"""``Credentials`` on Postgres."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from adapters.postgres.connections.queries import text
from adapters.postgres.connections.query_reader import QueryReader
from commands.ports import Session

ADD_PASSWORD: Final = text("add_password")
NEWEST_PASSWORD: Final = text("newest_password")
ADD_API_KEY: Final = text("add_api_key")
API_KEY_OWNER: Final = text("api_key_owner")
ADD_SESSION: Final = text("add_session")
SESSIONS: Final = text("sessions")
NOTE_USED: Final = text("note_used")
LAST_USED: Final = text("last_used")
PROPOSE_SECRET: Final = text("propose_secret")
SECRET: Final = text("secret")
ADD_PROVIDER_SECRETS: Final = text("add_provider_secrets")
PROVIDER_SECRETS: Final = text("provider_secrets")
FORGET_PROVIDER_SECRETS: Final = text("forget_provider_secrets")


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

    async def add_session(self, session: Session) -> None:
        one = session
        await self._reader.execute(
            ADD_SESSION, one.token_id, one.user_id, one.generation, one.address, one.user_agent, one.created_at, one.expires_at
        )

    async def sessions(self, user_id: UUID, *, limit: int) -> Sequence[Session]:
        return [Session(user_id=user_id, **dict(row)) for row in await self._reader.fetch(SESSIONS, user_id, limit)]

    async def note_used(self, credential_ids: Sequence[UUID]) -> None:
        await self._reader.execute(NOTE_USED, credential_ids)

    async def last_used(self, credential_ids: Sequence[UUID]) -> Mapping[UUID, datetime]:
        return {row["credential_id"]: row["last_used_at"] for row in await self._reader.fetch(LAST_USED, credential_ids)}

    async def secret(self, name: str, proposed: bytes) -> bytes:
        await self._reader.execute(PROPOSE_SECRET, name, proposed)
        (row,) = await self._reader.fetch(SECRET, name)
        return bytes(row["value"])

    async def keep_secret(self, name: str, value: bytes) -> None:
        await self._reader.execute(PROPOSE_SECRET, name, value)

    async def kept_secret(self, name: str) -> bytes | None:
        for row in await self._reader.fetch(SECRET, name):
            return bytes(row["value"])
        return None

    async def add_provider_secrets(self, secret_id: UUID, secrets: bytes) -> None:
        await self._reader.execute(ADD_PROVIDER_SECRETS, secret_id, secrets)

    async def provider_secrets(self, secret_id: UUID) -> bytes | None:
        for row in await self._reader.fetch(PROVIDER_SECRETS, secret_id):
            return bytes(row["secrets"])
        return None

    async def forget_provider_secrets(self, secret_id: UUID) -> None:
        await self._reader.execute(FORGET_PROVIDER_SECRETS, secret_id)
