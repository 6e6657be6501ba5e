"""What only the log in Postgres can show: who may change it, how it is called, and that one bad row is nobody else's trouble."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import psycopg
import pytest

from adapters.postgres.appending.appender import CALL, HALF_REQUESTS_MIN, Appender
from adapters.postgres.appending.waiting import Waiting, call_arguments
from adapters.postgres.connections import connection as connections
from adapters.postgres.connections.connection import APP_ROLE, connect
from adapters.postgres.log.log import PostgresLog, postgres_log
from commands.ports import ANY, Appended, AppendRequest, Claim, CommandKey, Line, LineBroken, StreamAppend
from domain.chat.facts import ChatRenamed
from domain.errors import BadRequest, ClaimTaken, CommandMismatch, ConcurrencyConflict, LogUnavailable, Refusal
from domain.log.event import Event, StoredEvent
from domain.log.stream import Stream, chat_stream, user_stream

pytestmark = pytest.mark.anyio

APPEND_ONLY = ["streams", "events", "commands", "claims", "blobs", "epochs"]
APPEND_LOCK = 7305804402
WAITING_FOR_THE_LOCK = """
    SELECT count(*) FROM pg_locks JOIN pg_database AS d ON d.oid = database
     WHERE locktype = 'advisory' AND NOT granted AND d.datname = current_database()
"""

APPENDING = """
    SELECT count(*) FROM pg_stat_activity
     WHERE query LIKE '%CALL append_batch%' AND datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture
async def log(database: str) -> AsyncIterator[PostgresLog]:
    made = postgres_log(database, lambda _: None, hold_s=30)
    await made.start()
    yield made
    await made.close()


def a_request(stream: Stream | None = None, expected: int = 0, title: str = "a", **more: Any) -> AppendRequest:
    known = stream or chat_stream(uuid4())
    return AppendRequest(appends=[StreamAppend(known, [Event(None, ChatRenamed(title))], expected)], **more)


def as_owner(database: str, statement: str) -> None:
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute(statement.encode())


async def all_of(log: PostgresLog) -> list[StoredEvent]:
    return list(await log.read_log(after=0, limit=100_000))


# ---------------------------------------------------------------------------------------------------------- append-only


