"""The rows that analysts count: Postgres, killed and taken up in batches of any size, holds what a fold of the whole log makes."""

import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from hypothesis import given

from adapters.memory.figures import MemoryFigures
from adapters.postgres.analysts.figures import SOURCES, PostgresFigures
from adapters.postgres.log.log import PostgresLog, postgres_log
from adapters.postgres.preparing.migrate import schema_of
from adapters.projector.writer import Writer, connect
from commands.ports import AppendRequest, StreamAppend
from domain.accounts.group import GroupCreated, GroupDeleted, GroupMembersAdded, GroupMembersRemoved
from domain.accounts.user.facts import RoleChanged, UserCreated, UserDeactivated
from domain.channel.facts import (
    ChannelCreated,
    MemberJoined,
    MemberLeft,
    MessageChanged,
    MessagePosted,
    MessageRemoved,
    ReactionAdded,
    ReactionRemoved,
)
from domain.chat.facts import ChatCreated, ChatDeleted, ChatImported, MessageAdded, MessageDeleted, MessageEdited, MessageRated
from domain.generation import (
    BlockOpened,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    MessageDelta,
    MessageEnded,
    MessageStarted,
    Timings,
)
from domain.log.event import Actor, Emitted, Event
from domain.log.stream import Stream, channel_stream, chat_stream, group_stream, user_stream
from projections.figures.answering import answer
from projections.figures.catalogue import DIMENSIONS, GRANULARITIES, METRICS
from projections.figures.projection import PUTS, Figures
from projections.figures.question import question_of
from projections.figures.tables import Tables
from tests.domain.histories import FEW, History, histories

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

ANN, BEN = (Actor(UUID(int=number), f"person {number}", "user") for number in (1, 2))
NODE = UUID(int=0xD0)
TABLES = {
    "counted_conversations": "conversations",
    "counted_messages": "messages",
    "counted_generations": "generations",
    "counted_ratings": "ratings",
    "counted_duels": "duels",
    "counted_memberships": "memberships",
    "counted_people": "people",
}


@pytest.fixture
async def log(database: str) -> AsyncIterator[PostgresLog]:
    made = postgres_log(database, lambda _: None)
    await made.start()
    yield made
    await made.close()


async def append(log: PostgresLog, stream: Stream, events: Sequence[Event[Any]], actor: Actor | None = ANN) -> None:
    version = await log.version(stream)
    await log.append(AppendRequest([StreamAppend(stream, events, version)], actor))


async def project(dsn: str, log: PostgresLog, choose: random.Random) -> None:
    """In batches of random sizes, each by a process of its own."""
    head = await log.head()
    position = -1
    while position < head:
        connection = await connect(dsn, [schema_of("figures")])
        writer = Writer(connection, [Figures()], uuid4(), 60)
        assert await writer.acquire()
        await writer.advance(choose.randint(1, 40), head)
        position = writer.position
        await writer.release()
        await connection.close()


def rows(dsn: str, table: str) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        connection.execute("SET timezone = 'UTC'")
        return sorted(connection.execute(f"SELECT * FROM stenograph_figures.{table}").fetchall(), key=repr)  # type: ignore[arg-type]


async def assert_same(dsn: str, log: PostgresLog) -> Tables:
    tables = await MemoryFigures(log).tables()  # type: ignore[arg-type]  # it reads any log
    for table, name in TABLES.items():
        expected = sorted((msgspec.structs.astuple(row) for row in getattr(tables, name).values()), key=repr)
        found = rows(dsn, table)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert close(one, other), (one, other)
    return tables


def close(row: Sequence[Any], other: Sequence[Any]) -> bool:
    """The same, but for the last digits of what is divided."""
    return all(one == pytest.approx(two) if isinstance(one, float) else one == two for one, two in zip(row, other, strict=True))


def ended(usage: Any = None) -> MessageEnded:
    return MessageEnded("said", [], "00", "stop", usage, Timings(1.0, 2.0), 2)


