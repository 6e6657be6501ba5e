"""Read, decide, append: what a kept fold may do, and what it may not."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from commands.aggregate import ATTEMPTS_MAX, Aggregate
from commands.ports import ANY, EXISTS, AppendRequest, Claim, CommandKey, StreamAppend
from domain.accounts.user.evolve import evolve as evolve_account
from domain.accounts.user.facts import USER_TYPES
from domain.accounts.user.state import NO_ACCOUNT
from domain.channel import own
from domain.channel.own import NO_CHANNELS
from domain.chat.facts import ChatRenamed, ChatTagged
from domain.errors import BadRequest, ClaimTaken, CommandMismatch, ConcurrencyConflict, LogUnavailable, Refusal, TooManyLostRaces
from domain.generation import MessageDelta, MessageStarted
from domain.log.codec import TYPES
from domain.log.event import Event, Verbatim
from domain.log.stream import chat_stream, user_stream
from domain.routing.function import NO_USER_VALVES, USER_VALVES_TYPES, evolve_user_valves
from tests.commands.world import FailingLog, until
from tests.domain.golden import sample

pytestmark = pytest.mark.anyio

ID = UUID(int=0xC1)
STREAM = chat_stream(ID)


class Titles(msgspec.Struct, frozen=True):
    """The state of these tests: every title there was."""

    titles: tuple[str, ...] = ()


def evolve(state: Titles, event: Event[Any], version: int) -> Titles:
    return Titles((*state.titles, event.data.title)) if isinstance(event.data, ChatRenamed) else state


def aggregate(log: FailingLog, **more: Any) -> Aggregate[Titles]:
    return Aggregate(log, "chat", Titles(), evolve, **more)


def titled(title: str) -> list[Event[Any]]:
    return [Event(None, ChatRenamed(title))]


class Rename:
    """Decides on a new title, once. Refuses "taken"; keeps what it was shown."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.shown: list[tuple[str, ...]] = []

    def __call__(self, state: Titles) -> Sequence[Event[Any]]:
        self.shown.append(state.titles)
        if self.title in state.titles:
            return []
        if "closed" in state.titles and "open" not in state.titles[state.titles.index("closed") :]:
            raise BadRequest("closed")
        return titled(self.title)


async def others(log: FailingLog, *titles: str) -> None:
    """What another process writes."""
    for title in titles:
        await log.append(AppendRequest(appends=[StreamAppend(STREAM, titled(title), ANY)]))


def titles(log: FailingLog) -> list[str]:
    return [event.data.title for event in log.of(ID)]


async def test_a_command_on_a_new_stream_is_its_first_event() -> None:
    log = FailingLog()
    appended = await aggregate(log).handle(ID, Rename("a"))
    assert (list(appended.versions), titles(log)) == ([1], ["a"])


async def test_a_kept_fold_is_not_read_again() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"))
    reads = log.reads
    for title in "bcd":
        await known.handle(ID, Rename(title))
    assert log.reads == reads
    assert await known.state(ID, fresh=False) == (4, Titles(("a", "b", "c", "d")))


async def test_a_stale_fold_is_caught_by_the_version_and_decided_again() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"))
    await others(log, "theirs", "and more")
    decide = Rename("b")
    appended = await known.handle(ID, decide)
    assert decide.shown == [("a",), ("a", "theirs", "and more")]
    assert (list(appended.versions), titles(log)) == ([4], ["a", "theirs", "and more", "b"])


async def test_a_no_that_came_from_a_stale_fold_is_decided_again() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("closed"))
    await others(log, "open")
    await known.handle(ID, Rename("b"))
    assert titles(log) == ["closed", "open", "b"]


async def test_a_no_that_is_still_no_is_raised() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("closed"))
    decide = Rename("b")
    with pytest.raises(BadRequest):
        await known.handle(ID, decide)
    assert len(decide.shown) == 2
    assert titles(log) == ["closed"]


async def test_an_already_so_that_came_from_a_stale_fold_is_decided_again() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"))
    await others(log, "b")

    def back_to_a(state: Titles) -> Sequence[Event[Any]]:
        return [] if state.titles[-1] == "a" else titled("a")

    await known.handle(ID, back_to_a)
    assert titles(log) == ["a", "b", "a"]


async def test_what_is_already_so_writes_nothing_and_says_where_the_stream_is() -> None:
    log = FailingLog()
    known = aggregate(log)
    await others(log, "a", "b")
    appends = log.appends
    appended = await known.handle(ID, Rename("a"))
    assert (list(appended.versions), appended.position, appended.at) == ([2], 2, None)
    assert log.appends == appends


