"""What a person has made of their channels: which they are in, and which they have muted, pinned or hidden.

The facts are in the person's own stream, beside those of their account; ``evolve`` ignores the others. That somebody is a member stands
in the channel's stream; here it says so to that person's own clients.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final, assert_never
from uuid import UUID

import msgspec

from domain.log.event import Event

# ---------------------------------------------------------------------------------------------------------------- facts


class ChannelJoined(msgspec.Struct, frozen=True):
    channel_id: UUID


class ChannelLeft(msgspec.Struct, frozen=True):
    """Also where they were removed, and where the channel was deleted."""

    channel_id: UUID


class ChannelMuted(msgspec.Struct, frozen=True):
    channel_id: UUID


class ChannelUnmuted(msgspec.Struct, frozen=True):
    channel_id: UUID


class ChannelPinned(msgspec.Struct, frozen=True):
    channel_id: UUID


class ChannelUnpinned(msgspec.Struct, frozen=True):
    channel_id: UUID


class ChannelHidden(msgspec.Struct, frozen=True):
    """It is left out of their list until somebody writes in it, or they take it in again."""

    channel_id: UUID


class ChannelUnhidden(msgspec.Struct, frozen=True):
    channel_id: UUID


class Mentioned(msgspec.Struct, frozen=True):
    """A message mentions them, by themselves or by a group that they are in."""

    channel_id: UUID
    message_id: UUID
    version: int  # of the message in its channel, or of the edit that began to mention them
    parent_id: UUID | None = None  # the first message of its thread


class MentionRemoved(msgspec.Struct, frozen=True):
    """An edit took the mention away: the message does not count as one that mentions them any more."""

    channel_id: UUID
    message_id: UUID
    version: int  # of the edit, in its channel


class ThreadRead(msgspec.Struct, frozen=True):
    """They have read a thread up to this version of its channel."""

    channel_id: UUID
    message_id: UUID  # the first one of the thread
    version: int


OwnChannelFact = (
    ChannelJoined
    | ChannelLeft
    | ChannelMuted
    | ChannelUnmuted
    | ChannelPinned
    | ChannelUnpinned
    | ChannelHidden
    | ChannelUnhidden
    | Mentioned
    | MentionRemoved
    | ThreadRead
)
OWN_CHANNEL_TYPES: Final[Mapping[str, type[Any]]] = {
    "channel_joined": ChannelJoined,
    "channel_left": ChannelLeft,
    "channel_muted": ChannelMuted,
    "channel_unmuted": ChannelUnmuted,
    "channel_pinned": ChannelPinned,
    "channel_unpinned": ChannelUnpinned,
    "channel_hidden": ChannelHidden,
    "channel_unhidden": ChannelUnhidden,
    "mentioned": Mentioned,
    "mention_removed": MentionRemoved,
    "thread_read": ThreadRead,
}

# ------------------------------------------------------------------------------------------------------------- commands


class SetOwnChannel(msgspec.Struct, frozen=True, kw_only=True):
    """What it is from now on. None: as it is."""

    user_id: UUID
    channel_id: UUID
    muted: bool | None = None
    pinned: bool | None = None
    hidden: bool | None = None


class ReadThread(msgspec.Struct, frozen=True, kw_only=True):
    """Read up to this version; it only moves forward."""

    user_id: UUID
    channel_id: UUID
    message_id: UUID
    version: int


# ---------------------------------------------------------------------------------------------------------------- state


class OwnChannels(msgspec.Struct, frozen=True):
    joined: frozenset[UUID] = frozenset()
    muted: frozenset[UUID] = frozenset()
    pinned: frozenset[UUID] = frozenset()
    hidden: frozenset[UUID] = frozenset()
    threads: Mapping[UUID, tuple[UUID, int]] = {}  # by its first message: the channel, and the version read. The newest ``THREADS_MAX``

    def threads_of(self, channel_ids: Collection[UUID]) -> Mapping[UUID, int]:
        """The version up to which each thread of these channels was read, by its first message."""
        return {message_id: version for message_id, (channel_id, version) in self.threads.items() if channel_id in channel_ids}


NO_CHANNELS: Final = OwnChannels()
THREADS_MAX: Final = 1_000  # of those read before, only what was read of their channel counts

# --------------------------------------------------------------------------------------------------------------- decide


def decide(own: OwnChannels, command: SetOwnChannel | ReadThread) -> list[Event[OwnChannelFact]]:
    """The events that the command leads to; none where it is so already. Whether they may see the channel was decided before."""
    if isinstance(command, ReadThread):
        _, version = own.threads.get(command.message_id, (None, 0))
        return [Event(None, ThreadRead(command.channel_id, command.message_id, command.version))] if command.version > version else []
    one = command.channel_id
    facts: list[OwnChannelFact] = []
    if command.muted is not None and command.muted != (one in own.muted):
        facts.append(ChannelMuted(one) if command.muted else ChannelUnmuted(one))
    if command.pinned is not None and command.pinned != (one in own.pinned):
        facts.append(ChannelPinned(one) if command.pinned else ChannelUnpinned(one))
    if command.hidden is not None and command.hidden != (one in own.hidden):
        facts.append(ChannelHidden(one) if command.hidden else ChannelUnhidden(one))
    return [Event(None, fact) for fact in facts]


# --------------------------------------------------------------------------------------------------------------- evolve


def evolve(own: OwnChannels, event: Event[Any], version: int) -> OwnChannels:
    """The next state. Total: history cannot be refused, so this never raises."""
    fact = event.data
    if type(fact) not in FACTS:
        return own
    known: OwnChannelFact = fact
    changed = msgspec.structs.replace
    match known:
        case ChannelJoined(channel_id=one):
            return changed(own, joined=own.joined | {one})
        case ChannelLeft(channel_id=one):
            threads = {message_id: read for message_id, read in own.threads.items() if read[0] != one}
            return OwnChannels(own.joined - {one}, own.muted - {one}, own.pinned - {one}, own.hidden - {one}, threads)
        case ChannelMuted(channel_id=one):
            return changed(own, muted=own.muted | {one})
        case ChannelUnmuted(channel_id=one):
            return changed(own, muted=own.muted - {one})
        case ChannelPinned(channel_id=one):
            return changed(own, pinned=own.pinned | {one})
        case ChannelUnpinned(channel_id=one):
            return changed(own, pinned=own.pinned - {one})
        case ChannelHidden(channel_id=one):
            return changed(own, hidden=own.hidden | {one})
        case ChannelUnhidden(channel_id=one):
            return changed(own, hidden=own.hidden - {one})
        case ThreadRead(channel_id=one, message_id=message_id, version=read_version):
            threads = {known: read for known, read in own.threads.items() if known != message_id}
            newest = [*threads.items(), (message_id, (one, read_version))][-THREADS_MAX:]
            return changed(own, threads=dict(newest))
        case Mentioned() | MentionRemoved():
            return own
        case _:
            assert_never(known)


FACTS: Final = frozenset(OWN_CHANNEL_TYPES.values())
