"""The contract of ``Outgoing``, on both adapters."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from adapters.memory.log import MemoryLog
from adapters.memory.outgoing_webhooks import MemoryOutgoing
from adapters.postgres.log.log import PostgresLog, postgres_log
from adapters.postgres.processes.outgoing_webhooks import PostgresOutgoing
from commands.channels.outgoing import Outgoing
from commands.ports import ANY, AppendRequest, StreamAppend
from domain.channel.facts import ChannelArchived
from domain.log.event import Event
from domain.log.stream import channel_stream

pytestmark = pytest.mark.anyio
NODE, OTHER = UUID(int=1), UUID(int=2)
CHANNEL, HOOK = UUID(int=3), UUID(int=4)
LEASE_S = 600.0


class World:
    def __init__(self, log: MemoryLog | PostgresLog) -> None:
        self.log = log
        self.outgoing: Outgoing = PostgresOutgoing(log.reader) if isinstance(log, PostgresLog) else MemoryOutgoing(log)

    async def append(self, count: int = 1, channel_id: UUID = CHANNEL) -> None:
        for _ in range(count):
            await self.log.append(AppendRequest([StreamAppend(channel_stream(channel_id), [Event(None, ChannelArchived())], ANY)]))

    async def taken(self, node_id: UUID = NODE, limit: int = 10) -> list[tuple[UUID, int, int]]:
        return [(one.webhook_id, one.sent_version, one.failures) for one in await self.outgoing.take(node_id, LEASE_S, limit)]


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    log = MemoryLog() if request.param == "memory" else postgres_log(str(request.getfixturevalue("database")))
    await log.start()
    made = World(log)
    await made.append(3)
    yield made
    await log.close()


async def test_what_has_something_to_send_is_taken_by_one_node(world: World) -> None:
    await world.outgoing.add(HOOK, CHANNEL, b"{}", 2)
    await world.outgoing.add(HOOK, CHANNEL, b"other", 0)  # safe to repeat: the first counts
    await world.outgoing.add(uuid4(), CHANNEL, b"{}", 3)  # has everything
    assert await world.outgoing.channels() == {CHANNEL}
    [due] = await world.outgoing.take(NODE, LEASE_S, 10)
    assert (due.webhook_id, due.channel_id, due.secrets, due.sent_version, due.failures) == (HOOK, CHANNEL, b"{}", 2, 0)
    assert await world.taken() == await world.taken(OTHER) == []


async def test_what_was_sent_is_not_taken_again(world: World) -> None:
    await world.outgoing.add(HOOK, CHANNEL, b"{}", 0)
    assert await world.taken() == [(HOOK, 0, 0)]
    assert await world.outgoing.note_sent(HOOK, NODE, 1, 1, LEASE_S)
    assert await world.taken(OTHER) == []
    assert not await world.outgoing.note_sent(HOOK, OTHER, 3, 1, LEASE_S)
    assert await world.outgoing.note_sent(HOOK, NODE, 3, 1, 0.0)
    assert await world.taken(OTHER) == []
    await world.append()
    assert await world.taken(OTHER) == [(HOOK, 3, 0)]
    assert not await world.outgoing.note_sent(HOOK, NODE, 4, 1, LEASE_S)  # it is the other's now
    state = (await world.outgoing.states([HOOK, uuid4()]))[HOOK]
    assert (state.sent_version, state.sent, state.failures, state.failure) == (3, 2, 0, None)
    assert state.sent_at is not None


async def test_what_was_not_taken_is_due_later_and_at_the_same_place(world: World) -> None:
    await world.outgoing.add(HOOK, CHANNEL, b"{}", 0)
    await world.taken()
    await world.outgoing.note_failure(HOOK, NODE, "status 500", 600.0)
    assert await world.taken(OTHER) == []
    assert (await world.outgoing.states([HOOK]))[HOOK].failure == "status 500"
    await world.outgoing.note_failure(HOOK, NODE, "again", 0.0)
    assert await world.taken(OTHER) == [(HOOK, 0, 2)]
    await world.outgoing.note_failure(HOOK, NODE, "of a node that does not hold it", 600.0)
    assert await world.outgoing.note_sent(HOOK, OTHER, 1, 1, 0.0)
    assert (await world.outgoing.states([HOOK]))[HOOK].failures == 0


async def test_a_lease_that_is_over_lets_another_node_go_on(world: World) -> None:
    await world.outgoing.add(HOOK, CHANNEL, b"{}", 0)
    assert [one.webhook_id for one in await world.outgoing.take(NODE, 0.0, 10)] == [HOOK]
    assert await world.taken(OTHER) == [(HOOK, 0, 0)]
    assert not await world.outgoing.note_sent(HOOK, NODE, 1, 1, LEASE_S)


async def test_at_most_so_many_are_taken_and_what_is_removed_is_not(world: World) -> None:
    hooks = [uuid4() for _ in range(3)]
    for one in hooks:
        await world.outgoing.add(one, CHANNEL, b"{}", 0)
    first = await world.taken(limit=2)
    assert len(first) == 2
    left = {one for one in hooks if one not in {taken for taken, _, _ in first}}
    await world.outgoing.remove(left.pop())
    assert await world.taken() == []
