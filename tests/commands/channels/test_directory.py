"""What a process knows of channels without asking: as of what has passed it, whatever passes while it reads."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from adapters.memory.channel_queries import MemoryChannelQueries
from adapters.memory.log import MemoryLog
from commands.channels.channels import Channels
from commands.channels.directory import ChannelDirectory
from commands.ports import AppendRequest, StreamAppend
from domain.accounts.access import Grant
from domain.accounts.user.facts import UserCreated
from domain.channel.commands import AddMembers, ChangeChannel, ChannelCommand, CreateChannel, PostMessage, RemoveMembers
from domain.channel.facts import MemberLeft
from domain.channel.rights import Asker
from domain.log.event import Actor, Event, StoredEvent
from domain.log.stream import Stream, channel_stream, user_stream
from tests.commands.world import until

pytestmark = pytest.mark.anyio

ANN, BEN = UUID(int=1), UUID(int=2)
ann, ben = Asker(ANN, "admin"), Asker(BEN, "user")
CHANNEL, OTHER = UUID(int=0xC0), UUID(int=0xC1)


class SlowLog(MemoryLog):
    """``read_head`` answers when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.reads = 0

    async def read_head(self, stream: Stream, types: Sequence[str]) -> Sequence[StoredEvent]:
        self.reads += 1
        found = await super().read_head(stream, types)
        await self.gate.wait()
        return found


@pytest.fixture
async def log() -> SlowLog:
    made = SlowLog()
    for one in (ANN, BEN):
        await made.append(
            AppendRequest([StreamAppend(user_stream(one), [Event(None, UserCreated("x", f"{one.int}@example.org", "user"))], 0)])
        )
    return made


def directory_of(log: SlowLog, *, in_use: frozenset[UUID] = frozenset(), kept_max: int = 100) -> ChannelDirectory:
    made = ChannelDirectory(log, MemoryChannelQueries(log), in_use.__contains__, kept_max=kept_max)

    def observe(events: Sequence[StoredEvent]) -> None:
        for one in events:
            made.observe(one)

    log.on_committed = observe
    return made


async def do(log: SlowLog, *commands: ChannelCommand) -> None:
    for command in commands:
        await Channels(log).handle(command, actor=Actor(ANN, "Ann", "admin"))


def group(channel_id: UUID = CHANNEL) -> CreateChannel:
    return CreateChannel(channel_id=channel_id, by=ann, type="group", name="friends")


def add(*user_ids: UUID) -> AddMembers:
    return AddMembers(channel_id=CHANNEL, by=ann, user_ids=user_ids)


async def test_what_passes_is_known_without_a_query(log: SlowLog) -> None:
    directory = directory_of(log)
    await do(log, group())
    assert directory.get(CHANNEL) is None
    await directory.known(CHANNEL)
    await do(log, add(BEN), PostMessage(channel_id=CHANNEL, by=ann, message_id=UUID(int=9), content="hi"))
    reads = log.reads
    version, channel = await directory.known(CHANNEL, at_least=4)
    assert (version, set(channel.members), log.reads) == (4, {ANN, BEN}, reads)


async def test_what_passes_while_it_reads_is_not_lost(log: SlowLog) -> None:
    directory = directory_of(log)
    await do(log, group(), add(BEN))
    log.gate.clear()
    asking = asyncio.create_task(directory.known(CHANNEL))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    left = StreamAppend(channel_stream(CHANNEL), [Event(None, MemberLeft(BEN))], 3)
    await log.append(AppendRequest([left]))
    assert directory.get(CHANNEL) is None
    log.gate.set()
    version, channel = await asking
    assert (version, set(channel.members)) == (4, {ANN})


async def test_what_another_process_wrote_is_read_where_it_has_to_be_known(log: SlowLog) -> None:
    directory = directory_of(log)
    await do(log, group())
    await directory.known(CHANNEL)
    log.on_committed = lambda _: None  # nothing passes here
    await do(log, add(BEN))
    assert BEN not in (await directory.known(CHANNEL))[1].members
    assert BEN in (await directory.known(CHANNEL, at_least=3))[1].members


async def test_many_who_ask_for_all_their_channels_cost_one_reading_of_each(log: SlowLog) -> None:
    ids = [UUID(int=0xC0 + number) for number in range(10)]
    directory = directory_of(log)
    await do(log, *map(group, ids))
    log.gate.clear()
    idle, before = len(asyncio.all_tasks()), log.reads
    asking = [asyncio.create_task(directory.readable(ann, ids)) for _ in range(20)]
    await until(lambda: log.reads - before == len(ids))  # all of them at once: none has been let go yet
    assert len(asyncio.all_tasks()) <= idle + len(asking) + len(ids)
    log.gate.set()
    assert await asyncio.gather(*asking) == [ids] * 20
    assert log.reads - before == len(ids)


async def test_there_is_no_such_channel(log: SlowLog) -> None:
    directory = directory_of(log)
    assert (await directory.known(OTHER))[0] == 0
    assert directory.get(OTHER) is None
    await do(log, group(OTHER))
    assert (await directory.known(OTHER))[1].owner_id == ANN


async def test_the_least_used_are_forgotten_and_those_in_use_never(log: SlowLog) -> None:
    ids = [UUID(int=0xC0 + number) for number in range(6)]
    directory = directory_of(log, in_use=frozenset(ids[:1]), kept_max=2)
    await do(log, *map(group, ids))
    for one in ids:
        await directory.known(one)
    assert directory.get(ids[0]) is not None
    assert sum(directory.get(one) is not None for one in ids) == 2


async def test_who_may_read_what_follows_grants_and_membership(log: SlowLog) -> None:
    directory = directory_of(log)
    await do(log, group(), CreateChannel(channel_id=OTHER, by=ann, type="standard", name="news"))
    assert await directory.readable(ben, [CHANNEL]) == []
    await do(log, add(BEN), ChangeChannel(channel_id=OTHER, by=ann, grants=[Grant("user", str(BEN), "read")]))
    assert await directory.readable(ben, [CHANNEL]) == [CHANNEL, OTHER]
    await do(log, RemoveMembers(channel_id=CHANNEL, by=ann, user_ids=[BEN]), ChangeChannel(channel_id=OTHER, by=ann, grants=[]))
    assert await directory.readable(ben, [CHANNEL]) == []
