"""``Relays`` in memory."""

from collections.abc import Sequence
from uuid import UUID

from commands.calls.relays import Outcome, RelayedChunk


class Connection:
    def __init__(self, user_id: UUID, node_id: UUID, question: bytes) -> None:
        self.user_id = user_id
        self.node_id = node_id
        self.question = question
        self.next_seq = 0
        self.waiting: list[RelayedChunk] = []


class MemoryRelays:
    def __init__(self) -> None:
        self._connections: dict[UUID, Connection] = {}

    async def open(self, call_id: UUID, user_id: UUID, node_id: UUID, question: bytes) -> None:
        self._connections.setdefault(call_id, Connection(user_id, node_id, question))

    def _of(self, call_id: UUID, user_id: UUID) -> Connection | None:
        known = self._connections.get(call_id)
        return known if known is not None and known.user_id == user_id else None

    async def question(self, call_id: UUID, user_id: UUID) -> bytes | None:
        known = self._of(call_id, user_id)
        return known.question if known is not None else None

    async def put(
        self, call_id: UUID, user_id: UUID, seq: int | None, session_id: str | None, chunk: bytes, *, waiting_max: int, bytes_max: int
    ) -> tuple[Outcome, int]:
        known = self._of(call_id, user_id)
        if known is None:
            return "unknown", 0
        expected = known.next_seq
        if seq is not None and seq != expected:
            return ("repeat" if seq < expected else "gap"), expected
        if len(known.waiting) >= waiting_max or sum(len(one.chunk) for one in known.waiting) >= bytes_max:
            return "full", expected
        known.waiting.append(RelayedChunk(expected, session_id, chunk))
        known.next_seq += 1
        return "ok", known.next_seq

    async def take(self, call_id: UUID, after: int, limit: int) -> Sequence[RelayedChunk]:
        known = self._connections.get(call_id)
        if known is None:
            return []
        known.waiting = [one for one in known.waiting if one.seq > after]
        return known.waiting[:limit]

    async def close(self, call_id: UUID) -> None:
        self._connections.pop(call_id, None)

    async def close_of_node(self, node_id: UUID) -> None:
        self._connections = {call_id: one for call_id, one in self._connections.items() if one.node_id != node_id}
