"""What one person's events may cost the projections that all share: what is stored, what one batch holds, what a failure stops."""

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest

from adapters.postgres.log.log import PostgresLog, postgres_log
from adapters.postgres.preparing.migrate import schema_of
from adapters.postgres.reading.chat_queries import PostgresChatQueries
from adapters.projector import replay, writer
from adapters.projector.compare import verify_projections
from adapters.projector.live import Projector
from adapters.projector.rebuild import RebuildFailed, rebuild
from adapters.projector.writer import Poisoned, Writer, connect
from commands.metrics import Labelled
from commands.ports import AppendRequest, StreamAppend
from domain.chat.facts import ChatConfigured, ChatCreated, MessageAdded, MessageDeleted, MessageEdited, MessageRated
from domain.generation import BlockOpened, MessageDelta, MessageStarted
from domain.log.event import Emitted, Event
from domain.log.stream import chat_stream
from projections.chat import LISTED_BYTES_MAX, LISTED_MAX, view
from projections.chat_tree import ChatTree
from projections.projection import Projecting, Projection, Recorded
from tests.adapters.projector.test_projector import ALL, NAMES, PATIENCE_S, assert_right, ours, until
from tests.domain.histories import NODE, OWNER, ended

pytestmark = pytest.mark.anyio

Q, A = UUID(int=1), UUID(int=2)
CREATED = Event(None, ChatCreated(OWNER, "a title"))
ASKED = Event(Q, MessageAdded(None, "user", "hello"))


@pytest.fixture
async def log(database: str) -> AsyncIterator[PostgresLog]:
    made = postgres_log(database)
    await made.start()
    yield made
    await made.close()


async def append(log: PostgresLog, events: Sequence[Event[Any]], chat_id: UUID | None = None) -> UUID:
    chat_id = chat_id or uuid4()
    stream = chat_stream(chat_id)
    for event in events:
        await log.append(AppendRequest([StreamAppend(stream, [event], await log.version(stream))]))
    return chat_id


async def project(dsn: str, log: PostgresLog, events_max: int, projections: Sequence[Projection] = ALL) -> None:
    async with await connect(dsn, [schema_of(one.name) for one in projections]) as connection:
        made = Writer(connection, projections, uuid4(), 60)
        assert await made.acquire()
        head = await log.head()
        try:
            while made.position < head:
                await made.advance(events_max, head)
        finally:
            await made.release()


def one(dsn: str, query: str) -> Any:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def stored_bytes(dsn: str) -> int:
    size: int = one(dsn, "SELECT coalesce(sum(octet_length(body::text)), 0) FROM stenograph_chat_tree.messages")
    return size


def sent_bytes(dsn: str) -> int:
    size: int = one(dsn, "SELECT sum(octet_length(data::text)) FROM events")
    return size


