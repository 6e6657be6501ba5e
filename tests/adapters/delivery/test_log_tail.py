"""The tail delivers every committed event once and in order, whatever is lost, late, or said twice on the way to it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.delivery.log_tail import HELD_BATCHES_MAX, HOLE_S, LogTail
from domain.errors import LogUnavailable
from domain.log.event import StoredEvent
from domain.log.stream import chat_stream

pytestmark = pytest.mark.anyio

CHAT = chat_stream(UUID(int=1))
NEVER_S = 3600.0  # only bells wake it: what a poll would make up for shows


def event(position: int) -> StoredEvent:
    return StoredEvent(position, CHAT, position, "message_delta", None, None, b"{}", datetime(2026, 1, 1, tzinfo=UTC))


class Log:
    """The whole truth, and a tail of it. ``fails`` is how often reading it does not work."""

    def __init__(self) -> None:
        self.events: list[StoredEvent] = []
        self.delivered: list[StoredEvent] = []
        self.reads = 0
        self.fails = 0
        self.readable = asyncio.Event()
        self.readable.set()

    def commit(self, number: int) -> list[StoredEvent]:
        new = [event(len(self.events) + 1 + one) for one in range(number)]
        self.events += new
        return new

    async def read(self, after: int, limit: int) -> Sequence[StoredEvent]:
        self.reads += 1
        if self.fails > 0:
            self.fails -= 1
            raise LogUnavailable("away")
        page = self.events[after : after + limit]
        await self.readable.wait()
        return page

    @property
    def positions(self) -> list[int]:
        return [stored.position for stored in self.delivered]


@asynccontextmanager
async def tailing(log: Log, poll_s: float = NEVER_S) -> AsyncIterator[LogTail]:
    tail = LogTail(log.read, log.delivered.extend, poll_s=poll_s)
    await tail.start(len(log.events))
    try:
        yield tail
    finally:
        await tail.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110  # nothing tells of it: that is what is tested
            await asyncio.sleep(0.001)


async def test_our_own_commits_need_no_query() -> None:
    log = Log()
    async with tailing(log) as tail:
        tail.add_committed(log.commit(3))
        tail.add_committed(log.commit(2))
        assert log.positions == [1, 2, 3, 4, 5]
        assert log.reads == 0


async def test_of_a_hole_below_our_own_commit_only_the_hole_is_read() -> None:
    log, read = Log(), list[StoredEvent]()
    tail = LogTail(log.read, log.delivered.extend, deliver_foreign=read.extend, poll_s=NEVER_S)
    await tail.start(0)
    try:
        log.commit(3)  # another process
        tail.add_committed(log.commit(2))
        await tail.wait_for(5)
        assert [stored.position for stored in read] == [1, 2, 3]
        assert log.positions == [4, 5], "what is our own is in memory already"
        assert log.reads == 1
    finally:
        await tail.close()


async def test_what_another_process_announces_needs_no_query_and_fills_a_hole_below_our_own_commit() -> None:
    log, foreign = Log(), list[StoredEvent]()
    tail = LogTail(log.read, log.delivered.extend, deliver_foreign=foreign.extend, poll_s=NEVER_S)
    await tail.start(0)
    try:
        theirs, ours, later = log.commit(3), log.commit(2), log.commit(1)
        tail.add_committed(ours)
        tail.add_announced(later)
        assert tail.position == 0
        tail.add_announced(theirs)
        assert [stored.position for stored in foreign] == [1, 2, 3, 6]
        assert log.positions == [4, 5]
        await asyncio.sleep(3 * HOLE_S)
        assert log.reads == 0
    finally:
        await tail.close()


async def test_of_what_comes_twice_only_the_new_is_delivered() -> None:
    log = Log()
    async with tailing(log) as tail:
        theirs = log.commit(3)
        tail.add_announced(theirs[:2])
        tail.add_announced(theirs)
        tail.add_announced(theirs)
        assert log.positions == [1, 2, 3]
        assert log.reads == 0


async def test_a_hole_that_nothing_fills_is_read_without_a_bell() -> None:
    log = Log()
    async with tailing(log) as tail:
        log.commit(2)  # another process's, and its bell is lost
        tail.add_committed(log.commit(2))
        await until(lambda: tail.position == 4)
        assert log.positions == [1, 2, 3, 4]
        assert log.reads == 1


async def test_what_was_heard_of_above_a_hole_is_read_after_it() -> None:
    log = Log()
    async with tailing(log) as tail:
        log.commit(3)
        ours = log.commit(1)
        log.commit(2)
        tail.on_head(6)
        tail.add_committed(ours)
        await until(lambda: tail.position == 6)
        assert log.positions == [1, 2, 3, 4, 5, 6]


async def test_a_bell_brings_what_another_process_wrote() -> None:
    log = Log()
    async with tailing(log) as tail:
        log.commit(3)
        tail.on_head(3)
        await tail.wait_for(3)
        assert log.positions == [1, 2, 3]


async def test_a_lost_bell_costs_one_poll() -> None:
    log = Log()
    async with tailing(log, poll_s=0.005) as tail:
        log.commit(3)
        await until(lambda: tail.position == 3)
        assert log.positions == [1, 2, 3]


async def test_a_hole_below_our_own_commit_is_filled_before_it_is_delivered() -> None:
    log = Log()
    async with tailing(log) as tail:
        log.commit(2)  # another process's, and its bell is lost
        tail.add_committed(log.commit(2))
        assert log.positions == []
        await tail.wait_for(4)
        assert log.positions == [1, 2, 3, 4]
        assert tail.holes == 1


async def test_of_two_batches_in_flight_the_later_may_come_first_and_costs_no_query() -> None:
    log = Log()
    async with tailing(log) as tail:
        first, second, third = log.commit(2), log.commit(3), log.commit(1)
        tail.add_committed(second)
        assert log.positions == []
        tail.add_committed(first)
        assert log.positions == [1, 2, 3, 4, 5]
        tail.add_committed(third)
        await asyncio.sleep(3 * HOLE_S)  # it looks at the hole, and finds it filled
        assert log.positions == [1, 2, 3, 4, 5, 6]
        assert log.reads == 0


async def test_a_bell_that_rings_while_it_reads_is_heard() -> None:
    log = Log()
    async with tailing(log) as tail:
        log.commit(1)
        log.readable.clear()
        tail.on_head(1)
        await until(lambda: log.reads == 1)
        log.commit(1)  # the page that is being read does not hold it
        tail.on_head(2)
        log.readable.set()
        await until(lambda: tail.position == 2)
        assert log.positions == [1, 2]


async def test_what_was_read_from_the_log_is_not_delivered_again_by_its_own_process() -> None:
    log = Log()
    async with tailing(log) as tail:
        ours = log.commit(3)
        tail.on_head(3)  # somebody saw the commit before our own appender heard of it
        await tail.wait_for(3)
        tail.add_committed(ours)
        tail.add_committed(log.commit(1))
        await tail.wait_for(4)
        assert log.positions == [1, 2, 3, 4]


async def test_what_comes_while_it_reads_is_not_lost_or_doubled() -> None:
    log = Log()
    async with tailing(log) as tail:
        log.commit(1)
        log.readable.clear()
        tail.on_head(1)
        await until(lambda: log.reads > 0)
        tail.add_committed(log.commit(2))  # above the hole that is being read
        log.readable.set()
        await tail.wait_for(3)
        assert log.positions == [1, 2, 3]


async def test_a_log_that_is_away_is_asked_again() -> None:
    log = Log()
    log.fails = 2
    async with tailing(log) as tail:
        log.commit(2)
        tail.on_head(2)
        await tail.wait_for(2)
        assert log.positions == [1, 2]


async def test_more_commits_above_a_hole_than_it_holds_are_read_from_the_log() -> None:
    log = Log()
    async with tailing(log) as tail:
        log.commit(1)
        log.readable.clear()
        for _ in range(HELD_BATCHES_MAX + 10):
            tail.add_committed(log.commit(1))
        log.readable.set()
        await tail.wait_for(len(log.events))
        assert log.positions == list(range(1, HELD_BATCHES_MAX + 12))


async def test_it_begins_after_what_was_there() -> None:
    log = Log()
    log.commit(5)
    async with tailing(log) as tail:
        tail.add_committed(log.commit(1))
        assert log.positions == [6]


async def test_a_mistake_while_delivering_ends_nothing() -> None:
    log, broken = Log(), itertools.count()

    def deliver(events: Sequence[StoredEvent]) -> None:
        log.delivered.extend(events)
        if next(broken) == 0:
            raise ValueError("a bug")

    tail = LogTail(log.read, deliver, poll_s=0.005)
    await tail.start(0)
    tail.add_committed(log.commit(1))
    assert tail.stumbles == 1
    log.commit(1)
    await tail.wait_for(2)
    assert log.positions == [1, 2]
    await tail.close()


STEPS = ("ours", "theirs", "announced", "ring", "turn", "late", "later")


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(1, 3)), max_size=30))
@settings(deadline=None)
def test_whatever_is_lost_and_late_each_event_comes_once_and_in_order(steps: list[tuple[str, int]]) -> None:
    async def run() -> None:
        log = Log()
        late: list[list[StoredEvent]] = []
        announced: list[list[StoredEvent]] = []
        async with tailing(log) as tail:
            for step, number in steps:
                match step:
                    case "ours":
                        tail.add_committed(log.commit(number))
                    case "theirs":
                        log.commit(number)
                    case "announced":
                        tail.add_announced(log.commit(number))
                    case "later":  # the announcement is still on its way
                        announced.append(log.commit(number))
                    case "late":  # our own commit, of which we hear only after others have seen it
                        late.append(log.commit(number))
                    case "ring":
                        tail.on_head(len(log.events))
                    case _:
                        for _ in range(number):
                            await asyncio.sleep(0)
                if step == "turn" and late:
                    tail.add_committed(late.pop(0))
                if step == "turn" and announced:
                    tail.add_announced(announced.pop(0))
            for events in late:
                tail.add_committed(events)
            for events in announced:
                tail.add_announced(events)
            await tail.wait_for(len(log.events))
        assert log.positions == list(range(1, len(log.events) + 1))

    asyncio.run(run())