def story(choose: random.Random, *, imported: bool = False) -> list[Event[Any]]:
    """A chat in which two models answer each question, some are rated, and all ways to end happen."""
    events: list[Event[Any]] = [Event(None, ChatCreated(ANN.id, "a title", listed=not imported))]
    for _ in range(choose.randint(1, 4)):
        q, answers = uuid4(), [uuid4(), uuid4()]
        events.append(Event(q, MessageAdded(None, "user", "a question", fields={"models": ["small", "large"]})))
        for one, model in zip(answers, ("small", "large"), strict=True):
            pick = model if choose.random() < 0.5 else None
            events.append(
                Event(
                    one,
                    MessageStarted(q, model, "arena" if pick else model, uuid4(), NODE, selected_model_id=pick, provider_name="openai 1"),
                )
            )
            events.append(Event(one, BlockOpened(0, "text")))
        for number in range(choose.randint(0, 6)):
            events.append(Event(choose.choice(answers), MessageDelta(0, f"word {number} ü ")))
        events.append(Event(answers[0], Emitted("status", {"description": "refused: busy. Asked again in 2 s", "done": True})))
        events.append(Event(answers[0], BlockOpened(1, "tool_call", "search")))
        endings: list[Any] = [
            ended({"prompt_tokens": 7, "completion_tokens": 3, "input_tokens": 7, "output_tokens": 3}),
            ended({"prompt_tokens": -1, "completion_tokens": "many"}),
            ended(),
            GenerationFailed("rate_limited", "no", provider={"status": 429}),
            GenerationCancelled(ANN.id),
            GenerationInterrupted(NODE),
        ]
        for one in answers:
            if choose.random() < 0.9:  # the others never end
                events.append(Event(one, choose.choice(endings)))
        for _ in range(choose.randint(0, 4)):
            events.append(Event(choose.choice([q, *answers]), MessageRated(choose.choice((-1, 0, 1)))))
        if choose.random() < 0.3:
            events.append(Event(choose.choice(answers), MessageEdited({"content": "better", "annotation": {"rating": 1, "tags": ["x"]}})))
        if choose.random() < 0.2:
            events.append(Event(choose.choice(answers), MessageDeleted()))
    if imported:
        events.append(Event(None, ChatImported(choose.choice(("chat", "open-webui")), "1", datetime(2020, 5, 4, tzinfo=UTC))))
    if choose.random() < 0.2:
        events.append(Event(None, ChatDeleted()))
    return events


def channel_story(choose: random.Random) -> list[Event[Any]]:
    events: list[Event[Any]] = [Event(None, ChannelCreated("group", ANN.id, "general")), Event(None, MemberJoined(ANN.id, "manager"))]
    for _ in range(3):
        m, answer = uuid4(), uuid4()
        events += [Event(None, MemberJoined(BEN.id)), Event(m, MessagePosted(BEN.id, "hello"))]
        events += [
            Event(answer, MessageStarted(m, "small", "small", uuid4(), NODE, fields={"user_id": str(BEN.id)})),
            Event(answer, ended()),
        ]
        events += [Event(m, ReactionAdded("up", ANN.id)), Event(m, ReactionAdded("up", BEN.id)), Event(m, ReactionRemoved("up", BEN.id))]
        events.append(Event(m, choose.choice((MessageChanged({"content": "hello!"}), MessageRemoved()))))
        events.append(Event(None, MemberLeft(BEN.id)))
    return events


async def told(log: PostgresLog, choose: random.Random) -> None:
    for number in range(4):
        await append(log, chat_stream(uuid4()), story(choose, imported=number == 3), choose.choice((ANN, BEN, None)))
    await append(log, channel_stream(uuid4()), channel_story(choose))
    await append(log, user_stream(ANN.id), [Event(None, UserCreated("Ann", "ann@example.com", "admin")), Event(None, RoleChanged("user"))])
    await append(log, user_stream(BEN.id), [Event(None, UserCreated("Ben", "ben@example.com", "user")), Event(None, UserDeactivated())])
    group = [
        GroupCreated(ANN.id, "g"),
        GroupMembersAdded([ANN.id, BEN.id]),
        GroupMembersRemoved([ANN.id]),
        GroupMembersAdded([ANN.id, BEN.id]),
    ]
    await append(log, group_stream(uuid4()), [Event(None, fact) for fact in (*group, GroupDeleted())])


@pytest.mark.parametrize("seed", range(4))
async def test_the_tables_hold_what_the_log_says(database: str, log: PostgresLog, seed: int) -> None:
    choose = random.Random(seed)
    await told(log, choose)
    await project(database, log, choose)
    tables = await assert_same(database, log)
    assert {len(changed) > 0 for changed in tables.changed.values()} == {True}, "every table has rows"
    # … and every question has the same answer, whoever is asked.
    postgres, memory = PostgresFigures(log.reader), MemoryFigures(log)  # type: ignore[arg-type]
    for source in SOURCES:
        names = [one.name for one in METRICS.values() if one.source == source and one.name != "cost"]  # in memory there are no prices
        for asked in [[], *([one.name] for one in DIMENSIONS.values() if source in one.columns)]:
            zone = choose.choice(("Europe/Berlin", "UTC", "America/St_Johns"))
            for some in (names[:25], names[25:]):
                if some:
                    question = question_of(some, asked, granularity=choose.choice((None, *GRANULARITIES)), time_zone=zone)
                    one, other = await postgres.ask(question), answer(tables, question, await log.head())
                    assert (one.columns, one.position, len(one.rows)) == (other.columns, other.position, len(other.rows))
                    assert all(close(row, second) for row, second in zip(one.rows, other.rows, strict=True)), question
    since = datetime.now(UTC) - timedelta(days=1)
    assert await postgres.duels(since, None) == await memory.duels(since, None) != []
    assert await postgres.chats_of_model("small", None, None) == await memory.chats_of_model("small", None, None) != []
    for by_rating in (False, True):
        for ascending in (False, True):
            for offset in (0, 1, 100):
                asked = {"by_rating": by_rating, "ascending": ascending, "offset": offset, "limit": 2}
                assert await postgres.ratings(**asked) == await memory.ratings(**asked)
    assert (await postgres.ratings(limit=2))[1] != []
    for wanted in ({"model_id": "small"}, {"user_id": ANN.id}, {"since": since}):
        listed = await postgres.messages(**wanted, limit=5, offset=1)  # type: ignore[arg-type]
        assert listed == await memory.messages(**wanted, limit=5, offset=1) != []  # type: ignore[arg-type]


