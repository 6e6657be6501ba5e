"""A real log, damaged behind the triggers' back: each damage is found and named; an undamaged one is whole, also while it is written."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from adapters.postgres.log.log import PostgresLog, postgres_log
from adapters.postgres.log.verify import BATCH_BYTES, NoSuchStream, Verified, read, sent, verify
from adapters.postgres.preparing.migrate import schema_of
from adapters.projector.checkpoints import listed
from adapters.projector.compare import Compared, verify_projections
from adapters.projector.writer import Writer, connect
from commands.ports import AppendRequest, StreamAppend
from domain.accounts.user.facts import UserCreated
from domain.chat.facts import ChatCreated, ChatRenamed, MessageAdded, MessageDeleted, MessageEdited
from domain.generation import (
    BlockOpened,
    BlockSum,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    MessageDelta,
    MessageEnded,
    MessageStarted,
    Timings,
)
from domain.log.codec import decode_actor
from domain.log.event import Actor, Emitted, Event
from domain.log.stream import Stream, chat_stream, user_stream
from domain.verify.finding import LogRow
from domain.verify.log import Report
from projections.chat_list import ChatList
from projections.chat_search import ChatSearch
from projections.chat_tree import ChatTree
from projections.figures.projection import Figures
from projections.projection import Projection
from tests.domain.histories import NODE, OWNER, sha256
from tests.stores import blobs_of

pytestmark = pytest.mark.anyio
ALL: tuple[Projection, ...] = (ChatList(), ChatSearch(), ChatTree(), Figures())
OF_CHANNELS = ("channel_counts", "channel_search")  # not looked at here
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # from which Postgres counts
ADA = Actor(OWNER, "Ada 🦉", "admin")


@pytest.fixture
async def log(database: str) -> AsyncIterator[PostgresLog]:
    made = postgres_log(database, lambda _: None)
    await made.start()
    yield made
    await made.close()


def whole(message_id: UUID, parent_id: UUID, *blocks: tuple[Any, list[str]], content: Any = None) -> list[Event[Any]]:
    """One answer, from its beginning to its end."""
    events: list[Event[Any]] = [Event(message_id, MessageStarted(parent_id, "demo", "demo", uuid4(), NODE))]
    for index, (type_, pieces) in enumerate(blocks):
        events.append(Event(message_id, BlockOpened(index, type_)))
        events += [Event(message_id, MessageDelta(index, piece)) for piece in pieces]
    said = "".join("".join(pieces) for type_, pieces in blocks if type_ == "text")
    sums = [BlockSum(index, type_, sha256("".join(pieces))) for index, (type_, pieces) in enumerate(blocks)]
    deltas = sum(len(pieces) for _, pieces in blocks)
    content = said if content is None else content
    return [*events, Event(message_id, MessageEnded(content, sums, sha256(said), "stop", {"total_tokens": 3}, Timings(1, 2), deltas))]


class Seeded:
    """A log with everything in it, and the positions that a test damages."""

    def __init__(self, chat: Stream, delta: int, end: int, message: int, blob_end: int) -> None:
        self.chat, self.delta, self.end, self.message, self.blob_end = chat, delta, end, message, blob_end


async def append(log: PostgresLog, stream: Stream, events: list[Event[Any]], actor: Actor | None = None) -> list[int]:
    """The events' positions."""
    version = await log.version(stream)
    appended = await log.append(AppendRequest([StreamAppend(stream, events, version)], actor=actor))
    return list(range(appended.position - len(events) + 1, appended.position + 1))


