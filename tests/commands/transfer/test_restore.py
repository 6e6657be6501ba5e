"""Export → restore → export gives the same bytes, and a line that is wrong is named."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given, settings

from adapters.memory.log import MemoryLog
from adapters.postgres.log.log import PostgresLog, postgres_log
from commands.ports import ANY, Appended, AppendRequest, Origin, StreamAppend
from commands.transfer.bounds import FULL, SMALL, RequestBounds
from commands.transfer.export import lines
from commands.transfer.restore import Restore, Restored
from domain.accounts.user.facts import UserCreated
from domain.chat.facts import ChatCreated, ChatEvent, MessageAdded, MessageEdited
from domain.generation import BlockOpened, BlockSum, MessageDelta, MessageEnded, MessageStarted, Timings
from domain.log.event import Actor, Emitted, Event
from domain.log.jsonlines import encode_blob
from domain.log.redaction import Redaction
from domain.log.stream import Stream, chat_stream, user_stream
from projections.chat import view
from tests.domain.histories import OWNER, UNHURRIED, History, histories
from tests.stores import blobs_of, nodes_of

pytestmark = pytest.mark.anyio

Log = MemoryLog | PostgresLog
CHAT, OTHER = chat_stream(UUID(int=0xC1)), chat_stream(UUID(int=0xC2))
Q, A, NODE, TASK = (UUID(int=number) for number in range(1, 5))
ME = Actor(OWNER, "Ünal 🦉", "user")


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def dsn(request: pytest.FixtureRequest) -> str | None:
    """Of the log that is restored into. None: in memory."""
    return None if request.param == "memory" else str(request.getfixturevalue("database"))


@pytest.fixture
async def log(dsn: str | None) -> AsyncIterator[Log]:
    made: Log = MemoryLog() if dsn is None else postgres_log(dsn, lambda _: None)
    await made.start()
    await sign_up(made, OWNER)
    yield made
    await made.close()


async def sign_up(log: Log, user_id: UUID) -> None:
    created = UserCreated(name="Me", email=f"{user_id}@example.org", role="user")
    await log.append(AppendRequest([StreamAppend(user_stream(user_id), [Event(None, created)], 0)]))


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def talk(text: str = "Hello there") -> list[ChatEvent]:
    """A question, and an answer that was streamed."""
    words = text.split(" ")
    pieces = [word if number == 0 else f" {word}" for number, word in enumerate(words)]
    end = MessageEnded(text, [BlockSum(0, "text", sha(text))], sha(text), "stop", None, Timings(1.0, 2.0), len(pieces))
    return [
        Event(None, ChatCreated(OWNER, "A title", fields={"models": ["demo"]})),
        Event(Q, MessageAdded(None, "user", "Why?")),
        Event(A, MessageStarted(Q, "demo", "demo", TASK, NODE)),
        Event(A, BlockOpened(0, "text")),
        *[Event(A, MessageDelta(0, piece)) for piece in pieces],
        Event(A, end),
        Event(Q, MessageEdited({"content": "How?", "ü": None})),
    ]


async def written(*chats: tuple[Stream, Sequence[ChatEvent]]) -> MemoryLog:
    """Another log, in which these happened, a second apart."""
    log = MemoryLog()
    for stream, events in chats:
        for version, event in enumerate(events):
            actor = ME if not isinstance(event.data, MessageDelta | BlockOpened | MessageEnded) else None
            at = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC) + timedelta(seconds=version, microseconds=version)
            origin = Origin(msgspec.json.encode(actor) if actor is not None else None, at)
            await log.append(AppendRequest([StreamAppend(stream, [event], version, [origin])]))
    return log


async def exported(log: Log, stream: Stream = CHAT, *, after: int = 0, until: int | None = None) -> list[bytes]:
    last = await log.version(stream) if until is None else until
    return b"".join([piece async for piece in lines(log, blobs_of(log), stream, after=after, until=last)]).splitlines(keepends=True)


async def restore(log: Log, file: Sequence[bytes], *, owner_id: UUID | None = None, now: datetime | None = None) -> Restored:
    return await Restore(log, blobs_of(log), nodes_of(log), now=now or datetime.now(UTC), owner_id=owner_id).run(file)


async def events_of(log: Log, stream: Stream) -> list[tuple[Any, ...]]:
    stored = await log.read(stream, limit=100_000)
    return [(one.version, one.type, one.message_id, one.actor, one.data) for one in stored]


async def test_what_was_exported_and_restored_is_exported_as_the_same_bytes(log: Log) -> None:
    there = await written((CHAT, talk()), (OTHER, [*talk("Other words"), Event(Q, Emitted("log", {"any": [1]}))]))
    file = [*await exported(there, CHAT), *await exported(there, OTHER)]
    done = await restore(log, file)
    assert (done.problems, done.chats, done.chats_whole, done.events_added) == ([], 2, 2, len(file))
    assert [*await exported(log, CHAT), *await exported(log, OTHER)] == file
    for stream in (CHAT, OTHER):
        assert await events_of(log, stream) == await events_of(there, stream)


async def test_beside_others_a_request_is_small_and_what_is_restored_is_the_same() -> None:
    there = await written((CHAT, [*talk(), *(Event(Q, Emitted("log", {"number": number})) for number in range(500))]))
    file = await exported(there)
    for bounds in (SMALL, FULL):
        here = NotingLog()
        await sign_up(here, OWNER)
        restoring = Restore(here, blobs_of(here), nodes_of(here), now=datetime.now(UTC), bounds=partial(RequestBounds, *bounds))
        done = await restoring.run(file)
        assert (done.problems, max(here.sizes)) == ([], bounds.events)
        assert await exported(here) == file


class NotingLog(MemoryLog):
    """Notes how many of the chat's events each request holds."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    async def append(self, request: AppendRequest, queued: Callable[[], None] | None = None) -> Appended:
        self.sizes.append(sum(len(append.events) for append in request.appends if append.stream == CHAT))
        return await super().append(request, queued)


