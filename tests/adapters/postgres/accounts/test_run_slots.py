"""The contract of ``RunSlots``, on both adapters."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from adapters.memory.log import MemoryLog
from adapters.postgres.log.log import PostgresLog, postgres_log
from commands.ports import AppendRequest, NodeBeat, RunSlots, StreamAppend
from domain.chat.facts import ChatCreated
from domain.generation import GenerationCancelled, MessageStarted
from domain.log.event import Event
from domain.log.stream import chat_stream
from tests.stores import nodes_of, run_slots_of

pytestmark = pytest.mark.anyio
ME, OTHER = UUID(int=1), UUID(int=2)
NODE, OTHER_NODE = UUID(int=3), UUID(int=4)
CHAT = UUID(int=5)


class World:
    def __init__(self, log: MemoryLog | PostgresLog, slots: RunSlots) -> None:
        self.log = log
        self.slots = slots
        self.version = 0

    async def append(self, *events: Event[object]) -> None:
        await self.log.append(AppendRequest([StreamAppend(chat_stream(CHAT), events, self.version)]))
        self.version += len(events)

    async def take(self, count: int, *, runs_max: int = 3, user_id: UUID = ME, node_id: UUID = NODE) -> dict[UUID, UUID] | int:
        """The messages by task, or how many are held already."""
        wanted = {uuid4(): uuid4() for _ in range(count)}
        held = await self.slots.take(user_id, node_id, CHAT, wanted, runs_max=runs_max)
        return wanted if held is None else held


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    log = MemoryLog() if request.param == "memory" else postgres_log(str(request.getfixturevalue("database")))
    await log.start()
    for node_id in (NODE, OTHER_NODE):
        await nodes_of(log).beat(node_id, NodeBeat(1, 0))
    made = World(log, run_slots_of(log))
    await made.append(Event(None, ChatCreated(ME, "a chat")))
    yield made
    await log.close()


async def test_all_slots_are_taken_or_none(world: World) -> None:
    assert isinstance(await world.take(2), dict)
    assert await world.take(2) == 2
    assert await world.slots.count(ME) == 2
    assert isinstance(await world.take(1), dict)
    assert await world.slots.count(ME) == 3


async def test_of_many_who_ask_at_once_no_more_than_may_are_taken(world: World) -> None:
    taken = await asyncio.gather(*(world.take(1, node_id=node_id) for node_id in (NODE, OTHER_NODE) * 10))
    assert sum(isinstance(one, dict) for one in taken) == 3
    assert await world.slots.count(ME) == 3


async def test_another_accounts_slots_do_not_count(world: World) -> None:
    assert isinstance(await world.take(3, user_id=OTHER), dict)
    assert isinstance(await world.take(3), dict)


async def test_the_end_of_a_generation_in_the_log_frees_its_slot(world: World) -> None:
    taken = await world.take(3)
    assert isinstance(taken, dict)
    first = next(iter(taken.values()))
    await world.append(Event(first, MessageStarted(None, "demo", "demo", uuid4(), NODE)))
    assert await world.take(1) == 3
    await world.append(Event(first, GenerationCancelled(None)))
    assert await world.slots.count(ME) == 2
    assert isinstance(await world.take(1), dict)
    assert await world.take(1) == 3


async def test_a_node_that_is_gone_holds_no_slots(world: World) -> None:
    assert isinstance(await world.take(3, node_id=OTHER_NODE), dict)
    await nodes_of(world.log).leave(OTHER_NODE)
    assert await world.slots.count(ME) == 0
    assert isinstance(await world.take(3), dict)


async def test_a_repeated_request_takes_no_more(world: World) -> None:
    wanted = {uuid4(): uuid4() for _ in range(3)}
    for _ in range(2):
        assert await world.slots.take(ME, NODE, CHAT, wanted, runs_max=3) is None
    assert await world.slots.count(ME) == 3


async def test_slots_that_were_given_back_are_free(world: World) -> None:
    taken = await world.take(3)
    assert isinstance(taken, dict)
    await world.slots.give_back(list(taken)[:2])
    assert await world.slots.count(ME) == 1
    await world.slots.give_back(list(taken)[:2])
    assert isinstance(await world.take(2), dict)
