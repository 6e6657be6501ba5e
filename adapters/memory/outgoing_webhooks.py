"""``Outgoing`` in memory."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from adapters.memory.log import MemoryLog
from commands.channels.outgoing import DueWebhook, OutgoingState
from domain.log.stream import channel_stream


@dataclass
class Row:
    channel_id: UUID
    secrets: bytes
    sent_version: int
    due_at: datetime
    leased_until: datetime
    sent: int = 0
    sent_at: datetime | None = None
    failures: int = 0
    failure: str | None = None
    node_id: UUID | None = None


def utc_now() -> datetime:
    return datetime.now(UTC)


class MemoryOutgoing:
    def __init__(self, log: MemoryLog, now: Callable[[], datetime] = utc_now) -> None:
        self._log = log
        self._now = now
        self._rows: dict[UUID, Row] = {}

    async def add(self, webhook_id: UUID, channel_id: UUID, secrets: bytes, sent_version: int) -> None:
        self._rows.setdefault(webhook_id, Row(channel_id, secrets, sent_version, self._now(), self._now()))

    async def remove(self, webhook_id: UUID) -> None:
        self._rows.pop(webhook_id, None)

    async def channels(self) -> Collection[UUID]:
        return {row.channel_id for row in self._rows.values()}

    async def states(self, webhook_ids: Sequence[UUID]) -> Mapping[UUID, OutgoingState]:
        found = {one: self._rows[one] for one in webhook_ids if one in self._rows}
        return {
            one: OutgoingState(row.sent_version, row.sent, row.sent_at, row.failures, row.failure, row.due_at) for one, row in found.items()
        }

    async def take(self, node_id: UUID, lease_s: float, limit: int) -> Sequence[DueWebhook]:
        now = self._now()
        taken: list[DueWebhook] = []
        for webhook_id, row in sorted(self._rows.items(), key=lambda item: item[1].due_at):
            is_free = row.due_at <= now and row.leased_until <= now
            if len(taken) < limit and is_free and row.sent_version < await self._log.version(channel_stream(row.channel_id)):
                row.node_id, row.leased_until = node_id, now + timedelta(seconds=lease_s)
                taken.append(DueWebhook(webhook_id, row.channel_id, row.secrets, row.sent_version, row.failures))
        return taken

    async def note_sent(self, webhook_id: UUID, node_id: UUID, version: int, count: int, lease_s: float) -> bool:
        row, now = self._rows.get(webhook_id), self._now()
        if row is None or row.node_id != node_id or row.leased_until <= now:
            return False
        row.sent_version, row.failures, row.failure, row.due_at = version, 0, None, now
        row.sent += count
        row.sent_at = now if count else row.sent_at
        row.leased_until = now + timedelta(seconds=lease_s)
        return True

    async def note_failure(self, webhook_id: UUID, node_id: UUID, failure: str, retry_s: float) -> None:
        row = self._rows.get(webhook_id)
        if row is not None and row.node_id == node_id:
            row.failures, row.failure = row.failures + 1, failure
            row.due_at, row.leased_until = self._now() + timedelta(seconds=retry_s), self._now()