@pytest.fixture
async def seeded(log: PostgresLog) -> Seeded:
    await append(log, user_stream(OWNER), [Event(None, UserCreated("Ada", "ada@example.org", "admin"))])
    chat, other = chat_stream(uuid4()), chat_stream(uuid4())
    q, a, b, c, d, e = (uuid4() for _ in range(6))
    said = await append(
        log, chat, [Event(None, ChatCreated(OWNER, "a title")), Event(q, MessageAdded(None, "user", "Hello \\ \n \t 🦉"))], ADA
    )
    answered = await append(log, chat, whole(a, q, ("text", ["Hel", "lo ", "you"])))
    thought = whole(b, q, ("reasoning", ["Hm", "…"]), ("text", ["Well"]), ("tool_call", ['{"a":', "1}"]), ("text", [", yes"]))
    await append(log, chat, thought)
    for number, end in ((c, GenerationCancelled(OWNER, "so")), (d, GenerationInterrupted(NODE, "so"))):
        cut = [*whole(number, q, ("text", ["s", "o"]))[:-1], Event(number, end)]
        await append(log, chat, cut)
        await append(
            log, other, [Event(None, ChatRenamed("x"))] if await log.version(other) else [Event(None, ChatCreated(OWNER, "other"))]
        )
    await append(log, chat, [*whole(e, q)[:-1], Event(e, GenerationFailed("x", "y"))])
    large = "long " * 40_000
    kept = await blobs_of(log).put(chat, large.encode())
    blob = await append(
        log, chat, whole(uuid4(), q, ("text", [large[:30_000]] * 6 + [large[180_000:]]), content={"blob": kept, "size_bytes": 200_000})
    )
    await append(
        log,
        chat,
        [
            Event(q, MessageEdited({"content": "Hello again", "x": [1]})),
            Event(q, Emitted("status", {"description": "…"})),
            Event(a, Emitted("log", None)),
            Event(b, MessageDeleted()),
        ],
        ADA,
    )
    return Seeded(chat, answered[2], answered[-1], said[1], blob[-1])


def damage(dsn: str, *statements: str) -> None:
    """What only a superuser can do: past the triggers that refuse every change."""
    with psycopg.connect(dsn, autocommit=True) as connection, connection.transaction():
        for table in ("events", "streams", "blobs", "claims"):
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER {table}_append_only")
        for statement in statements:
            connection.execute(statement)
        for table in ("events", "streams", "blobs", "claims"):
            connection.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_append_only")


async def verified(dsn: str, **part: Any) -> Report:
    return await asyncio.to_thread(lambda: verify(dsn, lambda _: None, batch_events=7, **part))


def named(report: Report) -> list[tuple[str, int | None]]:
    return [(finding.check, finding.position) for finding in report.findings]


async def test_an_empty_log_is_whole(database: str) -> None:
    assert (await verified(database)).is_whole


async def test_a_log_with_everything_in_it_is_whole(database: str, seeded: Seeded, log: PostgresLog) -> None:
    report = await verified(database)
    assert report.findings == []
    assert (report.head, report.events) == (await log.head(), await log.head())


async def test_any_part_of_it_is_whole(database: str, seeded: Seeded, log: PostgresLog) -> None:
    for first in range(1, await log.head() + 2):
        assert (await verified(database, first=first)).findings == [], first
    report = await verified(database, stream=seeded.chat)
    assert (report.findings, report.events) == ([], await log.version(seeded.chat))
    assert (await verified(database, stream=seeded.chat, first=seeded.delta)).findings == []
    with pytest.raises(NoSuchStream):
        await verified(database, stream=chat_stream(uuid4()))


async def test_what_is_written_meanwhile_is_no_false_alarm(database: str, seeded: Seeded, log: PostgresLog) -> None:
    head = await log.head()
    is_over = False
    seen: list[Verified] = []

    async def write() -> None:
        while not is_over:
            await append(
                log, chat_stream(uuid4()), [Event(None, ChatCreated(OWNER, "meanwhile")), *whole(uuid4(), uuid4(), ("text", ["a"]))]
            )

    writing = asyncio.create_task(write())
    for _ in range(5):
        report = await asyncio.to_thread(lambda: verify(database, seen.append, batch_events=20))
        assert report.findings == []
        assert report.head == report.events == seen[-1].position
    is_over = True
    await writing
    assert await log.head() > head


def columns(one: LogRow) -> tuple[Any, ...]:
    at = EPOCH + timedelta(microseconds=one.at_us)
    return one.position, one.version, one.stream_id, at, one.kind, one.message_id, one.type, one.actor, one.data