async def test_a_line_says_everything_about_its_event() -> None:
    there = await written((CHAT, talk()))
    line = json.loads((await exported(there))[1])
    assert line == {
        "stream": str(CHAT),
        "version": 2,
        "at": "2024-05-06T07:08:10.123457Z",
        "interval_s": 1.000001,
        "type": "message_added",
        "message_id": str(Q),
        "user": {"id": str(OWNER), "name": "Ünal 🦉", "role": "user"},
        "data": {"parent_id": None, "role": "user", "content": "Why?", "client_id": None},
    }


@settings(UNHURRIED, max_examples=60)
@given(history=histories(steps_max=40))
async def test_random_histories_come_back_as_the_same_bytes(history: History) -> None:
    there = await written((CHAT, truthful(history.events)))
    file = await exported(there)
    here = MemoryLog()
    await sign_up(here, OWNER)
    done = await restore(here, file)
    assert done.problems == []
    assert await exported(here) == file
    ours, theirs = view(await here.read(CHAT, limit=1000)), view(await there.read(CHAT, limit=1000))
    assert [message["content"] for message in shown(ours)] == [message["content"] for message in shown(theirs)]


def shown(chat: Any) -> list[dict[str, Any]]:
    messages: dict[str, dict[str, Any]] = chat.to_json()["chat"]["history"]["messages"]
    return list(messages.values())


def truthful(events: Sequence[ChatEvent]) -> list[ChatEvent]:
    """The same, where what ends an answer names the sums of what was said in it: random histories make them up."""
    made: list[ChatEvent] = []
    said: dict[UUID | None, dict[int, tuple[str, str]]] = {}
    deltas: dict[UUID | None, int] = {}
    for event in events:
        match event.data:
            case BlockOpened(index=index, type=kind):
                said.setdefault(event.message_id, {})[index] = (kind, "")
            case MessageDelta(index=index, text=text):
                kind, before = said.setdefault(event.message_id, {}).get(index, ("text", ""))
                said[event.message_id][index] = (kind, before + text)
                deltas[event.message_id] = deltas.get(event.message_id, 0) + 1
            case MessageEnded(content=content) as end:
                blocks = said.get(event.message_id, {})
                sums = [BlockSum(index, kind, sha(text)) for index, (kind, text) in sorted(blocks.items())]
                end = msgspec.structs.replace(end, blocks=sums, sha256=sha(content), deltas=deltas.get(event.message_id, 0))
                event = Event(event.message_id, end)
            case _:
                pass
        made.append(event)
    return made


