"""Channels to measure with: a group of many members, and messages in it."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

from bench.load.seed import Person, Seeding
from commands.ports import ANY, AppendRequest, StreamAppend
from domain.channel.facts import ChannelCreated, MemberJoined, MessagePosted
from domain.channel.own import ChannelJoined
from domain.log.event import Actor, Event
from domain.log.stream import channel_stream, user_stream

PER_REQUEST: Final = 1_000  # events
JOINED_AT_ONCE: Final = 500


class SeededChannel(NamedTuple):
    id: UUID
    members: Sequence[Person]  # the first one is its manager
    version: int

    @property
    def stream(self) -> str:
        return f"channel/{self.id}"

    @property
    def path(self) -> str:
        return f"/api/v1/channels/{self.id}"


async def seeded_channel(seeding: Seeding, members: Sequence[Person], messages: int = 0) -> SeededChannel:
    """A group of these people, as if they had made it, with messages of its manager; every fifth is a reply in the thread of the first."""
    channel_id, owner = uuid4(), members[0]
    stream, actor = channel_stream(channel_id), Actor(owner.id, owner.name, "user")
    joined = [MemberJoined(one.id, "manager" if one is owner else "member") for one in members]
    facts: list[Event[Any]] = [Event(None, ChannelCreated("group", owner.id, f"channel {channel_id.hex[:6]}"))]
    facts += [Event(None, fact) for fact in joined]
    first = uuid4()
    for number in range(messages):
        message_id = first if number == 0 else uuid4()
        parent = first if number % 5 == 4 else None
        facts.append(Event(message_id, MessagePosted(owner.id, f"message {number} of a long talk about nothing much", parent)))
    version = 0
    for at in range(0, len(facts), PER_REQUEST):
        append = StreamAppend(stream, facts[at : at + PER_REQUEST], version)
        version = (await seeding.log.append(AppendRequest([append], actor))).versions[0]
    for at in range(0, len(members), JOINED_AT_ONCE):
        appends = [
            StreamAppend(user_stream(one.id), [Event(None, ChannelJoined(channel_id))], ANY) for one in members[at : at + JOINED_AT_ONCE]
        ]
        await seeding.log.append(AppendRequest(appends, actor))
    return SeededChannel(channel_id, members, version)
