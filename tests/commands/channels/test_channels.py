"""Channels on a log: what the people concerned find in their own streams, what a decision reads, and who makes what at once."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from adapters.memory.log import MemoryLog
from commands.aggregate import Aggregate
from commands.channels.channels import Channels
from commands.channels.partial_channel import PartialChannelReader
from commands.ports import ANY, AppendRequest, StreamAppend
from domain.accounts.user.facts import UserCreated
from domain.channel.commands import (
    AddMembers,
    AskModel,
    ChannelCommand,
    CreateChannel,
    DeleteChannel,
    LeaveChannel,
    PinMessage,
    PostMessage,
    React,
    RemoveMembers,
    RemoveMessage,
)
from domain.channel.evolve import evolve
from domain.channel.own import ChannelJoined, ChannelLeft, ChannelMuted, ChannelPinned, ChannelUnmuted, SetOwnChannel
from domain.channel.rights import Asker
from domain.channel.state import NO_CHANNEL, Channel
from domain.errors import Forbidden, MessageNotFound, Refusal, UserNotFound
from domain.generation import AppendParts, BlockOpened, EndGeneration, GenerationCancelled, MessageDelta, StartGeneration
from domain.log.codec import decode_event
from domain.log.event import Actor, Event
from domain.log.stream import channel_stream, user_stream
from domain.values.idmap import PartialMap

pytestmark = pytest.mark.anyio

ANN, BEN, CAT = (UUID(int=number) for number in range(1, 4))
ann, ben, cat = (Asker(one, "user") for one in (ANN, BEN, CAT))
CHANNEL = UUID(int=0xC0)


@pytest.fixture
async def log() -> MemoryLog:
    made = MemoryLog()
    for one in (ANN, BEN, CAT):
        fact = UserCreated("x", f"{one.int}@example.org", "user")
        await made.append(AppendRequest([StreamAppend(user_stream(one), [Event(None, fact)], 0)]))
    return made


def actor(asker: Asker) -> Actor:
    return Actor(asker.id, "x", asker.role)


async def do(channels: Channels, command: ChannelCommand) -> None:
    by = getattr(command, "by", None)
    await channels.handle(command, actor=actor(by) if isinstance(by, Asker) else None)


async def own_facts(log: MemoryLog, user_id: UUID) -> Sequence[Any]:
    return [decode_event(stored).data for stored in await log.read(user_stream(user_id), after=1, limit=100)]


def create(channel_id: UUID = CHANNEL, by: Asker = ann, type_: Any = "group", *member_ids: UUID) -> CreateChannel:
    return CreateChannel(channel_id=channel_id, by=by, type=type_, name="friends", member_ids=member_ids)


def post(message_id: UUID, by: Asker = ann, parent_id: UUID | None = None, channel_id: UUID = CHANNEL) -> PostMessage:
    return PostMessage(channel_id=channel_id, by=by, message_id=message_id, content="hi", parent_id=parent_id)


# ------------------------------------------------------------------------------------------------------- one's own stream


async def test_whoever_joins_or_leaves_finds_it_in_their_own_stream_of_the_same_commit(log: MemoryLog) -> None:
    channels = Channels(log)
    await do(channels, create(CHANNEL, ann, "group", BEN))
    assert await own_facts(log, ANN) == [ChannelJoined(CHANNEL)]
    assert await own_facts(log, BEN) == [ChannelJoined(CHANNEL)]
    await do(channels, AddMembers(channel_id=CHANNEL, by=ann, user_ids=[CAT]))
    await do(channels, RemoveMembers(channel_id=CHANNEL, by=ann, user_ids=[BEN]))
    await do(channels, LeaveChannel(channel_id=CHANNEL, by=ann))
    assert await own_facts(log, CAT) == [ChannelJoined(CHANNEL)]
    assert (await own_facts(log, BEN))[1:] == [ChannelLeft(CHANNEL)]
    assert (await own_facts(log, ANN))[1:] == [ChannelLeft(CHANNEL)]
    await do(channels, DeleteChannel(channel_id=CHANNEL, by=cat))
    assert (await own_facts(log, CAT))[1:] == [ChannelLeft(CHANNEL)]
    by_commit: dict[Any, list[str]] = {}
    for event in log.events[3:]:
        by_commit.setdefault(event.at, []).append(event.type)
    assert list(by_commit.values()) == [
        ["channel:created", "member:joined", "member:joined", "channel_joined", "channel_joined"],
        ["member:joined", "channel_joined"],
        ["member:left", "channel_left"],
        ["member:left", "member:role", "channel_left"],
        ["channel:delete", "channel_left"],
    ]


async def test_a_member_who_is_no_account_is_refused_and_nothing_is_written(log: MemoryLog) -> None:
    channels, nobody = Channels(log), uuid4()
    await do(channels, create())
    before = len(log.events)
    with pytest.raises(UserNotFound):
        await do(channels, AddMembers(channel_id=CHANNEL, by=ann, user_ids=[BEN, nobody]))
    with pytest.raises(UserNotFound):
        await do(channels, create(uuid4(), ann, "group", nobody))
    assert len(log.events) == before


async def test_what_a_person_sets_for_a_channel_is_theirs_and_ends_with_it(log: MemoryLog) -> None:
    channels = Channels(log)
    await do(channels, create(CHANNEL, ann, "group", BEN))
    mute = SetOwnChannel(user_id=BEN, channel_id=CHANNEL, muted=True, pinned=True, hidden=False)
    await channels.set_own(mute, actor=actor(ben))
    await channels.set_own(mute, actor=actor(ben))
    await channels.set_own(SetOwnChannel(user_id=BEN, channel_id=CHANNEL, muted=False), actor=actor(ben))
    assert (await own_facts(log, BEN))[1:] == [ChannelMuted(CHANNEL), ChannelPinned(CHANNEL), ChannelUnmuted(CHANNEL)]
    assert (await channels.own(BEN)).pinned == {CHANNEL}
    assert (await channels.own(ANN)).pinned == set()
    await do(channels, RemoveMembers(channel_id=CHANNEL, by=ann, user_ids=[BEN]))
    own = await channels.own(BEN)
    assert (own.joined, own.pinned) == (set(), set())


# ------------------------------------------------------------------------------------------------------------------- dms


async def test_two_who_write_to_each_other_at_once_have_one_dm(log: MemoryLog) -> None:
    one, two = Channels(log), Channels(log)  # two processes
    by_ann, by_ben = create(uuid4(), ann, "dm", BEN), create(uuid4(), ben, "dm", ANN)
    found = await asyncio.gather(
        one.get_or_create_dm(by_ann, actor=actor(ann)), two.get_or_create_dm(by_ben, actor=actor(ben)), one.dm_of([BEN, ANN])
    )
    made = await one.dm_of([ANN, BEN, ANN])
    assert {found[0], found[1]} == {made}
    assert len([event for event in log.events if event.type == "channel:created"]) == 1
    assert await one.dm_of([ANN, CAT]) is None
    assert await one.get_or_create_dm(create(uuid4(), ann, "dm", BEN), actor=actor(ann)) == made


# ------------------------------------------------------------------------------------------------------------------ races


async def test_two_managers_who_add_the_same_member_at_once_add_them_once(log: MemoryLog) -> None:
    one, two = Channels(log), Channels(log)
    await do(one, create())
    await two.state(CHANNEL)
    add = AddMembers(channel_id=CHANNEL, by=ann, user_ids=[BEN])
    await asyncio.gather(do(one, add), do(two, add))
    assert [event.type for event in log.events].count("member:joined") == 2


async def test_who_was_removed_elsewhere_a_moment_ago_may_not_post(log: MemoryLog) -> None:
    one, two = Channels(log), Channels(log)
    await do(one, create(CHANNEL, ann, "group", BEN))
    await do(two, post(uuid4(), ben))
    await do(one, RemoveMembers(channel_id=CHANNEL, by=ann, user_ids=[BEN]))
    with pytest.raises(Forbidden):
        await do(two, post(uuid4(), ben))


async def test_a_message_is_only_ever_found_in_its_own_channel(log: MemoryLog) -> None:
    channels, other, message_id = Channels(log), uuid4(), uuid4()
    await do(channels, create())
    await do(channels, create(other))
    await do(channels, post(message_id))
    with pytest.raises(MessageNotFound):
        await do(channels, post(uuid4(), parent_id=message_id, channel_id=other))
    with pytest.raises(MessageNotFound):
        await do(channels, React(channel_id=other, by=ann, message_id=message_id, name="👍", present=True))


# ------------------------------------------------------------------------------------------------------- what is read


class CountingLog(MemoryLog):
    def __init__(self) -> None:
        super().__init__()
        self.rows = 0

    async def read_head(self, *asked: Any, **more: Any) -> Any:
        return self.counted(await super().read_head(*asked, **more))

    async def read_messages(self, *asked: Any, **more: Any) -> Any:
        return self.counted(await super().read_messages(*asked, **more))

    async def read(self, *asked: Any, **more: Any) -> Any:
        return self.counted(await super().read(*asked, **more))

    def counted(self, events: Sequence[Any]) -> Sequence[Any]:
        self.rows += len(events)
        return events


@pytest.mark.parametrize("messages", [10, 2_000])
async def test_a_cold_post_reads_the_channel_and_the_messages_that_it_names(messages: int) -> None:
    log = CountingLog()
    fact = UserCreated("x", "a@example.org", "user")
    await log.append(AppendRequest([StreamAppend(user_stream(ANN), [Event(None, fact)], 0)]))
    root = uuid4()
    await do(Channels(log), create())
    channels = Channels(log)
    await do(channels, post(root))
    for _ in range(messages):
        await do(channels, post(uuid4(), parent_id=root))
    log.rows = 0
    await do(Channels(log), post(uuid4(), parent_id=root))
    assert log.rows <= 5  # the channel was made, one joined, the newest message, the thread's first


@pytest.mark.parametrize("seed", range(40))
async def test_a_state_that_was_read_in_part_is_the_fold_of_the_whole(seed: int) -> None:
    """Random commands on two processes; then every message, loaded in random portions, beside a fold of all events."""
    choose = random.Random(seed)
    log = MemoryLog()
    for one in (ANN, BEN, CAT):
        fact = UserCreated("x", f"{one.int}@example.org", "user")
        await log.append(AppendRequest([StreamAppend(user_stream(one), [Event(None, fact)], ANY)]))
    processes = [Channels(log), Channels(log)]
    await do(processes[0], create(CHANNEL, ann, "group", BEN))
    ids = [UUID(int=0x100 + number) for number in range(12)]
    for _ in range(60):
        by, message_id, other = choose.choice((ann, ben, cat)), choose.choice(ids), choose.choice((None, *ids))
        commands: list[ChannelCommand] = [
            post(message_id, by, other),
            post(message_id, by),
            replace(post(message_id, by), reply_to_id=other),
            React(channel_id=CHANNEL, by=by, message_id=message_id, name=choose.choice("ab"), present=choose.random() < 0.7),
            PinMessage(channel_id=CHANNEL, by=by, message_id=message_id, pinned=choose.random() < 0.5),
            RemoveMessage(channel_id=CHANNEL, by=by, message_id=message_id),
            AddMembers(channel_id=CHANNEL, by=by, user_ids=[CAT]),
            RemoveMembers(channel_id=CHANNEL, by=by, user_ids=[choose.choice((BEN, CAT))]),
            AskModel(
                channel_id=CHANNEL,
                by=by,
                start=StartGeneration(
                    stream_id=CHANNEL,
                    by=by.id,
                    message_id=message_id,
                    parent_id=other,
                    model="m",
                    requested_model="m",
                    task_id=uuid4(),
                    node_id=uuid4(),
                ),
            ),
            AppendParts(stream_id=CHANNEL, message_id=message_id, seq=0, parts=[BlockOpened(0, "text"), MessageDelta(0, "x")]),
            EndGeneration(stream_id=CHANNEL, message_id=message_id, outcome=GenerationCancelled(None)),
        ]
        try:
            await do(choose.choice(processes), choose.choice(commands))
        except Refusal:
            continue
    stored = await log.read(channel_stream(CHANNEL), limit=10_000)
    whole = NO_CHANNEL
    for event in stored:
        whole = evolve(whole, decode_event(event), event.version)
    fresh = Channels(log)
    choose.shuffle(ids)
    for at in range(0, len(ids), 5):
        version, part = await fresh.state(CHANNEL, messages=ids[at : at + 5])
        assert version == len(stored)
        assert {one: part.messages.get(one) for one in ids[at : at + 5]} == {one: whole.messages.get(one) for one in ids[at : at + 5]}
    _, part = await fresh.state(CHANNEL, generations=True)
    assert without_messages(part) == without_messages(whole)
    for channels in processes:
        _, kept = await channels.state(CHANNEL, messages=ids, generations=True)
        assert {one: kept.messages.get(one) for one in ids} == {one: whole.messages.get(one) for one in ids}
        assert without_messages(kept) == without_messages(whole)


def without_messages(channel: Channel) -> Channel:
    return replace(channel, messages=NO_CHANNEL.messages, generations_loaded=True, calls_loaded=True)


async def test_a_kept_state_holds_few_messages(log: MemoryLog) -> None:
    kept = Aggregate(log, "channel", NO_CHANNEL, evolve, partial_reader=PartialChannelReader(log, messages_max=8))
    await do(Channels(log), create())
    channels = Channels(log)
    channels._aggregate = kept
    for _ in range(40):
        await do(channels, post(uuid4()))
    _, state = await kept.state(CHANNEL)
    assert isinstance(state.messages, PartialMap)
    assert state.messages.loaded_count() <= 8 + 1