async def test_to_import_it_again_changes_nothing(log: Log) -> None:
    file = await exported(await written((CHAT, talk())))
    await restore(log, file)
    head = await log.head()
    done = await restore(log, file)
    assert (done.problems, done.chats_whole, done.events_added, done.events_known) == ([], 1, 0, len(file))
    assert await log.head() == head


@pytest.mark.parametrize("kept", [1, 2, 5])
async def test_a_restore_that_was_interrupted_is_taken_up(log: Log, kept: int) -> None:
    file = await exported(await written((CHAT, talk())))
    await restore(log, file[:kept])
    done = await restore(log, file)
    assert (done.problems, done.events_known, done.events_added) == ([], kept, len(file) - kept)
    assert await exported(log) == file


async def test_a_chat_that_went_on_here_is_left_as_it_is(log: Log) -> None:
    file = await exported(await written((CHAT, talk())))
    await restore(log, file)
    await log.append(AppendRequest([StreamAppend(CHAT, [Event(None, Emitted("log", 1))], ANY)], ME))
    done = await restore(log, file)
    assert (done.problems, done.events_added) == ([], 0)
    assert await log.version(CHAT) == len(file) + 1


async def test_a_chat_with_other_events_is_refused_with_its_name_and_version(log: Log) -> None:
    file = await exported(await written((CHAT, talk())))
    await log.append(AppendRequest([StreamAppend(CHAT, [Event(None, ChatCreated(OWNER, "Mine"))], 0)], ME))
    done = await restore(log, file)
    [problem] = done.problems
    assert f"line 1, {CHAT}, version 1" in problem
    assert "it differs in data, at" in problem
    assert await log.version(CHAT) == 1


async def test_a_part_of_an_export_goes_on_where_the_log_is(log: Log) -> None:
    there = await written((CHAT, talk()))
    file = await exported(there)
    await restore(log, file[:4])
    done = await restore(log, await exported(there, after=4))
    assert done.problems == []
    assert await exported(log) == file
    assert await exported(log, after=4) == file[4:]


async def test_an_export_from_which_something_was_left_out_is_refused(log: Log) -> None:
    """It holds less than the chat's history: to restore it would make another one of it."""
    there = await written((CHAT, talk()))
    redaction, last = Redaction(await there.version(CHAT)), await there.version(CHAT)
    for stored in await there.read(CHAT, limit=last):
        redaction.observe(stored)
    file = [piece async for piece in lines(there, blobs_of(there), CHAT, after=0, until=last, redaction=redaction)]
    problems = (await restore(log, b"".join(file).splitlines(keepends=True))).problems
    assert len(problems) == 1
    assert "restore the owner's export - at `$.redacted`" in problems[0]
    assert await log.version(CHAT) == 1, "the events before it stay"


async def test_it_stands_in_its_owners_list(log: Log) -> None:
    await restore(log, await exported(await written((CHAT, talk()))))
    own = await log.read(user_stream(OWNER), limit=10)
    assert [(one.type, msgspec.json.decode(one.data)) for one in own[1:]] == [("chat_listed", {"chat_id": str(CHAT.id)})]


async def test_an_unknown_owner_is_refused_and_may_be_replaced(log: Log) -> None:
    stranger = uuid4()
    events = talk()
    events[0] = Event(None, ChatCreated(stranger, "A title"))
    file = await exported(await written((CHAT, events)))
    [problem] = (await restore(log, file)).problems
    assert f"owner {stranger} has no account here" in problem
    assert "--user EMAIL" in problem
    assert await log.version(CHAT) == 0
    done = await restore(log, file, owner_id=OWNER)
    assert (done.problems, done.owners_replaced) == ([], 1)
    again = await exported(log)
    assert again[1:] == file[1:]
    assert again[0] == file[0].replace(f'"owner_id":"{stranger}"'.encode(), f'"owner_id":"{OWNER}"'.encode())
    assert (await restore(log, file, owner_id=OWNER)).events_added == 0