async def test_parts_of_time_are_the_same_where_clocks_change(database: str, log: PostgresLog) -> None:
    """Messages of many moments, in zones whose hours and days begin at others: by stretches of time, and row by row."""
    choose = random.Random(7)
    changes = [datetime(2025, 10, 26, 1, tzinfo=UTC), datetime(2025, 4, 5, 15, tzinfo=UTC), datetime(2010, 11, 7, 2, 31, tzinfo=UTC)]
    times = [(at + timedelta(minutes=choose.randint(-300, 300))).timestamp() for at in changes for _ in range(40)]
    said = [Event(uuid4(), MessageAdded(None, "user", "q", fields={"timestamp": at})) for at in times]
    await append(log, chat_stream(uuid4()), [Event(None, ChatCreated(ANN.id, "t")), *said])
    await project(database, log, choose)
    tables, postgres = await MemoryFigures(log).tables(), PostgresFigures(log.reader)  # type: ignore[arg-type]
    for zone in ("Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kathmandu"):
        for granularity in GRANULARITIES:
            for since in (None, changes[2] - timedelta(hours=5), changes[0]):
                question = question_of(["messages", "people"], ["role"], granularity=granularity, time_zone=zone, since=since)
                found, expected = (await postgres.ask(question)).rows, answer(tables, question, await log.head()).rows
                # A day that begins twice is called by its first midnight here and by its second one in Postgres.
                unsure = 1 if zone == "America/St_Johns" and granularity != "hour" else 0
                assert [row[unsure:] for row in found] == [row[unsure:] for row in expected]
                assert sum(row[2] for row in found) == sum(since is None or at >= since.timestamp() for at in times)


async def test_any_history_of_a_chat_makes_the_same_rows(database: str, log: PostgresLog) -> None:
    drawn: list[History] = []

    @FEW
    @given(histories())
    def draw(history: History) -> None:
        drawn.append(history)

    draw()
    choose = random.Random(1)
    for history in drawn:
        if history.events:
            await append(log, chat_stream(uuid4()), history.events)
    await project(database, log, choose)
    await assert_same(database, log)
    assert len(PUTS) == len(TABLES)


async def test_times_are_those_of_the_log(database: str, log: PostgresLog) -> None:
    chat, a = chat_stream(uuid4()), uuid4()
    await append(log, chat, [Event(None, ChatCreated(ANN.id, "t")), Event(a, MessageStarted(None, "m", "m", uuid4(), NODE))])
    await append(log, chat, [Event(a, BlockOpened(0, "text")), Event(a, MessageDelta(0, "a"))], None)
    await append(log, chat, [Event(a, MessageDelta(0, "bc"))], None)
    await append(log, chat, [Event(a, MessageDelta(0, "d"))], None)
    await append(log, chat, [Event(a, ended({"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}))], None)
    await project(database, log, random.Random(0))
    events = {event.version: event.at for event in await log.read(chat, limit=100)}
    ms = timedelta(milliseconds=1)
    (row,) = rows(database, "counted_generations")
    names = list(msgspec.structs.fields(next(table for table in PUTS if table.__name__ == "Generation")))
    found = dict(zip([field.name for field in names], row, strict=True))
    gaps = sorted([(events[5] - events[4]) / ms, (events[6] - events[5]) / ms])
    assert found["first_token_ms"] == pytest.approx((events[4] - events[2]) / ms)
    assert found["duration_ms"] == pytest.approx((events[7] - events[2]) / ms)
    assert found["gap_max_ms"] == pytest.approx(gaps[1])
    assert found["gap_p50_ms"] == pytest.approx(sum(gaps) / 2)
    assert (found["deltas"], found["characters"], found["user_id"]) == (3, 4, ANN.id)
    assert (found["input_tokens"], found["output_tokens"]) == (None, None), "the provider said nothing: unknown, not 0"