async def assert_read_as_folded(log: PostgresLog, chat_id: UUID) -> None:
    events = await log.read(chat_stream(chat_id), limit=10_000)
    history = PostgresChatQueries(log.reader)
    for version in {len(events), len(events) * 2 // 3, len(events) // 2}:
        read, folded = await history.chat(chat_id, at=version), view(events[:version])
        assert msgspec.json.decode(msgspec.json.encode(read.to_json())) == msgspec.json.decode(msgspec.json.encode(folded.to_json()))


# ------------------------------------------------------------------------------------------------------- what is stored


@pytest.mark.parametrize("events_max", [1, 50, 5_000])
async def test_states_of_one_message_take_as_much_as_was_sent(database: str, log: PostgresLog, events_max: int) -> None:
    status = [Event(Q, Emitted("status", {"description": f"{number} " + "x" * 20_000})) for number in range(100)]
    chat_id = await append(log, [CREATED, ASKED, *status])
    await project(database, log, events_max)
    assert stored_bytes(database) <= 3 * sent_bytes(database)
    assert one(database, "SELECT count(*) FROM stenograph_chat_tree.messages") <= 12, (
        "one body for each time that the changes were as large"
    )
    await assert_read_as_folded(log, chat_id)
    await assert_right(database)


async def test_ratings_of_a_large_message_do_not_store_it_again(database: str, log: PostgresLog) -> None:
    large = Event(Q, MessageAdded(None, "user", "x" * 200_000))
    chat_id = await append(log, [CREATED, large, *[Event(Q, MessageRated(number % 2, f"{number}")) for number in range(150)]])
    await project(database, log, 1)
    assert stored_bytes(database) < 2 * 200_000
    await assert_read_as_folded(log, chat_id)


async def test_a_large_message_that_moves_up_is_not_stored_again(database: str, log: PostgresLog) -> None:
    ids = [UUID(int=100 + number) for number in range(20)]
    above = [Event(one, MessageAdded(ids[number - 1] if number else None, "user", "x")) for number, one in enumerate(ids)]
    large = Event(Q, MessageAdded(ids[-1], "user", "y" * 100_000))
    gone = [Event(one, MessageDeleted()) for one in ids[::-1]]
    chat_id = await append(log, [CREATED, *above, large, Event(Q, MessageRated(1)), *gone, Event(Q, MessageRated(-1))])
    await project(database, log, 3)
    assert stored_bytes(database) < 2 * 100_000
    await assert_read_as_folded(log, chat_id)
    await assert_right(database)


async def test_states_of_an_answer_that_is_being_generated_take_as_much_as_was_sent(database: str, log: PostgresLog) -> None:
    status = [Event(A, Emitted("status", {"description": f"{number} " + "x" * 20_000})) for number in range(30)]
    tokens = [Event(A, MessageDelta(0, f"{number} ")) for number in range(30)]
    answer = [Event(A, MessageStarted(Q, "demo", "demo", uuid4(), NODE)), Event(A, BlockOpened(0, "text"))]
    talk = [event for pair in zip(status, tokens, strict=True) for event in pair]
    chat_id = await append(log, [CREATED, ASKED, *answer, *talk])
    await project(database, log, 7)
    assert stored_bytes(database) <= 3 * sent_bytes(database)
    assert one(database, "SELECT max(coalesce(body_since, since)) FROM stenograph_chat_tree.messages WHERE is_open") > len(talk) // 3
    await assert_read_as_folded(log, chat_id)
    await append(log, [Event(A, ended("".join(f"{number} " for number in range(30))))], chat_id)
    await project(database, log, 7)
    await assert_read_as_folded(log, chat_id)
    await assert_right(database)


async def test_large_keys_of_a_chat_are_not_stored_again_with_each_change(database: str, log: PostgresLog) -> None:
    chat_id = await append(log, [CREATED, *[Event(None, ChatConfigured({f"key{number}": "x" * 20_000})) for number in range(40)]])
    stored: dict[int, int] = {}
    connection = await connect(database, [schema_of(name) for name in NAMES])
    made = Writer(connection, ALL, uuid4(), 60)
    assert await made.acquire()
    while made.position < await log.head():
        await made.advance(1, await log.head())
        rows = await (await connection.execute("SELECT fields_version, fields_bytes FROM chat_heads")).fetchall()
        stored |= dict(rows)
    await connection.close()
    assert sum(stored.values()) <= 3 * sent_bytes(database)
    await assert_read_as_folded(log, chat_id)
    await assert_right(database)


def test_lists_of_a_message_end() -> None:
    from tests.projections.test_chat import message, seen

    many = [Event(Q, Emitted("status", {"number": number})) for number in range(LISTED_MAX + 5)]
    shown = message(seen(CREATED, ASKED, *many), Q)["statusHistory"]
    assert [one["number"] for one in shown] == list(range(5, LISTED_MAX + 5))
    for name, key in (("status", "statusHistory"), ("source", "sources"), ("files", "files")):
        large = [{"number": number, "text": "x" * 100_000} for number in range(20)]
        data = [{"files": [one]} if name == "files" else one for one in large]
        shown = message(seen(CREATED, ASKED, *[Event(Q, Emitted(name, one)) for one in data]), Q)[key]
        assert LISTED_BYTES_MAX - 101_000 < len(msgspec.json.encode(shown)) <= LISTED_BYTES_MAX
        newest = shown[0] if name == "files" else shown[-1]
        assert newest["number"] == 19


async def test_what_an_emitter_adds_to_a_message_is_found(database: str, log: PostgresLog) -> None:
    from projections.search import parsed

    chat_id = await append(log, [CREATED, ASKED])
    for number, event in enumerate(
        [
            Event(Q, Emitted("message", {"content": " first"})),
            Event(Q, Emitted("chat:message:delta", {"content": " second"})),
            Event(Q, Emitted("replace", {"content": "third"})),
            Event(Q, Emitted("message", {"content": " fourth"})),
            Event(Q, MessageEdited({"content": [{"type": "text", "text": "fifth"}]})),
            Event(Q, Emitted("message", {"content": "sixth"})),
        ]
    ):
        await append(log, [event], chat_id)
        await project(database, log, 1 + number % 2)
        folded = view(await log.read(chat_stream(chat_id), limit=100)).messages[str(Q)]["content"]
        text = folded if isinstance(folded, str) else " ".join(part["text"] for part in folded)
        history = PostgresChatQueries(log.reader)
        for word in ("hello", "first", "second", "third", "fourth", "fifth", "sixth"):
            hits = await history.search(OWNER, parsed(word).phrases or (), offset=0, limit=5)
            assert bool(hits) == (word in text), (word, text)
            assert all(word in hit.snippet for hit in hits)
    await assert_right(database)


# ----------------------------------------------------------------------------------------------------------- one batch


class Watching(ChatTree):
    """Notes how much each batch holds, and fails as told."""

    def __init__(self, fails: Callable[[Sequence[Recorded]], bool] = lambda _: False, error: type[Exception] = OSError) -> None:
        self.batches: list[Sequence[Recorded]] = []
        self.fails, self.error = fails, error

    def project(self, events: Sequence[Recorded]) -> Projecting:
        self.batches.append(events)
        if self.fails(events):
            raise self.error("not this one")
        return (yield from super().project(events))


def with_others(watching: Watching) -> list[Projection]:
    return [one if one.name != watching.name else watching for one in ALL]


@pytest.mark.parametrize("events_max", [50, 5_000])
async def test_a_batch_is_bounded_in_bytes(database: str, log: PostgresLog, monkeypatch: pytest.MonkeyPatch, events_max: int) -> None:
    monkeypatch.setattr(writer, "BATCH_BYTES_MAX", 50_000)
    status = [Event(Q, Emitted("status", {"description": "x" * size})) for size in [20_000] * 10 + [90_000] + [10] * 40]
    await append(log, [CREATED, ASKED, *status])
    watching = Watching()
    await project(database, log, events_max, with_others(watching))
    sizes = [sum(len(event.stored.data) for event in batch) for batch in watching.batches]
    assert all(size <= 50_000 or len(batch) == 1 for size, batch in zip(sizes, watching.batches, strict=True))
    assert max(map(len, watching.batches[-3:])) > 10, "small events go together again"
    assert sum(map(len, watching.batches)) == len(status) + 2
    await assert_right(database)


async def test_a_batch_that_takes_long_is_followed_by_a_smaller_one(
    database: str, log: PostgresLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "BATCH_S", 0)
    await append(log, [CREATED, *[Event(None, ChatConfigured({"x": number})) for number in range(40)]])
    watching = Watching()
    await project(database, log, 16, with_others(watching))
    assert [len(batch) for batch in watching.batches][:5] == [16, 8, 4, 2, 1]


async def test_bodies_that_one_batch_would_read_are_bounded(database: str, log: PostgresLog, monkeypatch: pytest.MonkeyPatch) -> None:
    from projections import chat_tree

    monkeypatch.setattr(chat_tree, "READ_BYTES_MAX", 50_000)
    ids = [UUID(int=100 + number) for number in range(8)]
    await append(log, [CREATED, *[Event(one, MessageAdded(None, "user", "x" * 20_000)) for one in ids]])
    await project(database, log, 100)
    await append(log, [Event(one, MessageEdited({"content": "y" * 25_000})) for one in ids], await only_chat(log))
    watching = Watching()
    await project(database, log, 100, with_others(watching))
    assert [len(batch) for batch in watching.batches][:3] == [8, 4, 2]
    await assert_right(database)


async def only_chat(log: PostgresLog) -> UUID:
    return (await log.read_log(after=0, limit=1))[0].stream.id


# ----------------------------------------------------------------------------------------------------------- a failure


async def test_what_fails_as_a_batch_is_projected_in_smaller_ones(database: str, log: PostgresLog) -> None:
    """As where a batch outgrows the idle limit of its transaction: the connection is lost each time."""
    await append(log, [CREATED, *[Event(None, ChatConfigured({"x": number})) for number in range(60)]])
    watching = Watching(lambda batch: len(batch) > 5)
    projector = Projector(database, with_others(watching), uuid4(), lease_s=0.5)
    projector.start()
    assert await PostgresChatQueries(log.reader).reached(await log.head(), PATIENCE_S)
    await projector.close()
    assert projector.retries >= 1
    assert projector.warnings == [], "it did well in the end"
    await assert_right(database)


def figures_of(projector: Projector) -> dict[str, Mapping[str, Any]]:
    """By the metric's name, then by its label."""
    return {name: value.values for _, name, _, value in projector.figures() if isinstance(value, Labelled)}


async def test_an_event_that_fails_again_and_again_is_named_and_others_are_told(database: str, log: PostgresLog) -> None:
    chat_id = await append(log, [CREATED, *[Event(None, ChatConfigured({"x": number})) for number in range(10)]])
    bad = 7
    is_mended = False
    watching = Watching(lambda batch: not is_mended and any(event.stored.version == bad for event in batch))
    projector = Projector(database, with_others(watching), uuid4(), lease_s=0.5)
    projector.start()
    name = f"the event at position {bad} (chat/{chat_id} version {bad}, chat_configured): OSError: not this one"
    await until(lambda: projector.retry is not None and projector.retry.error == name and projector.retry.attempts >= 3)
    assert projector.retry is not None
    [warning] = projector.warnings
    assert "chat_list, chat_search, chat_tree, figures can't be brought up to date and this is retried, attempt " in warning
    assert projector.retry.since.tzinfo is UTC
    assert name in warning
    figures = figures_of(projector)
    assert figures["stenograph_projector_attempts"]["projector"] >= 3
    assert figures["stenograph_projector_retries"]["projector"] >= 3
    assert figures["stenograph_projector_retrying_since_timestamp_seconds"]["projector"] > 0
    assert figures["stenograph_projection_lag_events"]["chat_tree"] == 11 - (bad - 1), "all before it is there"
    assert figures["stenograph_projection_lag_bytes"]["chat_tree"] > 0
    is_mended = True
    assert await PostgresChatQueries(log.reader).reached(await log.head(), PATIENCE_S)
    await until(lambda: projector.warnings == [] and projector.lag_bytes("chat_tree") == 0)
    assert figures_of(projector)["stenograph_projector_attempts"]["projector"] == 0
    await projector.close()
    await assert_right(database)


async def test_a_poisoned_event_is_named_with_its_stream(database: str, log: PostgresLog) -> None:
    chat_id = await append(log, [CREATED, *[Event(None, ChatConfigured({"x": number})) for number in range(40)]])
    watching = Watching(lambda batch: any(event.stored.version == 30 for event in batch), ValueError)
    with pytest.raises(Poisoned) as stopped:
        await project(database, log, 100, with_others(watching))
    assert str(stopped.value).startswith(f"the event at position 30 (chat/{chat_id} version 30, chat_configured) can't be projected")
    assert min(state.position for state in ours(database)) == 29
    assert len(watching.batches) < 20, "it is halved, not tried one by one"


async def test_the_bytes_that_wait_are_those_of_the_events_that_wait(database: str, log: PostgresLog) -> None:
    projector = Projector(database, ALL, uuid4())
    chat_id = await append(log, [CREATED, *[Event(None, ChatConfigured({"x": "y" * number})) for number in range(1000)]])
    events = await log.read(chat_stream(chat_id), limit=2000)
    for event in events:
        projector.observe(event)
    assert projector.lag_bytes("chat_list") == sum(len(event.data) for event in events)
    projector.standings["chat_list"].position = 1001
    assert (projector.lag_bytes("chat_list"), projector.lag_bytes("chat_tree")) == (0, sum(len(event.data) for event in events))


async def test_a_rebuild_and_a_comparison_that_fail_say_why(database: str, log: PostgresLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "RETRY_S", 0)
    monkeypatch.setattr(replay, "LEASE_S", 0)
    chat_id = await append(log, [CREATED, *[Event(None, ChatConfigured({"x": number})) for number in range(10)]])
    await project(database, log, 100)
    failing = Watching(lambda batch: any(event.stored.version == 7 for event in batch), psycopg.OperationalError)
    name = f"the event at position 7 \\(chat/{chat_id} version 7, chat_configured\\): OperationalError: not this one"
    compared, [note] = await verify_projections(database, with_others(failing), lambda _: None)
    assert compared == []
    assert re.match(f"chat_list, chat_search, chat_tree, figures was not compared: {name}", note)
    with pytest.raises(RebuildFailed, match=name):
        await rebuild(database, with_others(failing), lambda _: None)
    await assert_right(database)