async def test_what_was_kept_beside_the_log_travels_along(log: Log) -> None:
    there = await written()
    text = "ü" * 100_000
    digest = await blobs_of(there).put(CHAT, text.encode())
    kept = {"blob": digest, "size_bytes": len(text.encode())}
    looks_like_one = {"blob": "0" * 64}
    added = [
        Event(Q, MessageAdded(None, "user", kept)),
        Event(A, MessageAdded(Q, "user", looks_like_one)),
        Event(TASK, MessageAdded(Q, "user", kept)),
    ]
    for version, event in enumerate([talk()[0], *added]):
        await there.append(AppendRequest([StreamAppend(CHAT, [event], version)], ME))
    file = await exported(there)
    assert len(file) == 5
    assert file[1] == encode_blob(str(CHAT).encode(), text.encode())
    done = await restore(log, file)
    assert (done.problems, done.blobs) == ([], 1)
    assert await exported(log) == file
    assert (await restore(log, file)).blobs == 0


def changed(**keys: Any) -> Callable[[list[bytes]], list[bytes]]:
    """Line 2 with other keys; None leaves one out."""

    def change(file: list[bytes]) -> list[bytes]:
        line = {**json.loads(file[1]), **keys}
        return [file[0], json.dumps({key: value for key, value in line.items() if value is not ...}).encode() + b"\n", *file[2:]]

    return change


def replaced(number: int, old: bytes, new: bytes) -> Callable[[list[bytes]], list[bytes]]:
    def change(file: list[bytes]) -> list[bytes]:
        assert old in file[number - 1]
        return [*file[: number - 1], file[number - 1].replace(old, new), *file[number:]]

    return change


BAD: list[tuple[str, Callable[[list[bytes]], list[bytes]], list[str], int]] = [
    ("half a file", lambda file: [*file[:3], file[3][:50]], ["line 4, after version 3", "not JSON", "ends in the middle"], 3),
    ("no JSON", lambda file: [file[0], b"nonsense\n", *file[2:]], ["line 2, after version 1 of chat/", "not JSON"], 1),
    ("a gap", lambda file: [file[0], *file[2:]], ["line 2, chat/", "expected version 2, found 3", "$.version"], 1),
    ("unknown key", changed(mood="good"), ["line 2", "unknown field `mood`"], 1),
    ("missing key", changed(at=...), ["line 2", "missing required field `at`"], 1),
    ("wrong type of key", changed(version="2"), ["line 2", "$.version"], 1),
    ("a data that is none of its type", changed(data={"parent_id": 7}), ["version 2 (message_added)", "$.data"], 1),
    ("an actor that is none", changed(user={"id": 3}), ["$.user.id"], 1),
    ("a type that cannot be", changed(type="No Type"), ["$.type"], 1),
    ("time backwards", changed(at="2020-01-01T00:00:00Z"), ["before the event above", "$.at"], 1),
    ("from the future", changed(at="2099-01-01T00:00:00Z"), ["in the future", "$.at"], 1),
    ("wrong interval", changed(interval_s=5.0), ["expected 1.000001, found 5.0", "$.interval_s"], 1),
    ("U+0000", changed(data={"parent_id": None, "role": "user", "content": "\0"}), ["U+0000", "$.data"], 1),
    ("a lost delta", lambda file: renumbered([*file[:4], *file[5:]]), ["names 2 deltas, the lines before it hold 1", "$.data.deltas"], 5),
    ("a changed word", replaced(5, b"Hello", b"Hullo"), ["block 0 join to", "$.data.blocks[0].sha256"], 6),
    ("a changed answer", replaced(7, b'"content":"Hello', b'"content":"Hullo'), ["$.data.sha256"], 6),
    ("a message of a fact about the chat", changed(type="chat_pinned", data={}), ["chat_pinned is about the chat", "$.message_id"], 1),
    ("no message", changed(message_id=None), ["message_added is about a message", "$.message_id"], 1),
    (
        "a missing parent",
        changed(data={"parent_id": str(NODE), "role": "user", "content": ""}),
        ["is not in the chat above", "$.data.parent_id"],
        1,
    ),
    (
        "its own parent",
        changed(data={"parent_id": str(Q), "role": "user", "content": ""}),
        ["is not in the chat above", "$.data.parent_id"],
        1,
    ),
    ("an id twice", replaced(3, str(A).encode(), str(Q).encode()), ["is in the chat already", "$.message_id"], 2),
    ("no beginning", replaced(1, b'"chat_created"', b'"chat_pinned"'), ["begins with chat_created", "$.type"], 0),
    ("a stream of a person", replaced(1, b'"chat/', b'"user/'), ["only chats can be restored", "$.stream"], 0),
    ("no stream at all", replaced(1, b'"chat/', b'"shed/'), ["$.stream"], 0),
    ("empty", lambda _: [], ["the file is empty"], 0),
]


