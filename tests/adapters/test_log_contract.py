"""What every log promises, whether it is in memory or in Postgres: one suite against both."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from adapters.memory.log import MemoryLog
from adapters.postgres.log import PostgresLog, postgres_log
from commands.ports import ANY, EXISTS, Appended, AppendRequest, Claim, CommandKey, NodeBeat, OpenGeneration, StreamAppend
from domain.chat.facts import BranchSelected, ChatCreated, ChatRenamed, MessageAdded, MessageDeleted, MessageEdited
from domain.errors import BadRequest, ClaimTaken, CommandMismatch, ConcurrencyConflict, ContentRefused
from domain.generation import BlockOpened, GenerationCancelled, MessageDelta, MessageEnded, MessageStarted, Timings
from domain.log.codec import EVENT_BYTES_MAX, OUTLINE_END, decode_actor, decode_event, encode
from domain.log.event import Actor, Event, StoredEvent, Verbatim
from domain.log.stream import Kind, Stream, user_stream
from tests.stores import activity_of, blobs_of, nodes_of

pytestmark = pytest.mark.anyio

Log = MemoryLog | PostgresLog
ME = Actor(UUID(int=1), "Ünal 🦉", "user")
OTHER = UUID(int=2)
HASH, OTHER_HASH = b"\x01" * 32, b"\x02" * 32


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def dsn(request: pytest.FixtureRequest) -> str | None:
    """None: in memory."""
    return None if request.param == "memory" else str(request.getfixturevalue("database"))


@pytest.fixture
def committed() -> list[StoredEvent]:
    """What the log said it committed, as it said it."""
    return []


@pytest.fixture
async def log(dsn: str | None, committed: list[StoredEvent]) -> AsyncIterator[Log]:
    made: Log = MemoryLog(committed.extend) if dsn is None else postgres_log(dsn, committed.extend)
    await made.start()
    yield made
    await made.close()


def a_stream(kind: Kind = "chat") -> Stream:
    return Stream(kind, uuid4())


def titled(*titles: str) -> list[Event[Any]]:
    return [Event(None, ChatRenamed(title)) for title in titles]


def to(stream: Stream, *titles: str, at: int) -> StreamAppend:
    return StreamAppend(stream, titled(*titles), at)


async def append(log: Log, *appends: StreamAppend, **more: Any) -> Appended:
    return await log.append(AppendRequest(appends=appends, **more))


async def titles(log: Log, stream: Stream) -> list[str]:
    return [msgspec.json.decode(stored.data)["title"] for stored in await log.read(stream, limit=10_000)]


def key(name: str, request_hash: bytes = HASH, actor_id: UUID = ME.id, answer: bytes = b"null") -> CommandKey:
    return CommandKey(actor_id, name, request_hash, answer)


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


# ----------------------------------------------------------------------------------------------------- order and density


def assert_dense(events: Sequence[StoredEvent]) -> None:
    """Positions and versions without a gap, time never against position."""
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    versions: dict[Stream, int] = {}
    for event in events:
        versions[event.stream] = versions.get(event.stream, 0) + 1
        assert event.version == versions[event.stream]
    assert [event.at for event in events] == sorted(event.at for event in events)


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


# -------------------------------------------------------------------------------------------------------------- reading


M1, M2 = UUID(int=11), UUID(int=12)
NODE, TASK = UUID(int=21), UUID(int=22)
START = MessageStarted(None, "demo", "demo", TASK, NODE)


@pytest.fixture
async def answered(log: Log) -> Stream:
    """Versions: 1 created, 2 M1 starts, 3 a block, 4 and 5 deltas, 6 M2 starts, 7 a delta of M1, 8 renamed."""
    stream = a_stream()
    await append(log, to(a_stream(), "before", at=0))
    said: list[Event[Any]] = [
        Event(None, ChatCreated(ME.id, "t")),
        Event(M1, START),
        Event(M1, BlockOpened(0, "text")),
        Event(M1, MessageDelta(0, "a")),
        Event(M1, MessageDelta(0, "b")),
        Event(M2, START),
        Event(M1, MessageDelta(0, "c")),
        Event(None, ChatRenamed("u")),
    ]
    await append(log, StreamAppend(stream, said[:5], 0))
    await append(log, to(a_stream(), "between", at=0))
    await append(log, StreamAppend(stream, said[5:], 5))
    return stream


@pytest.mark.parametrize(
    ("asked", "versions"),
    [
        ({"limit": 100}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"limit": 3}, [1, 2, 3]),
        ({"after": 3, "limit": 2}, [4, 5]),
        ({"after": 8, "limit": 2}, []),
        ({"after": 2**40, "limit": 2}, []),
        ({"after": 2, "until": 5, "limit": 100}, [3, 4, 5]),
        ({"until": 0, "limit": 100}, []),
        ({"until": 2**40, "after": 6, "limit": 100}, [7, 8]),
        ({"after": 5, "until": 3, "limit": 100}, []),
        ({"limit": 100, "without_deltas": True}, [1, 2, 3, 6, 8]),
        ({"after": 2, "limit": 2, "without_deltas": True}, [3, 6]),
        ({"after": 3, "until": 7, "limit": 100, "without_deltas": True}, [6]),
    ],
)
async def test_a_stream_is_read_in_part(log: Log, answered: Stream, asked: dict[str, Any], versions: list[int]) -> None:
    assert [stored.version for stored in await log.read(answered, **asked)] == versions


async def test_an_outline_leaves_out_what_ended_answers_are_made_of(log: Log) -> None:
    stream, actor = a_stream(), Actor(uuid4(), "Ada", "user")
    end = MessageEnded("abc", [], "00", "stop", {"total_tokens": 3}, Timings(1, 2), 2)
    said: list[Event[Any]] = [
        Event(None, ChatRenamed("t")),
        Event(M1, MessageAdded(None, "user", "What?")),
        Event(M2, BlockOpened(0, "text", None, None)),
        Event(M2, MessageDelta(0, "a")),
        Event(M2, MessageDelta(0, "bc")),
        Event(M2, end),
        Event(M2, MessageEdited({"content": "cba"})),
    ]
    await append(log, StreamAppend(stream, said, 0), actor=actor)
    outline = await log.read_outline(stream, until=7, limit=100)
    assert [(stored.version, stored.type) for stored in outline] == [
        (1, "chat_renamed"),
        (2, "message_added"),
        (6, "message_end"),
        (7, "message_edited"),
    ]
    whole = await log.read(stream, limit=100)
    assert [(stored.data, stored.message_id) for stored in outline if stored.version != 6] == [
        (stored.data, stored.message_id) for stored in whole if stored.version in (1, 2, 7)
    ]
    assert {stored.actor for stored in outline} == {None}
    assert outline[2].data == OUTLINE_END
    assert type(decode_event(outline[2]).data) is MessageEnded
    assert [stored.version for stored in await log.read_outline(stream, after=1, until=6, limit=1)] == [2]
    assert [stored.version for stored in await log.read_outline(stream, after=2, until=6, limit=9)] == [6]
    assert await log.read_outline(user_stream(stream.id), until=7, limit=100) == []


async def test_the_head_of_a_stream_is_what_is_about_no_message_and_the_newest(log: Log) -> None:
    stream = a_stream()
    said: list[Event[Any]] = [
        Event(None, ChatRenamed("t")),
        Event(M1, MessageAdded(None, "user", "What?")),
        Event(M2, MessageStarted(M1, "demo", "demo", TASK, NODE)),
        Event(None, ChatRenamed("u")),
        Event(M1, BranchSelected()),
        Event(M2, MessageDelta(0, "a")),
        Event(M2, MessageEnded("a", [], "00", "stop", None, Timings(1, 2), 1)),
    ]
    await append(log, StreamAppend(stream, said, 0), actor=ME)

    async def head(*types: str) -> list[int]:
        return [stored.version for stored in await log.read_head(stream, types)]

    assert await head("message_added", "message_start", "chat_branch_selected") == [1, 4, 5, 7]
    assert await head("message_added") == [1, 2, 4, 7]
    assert await head("chat_pinned") == [1, 4, 7]
    newest = (await log.read_head(stream, ["message_start"]))[-1]
    assert (newest.data, newest.actor) == (OUTLINE_END, None)
    assert await log.read_head(a_stream(), ["message_added"]) == []
    assert await log.read_head(user_stream(stream.id), ["message_added"]) == []


async def test_the_relatives_of_messages_are_read_without_what_they_say(log: Log) -> None:
    """Q has the answers A and B, and A has C; an edit of Q is followed by a newer one."""
    q, a, b, c, other = (UUID(int=31 + number) for number in range(5))
    stream = a_stream()
    said: list[Event[Any]] = [
        Event(None, ChatRenamed("t")),
        Event(q, MessageAdded(None, "user", "What?")),
        Event(q, MessageEdited({"content": "Who?"})),
        Event(a, MessageStarted(q, "demo", "demo", TASK, NODE)),
        Event(a, BlockOpened(0, "text")),
        Event(a, MessageDelta(0, "x")),
        Event(a, MessageEnded("x", [], "00", "stop", None, Timings(1, 2), 1)),
        Event(q, MessageEdited({"content": "Where?"})),
        Event(c, MessageAdded(a, "user", "Why?")),
        Event(other, MessageAdded(None, "user", "What?")),
        Event(q, BranchSelected()),
        Event(b, MessageStarted(q, "demo", "demo", TASK, NODE)),
        Event(c, MessageDeleted()),
        Event(b, GenerationCancelled(None)),
    ]
    await append(log, StreamAppend(stream, said, 0), actor=ME)
    await append(log, StreamAppend(a_stream(), said, 0), actor=ME)

    async def read(*message_ids: UUID, until: int = len(said)) -> list[int]:
        return [stored.version for stored in await log.read_relatives(stream, message_ids, until=until)]

    assert await read(q) == [2, 4, 7, 8, 12, 14]
    assert await read(a) == [2, 4, 7, 8, 9, 13]
    assert await read(c) == [4, 7, 9, 13]
    assert await read(q, c) == [2, 4, 7, 8, 9, 12, 13, 14]
    assert await read(q, until=7) == [2, 3, 4, 7]
    assert await read(q, until=3) == [2, 3]
    assert await read(other) == [10]
    assert await read(UUID(int=99)) == []
    assert await read() == []
    end = next(stored for stored in await log.read_relatives(stream, [a], until=7) if stored.version == 7)
    assert (end.data, end.actor) == (OUTLINE_END, None)
    assert await log.read_relatives(user_stream(stream.id), [q], until=7) == []


async def test_the_parent_of_a_message_is_known_however_its_id_was_written(log: Log) -> None:
    """A restored event keeps the bytes that it had elsewhere."""
    stream, data = a_stream(), f'{{ "content": "x", "parent_id" : "{str(UUID(int=0xABC)).upper()}", "role": "user" }}'
    said: list[Event[Any]] = [
        Event(UUID(int=0xABC), MessageAdded(None, "user", "What?")),
        Event(M1, Verbatim("message_added", data.encode())),
    ]
    await append(log, StreamAppend(stream, said, 0))
    assert [stored.version for stored in await log.read_relatives(stream, [UUID(int=0xABC)], until=2)] == [1, 2]


async def test_a_generation_of_one_stream_is_open_until_any_of_its_ends(log: Log, answered: Stream) -> None:
    async def open_starts(until: int) -> list[int]:
        return [stored.version for stored in await log.read_open_starts(answered, until=until)]

    assert [await open_starts(until) for until in (1, 2, 6, 8)] == [[], [2], [2, 6], [2, 6]]
    await append(log, StreamAppend(answered, [Event(M1, GenerationCancelled(None))], 8))
    assert [await open_starts(until) for until in (8, 9)] == [[2, 6], [6]]
    assert await log.read_open_starts(user_stream(answered.id), until=9) == []


async def test_people_are_seen_and_seen_again(log: Log) -> None:
    ada, bob, carl = uuid4(), uuid4(), uuid4()
    assert await activity_of(log).last_active([ada, bob]) == {}
    await activity_of(log).note_active([ada, bob])
    first = await activity_of(log).last_active([ada, bob, carl])
    assert set(first) == {ada, bob}
    await activity_of(log).note_active([bob])
    again = await activity_of(log).last_active([ada, bob])
    assert again[ada] == first[ada]
    assert again[bob] > first[bob]


async def test_people_who_were_seen_lately_are_counted(log: Log) -> None:
    before = await activity_of(log).count_active(3600)
    await activity_of(log).note_active([uuid4(), uuid4()])
    assert await activity_of(log).count_active(3600) == before + 2
    assert await activity_of(log).count_active(0) == 0


async def test_a_message_is_read_from_where_it_began(log: Log, answered: Stream) -> None:
    assert [stored.version for stored in await log.read_message(answered, M1, after=0)] == [2, 3, 4, 5, 7]
    assert [stored.version for stored in await log.read_message(answered, M1, after=4)] == [5, 7]
    assert [stored.version for stored in await log.read_message(answered, M2, after=0)] == [6]
    assert await log.read_message(answered, uuid4(), after=0) == []
    assert await log.read_message(a_stream(), M1, after=0) == []


@pytest.mark.usefixtures("answered")
async def test_the_log_is_read_in_pages(log: Log) -> None:
    pages: list[StoredEvent] = []
    while page := await log.read_log(after=len(pages), limit=3):
        assert len(page) <= 3
        pages.extend(page)
    assert_dense(pages)
    assert len(pages) == 10
    assert await log.read_log(after=2**62, limit=3) == []


# ----------------------------------------------------------------------------------------------- blobs, nodes and lists


async def test_a_blob_is_kept_under_its_stream_by_its_sum(log: Log) -> None:
    stream, content = a_stream(), b"\0\xff" * 300_000
    sha256 = await blobs_of(log).put(stream, content)
    assert sha256 == hashlib.sha256(content).hexdigest()
    assert await blobs_of(log).put(stream, content) == sha256
    assert await blobs_of(log).get(stream, sha256) == content
    assert await blobs_of(log).get(a_stream(), sha256) is None
    assert await blobs_of(log).get(stream, "00" * 32) is None


async def test_nodes_beat_until_they_leave(log: Log) -> None:
    one, two = uuid4(), uuid4()
    assert await nodes_of(log).beats() == {}
    await nodes_of(log).beat(one, NodeBeat(1, 0))
    await nodes_of(log).beat(two, NodeBeat(1, 7))
    await nodes_of(log).beat(one, NodeBeat(2, 5))
    assert await nodes_of(log).beats() == {one: NodeBeat(2, 5), two: NodeBeat(1, 7)}
    await nodes_of(log).leave(one)
    await nodes_of(log).leave(uuid4())
    assert await nodes_of(log).beats() == {two: NodeBeat(1, 7)}


async def test_a_generation_is_open_until_any_of_its_ends(log: Log, answered: Stream) -> None:
    first = OpenGeneration(answered, M1, TASK, NODE, 2, "demo")
    second = OpenGeneration(answered, M2, TASK, NODE, 6, "demo")
    assert sorted(await nodes_of(log).open_generations(since=0), key=lambda one: one.started_version) == [first, second]
    assert await nodes_of(log).open_generations(since=6) == [second]
    assert await nodes_of(log).open_generations(since=100) == []
    await append(log, StreamAppend(answered, [Event(M1, GenerationCancelled(None))], 8))
    assert await nodes_of(log).open_generations(since=0) == [second]


async def test_an_end_in_another_chat_ends_nothing_here(log: Log, answered: Stream) -> None:
    other = a_stream()
    await append(log, StreamAppend(other, [Event(M2, START), Event(M2, GenerationCancelled(None))], 0))
    assert {(one.stream, one.message_id) for one in await nodes_of(log).open_generations(since=0)} == {(answered, M1), (answered, M2)}


async def test_a_time_leads_to_the_newest_version_that_was_there_then(log: Log) -> None:
    stream = a_stream()
    await append(log, StreamAppend(stream, [Event(None, ChatCreated(OTHER, "1")), Event(None, ChatRenamed("2"))], 0))
    for number in range(3, 8):
        await append(log, to(stream, str(number), at=number - 1))
    events = await log.read(stream, limit=10)
    for event in events:
        assert await log.version_at(stream, event.at) == max(one.version for one in events if one.at <= event.at)
    assert await log.version_at(stream, events[0].at - timedelta(microseconds=1)) == 0
    assert await log.version_at(stream, events[-1].at + timedelta(days=1)) == 7
    assert await log.version_at(a_stream(), events[-1].at) == 0
    assert await log.version_at(user_stream(stream.id), events[-1].at) == 0
    assert await log.times(stream, {2, 7, 8}) == {2: events[1].at, 7: events[6].at}
    assert await log.times(user_stream(stream.id), {1}) == await log.times(stream, ()) == {}
