"""``Outgoing`` on Postgres."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final
from uuid import UUID

from adapters.postgres.connections.queries import text
from adapters.postgres.connections.query_reader import QueryReader
from commands.channels.outgoing import DueWebhook, OutgoingState

ADD: Final = text("add_outgoing_webhook")
REMOVE: Final = text("remove_outgoing_webhook")
CHANNELS: Final = text("outgoing_channels")
STATES: Final = text("outgoing_states")
TAKE: Final = text("take_outgoing_webhooks")
NOTE_SENT: Final = text("note_outgoing_sent")
NOTE_FAILURE: Final = text("note_outgoing_failure")


class PostgresOutgoing:
    def __init__(self, reader: QueryReader) -> None:
        self._reader = reader

    async def add(self, webhook_id: UUID, channel_id: UUID, secrets: bytes, sent_version: int) -> None:
        await self._reader.execute(ADD, webhook_id, channel_id, secrets, sent_version)

    async def remove(self, webhook_id: UUID) -> None:
        await self._reader.execute(REMOVE, webhook_id)

    async def channels(self) -> Collection[UUID]:
        return {row["channel_id"] for row in await self._reader.fetch(CHANNELS)}

    async def states(self, webhook_ids: Sequence[UUID]) -> Mapping[UUID, OutgoingState]:
        rows = await self._reader.fetch(STATES, list(webhook_ids))
        return {row["webhook_id"]: OutgoingState(*list(row)[1:]) for row in rows}

    async def take(self, node_id: UUID, lease_s: float, limit: int) -> Sequence[DueWebhook]:
        rows = await self._reader.fetch(TAKE, node_id, lease_s, limit)
        return [
            DueWebhook(row["webhook_id"], row["channel_id"], bytes(row["secrets"]), row["sent_version"], row["failures"]) for row in rows
        ]

    async def note_sent(self, webhook_id: UUID, node_id: UUID, version: int, count: int, lease_s: float) -> bool:
        return bool(await self._reader.fetch(NOTE_SENT, webhook_id, node_id, version, count, lease_s))

    async def note_failure(self, webhook_id: UUID, node_id: UUID, failure: str, retry_s: float) -> None:
        await self._reader.fetch(NOTE_FAILURE, webhook_id, node_id, failure, retry_s)