async def test_a_race_is_lost_a_bounded_number_of_times() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"))
    racing = False

    async def overtake(request: AppendRequest) -> None:
        nonlocal racing
        if not racing:
            racing = True
            await others(log, f"theirs {uuid4()}")
            racing = False

    log.before_append = overtake
    decide = Rename("b")
    with pytest.raises(TooManyLostRaces):
        await known.handle(ID, decide)
    assert len(decide.shown) == ATTEMPTS_MAX
    with pytest.raises(TooManyLostRaces):
        await known.handle(ID, Rename("b"), attempts_max=1)
    assert "b" not in titles(log)


async def test_without_a_bound_a_race_is_run_until_it_is_won_or_there_is_nothing_left_to_say() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"))
    left = ATTEMPTS_MAX * 2

    async def overtake(request: AppendRequest) -> None:
        nonlocal left
        if left:
            left -= 1
            log.before_append = None
            await others(log, f"theirs {left}")
            log.before_append = overtake

    log.before_append = overtake
    await known.handle(ID, Rename("b"), attempts_max=None)
    assert titles(log)[-1] == "b"
    left = ATTEMPTS_MAX * 2

    def until_half(state: Titles) -> Sequence[Event[Any]]:
        if f"theirs {ATTEMPTS_MAX}" in state.titles[state.titles.index("b") :]:
            raise BadRequest("there is nothing left to say")
        return titled("c")

    with pytest.raises(BadRequest):
        await known.handle(ID, until_half, attempts_max=None)


async def test_writers_of_one_process_never_race_each_other() -> None:
    log = FailingLog()
    known = aggregate(log)
    await asyncio.gather(*(known.handle(ID, Rename(str(number))) for number in range(50)))
    assert log.appends == 50
    assert titles(log) == [str(number) for number in range(50)]


async def test_a_reader_that_refreshes_while_a_writer_waits_for_its_commit_folds_nothing_twice() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"))
    read = asyncio.Event()

    async def hold(request: AppendRequest) -> None:
        await read.wait()

    log.after_append = hold  # committed, but not answered yet
    writing = asyncio.create_task(known.handle(ID, Rename("b")))
    await until(lambda: len(titles(log)) == 2)
    assert await known.state(ID) == (2, Titles(("a", "b")))
    read.set()
    await writing
    assert await known.state(ID, fresh=False) == (2, Titles(("a", "b")))


async def test_after_an_outcome_that_nobody_knows_the_fold_is_what_the_log_says() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"))

    async def lose_the_answer(request: AppendRequest) -> None:
        log.after_append = None
        raise LogUnavailable("silent")

    log.after_append = lose_the_answer
    with pytest.raises(LogUnavailable):
        await known.handle(ID, Rename("b"))
    appended = await known.handle(ID, Rename("b"))  # written before: already so
    assert list(appended.versions) == [2]
    assert titles(log) == ["a", "b"]


async def test_a_caller_that_is_cancelled_leaves_the_stream_usable() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"))
    released = asyncio.Event()

    async def hold(request: AppendRequest) -> None:
        await released.wait()

    log.before_append = hold
    leaving = asyncio.create_task(known.handle(ID, Rename("b")))
    staying = asyncio.create_task(known.handle(ID, Rename("c")))
    await until(lambda: log.appends == 3)
    leaving.cancel()
    released.set()
    await asyncio.wait([leaving])
    await staying
    assert titles(log) == ["a", "c"]


# --------------------------------------------------------------------------------------------------------- what is kept


async def test_only_so_many_streams_are_kept_the_ones_used_last() -> None:
    log = FailingLog()
    known = aggregate(log, kept_max=3)
    ids = [UUID(int=number) for number in range(1, 6)]
    for stream_id in ids:
        await known.handle(stream_id, Rename("a"))
    await known.handle(ids[2], Rename("b"))
    await known.handle(UUID(int=9), Rename("a"))
    reads = log.reads
    for stream_id in (ids[2], ids[4]):
        await known.state(stream_id, fresh=False)
    assert log.reads == reads
    assert await known.state(ids[0], fresh=False) == (1, Titles(("a",)))
    assert log.reads == reads + 1


