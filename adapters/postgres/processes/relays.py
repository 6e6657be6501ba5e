"""``Relays`` on Postgres: two unlogged tables, whose rows last as long as their call."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from adapters.postgres.connections.queries import text
from adapters.postgres.connections.query_reader import QueryReader
from commands.calls.relays import Outcome, RelayedChunk

OPEN: Final = text("open_relay")
QUESTION: Final = text("relay_question")
PUT: Final = text("relay_chunk")
TAKE: Final = text("take_chunks")
CLOSE: Final = text("close_relay")
CLOSE_OF_NODE: Final = text("close_relays_of_node")


class PostgresRelays:
    def __init__(self, reader: QueryReader) -> None:
        self._reader = reader

    async def open(self, call_id: UUID, user_id: UUID, node_id: UUID, question: bytes) -> None:
        await self._reader.execute(OPEN, call_id, user_id, node_id, question)

    async def question(self, call_id: UUID, user_id: UUID) -> bytes | None:
        rows = await self._reader.fetch(QUESTION, call_id, user_id)
        return bytes(rows[0]["question"]) if rows else None

    async def put(
        self, call_id: UUID, user_id: UUID, seq: int | None, session_id: str | None, chunk: bytes, *, waiting_max: int, bytes_max: int
    ) -> tuple[Outcome, int]:
        (row,) = await self._reader.fetch(PUT, call_id, user_id, seq, session_id, chunk, waiting_max, bytes_max)
        return row["outcome"], row["next_seq"]

    async def take(self, call_id: UUID, after: int, limit: int) -> Sequence[RelayedChunk]:
        rows = await self._reader.fetch(TAKE, call_id, after, limit)
        return [RelayedChunk(row["seq"], row["session_id"], bytes(row["chunk"])) for row in rows]

    async def close(self, call_id: UUID) -> None:
        await self._reader.execute(CLOSE, call_id)

    async def close_of_node(self, node_id: UUID) -> None:
        await self._reader.execute(CLOSE_OF_NODE, node_id)
