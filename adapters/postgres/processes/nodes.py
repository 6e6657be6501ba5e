"""``Nodes`` on Postgres: the heartbeat rows of all server processes, and the generations that have no end."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from adapters.postgres.connections.queries import text
from adapters.postgres.connections.query_reader import QueryReader
from commands.ports import NodeBeat, OpenGeneration, WaitingCall
from domain.log.stream import Stream

BEAT: Final = text("beat")
BEATS: Final = text("beats")
LEAVE: Final = text("leave")
OPEN_GENERATIONS: Final = text("open_generations")
OPEN_CALLS: Final = text("open_calls")


class PostgresNodes:
    def __init__(self, reader: QueryReader) -> None:
        self._reader = reader

    async def beat(self, node_id: UUID, beat: NodeBeat) -> None:
        await self._reader.execute(BEAT, node_id, beat.beat, beat.open_since)

    async def beats(self) -> Mapping[UUID, NodeBeat]:
        return {row["node_id"]: NodeBeat(row["beat"], row["open_since"]) for row in await self._reader.fetch(BEATS)}

    async def leave(self, node_id: UUID) -> None:
        await self._reader.execute(LEAVE, node_id)

    async def open_generations(self, *, since: int) -> Sequence[OpenGeneration]:
        return [
            OpenGeneration(
                Stream(row["kind"], row["stream_id"]), row["message_id"], row["task_id"], row["node_id"], row["version"], row["model"]
            )
            for row in await self._reader.fetch(OPEN_GENERATIONS, since)
        ]

    async def open_calls(self, *, since: int) -> Sequence[WaitingCall]:
        return [
            WaitingCall(Stream(row["kind"], row["stream_id"]), row["call_id"], row["node_id"])
            for row in await self._reader.fetch(OPEN_CALLS, since)
        ]
