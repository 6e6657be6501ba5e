"""What every log promises of what is appended to it, in memory or in Postgres: one suite against both."""

import asyncio
import random
from uuid import uuid4

import msgspec
import pytest

from adapters.postgres.log.log import postgres_log
from commands.ports import ANY, EXISTS, Appended, Claim, StreamAppend
from domain.chat.facts import MessageAdded
from domain.errors import BadRequest, ClaimTaken, CommandMismatch, ConcurrencyConflict, ContentRefused
from domain.log.codec import EVENT_BYTES_MAX, decode_actor, encode
from domain.log.event import Event, StoredEvent
from domain.log.stream import user_stream
from tests.adapters.postgres.log.contract import HASH, ME, OTHER, OTHER_HASH, Log, a_stream, append, assert_dense, key, titles, to

pytestmark = pytest.mark.anyio


# ---------------------------------------------------------------------------------------------------- expected versions


async def test_an_empty_log_is_at_zero(log: Log) -> None:
    assert await log.head() == 0
    assert await log.version(a_stream()) == 0
    assert await log.read(a_stream(), limit=10) == []
    assert await log.read_log(after=0, limit=10) == []


async def test_events_are_appended_at_the_version_that_was_seen(log: Log) -> None:
    stream = a_stream()
    first = await append(log, to(stream, "a", "b", at=0))
    second = await append(log, to(stream, "c", at=2))
    assert (first.position, list(first.versions), first.repeated) == (2, [2], False)
    assert (second.position, list(second.versions), second.repeated) == (3, [3], False)
    assert await log.version(stream) == 3
    assert await log.head() == 3
    assert await titles(log, stream) == ["a", "b", "c"]


@pytest.mark.parametrize("expected", [0, 1, 3, 99])
async def test_at_another_version_nothing_is_written(log: Log, expected: int) -> None:
    stream = a_stream()
    await append(log, to(stream, "a", "b", at=0))
    with pytest.raises(ConcurrencyConflict) as raised:
        await append(log, to(stream, "c", at=expected))
    assert (raised.value.stream, raised.value.expected, raised.value.current) == (stream, expected, 2)
    assert await titles(log, stream) == ["a", "b"]


async def test_the_streams_of_a_kind_are_known(log: Log) -> None:
    models = [a_stream("model"), a_stream("model")]
    for stream in (*models, a_stream("group"), a_stream("chat")):
        await append(log, to(stream, "a", at=0))
    assert set(await log.streams("model")) == set(models)
    assert list(await log.streams("provider")) == []


async def test_a_new_stream_is_at_zero(log: Log) -> None:
    with pytest.raises(ConcurrencyConflict):
        await append(log, to(a_stream(), "a", at=1))
    assert await log.head() == 0


async def test_any_version_is_whatever_it_is(log: Log) -> None:
    stream = a_stream()
    await append(log, to(stream, "a", at=ANY))
    await append(log, to(stream, "b", at=ANY))
    assert await titles(log, stream) == ["a", "b"]


async def test_what_must_exist_exists_or_nothing_is_written(log: Log) -> None:
    stream = a_stream()
    with pytest.raises(ConcurrencyConflict) as raised:
        await append(log, to(stream, "a", at=EXISTS))
    assert (raised.value.expected, raised.value.current) == (EXISTS, 0)
    await append(log, to(stream, "a", at=0))
    await append(log, to(stream, "b", at=EXISTS))
    assert await titles(log, stream) == ["a", "b"]


# ------------------------------------------------------------------------------------------------------ several streams


async def test_several_streams_are_appended_to_at_once_in_the_order_of_the_request(log: Log) -> None:
    one, two, three = a_stream(), a_stream("user"), a_stream()
    await append(log, to(two, "old", at=0))
    appended = await append(log, to(one, "a", "b", at=0), to(two, "c", at=1), to(three, "d", at=ANY))
    assert (appended.position, list(appended.versions)) == (5, [2, 2, 1])
    read = await log.read_log(after=1, limit=10)
    assert [(event.position, event.stream, event.version) for event in read] == [(2, one, 1), (3, one, 2), (4, two, 2), (5, three, 1)]


