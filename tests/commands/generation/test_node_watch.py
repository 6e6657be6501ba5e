"""The care for runs that no process runs any more. Time is a number that the test moves."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from commands.generation.node_watch import BEATS_PER_LEASE, GAP_BEATS_MAX, NodeWatch
from commands.ports import AppendRequest
from domain.errors import LogUnavailable
from domain.generation import GenerationInterrupted, MessageEnded
from tests.commands.generation.test_runs import end_of, said
from tests.commands.world import FailingLog, World, until

pytestmark = pytest.mark.anyio

LEASE_S = 5.0
BEAT_S = LEASE_S / BEATS_PER_LEASE


class Node:
    """A process with a node watch whose time the test moves."""

    def __init__(self, log: FailingLog) -> None:
        self.now_s = 1_000.0
        self.world = World(log)
        self.node_watch = NodeWatch(
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
        await self.node_watch.tick()

    async def ticks(self, seconds: float) -> None:
        for _ in range(round(seconds / BEAT_S)):
            await self.tick()


async def test_a_dead_node_is_buried_after_a_whole_lease_and_its_answers_are_closed_with_their_text() -> None:
    log = FailingLog()
    dead, alive = Node(log), Node(log)
    await dead.tick()
    run = await said(dead.world, "Hel")
    own = await said(alive.world, "mine")
    await alive.tick()
    await alive.ticks(LEASE_S)
    assert log.types(run.stream.id)[-1] == "message_delta"
    assert dead.id in await log.nodes.beats()
    await alive.tick()
    assert end_of(log, run.stream.id) == GenerationInterrupted(dead.id, "Hel")
    assert set(await log.nodes.beats()) == {alive.id}
    assert alive.node_watch.interrupted == 1
    assert log.types(own.stream.id)[-1] == "message_delta"
    await alive.ticks(LEASE_S * 3)
    assert log.types(run.stream.id).count("interrupted") == 1


async def test_a_node_that_beats_is_alive_however_slowly() -> None:
    log = FailingLog()
    slow, watching = Node(log), Node(log)
    await slow.tick()
    run = await said(slow.world, "Hel")
    for _ in range(5):
        await watching.ticks(LEASE_S)
        await slow.tick()
    assert log.types(run.stream.id)[-1] == "message_delta"
    assert watching.node_watch.interrupted == 0


async def test_a_stall_of_ones_own_writes_buries_nobody() -> None:
    log = FailingLog()
    other, watching = Node(log), Node(log)
    await other.tick()
    run = await said(other.world, "Hel")
    await watching.tick()
    await watching.ticks(LEASE_S / 2)
    await watching.tick(after_s=LEASE_S * 100)  # Postgres was away, or this process was stopped
    await other.tick()
    await watching.tick()
    assert log.types(run.stream.id)[-1] == "message_delta"
    assert watching.node_watch.interrupted == 0


async def test_a_stall_inside_ones_own_beat_buries_nobody() -> None:
    log = FailingLog()
    other, watching = Node(log), Node(log)
    await other.tick()
    run = await said(other.world, "Hel")
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
    run = await said(dead.world, "Hel")
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
    await gone.node_watch.close()
    assert set(await log.nodes.beats()) == {watching.id}
    await watching.ticks(LEASE_S * 2)
    assert watching.node_watch.interrupted == 0


async def test_a_node_that_still_runs_something_does_not_say_goodbye() -> None:
    log = FailingLog()
    node = Node(log)
    await node.tick()
    await said(node.world, "Hel")
    await node.node_watch.close()
    assert set(await log.nodes.beats()) == {node.id}


async def test_a_zombie_that_comes_back_finds_its_answer_over_and_stops() -> None:
    log = FailingLog()
    zombie, watching = Node(log), Node(log)
    await zombie.tick()
    run = await said(zombie.world, "Hel")
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
    late = await said(zombie.world, "again")
    zombie.world.provider.end()
    await late.wait()
    assert isinstance(end_of(log, late.stream.id), MessageEnded)


async def test_a_burial_that_was_broken_off_is_finished_at_the_next_look() -> None:
    log = FailingLog()
    dead, watching = Node(log), Node(log)
    await dead.tick()
    runs = [await said(dead.world, f"answer {number}") for number in range(3)]
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
    run = await said(dead.world, "Hel")
    for node in (one, two):
        await node.tick()
    for _ in range(BEATS_PER_LEASE):
        await asyncio.gather(one.tick(), two.tick())
    await asyncio.gather(one.tick(), two.tick())
    assert log.types(run.stream.id).count("interrupted") == 1
    assert one.node_watch.interrupted + two.node_watch.interrupted == 1


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


async def test_its_loop_outlives_whatever_goes_wrong_in_it() -> None:
    log = FailingLog()
    world = World(log)
    node_watch = NodeWatch(
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

    await node_watch.start()
    log.nodes.before_beat = failing
    await until(lambda: len(errors) == 4 and log.nodes._beats[world.node_id].beat > 6)
    await node_watch.close()
    assert await log.nodes.beats() == {}


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
