"""A channel's past: the channel as it was, and its events page by page with what each of them changed.

Access is that of now, and was checked before (``ChannelReader.known``). Of the time before the reader's access began they see what stood
when it began: the rule of ``Moment`` and of ``domain/channel/redaction.py``.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from commands.aggregate import decoded
from commands.channels.channel_reader import KnownChannel, Moment
from commands.channels.partial_channel import MESSAGE_TYPES
from commands.channels.redactions import ChannelRedactions
from commands.event_pages import bounded
from commands.ports import EventLog
from domain.channel.evolve import evolve
from domain.channel.rights import access_since
from domain.channel.state import NOTHING_LOADED, Channel
from domain.errors import BadRequest, ChannelNotFound
from domain.log.cursor import resume_point
from domain.log.event import StoredEvent
from domain.log.stream import channel_stream
from projections.channel_message import ChannelMessage, apply, message_json
from projections.ports import ChannelQueries

# Events that change or remove what a message said: readers of the past want the message before and after.
CHANGES: Final = frozenset({"message:update", "message:delete"})


class PastChannel(NamedTuple):
    """The channel as of ``known.version``, when it was made, and when that version was written."""

    known: KnownChannel
    created_at: datetime | None
    updated_at: datetime | None


class ChannelChange(NamedTuple):
    """One event; for one that changed a message, that message before and after it, None where it was gone or is hidden."""

    event: StoredEvent
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    redacted: bool = False


class ChannelChanges(NamedTuple):
    """A page in the order of versions. ``last``: the version to go on after; ``first``: the one to go on before, 0 at the beginning."""

    head: int
    first: int
    last: int
    changes: list[ChannelChange]


class ChannelPast:
    def __init__(self, log: EventLog, queries: ChannelQueries, redactions: ChannelRedactions, epoch: UUID) -> None:
        self._log = log
        self._queries = queries
        self._redactions = redactions
        self._epoch = epoch

    async def channel(self, known: KnownChannel, moment: Moment) -> PastChannel:
        """The channel with its members and grants of then; its name, description, data and meta as they stood at ``moment.shown``.

        Raises ``ChannelNotFound`` for a version before the first one.
        """
        version, shown = moment.version, moment.shown
        assert version is not None
        assert shown is not None
        if version == 0:
            raise ChannelNotFound(known.id)
        stream = channel_stream(known.id)
        head = await self._log.read_head(stream, MESSAGE_TYPES)
        then, stood = folded(head, version), folded(head, shown)
        channel = msgspec.structs.replace(then, name=stood.name, description=stood.description, data=stood.data, meta=stood.meta)
        times = await self._log.times(stream, [1, version])
        return PastChannel(KnownChannel(known.id, version, channel, known.asker), times.get(1), times.get(version))

    async def changes(self, known: KnownChannel, *, after: str | None, before: str | None, limit: int) -> ChannelChanges:
        """Events without deltas: the first ones after the cursor ``after``, or the last ones below the cursor ``before``; with neither
        the first ones of all. Restored and imported events have the time at which they were recorded first.

        Raises what ``resume_point`` raises; ``BadRequest`` where both are given.
        """
        stream, head = channel_stream(known.id), known.version
        if before is not None:
            if after is not None:
                raise BadRequest("expected after or before, received both", param="before")
            below = resume_point(before, self._epoch, head + 1).after
            newest = await self._queries.events_below(known.id, below, limit=limit)
            page = bounded(newest[::-1])[::-1]
            last = max(below - 1, 0)
            first = page[0].version if page and page[0].version > 1 else 0
        else:
            point = resume_point(after or "start", self._epoch, head)
            found = await self._log.read(stream, after=point.after, until=head, limit=limit, without_deltas=True)
            page = bounded(found)
            is_cut = len(page) == limit or len(page) < len(found)
            last = page[-1].version if is_cut else head
            first = point.after + 1 if point.after else 0
        return ChannelChanges(head, first, last, await self._told(known, page))

    async def _told(self, known: KnownChannel, page: Sequence[StoredEvent]) -> list[ChannelChange]:
        if not page:
            return []
        since = access_since(known.channel, known.asker)
        redaction = await self._redactions.redaction(known.id, since) if page[0].version <= since else None
        changed = list(dict.fromkeys(one.message_id for one in page if one.type in CHANGES and one.message_id is not None))
        until = page[-1].version
        histories = await self._queries.histories(known.id, changed, at=until) if changed else {}
        messages = {version: pair for one in changed for version, pair in looks(known.id, one, histories.get(one, ())).items()}
        times = await self._log.original_times(channel_stream(known.id), after=page[0].version - 1, until=until)
        told: list[ChannelChange] = []
        for stored in page:
            event = msgspec.structs.replace(stored, at=times.get(stored.version, stored.at)) if times else stored
            if redaction is not None and event.version <= since:
                shown = redaction.of(event)
                told.append(ChannelChange(shown, redacted=shown is not event))
            else:
                told.append(ChannelChange(event, *messages.get(event.version, (None, None))))
        return told


def folded(head: Sequence[StoredEvent], version: int) -> Channel:
    """The channel at that version, without its messages."""
    channel = NOTHING_LOADED
    for at, event in decoded(head):
        if event.message_id is None and at <= version:
            channel = evolve(channel, event, at)
    return channel


def looks(
    channel_id: UUID, message_id: UUID, events: Sequence[StoredEvent]
) -> dict[int, tuple[dict[str, Any] | None, dict[str, Any] | None]]:
    """The message before and after each event that changed it, by the event's version."""
    message, found = ChannelMessage(id=message_id), {}
    for stored in events:
        before = message_json(message, channel_id) if stored.type in CHANGES else None
        apply(message, stored)
        if stored.type in CHANGES:
            found[stored.version] = (before, None if message.deleted else message_json(message, channel_id))
    return found
