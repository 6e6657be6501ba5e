"""What a list waits for before it is read."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from adapters.memory.log import MemoryLog
from commands import positions
from commands.ports import AppendRequest, StreamAppend
from commands.positions import ListWaits
from domain.chat.facts import ChatCreated
from domain.errors import BadRequest, ProjectionBehind
from domain.log.event import Actor, Event
from domain.log.stream import chat_stream

pytestmark = pytest.mark.anyio

ADA, BOB = Actor(UUID(int=1), "Ada", "user"), Actor(UUID(int=2), "Bob", "user")


class Lists:
    """Lists that hold everything up to ``position``."""

    def __init__(self) -> None:
        self.position = 0
        self.asked: list[int] = []

    async def reached(self, position: int, timeout_s: float) -> bool:
        self.asked.append(position)
        try:
            async with asyncio.timeout(timeout_s):
                while self.position < position:  # noqa: ASYNC110  # the test moves it
                    await asyncio.sleep(0.001)
        except TimeoutError:
            return False
        return True


class World:
    def __init__(self) -> None:
        self.log = MemoryLog()
        self.lists = Lists()
        lists: Any = self.lists
        self.waits = ListWaits(lists, self.log)

    async def write(self, actor: Actor | None) -> int:
        stream = chat_stream(UUID(int=100 + await self.log.head()))
        appended = await self.log.append(AppendRequest([StreamAppend(stream, [Event(None, ChatCreated(ADA.id, "t"))], 0)], actor))
        for stored in await self.log.read(stream, limit=10):
            self.waits.observe(stored)
        return appended.position


async def test_a_list_waits_for_its_readers_own_events_and_for_nobody_elses() -> None:
    world = World()
    own = await world.write(ADA)
    await world.write(BOB)
    await world.write(None)
    listed = asyncio.create_task(world.waits.wait(ADA.id, None))
    await asyncio.sleep(0.01)
    assert not listed.done()
    world.lists.position = own
    assert await listed
    assert not await world.waits.wait(ADA.id, None), "what lists hold once costs nothing afterwards"
    assert world.lists.asked == [own]


async def test_what_is_written_while_a_list_waits_is_waited_for_by_the_next() -> None:
    world = World()
    first = await world.write(ADA)
    listed = asyncio.create_task(world.waits.wait(ADA.id, None))
    await asyncio.sleep(0.01)
    second = await world.write(ADA)
    world.lists.position = first
    assert await listed
    world.lists.position = second
    assert await world.waits.wait(ADA.id, None)
    assert world.lists.asked == [first, second]


async def test_a_late_list_is_shown_all_the_same_and_delays_one_request_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "OWN_EVENTS_WAIT_S", 0.01)
    world = World()
    await world.write(ADA)
    assert await world.waits.wait(ADA.id, None)
    assert not await world.waits.wait(ADA.id, None)


async def test_a_named_position_is_waited_for_and_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "AT_LEAST_WAIT_S", 0.01)
    world = World()
    position = await world.write(BOB)
    with pytest.raises(BadRequest, match=f"up to {position}"):
        await world.waits.wait(ADA.id, position + 1)
    with pytest.raises(ProjectionBehind):
        await world.waits.wait(ADA.id, position)
    world.lists.position = position
    assert await world.waits.wait(ADA.id, position)


async def test_the_writers_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "WRITERS_KEPT", 2)
    world = World()
    for number in range(5):
        await world.write(Actor(UUID(int=number), "x", "user"))
    assert list(world.waits._written) == [UUID(int=3), UUID(int=4)]