async def test_a_stream_in_use_is_not_let_go() -> None:
    log = FailingLog()
    known = aggregate(log, kept_max=2)
    await known.handle(ID, Rename("a"))
    released = asyncio.Event()

    async def hold(request: AppendRequest) -> None:
        if request.appends[0].stream == STREAM:
            await released.wait()

    log.before_append = hold
    first = asyncio.create_task(known.handle(ID, Rename("b")))
    await until(lambda: log.appends == 2)
    for number in range(1, 10):
        await known.handle(UUID(int=number), Rename("x"))
    second = asyncio.create_task(known.handle(ID, Rename("c")))
    await until(lambda: log.appends == 12)
    released.set()
    await asyncio.gather(first, second)
    assert titles(log) == ["a", "b", "c"]
    assert log.appends == 12  # and no race between the two


async def test_a_cold_fold_counts_the_tokens_of_what_is_open_and_no_others() -> None:
    log = FailingLog()
    message, start = UUID(int=1), MessageStarted(None, "m", "m", ID, ID)
    events: list[Event[Any]] = [
        *titled("a"),
        Event(message, start),
        *[Event(message, MessageDelta(0, "x"))] * 3,
        *titled("b"),
        Event(UUID(int=2), start),
        Event(UUID(int=2), MessageDelta(0, "y")),
    ]
    await log.append(AppendRequest(appends=[StreamAppend(STREAM, events, 0)]))
    seen: list[int] = []

    def counting(state: Titles, event: Event[Any], version: int) -> Titles:
        if isinstance(event.data, MessageDelta):
            seen.append(version)
        return evolve(state, event, version)

    known = Aggregate(log, "chat", Titles(), counting, open_messages=lambda _: [(message, 2)])
    assert await known.state(ID) == (8, Titles(("a", "b")))
    assert seen == [3, 4, 5]


async def test_the_id_of_another_kind_of_stream_is_nothing_here() -> None:
    log = FailingLog()
    await log.append(AppendRequest(appends=[StreamAppend(user_stream(ID), titled("theirs"), 0)]))
    known = aggregate(log)
    assert await known.state(ID) == (0, Titles())
    with pytest.raises(Refusal):
        await known.handle(ID, Rename("mine"))


# ------------------------------------------------------------------------------------------------- conditional commands


async def test_a_conditional_command_is_done_at_its_version() -> None:
    log = FailingLog()
    known = aggregate(log)
    await others(log, "a", "b")
    appended = await known.handle(ID, Rename("c"), expected_version=2)
    assert list(appended.versions) == [3]


async def test_a_condition_is_judged_by_the_log_not_by_a_stale_fold() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"))
    await others(log, "b")
    await known.handle(ID, Rename("c"), expected_version=2)
    assert titles(log) == ["a", "b", "c"]


@pytest.mark.parametrize("expected", [0, 1, 3])
async def test_elsewhere_it_is_a_conflict_that_names_both_versions(expected: int) -> None:
    log = FailingLog()
    known = aggregate(log)
    await others(log, "a", "b")
    decide = Rename("c")
    with pytest.raises(ConcurrencyConflict) as raised:
        await known.handle(ID, decide, expected_version=expected)
    assert (raised.value.expected, raised.value.current) == (expected, 2)
    assert decide.shown == []


async def test_who_loses_the_race_for_a_version_is_told_so() -> None:
    log = FailingLog()
    known = aggregate(log)
    await others(log, "a")

    async def overtake(request: AppendRequest) -> None:
        log.before_append = None
        await others(log, "theirs")

    log.before_append = overtake
    with pytest.raises(ConcurrencyConflict) as raised:
        await known.handle(ID, Rename("b"), expected_version=1)
    assert (raised.value.expected, raised.value.current) == (1, 2)
    assert titles(log) == ["a", "theirs"]


# ---------------------------------------------------------------------------------------------------------- idempotency


def key(request_hash: bytes = b"1", answer: bytes = b"null") -> CommandKey:
    return CommandKey(UUID(int=1), "k", request_hash, answer)


async def test_a_repeated_command_is_not_decided_again() -> None:
    log = FailingLog()
    known = aggregate(log)
    first = await known.handle(ID, Rename("a"), command=key(answer=b'"x"'))
    await others(log, "b")
    decide = Rename("c")
    again = await known.handle(ID, decide, command=key())
    assert (list(again.versions), again.position, again.answer, again.repeated) == (list(first.versions), 1, b'"x"', True)
    assert decide.shown == []


async def test_the_key_of_another_request_is_refused() -> None:
    known = aggregate(FailingLog())
    await known.handle(ID, Rename("a"), command=key(b"1"))
    with pytest.raises(CommandMismatch):
        await known.handle(ID, Rename("b"), command=key(b"2"))


