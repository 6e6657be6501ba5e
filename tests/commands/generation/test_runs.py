"""The runs of one process, and the ends that it writes for another's."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from commands.generation.run import CONTENT_BYTES_MAX
from commands.generation.runs import close_generation
from commands.ports import AppendRequest
from domain.chat.commands import RenameChat
from domain.generation import AppendParts, BlockOpened, GenerationCancelled, GenerationInterrupted, MessageDelta, MessageEnded
from domain.log.stream import chat_stream
from tests.commands.world import ME, SOMEBODY, FailingLog, World, until

pytestmark = pytest.mark.anyio


def end_of(log: FailingLog, chat_id: UUID) -> Any:
    return log.of(chat_id)[-1].data


async def said(world: World, text: str) -> Any:
    """A run of this process that has said ``text`` and waits for more."""
    run = await world.going()
    world.provider.say(text)
    await until(lambda: world.log.types(run.stream.id)[-1] == "message_delta" and world.provider.reading)
    return run


# -------------------------------------------------------------------------------------- closing what another process runs


async def test_the_end_that_is_written_from_outside_holds_the_newest_token() -> None:
    log = FailingLog()
    running, stopping = World(log), World(log)
    run = await said(running, "Hel")
    more = iter(["lo", " wor", "ld"])

    async def one_more_token(request: AppendRequest) -> None:
        if any(isinstance(event.data, GenerationCancelled) for event in request.appends[0].events) and (text := next(more, None)):
            log.before_append = None
            running.provider.say(text)
            await until(lambda: running.provider.reading and log.of(run.stream.id)[-1].data == MessageDelta(0, text))
            log.before_append = one_more_token

    log.before_append = one_more_token
    assert await stopping.runs.stop(run.stream, run.message_id, SOMEBODY.id)
    assert end_of(log, run.stream.id) == GenerationCancelled(SOMEBODY.id, "Hello world")
    running.provider.say("too late")
    await run.wait()
    assert log.types(run.stream.id)[-1] == "cancelled"


async def test_an_end_from_outside_holds_only_what_was_said_as_text_in_the_order_of_its_blocks() -> None:
    world = World()
    run = await world.started(await world.chat())
    parts = [BlockOpened(0, "reasoning"), BlockOpened(1, "text"), BlockOpened(2, "tool_call"), BlockOpened(3, "text")]
    said = [
        MessageDelta(3, "c"),
        MessageDelta(1, "a"),
        MessageDelta(0, "no"),
        MessageDelta(2, "{}"),
        MessageDelta(1, "b"),
        MessageDelta(3, "d"),
    ]
    await world.chats.handle(AppendParts(stream_id=run.stream.id, message_id=run.message_id, seq=0, parts=[*parts, *said]))
    assert await close_generation(world.chats, world.log.blobs, run.stream, run.message_id, GenerationInterrupted(world.node_id))
    assert end_of(world.log, run.stream.id) == GenerationInterrupted(world.node_id, "abcd")


async def test_an_end_from_outside_of_a_large_answer_is_by_reference() -> None:
    world = World()
    run = await world.started(await world.chat())
    parts: list[Any] = [BlockOpened(0, "text"), *[MessageDelta(0, "x" * 10_000)] * 14]
    await world.chats.handle(AppendParts(stream_id=run.stream.id, message_id=run.message_id, seq=0, parts=parts))
    assert await close_generation(world.chats, world.log.blobs, run.stream, run.message_id, GenerationCancelled(None))
    content = end_of(world.log, run.stream.id).content
    assert content["size_bytes"] == 140_000 > CONTENT_BYTES_MAX
    assert await world.log.blobs.get(chat_stream(run.stream.id), content["blob"]) == b"x" * 140_000


async def test_what_is_over_is_not_ended_again() -> None:
    world = World()
    run = await world.going()
    world.provider.end()
    await run.wait()
    assert not await world.runs.stop(run.stream, run.message_id, ME.id)
    assert not await World(world.log).runs.stop(run.stream, run.message_id, ME.id)
    assert not await close_generation(world.chats, world.log.blobs, run.stream, uuid4(), GenerationCancelled(None))
    assert not await close_generation(world.chats, world.log.blobs, chat_stream(uuid4()), uuid4(), GenerationCancelled(None))
    assert world.log.types(run.stream.id)[-1] == "message_end"


# ------------------------------------------------------------------------------------------------- the runs of a process


async def test_a_run_is_known_by_its_task_and_its_chat_until_it_is_over() -> None:
    world = World()
    run = await world.going()
    assert world.runs.get(run.task_id) is run
    assert world.runs.of_stream(run.stream) == world.runs.all() == [run]
    world.provider.end()
    await run.wait()
    await until(lambda: not len(world.runs))
    assert world.runs.get(run.task_id) is None
    assert world.runs.of_stream(run.stream) == world.runs.all() == []


async def test_a_stop_is_told_to_the_run_itself_and_returns_when_its_end_is_written() -> None:
    world = World()
    run = await world.going()
    world.provider.say("Hel")
    await until(lambda: world.log.types(run.stream.id)[-1] == "message_delta")
    assert await world.runs.stop(run.stream, run.message_id, ME.id)
    assert end_of(world.log, run.stream.id) == GenerationCancelled(ME.id, "Hel")


async def test_who_waits_for_a_stop_may_leave() -> None:
    world = World()
    run = await world.going()
    await until(lambda: world.provider.reading)
    held = asyncio.Event()

    async def hold(request: AppendRequest) -> None:
        await held.wait()

    world.log.before_append = hold
    stopping = asyncio.create_task(world.runs.stop(run.stream, run.message_id, ME.id))
    await until(lambda: world.log.appends == 3)
    stopping.cancel()
    await asyncio.wait([stopping])
    held.set()
    await run.wait()
    assert end_of(world.log, run.stream.id) == GenerationCancelled(ME.id, "")


async def test_a_server_that_goes_away_lets_finish_what_can_and_hands_over_the_rest() -> None:
    world = World()
    quick, slow = await world.going(), await World(world.log).going()
    world.runs.start(slow_run := await world.started(await world.chat(), provider := type(world.provider)()))
    await until(lambda: world.provider.reading and provider.reading)

    async def finish() -> None:
        world.provider.say("done")
        world.provider.end()

    await asyncio.gather(world.runs.drain(0.05), finish())
    assert isinstance(end_of(world.log, quick.stream.id), MessageEnded)
    assert end_of(world.log, slow_run.stream.id) == GenerationInterrupted(world.node_id, "")
    assert world.log.types(slow.stream.id)[-1] == "message_start"  # another node's
    late = await world.started(await world.chat())
    world.runs.start(late)
    await late.wait()
    assert end_of(world.log, late.stream.id) == GenerationInterrupted(world.node_id, "")


async def test_events_of_others_end_nothing_here() -> None:
    world = World()
    run = await world.going()
    await until(lambda: world.provider.reading)
    other = await World(world.log).going()
    await World(world.log).runs.stop(other.stream, other.message_id, ME.id)
    await world.chats.handle(RenameChat(chat_id=run.stream.id, by=ME.id, title="new"))
    for stored in world.log.events:
        world.runs.observe(stored)
    world.provider.say("still here")
    world.provider.end()
    await run.wait()
    assert end_of(world.log, run.stream.id).content == "still here"
