"""``Credentials`` in memory."""

from uuid import UUID


class MemoryCredentials:
    def __init__(self) -> None:
        self._passwords: dict[UUID, str] = {}
        self._keys: dict[bytes, tuple[UUID, UUID]] = {}
        self._secrets: dict[str, bytes] = {}

    async def add_password(self, user_id: UUID, password_hash: str) -> None:
        self._passwords[user_id] = password_hash

    async def password(self, user_id: UUID) -> str | None:
        return self._passwords.get(user_id)

    async def add_api_key(self, key_id: UUID, user_id: UUID, key_hash: bytes) -> None:
        self._keys.setdefault(key_hash, (key_id, user_id))

    async def api_key_owner(self, key_hash: bytes) -> tuple[UUID, UUID] | None:
        return self._keys.get(key_hash)

    async def secret(self, name: str, proposed: bytes) -> bytes:
        return self._secrets.setdefault(name, proposed)