@pytest.mark.parametrize("expected", [1, EXISTS])
async def test_one_stream_that_moved_on_holds_back_all(log: Log, expected: int) -> None:
    one, two, three = a_stream(), a_stream(), a_stream()
    with pytest.raises(ConcurrencyConflict) as raised:
        await append(log, to(one, "a", at=0), to(two, "b", at=expected), to(three, "c", at=ANY), command=key("k"))
    assert raised.value.stream == two
    assert await log.head() == 0
    assert await log.find_command(ME.id, "k") is None


async def test_a_stream_stands_once_in_a_request(log: Log) -> None:
    stream = a_stream()
    with pytest.raises(BadRequest):
        await append(log, to(stream, "a", at=ANY), to(stream, "b", at=ANY))
    assert await log.head() == 0


@pytest.mark.parametrize("expected", [0, ANY, EXISTS])
async def test_the_id_of_one_kind_is_no_stream_of_another(log: Log, expected: int) -> None:
    chat = a_stream("chat")
    user = user_stream(chat.id)
    await append(log, to(chat, "a", at=0))
    with pytest.raises(BadRequest):
        await append(log, to(user, "b", at=expected))
    assert await log.read(user, limit=10) == []
    assert await titles(log, chat) == ["a"]


# ---------------------------------------------------------------------------------------------------------- idempotency


async def test_a_repeated_command_gets_its_first_answer_and_changes_nothing(log: Log) -> None:
    stream, other = a_stream(), a_stream("user")
    command = key("k", answer=b'{"a":1,"b":["\\u00fc",2]}')
    first = await append(log, to(stream, "a", "b", at=0), to(other, "c", at=ANY), command=command)
    assert (first.repeated, first.answer) == (False, command.answer)
    await append(log, to(stream, "later", at=2))
    again = await append(log, to(stream, "a", "b", at=0), to(other, "c", at=ANY), command=msgspec.structs.replace(command, answer=b'"new"'))
    assert (again.position, list(again.versions), again.repeated, again.at) == (3, [2, 1], True, first.at)
    assert again.answer == command.answer
    assert await log.head() == 4


async def test_a_repetition_counts_whatever_it_would_append_now(log: Log) -> None:
    stream = a_stream()
    await append(log, to(stream, "a", at=0), command=key("k"))
    again = await append(log, to(a_stream(), "x", "y", at=7), to(stream, "z", at=1), command=key("k"))
    assert (again.repeated, list(again.versions)) == (True, [1])
    assert await log.head() == 1


async def test_a_known_command_can_be_asked_for(log: Log) -> None:
    stream = a_stream()
    first = await append(log, to(stream, "a", at=0), command=key("k", answer=b'"x"'))
    known = await log.find_command(ME.id, "k")
    assert known is not None
    assert known.request_hash == HASH
    assert (known.appended.position, list(known.appended.versions), known.appended.answer) == (first.position, [1], b'"x"')
    assert known.appended.repeated
    assert known.appended.at == first.at
    assert await log.find_command(OTHER, "k") is None
    assert await log.find_command(ME.id, "K") is None


async def test_the_same_key_with_another_request_is_refused(log: Log) -> None:
    stream = a_stream()
    await append(log, to(stream, "a", at=0), command=key("k"))
    with pytest.raises(CommandMismatch):
        await append(log, to(stream, "b", at=1), command=key("k", OTHER_HASH))
    assert await titles(log, stream) == ["a"]


async def test_keys_are_each_persons_own(log: Log) -> None:
    stream = a_stream()
    await append(log, to(stream, "a", at=0), command=key("k"))
    await append(log, to(stream, "b", at=1), command=key("k", OTHER_HASH, OTHER))
    assert await titles(log, stream) == ["a", "b"]


async def test_a_command_without_events_is_remembered_too(log: Log) -> None:
    await append(log, to(a_stream(), "a", "b", at=0))
    first = await append(log, command=key("k", answer=b"1"))
    assert (first.position, first.repeated, first.answer) == (2, False, b"1")
    await append(log, to(a_stream(), "c", at=0))
    again = await append(log, command=key("k"))
    assert (again.position, again.repeated, again.answer) == (2, True, b"1")
    with pytest.raises(CommandMismatch):
        await append(log, command=key("k", OTHER_HASH))


