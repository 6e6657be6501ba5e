"""The runs of one process, and the care for those that nobody runs any more. Time is a number that the test moves."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from commands.generation.run import CONTENT_BYTES_MAX
from commands.generation.runs import BEATS_PER_LEASE, GAP_BEATS_MAX, NodeWatch, close_generation
from commands.ports import AppendRequest
from domain.chat.commands import RenameChat
from domain.errors import LogUnavailable
from domain.generation import AppendParts, BlockOpened, GenerationCancelled, GenerationInterrupted, MessageDelta, MessageEnded
from domain.log.stream import chat_stream
from tests.commands.world import ME, SOMEBODY, FailingLog, World, until

pytestmark = pytest.mark.anyio

LEASE_S = 5.0
BEAT_S = LEASE_S / BEATS_PER_LEASE


class Node:
    """A process with a keeper whose time the test moves."""

    def __init__(self, log: FailingLog) -> None:
        self.now_s = 1_000.0
        self.world = World(log)
        self.keeper = NodeWatch(
            log.nodes,
            log,
            log.blobs,
            {"chat": self.world.chats},
            self.world.runs,
            self.world.calls,
            self.world.relaying,
            self.world.node_id,
            lease_s=LEASE_S,
            clock=lambda: self.now_s,
        )

    @property
    def id(self) -> UUID:
        return self.world.node_id

    async def tick(self, after_s: float = BEAT_S) -> None:
        self.now_s += after_s
        await self.keeper.tick()

    async def ticks(self, seconds: float) -> None:
        for _ in range(round(seconds / BEAT_S)):
            await self.tick()


def end_of(log: FailingLog, chat_id: UUID) -> Any:
    return log.of(chat_id)[-1].data


async def said(node: Node, text: str) -> Any:
    """A run of this node that has said ``text`` and waits for more."""
    run = await node.world.going()
    node.world.provider.say(text)
    await until(lambda: node.world.log.types(run.stream.id)[-1] == "message_delta" and node.world.provider.reading)
    return run


# ------------------------------------------------------------------------------------------------------------ the keeper


async def test_a_dead_node_is_buried_after_a_whole_lease_and_its_answers_are_closed_with_their_text() -> None:
    log = FailingLog()
    dead, alive = Node(log), Node(log)
    await dead.tick()
    run = await said(dead, "Hel")
    own = await said(alive, "mine")
    await alive.tick()
    await alive.ticks(LEASE_S)
    assert log.types(run.stream.id)[-1] == "message_delta"
    assert dead.id in await log.nodes.beats()
    await alive.tick()
    assert end_of(log, run.stream.id) == GenerationInterrupted(dead.id, "Hel")
    assert set(await log.nodes.beats()) == {alive.id}
    assert alive.keeper.interrupted == 1
    assert log.types(own.stream.id)[-1] == "message_delta"
    await alive.ticks(LEASE_S * 3)
    assert log.types(run.stream.id).count("interrupted") == 1


async def test_a_node_that_beats_is_alive_however_slowly() -> None:
    log = FailingLog()
    slow, watching = Node(log), Node(log)
    await slow.tick()
    run = await said(slow, "Hel")
    for _ in range(5):
        await watching.ticks(LEASE_S)
        await slow.tick()
    assert log.types(run.stream.id)[-1] == "message_delta"
    assert watching.keeper.interrupted == 0


async def test_a_stall_of_ones_own_writes_buries_nobody() -> None:
    log = FailingLog()
    other, watching = Node(log), Node(log)
    await other.tick()
    run = await said(other, "Hel")
    await watching.tick()
    await watching.ticks(LEASE_S / 2)
    await watching.tick(after_s=LEASE_S * 100)  # Postgres was away, or this process was stopped
    await other.tick()
    await watching.tick()
    assert log.types(run.stream.id)[-1] == "message_delta"
    assert watching.keeper.interrupted == 0


async def test_a_stall_inside_ones_own_beat_buries_nobody() -> None:
    log = FailingLog()
    other, watching = Node(log), Node(log)
    await other.tick()
    run = await said(other, "Hel")
    await watching.tick()

    async def slowly() -> None:
        watching.now_s += LEASE_S * 2

    log.nodes.before_beat = slowly  # Postgres answers, after two leases
    await watching.tick()
    log.nodes.before_beat = None
    await other.tick()
    await watching.tick()
    assert log.types(run.stream.id)[-1] == "message_delta"


async def test_silence_counts_only_as_far_as_ones_own_beats_went_through() -> None:
    log = FailingLog()
    dead, watching = Node(log), Node(log)
    await dead.tick()
    run = await said(dead, "Hel")
    await watching.tick()
    ticks = 0
    while log.types(run.stream.id)[-1] != "interrupted":
        await watching.tick(after_s=LEASE_S * 10)
        ticks += 1
    assert ticks > BEATS_PER_LEASE / GAP_BEATS_MAX
    assert end_of(log, run.stream.id) == GenerationInterrupted(dead.id, "Hel")


async def test_a_node_that_said_goodbye_is_not_watched_any_more() -> None:
    log = FailingLog()
    gone, watching = Node(log), Node(log)
    await gone.tick()
    await watching.tick()
    await gone.keeper.close()
    assert set(await log.nodes.beats()) == {watching.id}
    await watching.ticks(LEASE_S * 2)
    assert watching.keeper.interrupted == 0


async def test_a_node_that_still_runs_something_does_not_say_goodbye() -> None:
    log = FailingLog()
    node = Node(log)
    await node.tick()
    await said(node, "Hel")
    await node.keeper.close()
    assert set(await log.nodes.beats()) == {node.id}


async def test_a_zombie_that_comes_back_finds_its_answer_over_and_stops() -> None:
    log = FailingLog()
    zombie, watching = Node(log), Node(log)
    await zombie.tick()
    run = await said(zombie, "Hel")
    await watching.tick()
    await watching.ticks(LEASE_S + BEAT_S)
    assert end_of(log, run.stream.id) == GenerationInterrupted(zombie.id, "Hel")
    zombie.world.provider.say("lo, says the zombie")
    await run.wait()
    assert log.types(run.stream.id)[-1] == "interrupted"
    assert zombie.world.provider.left == 1
    assert len(zombie.world.runs) == 0
    await zombie.tick()  # and lives on
    assert set(await log.nodes.beats()) == {zombie.id, watching.id}
    late = await said(zombie, "again")
    zombie.world.provider.end()
    await late.wait()
    assert isinstance(end_of(log, late.stream.id), MessageEnded)


async def test_a_burial_that_was_broken_off_is_finished_at_the_next_look() -> None:
    log = FailingLog()
    dead, watching = Node(log), Node(log)
    await dead.tick()
    runs = [await said(dead, f"answer {number}") for number in range(3)]
    await watching.tick()
    await watching.ticks(LEASE_S)
    left = 1

    async def fail_second(request: AppendRequest) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise LogUnavailable("silent")

    log.before_append = fail_second
    with pytest.raises(LogUnavailable):
        await watching.tick()
    assert dead.id in await log.nodes.beats()
    log.before_append = None
    await watching.tick()
    assert [end_of(log, run.stream.id) for run in runs] == [GenerationInterrupted(dead.id, f"answer {number}") for number in range(3)]
    assert set(await log.nodes.beats()) == {watching.id}


async def test_two_that_find_the_same_node_dead_close_its_answer_once() -> None:
    log = FailingLog()
    dead, one, two = Node(log), Node(log), Node(log)
    await dead.tick()
    run = await said(dead, "Hel")
    for node in (one, two):
        await node.tick()
    for _ in range(BEATS_PER_LEASE):
        await asyncio.gather(one.tick(), two.tick())
    await asyncio.gather(one.tick(), two.tick())
    assert log.types(run.stream.id).count("interrupted") == 1
    assert one.keeper.interrupted + two.keeper.interrupted == 1


async def test_what_others_started_is_not_closed_with_the_dead_nodes() -> None:
    log = FailingLog()
    dead, other, watching = Node(log), Node(log), Node(log)
    await dead.tick()
    chat_id = await dead.world.chat()
    run = await dead.world.going(chat_id)
    beside = await other.world.going(chat_id)
    await watching.tick()
    for _ in range(BEATS_PER_LEASE + 1):
        await other.tick()
        await watching.tick()
    ends = {event.message_id for event in log.of(chat_id) if isinstance(event.data, GenerationInterrupted)}
    assert ends == {run.message_id}
    assert beside.message_id in (await watching.world.chats.state(chat_id))[1].open_generations


async def test_the_keepers_loop_outlives_whatever_goes_wrong_in_it() -> None:
    log = FailingLog()
    world = World(log)
    keeper = NodeWatch(
        log.nodes,
        log,
        log.blobs,
        {"chat": world.chats},
        world.runs,
        world.calls,
        world.relaying,
        world.node_id,
        lease_s=0.005,
        clock=asyncio.get_running_loop().time,
    )
    errors: list[Exception] = []

    async def failing() -> None:
        if len(errors) < 4:
            errors.append(LogUnavailable("silent") if len(errors) % 2 else RuntimeError("a bug"))
            raise errors[-1]

    await keeper.start()
    log.nodes.before_beat = failing
    await until(lambda: len(errors) == 4 and log.nodes._beats[world.node_id].beat > 6)
    await keeper.close()
    assert await log.nodes.beats() == {}


# ------------------------------------------------------------------------------------------- above what everything stands


async def test_whatever_a_node_runs_was_started_above_the_position_it_beats_with() -> None:
    log = FailingLog()
    node, others = Node(log), World(log)

    async def floor() -> int:
        await node.tick()
        return (await log.nodes.beats())[node.id].open_since

    async def noise() -> None:
        await others.chat(listed=False)

    for _ in range(3):
        await noise()
    assert await floor() == await log.head() == 3
    run = await node.world.going()
    for _ in range(3):
        await noise()
    assert await floor() == run.started_position - 1
    node.world.provider.end()
    await run.wait()
    assert await floor() == await log.head()

    held = asyncio.Event()

    async def starts() -> Any:
        chat_id = await node.world.chat()
        with node.world.runs.starting():
            await held.wait()
            late = await node.world.started(chat_id)
            answered.set()
            await going.wait()
            node.world.runs.start(late)
        return late

    answered, going = asyncio.Event(), asyncio.Event()
    starting = asyncio.create_task(starts())
    await until(lambda: node.world.runs._starting)
    for _ in range(3):
        await noise()
    before = await floor()
    held.set()
    await answered.wait()  # in the log, but not yet known as a run
    for _ in range(3):
        await noise()
    between = await floor()
    going.set()
    late = await starting
    assert before < late.started_position
    assert between < late.started_position
    assert await floor() == late.started_position - 1
    found = await log.nodes.open_generations(since=between)
    assert [one.message_id for one in found] == [late.message_id]


# -------------------------------------------------------------------------------------- closing what another process runs


async def test_the_end_that_is_written_from_outside_holds_the_newest_token() -> None:
    log = FailingLog()
    running, stopping = Node(log), Node(log)
    run = await said(running, "Hel")
    more = iter(["lo", " wor", "ld"])

    async def one_more_token(request: AppendRequest) -> None:
        if any(isinstance(event.data, GenerationCancelled) for event in request.appends[0].events) and (text := next(more, None)):
            log.before_append = None
            running.world.provider.say(text)
            await until(lambda: running.world.provider.reading and log.of(run.stream.id)[-1].data == MessageDelta(0, text))
            log.before_append = one_more_token

    log.before_append = one_more_token
    assert await stopping.world.runs.stop(run.stream, run.message_id, SOMEBODY.id)
    assert end_of(log, run.stream.id) == GenerationCancelled(SOMEBODY.id, "Hello world")
    running.world.provider.say("too late")
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


async def test_a_run_is_known_by_its_task_its_message_and_its_chat_until_it_is_over() -> None:
    world = World()
    run = await world.going()
    assert world.runs.get(run.task_id) is run
    assert world.runs.of_stream(run.stream) == world.runs.all() == [run]
    assert world.runs.runs_message(run.message_id)
    world.provider.end()
    await run.wait()
    await until(lambda: not len(world.runs))
    assert world.runs.get(run.task_id) is None
    assert world.runs.of_stream(run.stream) == world.runs.all() == []
    assert not world.runs.runs_message(run.message_id)


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
