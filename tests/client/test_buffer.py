"""What waits between the socket's reader and one consumer."""

import asyncio

import pytest

from stenograph_client.buffer import Buffer
from tests.client.world import WAIT_S

pytestmark = pytest.mark.anyio


async def full_buffer(items_max: int = 4) -> Buffer[int]:
    buffer = Buffer[int](items_max)
    for item in range(items_max):
        buffer.put(item)
    return buffer


async def test_there_is_room_once_it_is_half_empty() -> None:
    buffer = await full_buffer()
    waits = asyncio.ensure_future(buffer.room(WAIT_S))
    assert [await buffer.get(), await buffer.get()] == [0, 1]
    assert await waits


async def test_a_consumer_that_stands_still_makes_none() -> None:
    assert not await (await full_buffer()).room(0.0)


async def test_room_that_came_as_the_time_was_over_is_room() -> None:
    """The consumer has emptied it and waits: it would wait for ever if its stream were let go now."""
    buffer = await full_buffer()
    waits = asyncio.ensure_future(buffer.room(0.0))
    await asyncio.sleep(0)  # it waits
    await asyncio.sleep(0)  # its time is over, and it has not been told yet
    for _ in range(4):
        await buffer.get()
    assert await waits
