"""Channel commands: each becomes appended events, in the channel's own stream and in those of the people whom it concerns.

Who joins, leaves or loses a channel finds that in their own stream too, in the same commit: their clients hear of it although they could
not follow the channel yet, or not any more.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any, Final, Protocol
from uuid import UUID

from commands.aggregate import Aggregate
from commands.channels.partial_channel import PartialChannelReader
from commands.open_generations import text_so_far
from commands.ports import ANY, EXISTS, Appended, Claim, CommandKey, EventLog, StreamAppend
from domain.channel import own
from domain.channel.commands import (
    AddMembers,
    AskModel,
    ChangeMessage,
    ChannelCommand,
    CreateChannel,
    DeleteChannel,
    EmitByServer,
    LeaveChannel,
    PostMessage,
    RemoveMembers,
    channel_of,
)
from domain.channel.decide import decide, decide_all
from domain.channel.evolve import evolve
from domain.channel.facts import ChannelDeleted, ChannelEvent, MemberJoined, MemberLeft
from domain.channel.mentions import Mentions, mentions_of
from domain.channel.own import NO_CHANNELS, ChannelJoined, ChannelLeft, OwnChannels, ReadThread, SetOwnChannel
from domain.channel.rights import Asker, may_change_message, may_read
from domain.channel.state import NO_CHANNEL, Channel
from domain.errors import ClaimTaken, ConcurrencyConflict, TooManyLostRaces, UserNotFound
from domain.generation import Generation
from domain.log.event import Actor, Event
from domain.log.stream import Stream, channel_stream, user_stream
from projections.channel_message import channel_message

KEPT_MAX: Final = 2048
OWN_KEPT_MAX: Final = 1024
STREAMS_AT_ONCE_MAX: Final = 1_000  # of one commit: a larger channel tells its members of its end by the channel's own stream alone
EDITS_MAX: Final = 8  # of one message, while another edit of it is being written
CONTENT: Final = "content"
DM: Final = "dm"  # the kind of the claim by which a set of people has one dm


class People(Protocol):
    """Whom messages mention: ``commands/channels/mentioning.py``."""

    async def people(self, mentions: Mentions) -> Sequence[Asker]: ...

    async def told(self, channel_id: UUID, message_id: UUID) -> Collection[UUID]: ...


class EditedMeanwhile(Exception):
    """The message was edited after its mentions were read for the decision."""


class Channels:
    """All channels, and what each person has made of theirs."""

    def __init__(self, log: EventLog, *, people: People | None = None, kept_max: int = KEPT_MAX) -> None:
        """``people`` finds out who is mentioned. Without it no member is told of a mention."""
        self._log = log
        self._people = people
        reader = PartialChannelReader(log)
        self._aggregate = Aggregate(log, "channel", NO_CHANNEL, evolve, kept_max=kept_max, partial_reader=reader)
        self._own = Aggregate(log, "user", NO_CHANNELS, own.evolve, kept_max=OWN_KEPT_MAX, types=own.OWN_CHANNEL_TYPES)

    async def state(
        self, channel_id: UUID, *, fresh: bool = True, messages: Iterable[UUID | None] = (), generations: bool = False
    ) -> tuple[int, Channel]:
        """``(version, state)``; an empty state where there is no such channel.

        ``Channel.messages`` tells of ``messages``; for another it may raise ``NotLoaded``. With ``generations``
        ``Channel.open_generations`` holds all of the channel.
        """
        named = [one for one in messages if one is not None]

        def require(channel: Channel) -> None:
            channel.messages.require(named)
            if generations:
                channel.require_generations()

        return await self._aggregate.state(channel_id, fresh=fresh, require=require if named or generations else None)

    async def handle(
        self,
        command: ChannelCommand,
        *,
        actor: Actor | None = None,
        key: CommandKey | None = None,
        expected_version: int | None = None,
        attempts_max: int | None = 32,
        new_ids: Collection[UUID] = (),
    ) -> Appended:
        """``new_ids``: see ``Aggregate.handle``.

        Raises what ``decide`` and ``Aggregate.handle`` raise; ``UserNotFound`` for a member who is no account, ``ClaimTaken`` for a
        dm of people who have one (``dm_of``).
        """
        channel_id = channel_of(command)
        decided: list[ChannelEvent] = []

        def deciding(channel: Channel) -> Sequence[Event[Any]]:
            decided[:] = decide(channel, command)
            return decided

        also: Callable[[Channel, int], Sequence[StreamAppend]] | None = None
        if type(command) in CHANGES_MEMBERS:

            def also(channel: Channel, _: int) -> Sequence[StreamAppend]:
                return own_appends(channel_id, channel, decided)

        elif isinstance(command, PostMessage):
            also = await self._telling(command)
        elif isinstance(command, ChangeMessage) and CONTENT in command.fields and self._people is not None:
            return await self._edit(command, self._people, actor=actor, key=key, expected_version=expected_version)

        claims = []
        if isinstance(command, CreateChannel) and command.type == "dm":
            dm_ids = {command.by.id, *command.member_ids}
            claims = [Claim(DM, dm_key(dm_ids), channel_stream(command.channel_id))]
        try:
            return await self._aggregate.handle(
                channel_id,
                deciding,
                actor=actor,
                command=key,
                claims=claims,
                also=also,
                expected_version=expected_version,
                attempts_max=attempts_max,
                new_ids=new_ids,
            )
        except ConcurrencyConflict as conflict:
            if conflict.expected == EXISTS and isinstance(conflict.stream, Stream):
                raise UserNotFound(conflict.stream.id) from None
            raise

    async def _telling(self, post: PostMessage) -> Callable[[Channel, int], Sequence[StreamAppend]] | None:
        """What tells the people whom a message mentions; None where there are none."""
        mentions = mentions_of(post.content)
        if self._people is None or not mentions.are_of_people:
            return None
        people = [one for one in await self._people.people(mentions) if post.by is None or one.id != post.by.id]
        return partial(mention_appends, post.channel_id, post.message_id, post.parent_id, people) if people else None

    async def _edit(
        self, edit: ChangeMessage, people: People, *, actor: Actor | None, key: CommandKey | None, expected_version: int | None
    ) -> Appended:
        """With what tells those whom the message begins to mention, and those whom it mentions no more."""
        for _ in range(EDITS_MAX):
            also = await self._telling_of_edit(edit, people)
            try:
                return await self._aggregate.handle(
                    edit.channel_id,
                    lambda channel: decide(channel, edit),
                    actor=actor,
                    command=key,
                    also=also,
                    expected_version=expected_version,
                )
            except EditedMeanwhile:
                continue
        raise TooManyLostRaces(channel_stream(edit.channel_id), EDITS_MAX)

    async def _telling_of_edit(self, edit: ChangeMessage, people: People) -> Callable[[Channel, int], Sequence[StreamAppend]] | None:
        """None where the edit is going to be refused. What it returns raises ``EditedMeanwhile``."""
        _, known = await self.state(edit.channel_id, messages=[edit.message_id])
        node = known.messages.get(edit.message_id)
        if node is None or not may_change_message(known, edit.by, node):
            return None
        read_version = node.changed_version
        events = await self._log.read_message(channel_stream(edit.channel_id), edit.message_id, after=0)
        message = channel_message(edit.message_id, events)
        before, now = mentions_of(message.text), mentions_of(edit.fields[CONTENT])
        more, fewer = now.of_people_besides(before), before.of_people_besides(now)
        begun: list[Asker] = []
        ended: set[UUID] = set()
        if more.are_of_people or fewer.are_of_people:
            told = await people.told(edit.channel_id, edit.message_id)
            if more.are_of_people:
                begun = [one for one in await people.people(more) if one.id not in told and one.id != edit.by.id]
            if fewer.are_of_people and told:
                ended = set(told) - {one.id for one in await people.people(now)} - set(now.user_ids)

        def also(channel: Channel, version: int) -> list[StreamAppend]:
            current = channel.messages.get(edit.message_id)
            if current is None or current.changed_version != read_version:
                raise EditedMeanwhile
            gone = own.MentionRemoved(edit.channel_id, edit.message_id, version + 1)
            return [
                *mention_appends(edit.channel_id, edit.message_id, message.parent_id, begun, channel, version),
                *(StreamAppend(user_stream(one), [Event(None, gone)], ANY) for one in sorted(ended)),
            ]

        return also

    async def post_and_ask(
        self,
        post: PostMessage,
        asking: Sequence[AskModel],
        *,
        actor: Actor,
        key: CommandKey | None = None,
        expected_version: int | None = None,
    ) -> Appended:
        """A message, and what models begin to answer to it, in one commit. Raises what ``handle`` raises."""
        return await self._aggregate.handle(
            post.channel_id,
            lambda channel: decide_all(channel, [post, *asking]),
            actor=actor,
            command=key,
            also=await self._telling(post),
            expected_version=expected_version,
        )

    async def emit_by_server(self, channel_id: UUID, message_id: UUID, name: str, data: Any) -> None:
        """Append without an actor, and try again for as long as others write in the channel. Raises what ``handle`` raises."""
        await self.handle(EmitByServer(channel_id=channel_id, message_id=message_id, name=name, data=data), attempts_max=None)

    async def open_generation(self, channel_id: UUID, message_id: UUID) -> tuple[int, Generation | None]:
        version, channel = await self.state(channel_id, messages=[message_id])
        return version, channel.open_generations.get(message_id)

    async def text_so_far(self, channel_id: UUID, message_id: UUID, generation: Generation) -> str:
        return await text_so_far(self._log, channel_stream(channel_id), message_id, generation)

    async def dm_of(self, user_ids: Collection[UUID]) -> UUID | None:
        """The dm of exactly these people."""
        stream: Stream | None = await self._log.find_claim(DM, dm_key(user_ids))
        return stream.id if stream is not None else None

    async def get_or_create_dm(self, command: CreateChannel, *, actor: Actor | None, key: CommandKey | None = None) -> UUID:
        """The dm of these people, made where there is none. Where two of them make it at once, both get the same."""
        people = {command.by.id, *command.member_ids}
        known = await self.dm_of(people)
        if known is not None:
            return known
        try:
            await self.handle(command, actor=actor, key=key)
        except ClaimTaken:
            known = await self.dm_of(people)
            assert known is not None
            return known
        return command.channel_id

    async def own(self, user_id: UUID, *, fresh: bool = True) -> OwnChannels:
        _, state = await self._own.state(user_id, fresh=fresh)
        return state

    async def set_own(self, command: SetOwnChannel | ReadThread, *, actor: Actor, key: CommandKey | None = None) -> Appended:
        """The caller has checked that they may see the channel."""
        return await self._own.handle(command.user_id, lambda state: own.decide(state, command), actor=actor, command=key)


def dm_key(user_ids: Collection[UUID]) -> str:
    """The same for the same people in any order."""
    return hashlib.sha256(b"".join(sorted(one.bytes for one in set(user_ids)))).hexdigest()


CHANGES_MEMBERS: Final = frozenset({CreateChannel, AddMembers, RemoveMembers, LeaveChannel, DeleteChannel})


def own_appends(channel_id: UUID, channel: Channel, decided: Sequence[ChannelEvent]) -> list[StreamAppend]:
    """What these events are in the streams of the people whom they concern."""
    appends: list[StreamAppend] = []
    for event in decided:
        match event.data:
            case MemberJoined(user_id=user_id):
                appends.append(StreamAppend(user_stream(user_id), [Event(None, ChannelJoined(channel_id))], EXISTS))
            case MemberLeft(user_id=user_id):
                appends.append(append_left(channel_id, user_id))
            case ChannelDeleted():
                appends += [append_left(channel_id, user_id) for user_id in channel.members]
            case _:
                pass
    return appends[:STREAMS_AT_ONCE_MAX]


def mention_appends(
    channel_id: UUID, message_id: UUID, parent_id: UUID | None, people: Sequence[Asker], channel: Channel, version: int
) -> list[StreamAppend]:
    """What a message, or its edit, that becomes ``version + 1`` says to those whom it mentions, as far as they may read it."""
    fact = own.Mentioned(channel_id, message_id, version + 1, parent_id)
    return [StreamAppend(user_stream(one.id), [Event(None, fact)], ANY) for one in people if may_read(channel, one)]


def append_left(channel_id: UUID, user_id: UUID) -> StreamAppend:
    return StreamAppend(user_stream(user_id), [Event(None, ChannelLeft(channel_id))], ANY)