@pytest.mark.parametrize("before", ["SELECT 1", f"SET ROLE {APP_ROLE}", "SET session_replication_role = replica"])
def test_nobody_changes_what_is_written_not_even_the_owner(database: str, before: str) -> None:
    with psycopg.connect(database, autocommit=True) as owner:
        columns = {
            table: owner.execute("SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum = 1", [table]).fetchone()
            for table in APPEND_ONLY
        }
        owner.execute(before.encode())
        for table, column in columns.items():
            assert column is not None
            for statement in ("DELETE FROM {0}", "TRUNCATE {0}", "UPDATE {0} SET {1} = {1}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    owner.execute(statement.format(table, column[0]).encode())


def test_the_application_cannot_switch_the_guard_off(database: str) -> None:
    for statement in (
        "ALTER TABLE events DISABLE TRIGGER ALL",
        "DROP TRIGGER events_append_only ON events",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "SET session_replication_role = replica",
    ):
        with psycopg.connect(database, autocommit=True) as application:
            application.execute(f"SET ROLE {APP_ROLE}".encode())
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                # A superuser that took the role may still set this one, where Postgres looks at who logged in.
                application.execute(statement.encode())
                if statement.startswith("SET"):
                    application.execute("DELETE FROM events")


# ----------------------------------------------------------------------------------------------------- how it is called


def arguments(*requests: AppendRequest) -> list[Any]:
    batch = [Waiting(request, asyncio.get_running_loop().create_future()) for request in requests]
    return [len(batch), False, *call_arguments(batch)]


async def waiting(holder: Any, calls: int) -> None:
    """Until so many wait at the append lock."""
    async with asyncio.timeout(60):
        while await holder.fetchval(WAITING_FOR_THE_LOCK) < calls:  # noqa: ASYNC110  # only Postgres knows
            await asyncio.sleep(0.01)


async def open_both_connections(appender: Appender, holder: Any) -> None:
    """And append on both. The second one is opened when much waits for the first time."""
    async with asyncio.timeout(60):
        while await holder.fetchval(APPENDING) < 2:
            await asyncio.gather(*(appender.append(AppendRequest([])) for _ in range(2 * HALF_REQUESTS_MIN)))


async def test_where_much_waits_two_batches_are_in_flight_and_never_a_stream_in_both(database: str) -> None:
    told: list[StoredEvent] = []
    log = postgres_log(database, told.extend, hold_s=30)
    await log.start()
    holder = await asyncpg.connect(database)
    twice = chat_stream(uuid4())
    try:
        await open_both_connections(log.appender, holder)
        batches = log.appender.batches
        await holder.execute(f"SELECT pg_advisory_lock({APPEND_LOCK})")
        # The first half goes on one connection, the rest on the other, but for what shares a stream with the first half.
        first = [asyncio.create_task(log.append(a_request(twice, ANY)))]
        first += [asyncio.create_task(log.append(a_request())) for _ in range(90)]
        first += [asyncio.create_task(log.append(a_request(twice, ANY)))]
        await waiting(holder, 2)
        assert log.appender.waiting_events == 1
        await holder.execute(f"SELECT pg_advisory_unlock({APPEND_LOCK})")
        appended = await asyncio.gather(*first)
        assert (list(appended[0].versions), list(appended[-1].versions)) == ([1], [2])
        assert log.appender.batches == batches + 3
        events = await all_of(log)
        assert [event.position for event in events] == list(range(1, 93))
        assert sorted(told, key=lambda event: event.position) == events
    finally:
        await holder.close()
        await log.close()


async def test_while_one_call_waits_little_else_goes_with_the_next(database: str, log: PostgresLog) -> None:
    holder = await asyncpg.connect(database)
    try:
        await holder.execute(f"SELECT pg_advisory_lock({APPEND_LOCK})")
        tasks = [asyncio.create_task(log.append(a_request())) for _ in range(20)]
        await waiting(holder, 1)
        tasks += [asyncio.create_task(log.append(a_request())) for _ in range(20)]
        await asyncio.sleep(0.05)
        assert await holder.fetchval(WAITING_FOR_THE_LOCK) == 1
        await holder.execute(f"SELECT pg_advisory_unlock({APPEND_LOCK})")
        await asyncio.gather(*tasks)
        assert log.appender.batches == 2
    finally:
        await holder.close()


async def test_requests_that_follow_each_other_on_one_stream_are_one_batch(database: str, log: PostgresLog) -> None:
    holder = await asyncpg.connect(database)
    (stream, line), (new, new_line) = (chat_stream(uuid4()), Line()), (chat_stream(uuid4()), Line())
    await log.append(a_request(stream))
    batches = log.appender.batches
    try:
        await holder.execute(f"SELECT pg_advisory_lock({APPEND_LOCK})")
        tasks = [asyncio.create_task(log.append(a_request()))]
        await waiting(holder, 1)
        # Each names the version to which the one before it leads; one stream is there, the other one is begun by the first.
        tasks += [
            asyncio.create_task(log.append(a_request(one, expected=number + first, title=str(number), line=its)))
            for number in range(10)
            for one, first, its in ((stream, 1, line), (new, 0, new_line))
        ]
        await asyncio.sleep(0.02)
        await holder.execute(f"SELECT pg_advisory_unlock({APPEND_LOCK})")
        appended = (await asyncio.gather(*tasks))[1:]
    finally:
        await holder.close()
    assert log.appender.batches - batches == 2
    assert [list(one.versions) for one in appended] == [[number + first] for number in range(1, 11) for first in (1, 0)]
    assert [one.position for one in appended] == list(range(3, 23))
    assert [event.version for event in await log.read(new, limit=100)] == list(range(1, 11))


@pytest.mark.parametrize("failing", ["version", "claim", "command"])
async def test_where_one_of_them_is_not_written_none_behind_it_is(database: str, log: PostgresLog, failing: str) -> None:
    holder = await asyncpg.connect(database)
    stream, taken, key = chat_stream(uuid4()), Claim("email", "taken", chat_stream(uuid4())), CommandKey(UUID(int=1), "k", b"1")
    line = Line()
    await log.append(a_request(claims=[taken], command=key))
    await log.append(a_request(stream))
    breaks: dict[str, Any] = {
        "version": {"expected": 7},
        "claim": {"expected": 2, "claims": [taken]},
        "command": {"expected": 2, "command": msgspec.structs.replace(key, request_hash=b"2")},
    }
    try:
        await holder.execute(f"SELECT pg_advisory_lock({APPEND_LOCK})")
        tasks = [asyncio.create_task(log.append(a_request()))]
        await waiting(holder, 1)
        tasks += [
            asyncio.create_task(log.append(a_request(stream, title="first", expected=1, line=line))),
            asyncio.create_task(log.append(a_request(stream, line=line, **breaks[failing]))),
            asyncio.create_task(log.append(a_request(stream, title="behind it", expected=3, line=line))),
            asyncio.create_task(log.append(a_request(stream, title="behind that", expected=4, line=line))),
        ]
        await asyncio.sleep(0.02)
        await holder.execute(f"SELECT pg_advisory_unlock({APPEND_LOCK})")
        first, *others = (await asyncio.gather(*tasks, return_exceptions=True))[1:]
    finally:
        await holder.close()
    assert isinstance(first, Appended)
    refused = {"version": ConcurrencyConflict, "claim": ClaimTaken, "command": CommandMismatch}[failing]
    assert isinstance(others[0], refused)
    assert all(isinstance(one, LineBroken | ConcurrencyConflict) for one in others[1:])
    assert line.broken
    assert [event.version for event in await log.read(stream, limit=100)] == [1, 2]


async def test_behind_one_that_was_not_written_none_is_though_another_process_wrote_at_its_version(database: str, log: PostgresLog) -> None:
    holder = await asyncpg.connect(database)
    stream, line = chat_stream(uuid4()), Line()
    await log.append(a_request(stream))
    try:
        await holder.execute(f"SELECT pg_advisory_lock({APPEND_LOCK})")
        tasks = [asyncio.create_task(log.append(a_request()))]
        await waiting(holder, 1)
        # What comes first leads to the version that the line begins at, in another's name; then two of the line.
        tasks += [
            asyncio.create_task(log.append(a_request(stream, title="other", expected=1))),
            asyncio.create_task(log.append(a_request(stream, title="lost", expected=1, line=line))),
            asyncio.create_task(log.append(a_request(stream, title="behind it", expected=2, line=line))),
        ]
        await asyncio.sleep(0.02)
        await holder.execute(f"SELECT pg_advisory_unlock({APPEND_LOCK})")
        _, other, *lost = await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await holder.close()
    assert isinstance(other, Appended)
    assert [type(one) for one in lost] in ([ConcurrencyConflict] * 2, [ConcurrencyConflict, LineBroken])
    assert [event.version for event in await log.read(stream, limit=100)] == [1, 2]


async def test_requests_that_follow_each_other_are_known_again_where_their_first_outcome_was_lost(database: str, log: PostgresLog) -> None:
    connection = await connect(database, application="test")
    stream = chat_stream(uuid4())
    line = Line()
    requests = [a_request(stream, expected=number, title=str(number), line=line) for number in range(3)]
    first = await connection.fetchrow(CALL, *arguments(*requests))
    again = await connection.fetchrow(CALL, len(requests), True, *arguments(*requests)[2:])
    await connection.close()
    assert (first["outcomes"], again["outcomes"]) == ([0, 0, 0], [1, 1, 1])
    assert first["positions"] == again["positions"] == [1, 2, 3]
    assert first["versions"] == again["versions"] == [1, 2, 3]
    assert len(await all_of(log)) == 3


@pytest.mark.parametrize("isolation", ["serializable", "repeatable read"])
async def test_it_demands_read_committed(database: str, log: PostgresLog, isolation: str) -> None:
    connection = await connect(database, application="test")
    await connection.execute(f"SET default_transaction_isolation = '{isolation}'")
    with pytest.raises(asyncpg.InvalidTransactionStateError):
        await connection.fetchrow(CALL, *arguments(a_request()))
    await connection.execute("SET default_transaction_isolation = 'read committed'")
    await connection.fetchrow(CALL, *arguments(a_request()))
    await connection.close()
    assert await log.head() == 1


@pytest.mark.parametrize("isolation", ["serializable", "repeatable_read", "read_committed"])
async def test_it_refuses_to_run_inside_a_transaction(database: str, log: PostgresLog, isolation: str) -> None:
    connection = await connect(database, application="test")
    with pytest.raises((asyncpg.InvalidTransactionTerminationError, asyncpg.InvalidTransactionStateError)):
        async with connection.transaction(isolation=isolation):
            await connection.fetchrow(CALL, *arguments(a_request()))
    await connection.close()
    assert await log.head() == 0
    await log.append(a_request())


async def test_a_snapshot_that_is_held_open_holds_nobody_up_and_sees_what_it_saw(database: str, log: PostgresLog) -> None:
    await log.append(a_request())
    reader = await connect(database, application="test")
    async with reader.transaction(isolation="repeatable_read", readonly=True):
        assert await reader.fetchval("SELECT count(*) FROM events") == 1
        await asyncio.gather(*(log.append(a_request()) for _ in range(200)))
        assert await log.head() == 201
        assert await reader.fetchval("SELECT count(*) FROM events") == 1
    await reader.close()


async def test_who_waits_too_long_for_the_lock_asks_again(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LOCK_TIMEOUT_MS", 20)
    log = postgres_log(database, lambda _: None)
    await log.start()
    holder = await connect(database, application="test")
    await holder.execute("SELECT pg_advisory_lock($1)", APPEND_LOCK)
    waiting = asyncio.create_task(log.append(a_request()))
    while log.appender.retries < 3:
        await asyncio.sleep(0.005)
        assert not waiting.done()
    await holder.close()
    assert (await waiting).position == 1
    await log.close()


# --------------------------------------------------------------------------------------------------------- one bad row


BAD: list[dict[str, Any]] = [
    {"claims": [Claim("email", "a\0b", user_stream(UUID(int=1)))]},
    {"claims": [Claim("email", "\ud800", user_stream(UUID(int=1)))]},
    {"command": CommandKey(UUID(int=1), "a\0b", b"")},
    {"command": CommandKey(UUID(int=1), secrets.token_hex(8000), b"")},  # longer than an index takes
    {"command": CommandKey(UUID(int=1), "k", b"", b"{not json")},
    {"title": "refuse me"},
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad}"[:60])
async def test_a_row_that_postgres_refuses_fails_alone(database: str, log: PostgresLog, bad: dict[str, Any]) -> None:
    as_owner(database, "ALTER TABLE events ADD CONSTRAINT refused_check CHECK (data ->> 'title' <> 'refuse me')")
    neighbours = [a_request(title=str(number)) for number in range(10)]
    requests = [*neighbours[:5], a_request(**bad), *neighbours[5:]]
    outcomes = await asyncio.gather(*(log.append(request) for request in requests), return_exceptions=True)
    assert isinstance(outcomes.pop(5), BadRequest)
    assert [type(outcome) for outcome in outcomes] == [Appended] * 10
    events = await all_of(log)
    assert [event.data for event in events] == [b'{"title":"%d"}' % number for number in range(10)]
    assert [event.position for event in events] == list(range(1, 11))


async def test_all_outcomes_stand_side_by_side_in_one_batch(log: PostgresLog) -> None:
    known, taken = chat_stream(uuid4()), Claim("email", "taken", user_stream(uuid4()))
    key = CommandKey(UUID(int=1), "k", b"1")
    await log.append(a_request(known, command=key, claims=[taken]))
    new = [chat_stream(uuid4()) for _ in range(6)]
    requests = [
        a_request(new[0], title="0"),
        a_request(command=key),
        a_request(known, expected=5),
        a_request(new[1], expected=ANY, title="1"),
        a_request(command=CommandKey(UUID(int=1), "k2", b"1"), claims=[Claim("email", "free", new[2]), taken]),
        a_request(user_stream(new[4].id), title="2"),
        a_request(new[5], title="3", command=CommandKey(UUID(int=2), "k", b"2"), claims=[Claim("email", "mine", new[5])]),
        a_request(title="4", command=CommandKey(UUID(int=1), "k", b"2")),
    ]
    batches = log.appender.batches
    outcomes = await asyncio.gather(*(log.append(request) for request in requests), return_exceptions=True)
    assert log.appender.batches - batches <= 3
    positions = [outcome.position if isinstance(outcome, Appended) else type(outcome).__name__ for outcome in outcomes]
    assert positions == [2, 1, "ConcurrencyConflict", 3, "ClaimTaken", 4, 5, "CommandMismatch"]
    assert [event.position for event in await all_of(log)] == [1, 2, 3, 4, 5]


async def test_what_postgres_says_about_itself_is_no_refusal(database: str, log: PostgresLog) -> None:
    as_owner(database, f"REVOKE INSERT ON events FROM {APP_ROLE}")
    outcomes = await asyncio.gather(*(log.append(a_request()) for _ in range(5)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [LogUnavailable] * 5
    as_owner(database, f"GRANT INSERT ON events TO {APP_ROLE}")
    assert (await log.append(a_request())).position == 1


async def test_a_question_that_postgres_cannot_take_is_refused_as_one(log: PostgresLog) -> None:
    for key in ("a\0b", "\ud800"):
        with pytest.raises(Refusal):
            await log.find_claim("email", key)
        with pytest.raises(Refusal):
            await log.find_command(UUID(int=1), key)
    assert await log.find_claim("email", "a") is None


async def test_a_request_larger_than_a_batch_goes_alone_and_the_others_around_it(database: str) -> None:
    log = postgres_log(database, lambda _: None, batch_events_max=3)
    await log.start()
    streams = [chat_stream(uuid4()) for _ in range(8)]
    sizes = [1, 2, 5, 1, 1, 3, 4, 1]
    await asyncio.gather(
        *(
            log.append(AppendRequest(appends=[StreamAppend(stream, [Event(None, ChatRenamed("a"))] * size, 0)]))
            for stream, size in zip(streams, sizes, strict=True)
        )
    )
    events = await all_of(log)
    assert [event.stream for event in events] == [stream for stream, size in zip(streams, sizes, strict=True) for _ in range(size)]
    await log.close()


@pytest.fixture
async def bulk(database: str) -> AsyncIterator[PostgresLog]:
    """One that gives way to others."""
    made = postgres_log(database, lambda _: None, yields_to_others=True)
    await made.start()
    yield made
    await made.close()


async def test_a_bulk_load_goes_on_without_a_pause_while_nobody_else_writes(bulk: PostgresLog, log: PostgresLog) -> None:
    await log.append(a_request())  # before it began
    for _ in range(10):
        await bulk.append(a_request())
    assert await bulk.append(AppendRequest([StreamAppend(chat_stream(uuid4()), [], 0)]))
    await asyncio.gather(*(bulk.append(a_request()) for _ in range(100)))
    assert bulk.appender.pauses == 0


async def test_a_bulk_load_pauses_after_each_batch_beside_which_others_wrote(bulk: PostgresLog, log: PostgresLog) -> None:
    for number in range(10):
        await bulk.append(a_request())
        assert bulk.appender.pauses == number
        await log.append(a_request())
    await bulk.append(a_request())
    assert bulk.appender.pauses == 10
    await bulk.append(a_request())
    assert bulk.appender.pauses == 10, "nobody wrote meanwhile"
    assert log.appender.pauses == 0, "who serves people never does"
    assert len(await all_of(log)) == 22


async def test_a_bulk_load_takes_no_refusal_of_its_own_for_the_writing_of_others(bulk: PostgresLog) -> None:
    first = a_request()
    await bulk.append(first)
    for _ in range(5):
        outcomes = await asyncio.gather(bulk.append(first), bulk.append(a_request()), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ConcurrencyConflict, Appended]
    assert bulk.appender.pauses == 0


async def test_what_still_waits_when_it_closes_is_written_first(database: str) -> None:
    log = postgres_log(database, lambda _: None)
    await log.start()
    waiting = [asyncio.create_task(log.append(a_request())) for _ in range(50)]
    await asyncio.sleep(0)
    await log.appender.close()
    assert {type(await task) for task in waiting} == {Appended}
    with pytest.raises(LogUnavailable):
        await log.append(a_request())
    assert await log.head() == 50
    await log.close()
