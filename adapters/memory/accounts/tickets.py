"""``Tickets`` in memory."""

import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import msgspec


class MemoryTickets:
    """``clock`` gives seconds that only go forward."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tickets: dict[bytes, tuple[UUID, bytes, float]] = {}

    async def put(self, ticket_hash: bytes, user_id: UUID, session: Mapping[str, Any], ttl_s: float) -> None:
        now_s = self._clock()
        self._tickets = {one: ticket for one, ticket in self._tickets.items() if ticket[2] > now_s}
        self._tickets[ticket_hash] = (user_id, msgspec.json.encode(session), now_s + ttl_s)

    async def take(self, ticket_hash: bytes) -> tuple[UUID, Mapping[str, Any]] | None:
        user_id, session, expires_s = self._tickets.pop(ticket_hash, (UUID(int=0), b"", 0.0))
        return (user_id, msgspec.json.decode(session)) if session and self._clock() < expires_s else None
