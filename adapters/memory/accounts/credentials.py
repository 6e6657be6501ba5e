"""``Credentials`` in memory."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from commands.ports import Session


class MemoryCredentials:
    def __init__(self) -> None:
        self._passwords: dict[UUID, str] = {}
        self._keys: dict[bytes, tuple[UUID, UUID]] = {}
        self._secrets: dict[str, bytes] = {}
        self._sessions: dict[UUID, Session] = {}
        self._used: dict[UUID, datetime] = {}

    async def add_password(self, user_id: UUID, password_hash: str) -> None:
        self._passwords[user_id] = password_hash

    async def password(self, user_id: UUID) -> str | None:
        return self._passwords.get(user_id)

    async def add_api_key(self, key_id: UUID, user_id: UUID, key_hash: bytes) -> None:
        self._keys.setdefault(key_hash, (key_id, user_id))

    async def api_key_owner(self, key_hash: bytes) -> tuple[UUID, UUID] | None:
        return self._keys.get(key_hash)

    async def add_session(self, session: Session) -> None:
        now = datetime.now(UTC)
        for one in [one for one in self._sessions.values() if one.user_id == session.user_id and one.expires_at < now]:
            del self._sessions[one.token_id]
            self._used.pop(one.token_id, None)
        self._sessions.setdefault(session.token_id, session)

    async def sessions(self, user_id: UUID, *, limit: int) -> Sequence[Session]:
        own = [one for one in self._sessions.values() if one.user_id == user_id]
        return sorted(own, key=lambda one: (-one.created_at.timestamp(), one.token_id))[:limit]

    async def note_used(self, credential_ids: Sequence[UUID]) -> None:
        now = datetime.now(UTC)
        self._used.update((one, now) for one in credential_ids)

    async def last_used(self, credential_ids: Sequence[UUID]) -> Mapping[UUID, datetime]:
        return {one: self._used[one] for one in credential_ids if one in self._used}

    async def secret(self, name: str, proposed: bytes) -> bytes:
        return self._secrets.setdefault(name, proposed)