async def test_a_command_that_found_its_stream_as_it_should_be_is_remembered_with_its_version(log: Log) -> None:
    stream = a_stream()
    await append(log, to(stream, "a", "b", at=0))
    first = await append(log, StreamAppend(stream, (), 2), command=key("k"))
    await append(log, to(stream, "c", at=2))
    again = await append(log, StreamAppend(stream, (), 3), command=key("k"))
    assert (list(first.versions), list(again.versions), again.repeated) == ([2], [2], True)
    with pytest.raises(ConcurrencyConflict):
        await append(log, StreamAppend(stream, (), 2), command=key("another"))


async def test_a_refused_request_does_not_use_up_its_key(log: Log) -> None:
    stream = a_stream()
    with pytest.raises(ConcurrencyConflict):
        await append(log, to(stream, "a", at=5), command=key("k"))
    again = await append(log, to(stream, "a", at=0), command=key("k", OTHER_HASH))
    assert not again.repeated


async def test_of_one_command_asked_many_times_at_once_one_is_written(log: Log) -> None:
    stream = a_stream()
    answers = await asyncio.gather(*(append(log, to(stream, "a", at=ANY), command=key("k")) for _ in range(20)))
    assert sorted(answer.repeated for answer in answers) == [False] + [True] * 19
    assert {(answer.position, tuple(answer.versions)) for answer in answers} == {(1, (1,))}
    assert await titles(log, stream) == ["a"]


# --------------------------------------------------------------------------------------------------------------- claims


async def test_a_claim_is_held_by_its_stream(log: Log) -> None:
    user = a_stream("user")
    assert await log.find_claim("email", "a@example.org") is None
    await append(log, to(user, "a", at=0), claims=[Claim("email", "a@example.org", user)])
    assert await log.find_claim("email", "a@example.org") == user
    assert await log.find_claim("other", "a@example.org") is None


async def test_what_is_claimed_is_not_claimed_again_and_nothing_is_written(log: Log) -> None:
    user, late = a_stream("user"), a_stream("user")
    await append(log, to(user, "a", at=0), claims=[Claim("email", "a@example.org", user)])
    with pytest.raises(ClaimTaken):
        await append(log, to(late, "b", at=0), claims=[Claim("email", "a@example.org", late)], command=key("k"))
    assert await log.version(late) == 0
    assert await log.find_claim("email", "a@example.org") == user
    assert await log.find_command(ME.id, "k") is None


async def test_the_claim_that_was_taken_is_the_one_that_is_named(log: Log) -> None:
    user, late = a_stream("user"), a_stream("user")
    await append(log, to(user, "a", at=0), claims=[Claim("first_admin", "", user), Claim("email", "a", user)])
    claims = [Claim("email", "b", late), Claim("first_admin", "", late)]
    with pytest.raises(ClaimTaken) as raised:
        await append(log, to(late, "b", at=0), claims=claims)
    assert (raised.value.kind, raised.value.key) == ("first_admin", "")
    assert await log.find_claim("email", "b") is None


async def test_of_many_who_claim_one_thing_at_once_one_gets_it(log: Log) -> None:
    users = [a_stream("user") for _ in range(20)]
    outcomes = await asyncio.gather(
        *(append(log, to(user, "a", at=0), claims=[Claim("first_admin", "", user)]) for user in users), return_exceptions=True
    )
    assert sum(isinstance(outcome, Appended) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, ClaimTaken) for outcome in outcomes) == 19
    holder = await log.find_claim("first_admin", "")
    assert [user for user in users if await log.version(user)] == [holder]


