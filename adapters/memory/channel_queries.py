"""``ChannelQueries`` without an index: every question is answered from all events. What the indexes must agree with."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from adapters.memory.log import MemoryLog
from domain.channel.facts import ChannelCreated, MessagePinned, MessageUnpinned
from domain.channel.own import Mentioned, MentionRemoved
from domain.channel.redaction import CHANGING_TYPES
from domain.log.codec import decode_event
from domain.log.event import StoredEvent
from domain.log.stream import channel_stream, user_stream
from projections.channel_message import ChannelMessage, channel_message
from projections.channel_search_words import ChannelSearch, found_words, writer_words
from projections.ports import NOTHING_READ, ChannelSummary, FoundMessage, Placed, Replies
from projections.search import matches


class MemoryChannelQueries:
    def __init__(self, log: MemoryLog) -> None:
        self._log = log

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
        messages = await self._all(channel_id, at)
        found = [
            Placed(message.id, message.created_version)
            for message in messages.values()
            if message.exists and message.parent_id == parent_id and (before is None or message.created_version < before)
        ]
        return sorted(found, key=lambda one: -one.version)[offset : offset + limit]

    async def messages(self, channel_id: UUID, message_ids: Sequence[UUID], *, at: int | None = None) -> Mapping[UUID, ChannelMessage]:
        messages = await self._all(channel_id, at)
        return {one: messages[one] for one in message_ids if one in messages}

    async def histories(
        self, channel_id: UUID, message_ids: Sequence[UUID], *, at: int | None = None
    ) -> Mapping[UUID, Sequence[StoredEvent]]:
        found: dict[UUID, list[StoredEvent]] = {}
        for event in await self._events(channel_id, at):
            if event.message_id is not None and event.message_id in message_ids and event.type not in ("message_delta", "content_block"):
                found.setdefault(event.message_id, []).append(event)
        return found

    async def events_below(self, channel_id: UUID, version: int, *, limit: int) -> Sequence[StoredEvent]:
        return [one for one in await self._events(channel_id, version - 1) if one.type != "message_delta"][-limit:]

    async def replies(self, channel_id: UUID, message_ids: Sequence[UUID], *, at: int | None = None) -> Mapping[UUID, Replies]:
        found: dict[UUID, Replies] = {}
        recorded = {event.version: event.at for event in await self._events(channel_id, at)}
        messages = await self._all(channel_id, at)
        for one in message_ids:
            replies = [message for message in messages.values() if message.parent_id == one]
            if any(reply.exists for reply in replies):
                latest = max(recorded[reply.created_version] for reply in replies)
                found[one] = Replies(sum(reply.exists for reply in replies), latest)
        return found

    async def pinned(self, channel_id: UUID, *, offset: int, limit: int, at: int | None = None) -> Sequence[Placed]:
        pinned: dict[UUID, int] = {}
        for event in await self._events(channel_id, at):
            fact = decode_event(event).data
            if event.message_id is not None and isinstance(fact, MessagePinned | MessageUnpinned):
                pinned.pop(event.message_id, None)
                if isinstance(fact, MessagePinned):
                    pinned[event.message_id] = event.version
        messages = await self._all(channel_id, at)
        found = [Placed(one, version) for one, version in pinned.items() if messages[one].exists]
        return sorted(found, key=lambda one: -one.version)[offset : offset + limit]

    async def summaries(
        self, user_id: UUID, read: Mapping[UUID, int], threads: Mapping[UUID, int] = NOTHING_READ
    ) -> Mapping[UUID, ChannelSummary]:
        found: dict[UUID, ChannelSummary] = {}
        for channel_id, read_version in read.items():
            events = await self._events(channel_id, None)
            there = await self._all(channel_id, None)
            messages = [message for message in there.values() if message.parent_id is None]
            last = max((message.created_version for message in messages), default=0)
            unread = [one for one in messages if one.exists and one.created_version > read_version and one.user_id != user_id]
            created_at = events[0].at if events else None

            def is_unread(
                message: ChannelMessage, version: int, read_version: int = read_version, there: Mapping[UUID, ChannelMessage] = there
            ) -> bool:
                thread_version = threads.get(message.parent_id, 0) if message.parent_id is not None else 0
                return message.exists and version > max(read_version, thread_version)

            replies = [
                one.id
                for one in there.values()
                if one.parent_id is not None and one.user_id != user_id and is_unread(one, one.created_version)
            ]
            mentions = {
                message_id: version
                for message_id, version in (await self._mentions(user_id, channel_id)).items()
                if is_unread(there[message_id], version)
            }
            last_at = events[last - 1].at if last else None
            found[channel_id] = ChannelSummary(created_at, last, last_at, len(unread), len(replies), len(mentions))
        return found

    async def _mentions(self, user_id: UUID, channel_id: UUID) -> dict[UUID, int]:
        """The messages of the channel that mention this person now, and the version since which each does."""
        stream = user_stream(user_id)
        found: dict[UUID, int] = {}
        for stored in await self._log.read(stream, limit=await self._log.version(stream) + 1):
            match decode_event(stored).data:
                case Mentioned(channel_id=where, message_id=message_id, version=version) if where == channel_id:
                    found[message_id] = version
                case MentionRemoved(message_id=message_id):
                    found.pop(message_id, None)
                case _:
                    pass
        return found

    async def mentioned(self, channel_id: UUID, message_id: UUID) -> Sequence[UUID]:
        streams = await self._log.streams("user")
        return [stream.id for stream in streams if message_id in await self._mentions(stream.id, channel_id)]

    async def changes(self, channel_id: UUID, *, after: int, until: int, limit: int) -> Sequence[StoredEvent]:
        return [one for one in await self._events(channel_id, until) if one.version > after and one.type in CHANGING_TYPES][:limit]

    async def search(
        self, search: ChannelSearch, channel_ids: Sequence[UUID], me: UUID, *, below: int | None = None, offset: int, limit: int
    ) -> Sequence[FoundMessage]:
        found: list[FoundMessage] = []
        for channel_id in channel_ids:
            events = await self._events(channel_id, None)
            first = await self._log.original_times(channel_stream(channel_id), after=0, until=len(events))
            for message in (await self._all(channel_id, None)).values():
                if not message.exists or message.is_generated_now:
                    continue
                begun = events[message.created_version - 1]
                at = first.get(begun.version, begun.at)
                said, besides = found_words(channel_id, message, message.content if isinstance(message.content, str) else "")
                is_wanted = (
                    matches(search.phrases or (), said)
                    and all(f"#{one}" in besides for one in search.has)
                    and (not search.writers or any(one in besides for writer in search.writers for one in writer_words(writer, me)))
                    and (search.before is None or at < search.before)
                    and (search.after is None or at >= search.after)
                    and (below is None or begun.position < below)
                )
                if is_wanted:
                    found.append(FoundMessage(channel_id, message.id, begun.position))
        return sorted(found, key=lambda one: -one.position)[offset : offset + limit]

    async def reached(self, position: int, timeout_s: float) -> bool:
        return True

    async def standard_channels(self) -> Sequence[UUID]:
        first = [(stream, await self._log.read(stream, limit=1)) for stream in await self._log.streams("channel")]
        made = [(stream.id, decode_event(events[0]).data) for stream, events in first if events]
        return [channel_id for channel_id, fact in made if isinstance(fact, ChannelCreated) and fact.type == "standard"]

    async def _events(self, channel_id: UUID, at: int | None) -> Sequence[StoredEvent]:
        stream = channel_stream(channel_id)
        return await self._log.read(stream, until=at, limit=await self._log.version(stream) + 1)

    async def _all(self, channel_id: UUID, at: int | None) -> dict[UUID, ChannelMessage]:
        by_message: dict[UUID, list[StoredEvent]] = {}
        for event in await self._events(channel_id, at):
            if event.message_id is not None:
                by_message.setdefault(event.message_id, []).append(event)
        return {message_id: channel_message(message_id, events) for message_id, events in by_message.items()}