async def test_a_repeated_command_is_answered_also_where_its_condition_no_longer_holds() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"), command=key(), expected_version=0)
    again = await known.handle(ID, Rename("a"), command=key(), expected_version=0)
    assert (list(again.versions), again.repeated) == ([1], True)


async def test_an_already_so_is_remembered_with_the_version_it_found() -> None:
    log = FailingLog()
    known = aggregate(log)
    await others(log, "a", "b")
    first = await known.handle(ID, Rename("a"), command=key())
    await others(log, "c")
    again = await known.handle(ID, Rename("zzz"), command=key())
    assert (list(first.versions), first.position, first.repeated) == ([2], 2, False)
    assert (list(again.versions), again.position, again.repeated) == ([2], 2, True)
    assert titles(log) == ["a", "b", "c"]


async def test_one_command_asked_twice_at_once_is_done_once() -> None:
    log = FailingLog()
    one, two = aggregate(log), aggregate(log)  # two processes
    answers = await asyncio.gather(*(known.handle(ID, Rename("a"), command=key()) for known in (one, two, one, two)))
    assert {(tuple(answer.versions), answer.position) for answer in answers} == {((1,), 1)}
    assert titles(log) == ["a"]


async def test_a_refused_command_is_not_remembered() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("closed"))
    with pytest.raises(BadRequest):
        await known.handle(ID, Rename("b"), command=key())
    await others(log, "open")
    assert not (await known.handle(ID, Rename("b"), command=key(b"2"))).repeated


# ------------------------------------------------------------------------------------------------------- other streams


async def test_what_concerns_other_streams_is_written_in_the_same_commit_from_the_state_that_was_decided_on() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"))
    await others(log, "b")
    user = user_stream(uuid4())

    def also(state: Titles, version: int) -> Sequence[StreamAppend]:
        return [StreamAppend(user, [Event(None, ChatTagged(",".join([*state.titles, str(version)])))], ANY)]

    appended = await known.handle(ID, Rename("c"), also=also)
    assert list(appended.versions) == [3, 1]
    assert [stored.data for stored in await log.read(user, limit=10)] == [b'{"name":"a,b,2"}']


async def test_what_must_exist_elsewhere_and_does_not_is_no_race() -> None:
    log = FailingLog()
    known = aggregate(log)
    missing = StreamAppend(user_stream(uuid4()), titled("x"), EXISTS)
    with pytest.raises(ConcurrencyConflict) as raised:
        await known.handle(ID, Rename("a"), also=lambda _, __: [missing])
    assert not isinstance(raised.value, TooManyLostRaces)
    assert raised.value.stream == missing.stream
    assert log.appends == 1
    assert titles(log) == []


async def test_a_claim_is_taken_with_the_events_or_not_at_all() -> None:
    log = FailingLog()
    known = aggregate(log)
    await known.handle(ID, Rename("a"), claims=[Claim("name", "a", STREAM)])
    with pytest.raises(ClaimTaken):
        await known.handle(UUID(int=2), Rename("a"), claims=[Claim("name", "a", chat_stream(UUID(int=2)))])
    assert await log.version(chat_stream(UUID(int=2))) == 0
    assert await known.state(UUID(int=2), fresh=False) == (0, Titles())


async def test_events_of_other_types_are_not_decoded_and_count_as_versions() -> None:
    log = FailingLog()
    await others(log, "a")
    await log.append(AppendRequest([StreamAppend(STREAM, [Event(None, Verbatim("chat_tagged", b'"no tag"'))], ANY)]))
    await others(log, "b")
    assert await aggregate(log, types={"chat_renamed"}).state(ID) == (3, Titles(("a", "b")))
    with pytest.raises(msgspec.ValidationError):
        await aggregate(log).state(ID)


OF_USERS = (
    (NO_ACCOUNT, evolve_account, USER_TYPES),
    (NO_CHANNELS, own.evolve, own.OWN_CHANNEL_TYPES),
    (NO_USER_VALVES, evolve_user_valves, USER_VALVES_TYPES),
)


@pytest.mark.parametrize(("empty", "evolve_one", "types"), OF_USERS)
def test_what_is_left_out_where_a_persons_stream_is_read_changes_nothing(empty: Any, evolve_one: Any, types: Any) -> None:
    left_out = [fact for name, fact in TYPES["user"].items() if name not in types]
    assert len(left_out) + len(types) == len(TYPES["user"])
    for fact in left_out:
        assert evolve_one(empty, Event(None, sample(fact, "")), 1) is empty
