"""``Credentials`` and ``Tickets`` in memory."""

import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import msgspec


class MemoryCredentials:
    """``clock`` gives seconds that only go forward."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._passwords: dict[UUID, str] = {}
        self._keys: dict[bytes, tuple[UUID, UUID]] = {}
        self._secrets: dict[str, bytes] = {}
        self._tickets: dict[bytes, tuple[UUID, bytes, float]] = {}

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

    async def put(self, ticket_hash: bytes, user_id: UUID, session: Mapping[str, Any], ttl_s: float) -> None:
        now_s = self._clock()
        self._tickets = {one: ticket for one, ticket in self._tickets.items() if ticket[2] > now_s}
        self._tickets[ticket_hash] = (user_id, msgspec.json.encode(session), now_s + ttl_s)

    async def take(self, ticket_hash: bytes) -> tuple[UUID, Mapping[str, Any]] | None:
        user_id, session, expires_s = self._tickets.pop(ticket_hash, (UUID(int=0), b"", 0.0))
        return (user_id, msgspec.json.decode(session)) if session and self._clock() < expires_s else None
