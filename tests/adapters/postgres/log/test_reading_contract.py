"""What every log promises of how it is read, and what is kept beside it: one suite against both adapters."""

import hashlib
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from commands.ports import NodeBeat, OpenGeneration, StreamAppend
from domain.chat.facts import BranchSelected, ChatCreated, ChatRenamed, MessageAdded, MessageDeleted, MessageEdited
from domain.generation import BlockOpened, GenerationCancelled, MessageDelta, MessageEnded, MessageStarted, Timings
from domain.log.codec import OUTLINE_END, decode_event
from domain.log.event import Actor, Event, StoredEvent, Verbatim
from domain.log.stream import Stream, user_stream
from tests.adapters.postgres.log.contract import ME, OTHER, Log, a_stream, append, assert_dense, to
from tests.stores import activity_of, blobs_of, nodes_of

pytestmark = pytest.mark.anyio


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
