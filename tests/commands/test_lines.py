"""Commands of one stream that are on their way together: what each is decided on, and what becomes of those behind one that is lost."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from adapters.memory.log import MemoryLog
from commands.ports import ANY, Appended, AppendRequest, CommandKey, StreamAppend
from domain.errors import BadRequest, LogUnavailable
from domain.log.event import Event
from tests.commands.test_aggregate import ID, STREAM, Rename, Titles, aggregate, titled, titles
from tests.commands.world import FailingLog, until

pytestmark = pytest.mark.anyio


class Gate:
    """Holds every append of ``log`` until it is opened."""

    def __init__(self, log: FailingLog) -> None:
        self.opened = asyncio.Event()
        log.before_append = self._hold

    async def _hold(self, _: AppendRequest) -> None:
        await self.opened.wait()


async def test_a_command_is_decided_on_what_those_before_it_will_make() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"))
    gate, renames = Gate(log), [Rename("b"), Rename("c"), Rename("d")]
    handled = [asyncio.create_task(known.handle(ID, rename)) for rename in renames]
    await until(lambda: log.appends == 4)  # none waits for the commit of another
    gate.opened.set()
    assert [list((await one).versions) for one in handled] == [[2], [3], [4]]
    assert [rename.shown for rename in renames] == [[("a",)], [("a", "b")], [("a", "b", "c")]]
    assert titles(log) == ["a", "b", "c", "d"]
    assert await known.state(ID, fresh=False) == (4, Titles(("a", "b", "c", "d")))


async def test_readers_are_shown_nothing_that_is_not_committed() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"))
    gate = Gate(log)
    handled = [asyncio.create_task(known.handle(ID, Rename(title))) for title in "bc"]
    await until(lambda: log.appends == 3)
    assert [await known.state(ID, fresh=fresh) for fresh in (True, False)] == [(1, Titles(("a",)))] * 2
    gate.opened.set()
    await asyncio.gather(*handled)


async def test_where_another_process_comes_first_all_that_are_on_their_way_are_decided_again_and_done_once() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"))
    gate, renames = Gate(log), [Rename(title) for title in "bcdef"]
    handled = [asyncio.create_task(known.handle(ID, rename)) for rename in renames]
    await until(lambda: log.appends == 6)
    await MemoryLog.append(log, AppendRequest(appends=[StreamAppend(STREAM, titled("x"), ANY)]))
    gate.opened.set()
    await asyncio.gather(*handled)
    assert titles(log)[:2] == ["a", "x"]
    assert sorted(titles(log)[2:]) == ["b", "c", "d", "e", "f"]
    assert log.appends <= 6 + 5  # once more each: they do not race each other again
    assert all("x" in rename.shown[-1] for rename in renames)


async def test_what_is_behind_a_failure_is_decided_again_without_it() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"))
    opened = asyncio.Event()

    async def refuse_the_first(request: AppendRequest) -> None:
        await opened.wait()
        if request.appends[0].events[0].data.title == "b":
            raise LogUnavailable("not written")

    log.before_append = refuse_the_first
    failing, behind = (asyncio.create_task(known.handle(ID, Rename(title))) for title in "bc")
    await until(lambda: log.appends == 3)
    opened.set()
    with pytest.raises(LogUnavailable):
        await failing
    assert list((await behind).versions) == [2]
    assert titles(log) == ["a", "c"]


@pytest.mark.parametrize("is_written", [True, False])
async def test_a_no_because_of_what_is_on_its_way_waits_for_what_becomes_of_that(*, is_written: bool) -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"))
    opened = asyncio.Event()

    async def hold(request: AppendRequest) -> None:
        if request.appends[0].events[0].data.title == "closed":
            await opened.wait()
            if not is_written:
                raise LogUnavailable("not written")

    log.before_append = hold
    closing = asyncio.create_task(known.handle(ID, Rename("closed")))
    await until(lambda: log.appends == 2)
    behind = asyncio.create_task(known.handle(ID, Rename("b")))
    await asyncio.sleep(0.01)
    assert not behind.done()
    opened.set()
    _, outcome = await asyncio.gather(closing, behind, return_exceptions=True)
    assert isinstance(outcome, BadRequest if is_written else Appended)
    assert titles(log) == ["a", "closed" if is_written else "b"]


async def test_a_command_repeated_while_it_is_on_its_way_gets_its_answer() -> None:
    log = FailingLog()
    known = aggregate(log)
    key = CommandKey(ID, "k", b"h")
    gate = Gate(log)
    first = asyncio.create_task(known.handle(ID, Rename("a"), command=key))
    await until(lambda: log.appends == 1)
    again = asyncio.create_task(known.handle(ID, Rename("a"), command=key))
    await asyncio.sleep(0.01)
    gate.opened.set()
    assert list((await first).versions) == list((await again).versions) == [1]
    assert (await again).repeated
    assert titles(log) == ["a"]


@pytest.mark.parametrize("is_written", [True, False])
async def test_a_no_to_what_concerns_other_streams_waits_for_it_too(*, is_written: bool) -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"))
    opened = asyncio.Event()

    async def hold(request: AppendRequest) -> None:
        if request.appends[0].events[0].data.title == "b":
            await opened.wait()
            if not is_written:
                raise LogUnavailable("not written")

    def also(state: Titles, _: int) -> Sequence[StreamAppend]:
        if "b" in state.titles:
            raise ValueError("b is there")  # any "no", of whatever kind
        return ()

    log.before_append = hold
    first = asyncio.create_task(known.handle(ID, Rename("b")))
    await until(lambda: log.appends == 2)
    behind = asyncio.create_task(known.handle(ID, Rename("c"), also=also))
    await asyncio.sleep(0.01)
    assert not behind.done()
    opened.set()
    _, outcome = await asyncio.gather(first, behind, return_exceptions=True)
    assert isinstance(outcome, ValueError if is_written else Appended)


async def test_a_repeated_command_that_lost_its_race_to_its_own_repetition_gets_its_answer() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"))
    gate, key = Gate(log), CommandKey(ID, "k", b"h")

    def only_once(state: Titles) -> Sequence[Event[Any]]:
        if "b" in state.titles:
            raise BadRequest("b is there")
        return titled("b")

    first = asyncio.create_task(known.handle(ID, only_once, command=key))
    await until(lambda: log.appends == 2)
    again = asyncio.create_task(known.handle(ID, only_once, command=key))
    await asyncio.sleep(0.01)
    await MemoryLog.append(log, AppendRequest(appends=[StreamAppend(STREAM, titled("x"), ANY)]))
    gate.opened.set()
    assert [list((await one).versions) for one in (first, again)] == [[3], [3]]
    assert titles(log) == ["a", "x", "b"]


async def test_those_behind_a_failure_are_on_their_way_together_again() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"))
    gate = Gate(log)
    handled = [asyncio.create_task(known.handle(ID, Rename(str(number)))) for number in range(20)]
    await until(lambda: log.appends == 21)
    await MemoryLog.append(log, AppendRequest(appends=[StreamAppend(STREAM, titled("x"), ANY)]))
    gate.opened.set()
    second = Gate(log)
    await until(lambda: log.appends == 41)  # all of them, while the first of them waits for its commit
    second.opened.set()
    await asyncio.gather(*handled)
    assert sorted(titles(log)) == sorted(["a", "x", *(str(number) for number in range(20))])


async def test_to_be_behind_a_caller_that_was_cancelled_is_no_lost_race() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"))
    gate = Gate(log)
    leaving, *staying = [asyncio.create_task(known.handle(ID, Rename(title), attempts_max=1)) for title in "bcde"]
    await until(lambda: log.appends == 5)
    leaving.cancel()
    await asyncio.wait([leaving])
    gate.opened.set()
    await asyncio.gather(*staying)
    assert sorted(titles(log)) == ["a", "c", "d", "e"]


async def test_a_write_in_a_line_that_broke_is_folded_from_the_log() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"))

    async def break_the_line(request: AppendRequest) -> None:
        assert request.line is not None
        request.line.broken = True  # what was before it may not be what it was decided on

    log.after_append = break_the_line
    reads = log.reads
    await known.handle(ID, Rename("b"))
    assert log.reads == reads + 1
    assert await known.state(ID, fresh=False) == (2, Titles(("a", "b")))