def renumbered(file: list[bytes]) -> list[bytes]:
    """With dense versions and right intervals, so that nothing but the sums tells."""
    made: list[bytes] = []
    at = None
    for version, raw in enumerate(file, 1):
        line = json.loads(raw)
        now = datetime.fromisoformat(line["at"])
        line["version"], line["interval_s"] = version, (now - at).total_seconds() if at is not None else 0.0
        at = now
        made.append(json.dumps(line).encode() + b"\n")
    return made


@pytest.mark.parametrize(("change", "said", "kept"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
async def test_a_bad_line_is_named_and_what_stands_before_it_is_kept(
    log: Log, change: Callable[[list[bytes]], list[bytes]], said: list[str], kept: int
) -> None:
    good = await exported(await written((OTHER, talk())), OTHER)
    file = change(await exported(await written((CHAT, talk()))))
    done = await restore(log, [*(good if file else []), *file])
    problem = done.problems[0].replace(f"line {len(good) + 1}", "line 1") if file else done.problems[0]
    for line in range(1, 10):
        problem = problem.replace(f"line {len(good) + line},", f"line {line},")
    for words in said:
        assert words in problem
    assert await log.version(CHAT) == kept
    assert await exported(log, OTHER) == (good if file else [])


async def test_after_a_bad_chat_the_next_one_is_restored(log: Log) -> None:
    good = await exported(await written((OTHER, talk())), OTHER)
    bad = await exported(await written((CHAT, talk())))
    done = await restore(log, [bad[0], *bad[2:], *good])
    assert (done.problems_count, done.chats, done.chats_whole) == (1, 2, 1)
    assert await exported(log, OTHER) == good


async def test_content_that_is_not_what_its_line_says_is_refused(log: Log) -> None:
    file = await exported(await written((CHAT, talk())))
    blob = encode_blob(str(CHAT).encode(), b"content").replace(b'"content"', b'"contens"')
    [problem] = (await restore(log, [file[0], blob, *file[1:]])).problems
    assert "line 2" in problem
    assert "blob: expected content with the sha256" in problem


async def test_an_answer_that_was_being_written_is_left_to_who_watches_over_servers(log: Log) -> None:
    await restore(log, (await exported(await written((CHAT, talk()))))[:5])
    assert NODE in await nodes_of(log).beats()
    assert [left.message_id for left in await nodes_of(log).open_generations(since=0)] == [A]


async def test_times_are_the_original_ones_and_the_logs_own_are_not(log: Log) -> None:
    there = await written((CHAT, talk()))
    file = await exported(there)
    before = datetime.now(UTC) - timedelta(minutes=1)
    await restore(log, file)
    stored = await log.read(CHAT, limit=100)
    assert all(one.at > before for one in stored)
    times = await log.original_times(CHAT, after=0, until=100)
    assert [times[version] for version in sorted(times)] == [datetime.fromisoformat(json.loads(line)["at"]) for line in file]
    assert await log.version_at(CHAT, times[3]) == 3
    assert await log.version_at(CHAT, times[1] - timedelta(microseconds=1)) == 0


async def test_many_small_chats_and_a_long_one(log: Log) -> None:
    chats: list[tuple[Stream, Sequence[ChatEvent]]] = [
        (chat_stream(UUID(int=0xD00 + number)), talk(f"number {number}")) for number in range(60)
    ]
    chats.append((CHAT, talk(" ".join(map(str, range(700))))))
    there = await written(*chats)
    file = [line for stream, _ in chats for line in await exported(there, stream)]
    done = await restore(log, file)
    assert (done.problems, done.events_added) == ([], len(file))
    assert [line for stream, _ in chats for line in await exported(log, stream)] == file


async def test_two_restores_of_one_file_at_once_write_it_once(log: Log) -> None:
    file = await exported(await written((CHAT, talk(" ".join(map(str, range(900)))))))
    await asyncio.gather(restore(log, file), restore(log, file))
    assert (await restore(log, file)).problems == []
    assert await exported(log) == file