async def test_rows_are_taken_apart_as_the_driver_does(database: str, seeded: Seeded, log: PostgresLog) -> None:
    head = await log.head()
    damage(database, f"UPDATE events SET stream_id = '00000000-0000-0000-0000-000000000001' WHERE position = {seeded.delta}")
    query = """
        SELECT e.position, e.version, uuid_send(e.stream_id), e.recorded_at, s.kind, uuid_send(e.message_id), e.type,
               convert_to(e.actor::text, 'UTF8'), convert_to(e.data::text, 'UTF8')
          FROM events AS e LEFT JOIN streams AS s USING (stream_id) ORDER BY e.position
    """
    with psycopg.connect(database, autocommit=True) as connection:
        known = connection.execute(query).fetchall()
        for rows_max in (1, 7, head, head + 1):
            some = list(read(connection, 1, head, None, rows_max))
            entries = [entry for rows in some for entry in rows.entries()]
            assert [len(rows.data) for rows in some[:-1]] == [rows_max] * ((head - 1) // rows_max)
            assert list(map(columns, entries)) == known
    assert None in {one.kind for one in entries}
    assert {None, ADA} <= {decode_actor(one.actor) for one in entries}


async def test_large_rows_are_read_a_few_at_once(database: str, log: PostgresLog) -> None:
    await append(log, chat_stream(uuid4()), [Event(None, ChatCreated(OWNER, "large"))])
    await append(log, chat_stream(uuid4()), [Event(uuid4(), MessageAdded(None, "user", "x" * (BATCH_BYTES // 20))) for _ in range(50)])
    with psycopg.connect(database, autocommit=True) as connection:
        sizes = [len(rows.data) for rows in read(connection, 1, 51, None, 51)]
    assert (sizes[0] <= 21, sum(sizes)) == (True, 51)


async def test_tokens_that_follow_each_other_are_one_run(database: str, seeded: Seeded) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        [rows] = read(connection, seeded.delta, seeded.end, None)
    assert [(head.type, end - begin) for head, begin, end in rows.runs] == [("message_delta", 3), ("message_end", 1)]


async def test_one_that_is_cut_off_is_never_whole(database: str, seeded: Seeded) -> None:
    with psycopg.connect(database, autocommit=True) as other:

        def cut_off(_: Verified) -> None:
            found = other.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'steno verify' AND datname = current_database()"
            )
            for (pid,) in found.fetchall():
                other.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))

        with pytest.raises(psycopg.OperationalError, match=r"terminat|closed the connection"):
            await asyncio.to_thread(lambda: verify(database, cut_off, batch_events=3))


async def test_a_copy_that_is_broken_off_says_why(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection, connection.cursor() as cursor:
        query = "COPY (SELECT 1 / (3 - n) FROM generate_series(1, 5) AS n) TO STDOUT (FORMAT binary)"
        with pytest.raises(psycopg.OperationalError, match="division by zero"), cursor.copy(query):
            list(sent(connection.pgconn, 1))
        assert cursor.execute("SELECT 1").fetchone() == (1,), "the connection is as it was"


# --------------------------------------------------------------------------------------------------------------- damage


async def test_an_answers_text_that_was_changed_is_found(database: str, seeded: Seeded) -> None:
    damage(database, f'UPDATE events SET data = \'{{"index":0,"text":"Hal"}}\' WHERE position = {seeded.delta}')
    report = await verified(database)
    assert set(named(report)) == {("answers", seeded.end)}
    assert sha256("Hallo you") in "".join(finding.text for finding in report.findings)
    assert set(named(await verified(database, stream=seeded.chat))) == {("answers", seeded.end)}


async def test_a_byte_that_is_changed_in_its_end_is_found(database: str, seeded: Seeded) -> None:
    damage(database, f"UPDATE events SET data = replace(data::text, 'Hello you', 'Hallo you')::json WHERE position = {seeded.end}")
    assert named(await verified(database)) == [("answers", seeded.end)]


async def test_a_row_that_was_dropped_is_found(database: str, seeded: Seeded) -> None:
    damage(database, f"DELETE FROM events WHERE position = {seeded.message}")
    report = await verified(database)
    assert named(report) == [("positions", seeded.message), ("versions", seeded.message + 1)]
    assert report.first_bad_position == seeded.message


async def test_the_first_row_and_the_newest_ones_that_somebody_saw_are_missed(database: str, seeded: Seeded, log: PostgresLog) -> None:
    head = await log.head()
    async with await connect(database, [schema_of(one.name) for one in ALL]) as connection:
        live = Writer(connection, ALL, uuid4(), 60)
        assert await live.acquire()
        await live.advance(1000, head)
    damage(database, "DELETE FROM events WHERE position = 1", f"DELETE FROM events WHERE position = {head}")
    report = await verified(database)
    assert named(report) == [("positions", 1), ("head", head), ("streams", None)]
    assert (
        report.findings[1].text
        == f"expected a log up to position {head}, seen by projections: {', '.join(one.name for one in ALL)}, found its head at {head - 1}"
    )


async def test_two_rows_that_were_swapped_are_found(database: str, seeded: Seeded) -> None:
    one, two = seeded.delta, seeded.delta + 1
    damage(
        database,
        f"UPDATE events SET position = -1 WHERE position = {one}",
        f"UPDATE events SET position = {one} WHERE position = {two}",
        f"UPDATE events SET position = {two} WHERE position = -1",
    )
    report = await verified(database)
    assert report.first_bad_position == one
    assert {("versions", one), ("versions", two), ("answers", seeded.end)} <= set(named(report))
    assert named(await verified(database, stream=seeded.chat)) == [("positions", one)]


async def test_the_texts_of_two_rows_that_were_swapped_are_found(database: str, seeded: Seeded) -> None:
    one, two = seeded.delta, seeded.delta + 1
    damage(
        database,
        f"UPDATE events AS e SET data = o.data FROM events AS o WHERE (e.position, o.position) IN (({one}, {two}), ({two}, {one}))",
    )
    assert set(named(await verified(database))) == {("answers", seeded.end)}


@pytest.mark.parametrize(
    ("column", "check"),
    [
        ("type = 'message_dleta'", "answers"),
        ("type = 'chat_renamed'", "facts"),
        ("type = 'no such type'", "facts"),
        ("data = '{}'", "facts"),
        ("message_id = NULL", "answers"),
        ("actor = '{\"id\": 7}'", "facts"),
        ("recorded_at = recorded_at - interval '1 day'", "times"),
        ("stream_id = '00000000-0000-0000-0000-000000000001'", "facts"),
        ("version = 900", "versions"),
    ],
)
async def test_whatever_is_changed_in_a_row_is_found(database: str, seeded: Seeded, column: str, check: str) -> None:
    damage(database, f"UPDATE events SET {column} WHERE position = {seeded.delta}")
    report = await verified(database)
    assert check in report.counts
    assert report.first_bad_position is not None
    assert seeded.delta <= report.first_bad_position <= seeded.end
    if check != "answers":
        assert (check, seeded.delta) in named(report)


async def test_a_blob_that_is_broken_or_gone_is_found(database: str, seeded: Seeded) -> None:
    damage(database, "UPDATE blobs SET content = content || 'x'::bytea")
    assert named(await verified(database)) == [("blobs", seeded.blob_end)]
    assert named(await verified(database, stream=seeded.chat)) == [("blobs", seeded.blob_end)]
    damage(database, "DELETE FROM blobs")
    [finding] = (await verified(database)).findings
    assert finding.text == f"expected a blob {hashlib.sha256(b'long ' * 40_000).hexdigest()}, found none"


async def test_what_refers_to_streams_that_are_gone_is_found(database: str, seeded: Seeded) -> None:
    ghost = uuid4()
    damage(
        database,
        f"INSERT INTO streams VALUES ('{ghost}', 'chat')",
        f"INSERT INTO claims VALUES ('email', 'a@b', '{uuid4()}')",
    )
    report = await verified(database)
    assert report.findings[0].text == f"expected an event of chat/{ghost}, found none"
    assert report.counts == {"streams": 1, "claims": 1}
    assert report.first_bad_position is None


async def test_every_kind_of_damage_is_found_in_one_go(database: str, seeded: Seeded) -> None:
    damage(
        database,
        "UPDATE blobs SET content = ''",
        f"DELETE FROM events WHERE position = {seeded.message}",
        f"UPDATE events SET data = '[]' WHERE position = {seeded.delta}",
        f"UPDATE events SET recorded_at = '2000-01-01' WHERE position = {seeded.end}",
    )
    assert (await verified(database)).counts.keys() == {"positions", "versions", "facts", "times", "blobs"}


# ---------------------------------------------------------------------------------------------------------- projections


async def project(dsn: str, head: int) -> None:
    async with await connect(dsn, [schema_of(one.name) for one in ALL]) as connection:
        live = Writer(connection, ALL, uuid4(), 60)
        assert await live.acquire()
        while live.position < head:
            await live.advance(1000, head)
        await live.release()


async def compared(dsn: str) -> list[Compared]:
    found, notes = await verify_projections(dsn, ALL, lambda _: None)
    assert notes == []
    return found


def same(position: int) -> list[Compared]:
    return [Compared(one.name, position, 0, []) for one in ALL]


async def test_a_projection_is_what_a_replay_makes(database: str, seeded: Seeded, log: PostgresLog) -> None:
    head = await log.head()
    assert await compared(database) == same(0)
    await project(database, head // 2)
    assert await compared(database) == same(head // 2)
    await project(database, head)
    assert await compared(database) == same(head)
    assert [one.name for one in listed(database)[0] if one.name not in OF_CHANNELS] == [one.name for one in ALL], "nothing is left of it"


async def test_rows_that_were_changed_are_named(database: str, seeded: Seeded, log: PostgresLog) -> None:
    await project(database, await log.head())
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"UPDATE stenograph_chat_list.chats SET title = 'forged', pinned = true WHERE chat_id = '{seeded.chat.id}'")
        connection.execute("DELETE FROM stenograph_chat_search.texts WHERE words @@ 'hello & you'::tsquery AND ordinal > 0")
        connection.execute("INSERT INTO stenograph_chat_tree.currents VALUES (%s, 999, NULL)", (seeded.chat.id,))
    found = await compared(database)
    assert [one.count for one in found] == [1, 1, 1, 0]
    texts = {finding.text.partition(" ")[0]: finding.text for one in found for finding in one.findings}
    assert texts.keys() == {"chat_list.chats", "chat_search.texts", "chat_tree.currents"}
    assert texts["chat_list.chats"].endswith('title: expected "a title", found "forged"; pinned: expected false, found true')
    assert f'(chat_id "{seeded.chat.id}")' in texts["chat_list.chats"]
    assert "expected this row, found none" in texts["chat_search.texts"]
    assert "'hello':1" in texts["chat_search.texts"]
    assert "expected no such row, found one" in texts["chat_tree.currents"]


async def test_very_many_rows_are_counted_and_some_are_listed(database: str, log: PostgresLog) -> None:
    for _ in range(30):
        await append(log, chat_stream(uuid4()), [Event(None, ChatCreated(OWNER, "t"))])
    await project(database, 30)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DELETE FROM stenograph_chat_list.chats")
    assert [(one.count, len(one.findings)) for one in await compared(database)] == [(30, 20), (0, 0), (0, 0), (0, 0)]


async def test_an_event_that_cant_be_replayed_is_named(database: str, seeded: Seeded, log: PostgresLog) -> None:
    await project(database, await log.head())
    damage(database, f"UPDATE events SET data = '[]' WHERE position = {seeded.message}")
    for one, known in zip(await compared(database), ALL, strict=True):
        [finding] = one.findings
        assert (finding.check, finding.position) == ("projections", seeded.message)
        assert finding.text.startswith(f"{known.name} can't be replayed: ")


async def test_tables_of_another_version_are_not_compared(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE projections SET sha256 = 'another' WHERE name = 'chat_tree'")
    found, [note] = await verify_projections(database, ALL, lambda _: None)
    assert [one.name for one in found] == ["chat_list", "chat_search", "figures"]
    assert "chat_tree was not compared: the tables of chat_tree are those of another version" in note
    assert [one.name for one in listed(database)[0] if one.name not in OF_CHANNELS] == [one.name for one in ALL]


async def test_one_that_writes_goes_on_meanwhile(database: str, seeded: Seeded, log: PostgresLog) -> None:
    from adapters.projector.live import Projector

    projector = Projector(database, ALL, uuid4(), lease_s=0.5)
    projector.start()
    is_over = False

    async def write() -> None:
        while not is_over:
            await append(log, seeded.chat, [Event(None, ChatRenamed(f"{uuid4()}"))])
            projector.wake()

    writing = asyncio.create_task(write())
    for _ in range(3):
        assert [one.findings for one in await compared(database)] == [[]] * len(ALL)
    is_over = True
    await writing
    await projector.close()
