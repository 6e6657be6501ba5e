"""How many messages stand where in each channel, in stretches of ``STRETCH`` versions: by them what a person has not read is counted
without reading it.

A row says how many messages that are there now were begun in one stretch, by everybody or by one person. The versions above the newest
that the rows hold are read from the log beside them, so a count is exact however late the rows are.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from domain.channel.evolve import asker_of
from domain.channel.facts import MessagePosted, MessageRemoved
from domain.generation import MessageStarted
from domain.log.stream import Kind
from projections.projection import Events, Projecting, Recorded, Write

STRETCH: Final = 128  # versions; the queries count by it, too
EVERYBODY: Final = UUID(int=0)

Key = tuple[UUID, str]  # channel and message
Place = tuple[UUID, UUID, int]  # channel, person, stretch


class CountRow(NamedTuple):
    """What is added to one row of ``message_counts``, its columns in their order."""

    channel_id: UUID
    user_id: UUID
    stretch: int
    messages: int
    replies: int


class HeadRow(NamedTuple):
    """One row of ``channel_heads``."""

    channel_id: UUID
    version: int


class Begun(NamedTuple):
    """A message that is there."""

    version: int
    user_id: UUID | None
    is_reply: bool


class ChannelCounts:
    """The projection."""

    name = "channel_counts"
    kinds: frozenset[Kind] = frozenset({"channel"})
    by_stream = True

    def project(self, events: Sequence[Recorded]) -> Projecting:
        heads: dict[UUID, int] = {}
        there: dict[Key, Begun] = {}
        counted: dict[Place, tuple[int, int]] = {}
        unknown: dict[Key, int] = {}  # removed messages that began before the batch: the version that removes each first
        for event in events:
            channel_id = event.stored.stream.id
            heads[channel_id] = event.stored.version
            if event.message_id is None:
                continue
            key = channel_id, event.message_id
            begun = begun_by(event)
            if begun is not None:
                there[key] = begun
                add(counted, channel_id, begun, 1)
            elif type(event.fact) is MessageRemoved:
                known = there.pop(key, None)
                if known is not None:
                    add(counted, channel_id, known, -1)
                else:
                    unknown.setdefault(key, event.stored.version)
        if unknown:
            asked = [one for one, _ in unknown], [UUID(one) for _, one in unknown], list(unknown.values())
            (before,) = yield [Events("channel_counts_before", asked)]
            for event in before:
                key = event.stored.stream.id, str(event.message_id)
                begun = begun_by(event)
                if begun is not None:
                    there[key] = begun
                else:
                    there.pop(key, None)  # it was removed before already
            for key in unknown:
                if key in there:
                    add(counted, key[0], there[key], -1)
        rows = [CountRow(*place, messages, replies) for place, (messages, replies) in counted.items()]
        writes = [Write("channel_counts_add", rows), Write("channel_counts_head", [HeadRow(*one) for one in heads.items()])]
        return [write for write in writes if write.rows]


def begun_by(event: Recorded) -> Begun | None:
    fact: Any = event.fact
    match fact:
        case MessagePosted(user_id=user_id, parent_id=parent_id):
            return Begun(event.stored.version, user_id, parent_id is not None)
        case MessageStarted(parent_id=parent_id):
            return Begun(event.stored.version, asker_of(fact), parent_id is not None)
        case _:
            return None


def add(counted: dict[Place, tuple[int, int]], channel_id: UUID, message: Begun, number: int) -> None:
    """Also a sum of 0 is written: the rows are the same however the log was cut into batches."""
    for user_id in (EVERYBODY, message.user_id):
        if user_id is not None:
            place = channel_id, user_id, (message.version - 1) // STRETCH
            messages, replies = counted.get(place, (0, 0))
            counted[place] = (messages, replies + number) if message.is_reply else (messages + number, replies)
