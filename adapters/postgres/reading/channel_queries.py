"""``ChannelQueries`` on the log itself: each question has an index of its own (sql/migrations/0016)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from adapters.postgres.connections.queries import text
from adapters.postgres.connections.query_reader import QueryReader
from adapters.postgres.log.log import VERSION_MAX, stored
from adapters.postgres.reading.checkpoints import Checkpoints
from domain.log.event import StoredEvent
from projections.channel_message import ChannelMessage, channel_message
from projections.channel_search import ChannelSearchRows
from projections.channel_search_words import ChannelSearch, asked_words
from projections.ports import NOTHING_READ, ChannelSummary, FoundMessage, Placed, Replies

PAGE: Final = text("channel_page")
MESSAGES: Final = text("channel_messages")
BELOW: Final = text("channel_events_below")
REPLIES: Final = text("channel_replies")
PINNED: Final = text("channel_pinned")
SUMMARIES: Final = text("channel_summaries")
MENTIONED: Final = text("channel_mentioned")
CHANGES: Final = text("channel_changes")
STANDARD: Final = text("standard_channels")
HITS: Final = text("channel_hits")
POSITION_MAX: Final = 2**63 - 1
READ_MESSAGE: Final = text("read_message")


class PostgresChannelQueries:
    """``ChannelQueries``. See the port for what each method promises."""

    def __init__(self, reader: QueryReader) -> None:
        self._reader = reader
        self._checkpoints = Checkpoints(reader, [ChannelSearchRows.name])

    async def page(
        self,
        channel_id: UUID,
        *,
        parent_id: UUID | None = None,
        before: int | None = None,
        offset: int = 0,
        limit: int,
        at: int | None = None,
    ) -> Sequence[Placed]:
        thread = str(parent_id) if parent_id is not None else ""
        return placed(await self._reader.fetch(PAGE, channel_id, thread, bounded(before), bounded(at), offset, limit))

    async def messages(self, channel_id: UUID, message_ids: Sequence[UUID], *, at: int | None = None) -> Mapping[UUID, ChannelMessage]:
        async def read(connection: Any) -> Mapping[UUID, ChannelMessage]:
            events: dict[UUID, list[Any]] = {}
            for row in await connection.fetch(MESSAGES, channel_id, list(message_ids), bounded(at)):
                events.setdefault(row["message_id"], []).append(stored(row))
            found = {message_id: channel_message(message_id, its) for message_id, its in events.items()}
            for message in found.values():
                if message.is_generated_now:  # its text is its tokens: all of it is read
                    rows = await connection.fetch(READ_MESSAGE, channel_id, message.id, message.created_version - 1)
                    its = [event for row in rows if (event := stored(row)).version <= bounded(at)]
                    found[message.id] = channel_message(message.id, its)
            return found

        return await self._reader.in_transaction_snapshot(read)

    async def histories(
        self, channel_id: UUID, message_ids: Sequence[UUID], *, at: int | None = None
    ) -> Mapping[UUID, Sequence[StoredEvent]]:
        found: dict[UUID, list[StoredEvent]] = {}
        for row in await self._reader.fetch(MESSAGES, channel_id, list(message_ids), bounded(at)):
            found.setdefault(row["message_id"], []).append(stored(row))
        return found

    async def events_below(self, channel_id: UUID, version: int, *, limit: int) -> Sequence[StoredEvent]:
        return [stored(row) for row in reversed(await self._reader.fetch(BELOW, channel_id, bounded(version), limit))]

    async def replies(self, channel_id: UUID, message_ids: Sequence[UUID], *, at: int | None = None) -> Mapping[UUID, Replies]:
        rows = await self._reader.fetch(REPLIES, channel_id, [str(one) for one in message_ids], bounded(at))
        return {row["message_id"]: Replies(row["replies"], row["latest_at"]) for row in rows}

    async def pinned(self, channel_id: UUID, *, offset: int, limit: int, at: int | None = None) -> Sequence[Placed]:
        return placed(await self._reader.fetch(PINNED, channel_id, bounded(at), offset, limit))

    async def summaries(
        self, user_id: UUID, read: Mapping[UUID, int], threads: Mapping[UUID, int] = NOTHING_READ
    ) -> Mapping[UUID, ChannelSummary]:
        roots = [str(one) for one in threads]
        rows = await self._reader.fetch(SUMMARIES, list(read), list(read.values()), user_id, roots, list(threads.values()))
        return {row["channel_id"]: summary(row) for row in rows}

    async def mentioned(self, channel_id: UUID, message_id: UUID) -> Sequence[UUID]:
        rows = await self._reader.fetch(MENTIONED, str(channel_id), str(message_id))
        return [row["stream_id"] for row in rows if row["type"] == "mentioned"]

    async def changes(self, channel_id: UUID, *, after: int, until: int, limit: int) -> Sequence[StoredEvent]:
        return [stored(row) for row in await self._reader.fetch(CHANGES, channel_id, after, until, limit)]

    async def search(
        self, search: ChannelSearch, channel_ids: Sequence[UUID], me: UUID, *, below: int | None = None, offset: int, limit: int
    ) -> Sequence[FoundMessage]:
        if not channel_ids:
            return []
        asked = asked_words(search, channel_ids, me)
        rows = await self._reader.fetch(
            HITS, asked, search.before, search.after, POSITION_MAX if below is None else min(below, POSITION_MAX), offset, limit
        )
        return [FoundMessage(row["channel_id"], row["message_id"], row["position"]) for row in rows]

    async def reached(self, position: int, timeout_s: float) -> bool:
        return await self._checkpoints.reached(position, timeout_s)

    async def standard_channels(self) -> Sequence[UUID]:
        return [row["stream_id"] for row in await self._reader.fetch(STANDARD)]


def summary(row: Any) -> ChannelSummary:
    return ChannelSummary(
        row["created_at"], row["last_version"] or 0, row["last_at"], row["unread"], row["unread_replies"], row["unread_mentions"]
    )


def placed(rows: Sequence[Any]) -> list[Placed]:
    return [Placed(row["message_id"], row["version"]) for row in rows]


def bounded(version: int | None) -> int:
    return VERSION_MAX if version is None else min(version, VERSION_MAX)