async def test_many_writers_of_many_streams_leave_one_log_without_a_gap(log: Log, dsn: str | None, committed: list[StoredEvent]) -> None:
    second: Log = postgres_log(dsn, committed.extend) if dsn is not None else log  # as another process would have it
    if second is not log:
        await second.start()
    streams = [a_stream() for _ in range(12)]
    chance = random.Random(1)  # the same race every time, as far as the scheduler lets it be

    async def writer(number: int) -> None:
        through = (log, second)[number % 2]
        for at in range(15):
            stream = chance.choice(streams)
            while True:
                seen = await through.version(stream)
                try:
                    await append(through, to(stream, *[f"{number}.{at}"] * chance.randint(1, 3), at=seen), actor=ME)
                    break
                except ConcurrencyConflict:
                    continue

    try:
        await asyncio.gather(*(writer(number) for number in range(16)))
        events = await log.read_log(after=0, limit=100_000)
        assert_dense(events)
        assert sorted(committed, key=lambda event: event.position) == events
        for stream in streams:
            assert await log.read(stream, limit=10_000) == [event for event in events if event.stream == stream]
        said = [title for stream in streams for title in await titles(log, stream)]
        assert {f"{number}.{at}" for number in range(16) for at in range(15)} == set(said)
    finally:
        if second is not log:
            await second.close()


async def test_requests_of_one_caller_for_one_stream_are_written_in_the_order_they_were_made(log: Log) -> None:
    stream, others = a_stream(), [a_stream() for _ in range(5)]
    tasks = [asyncio.create_task(append(log, to(stream, str(number), at=number))) for number in range(30)]
    tasks += [asyncio.create_task(append(log, to(other, "x", at=ANY), to(stream, "y", at=ANY))) for other in others]
    await asyncio.gather(*tasks)
    assert await titles(log, stream) == [str(number) for number in range(30)] + ["y"] * 5


async def test_what_is_committed_is_told_in_order_and_before_the_caller_is_answered(log: Log, committed: list[StoredEvent]) -> None:
    async def writer() -> None:
        stream = a_stream()
        for version in range(20):
            appended = await append(log, to(stream, "a", at=version))
            assert committed[appended.position - 1].stream == stream

    await asyncio.gather(*(writer() for _ in range(10)))
    assert committed == await log.read_log(after=0, limit=1000)


async def test_a_caller_that_leaves_does_not_take_its_request_back(log: Log) -> None:
    stream = a_stream()
    task = asyncio.create_task(append(log, to(stream, "a", at=0)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await append(log, to(stream, "b", at=ANY))  # behind the other
    assert await titles(log, stream) == ["a", "b"]


# ---------------------------------------------------------------------------------------------------------------- bytes


async def test_the_bytes_are_kept_as_they_were_written(log: Log, committed: list[StoredEvent]) -> None:
    stream, message_id = a_stream(), uuid4()
    content = {"b": 1.0, "a": "  ü 🦉 \u2028 \\ \" \x1f ' ", "z": [], "n": None, "big": 2**60, "e": 1e300}
    added = MessageAdded(None, "user", content, None, {"zz": 1, "aa": {"y": [1, 2], "x": 0.1}})
    await append(log, StreamAppend(stream, [Event(message_id, added)], 0), actor=ME)
    (stored,) = await log.read(stream, limit=10)
    assert (stored.type, stored.data) == encode(added)
    assert stored.message_id == message_id
    assert decode_actor(stored.actor) == ME
    assert committed == [stored]
    assert list(await log.read_log(after=0, limit=10)) == [stored]


async def test_an_event_that_nobody_caused_has_no_actor_and_maybe_no_message(log: Log) -> None:
    stream = a_stream()
    await append(log, to(stream, "a", at=0))
    (stored,) = await log.read(stream, limit=10)
    assert (stored.actor, stored.message_id) == (None, None)


async def test_an_event_at_the_limit_is_taken_and_one_over_it_refused(log: Log) -> None:
    stream = a_stream()
    room = EVENT_BYTES_MAX - len(b'{"title":""}')
    await append(log, to(stream, "x" * room, at=0))
    with pytest.raises(BadRequest):
        await append(log, to(stream, "small", "x" * (room + 1), at=1))
    assert await log.version(stream) == 1


async def test_text_that_cannot_be_stored_is_refused_and_harms_nobody(log: Log) -> None:
    streams = [a_stream() for _ in range(3)]
    outcomes = await asyncio.gather(
        *(append(log, to(stream, title, at=0)) for stream, title in zip(streams, ("a", "\0", "\ud800"), strict=True)),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [Appended, ContentRefused, ContentRefused]
    assert await log.head() == 1
