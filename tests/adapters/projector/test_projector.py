"""Who writes a projection, what a failure leaves behind, and what a rebuild does beside the live one."""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from adapters.postgres.log.log import PostgresLog, postgres_log
from adapters.postgres.preparing.migrate import schema_of
from adapters.postgres.reading.chat_queries import PostgresChatQueries
from adapters.postgres.reading.checkpoints import REACHED
from adapters.projector import replay as replaying
from adapters.projector import writer as writing
from adapters.projector.checkpoints import ProjectionState, listed, pause, resume
from adapters.projector.live import Projector
from adapters.projector.rebuild import RebuildFailed, Rebuilt, rebuild
from adapters.projector.replay import Done
from adapters.projector.writer import CheckpointMoved, Poisoned, Writer, connect
from commands.ports import AppendRequest, StreamAppend
from domain.chat.facts import ChatCreated, ChatRenamed, MessageAdded, MessageEdited
from domain.generation import BlockOpened, MessageDelta, MessageStarted
from domain.log.event import Event
from domain.log.stream import chat_stream
from projections.chat_list import ChatList
from projections.chat_search import ChatSearch
from projections.chat_tree import ChatTree
from projections.figures.projection import Figures
from projections.projection import Projecting, Projection, Recorded
from tests.domain.histories import NODE, OWNER, ended
from tests.forked import Forked

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60
WORKER = """
import asyncio, sys
from uuid import uuid4
from adapters.projector.live import Projector
from projections.chat_list import ChatList
from projections.chat_search import ChatSearch
from projections.chat_tree import ChatTree
from projections.figures.projection import Figures
async def main():
    projector = Projector(sys.argv[1], (ChatList(), ChatSearch(), ChatTree(), Figures()), uuid4(), lease_s=0.5)
    projector.start()
    await asyncio.Event().wait()
asyncio.run(main())
"""


ALL: Sequence[Projection] = (ChatList(), ChatSearch(), ChatTree(), Figures())
NAMES = [one.name for one in ALL]


def ours(dsn: str) -> list[ProjectionState]:
    """Those that these tests project: another one stands still meanwhile."""
    return [one for one in listed(dsn)[0] if one.name in NAMES]


class Refusing(ChatList):
    """As it should be, but for one title that it stumbles over."""

    def __init__(self) -> None:
        self.is_mended = False

    def project(self, events: Sequence[Recorded]) -> Projecting:
        if not self.is_mended and any(b'"poison"' in event.stored.data for event in events):
            raise ValueError("what is this?")
        return (yield from super().project(events))


@pytest.fixture
async def log(database: str) -> AsyncIterator[PostgresLog]:
    made = postgres_log(database, lambda _: None)
    await made.start()
    yield made
    await made.close()


async def talk(log: PostgresLog, *, title: str = "a title", words: int = 5, edits: int = 0) -> UUID:
    chat_id, q, a = uuid4(), uuid4(), uuid4()
    said = [f"word{number} " for number in range(words)]
    events: list[Event[Any]] = [
        Event(None, ChatCreated(OWNER, title)),
        Event(q, MessageAdded(None, "user", "hello")),
        Event(a, MessageStarted(q, "demo", "demo", uuid4(), NODE)),
        Event(a, BlockOpened(0, "text")),
        *[Event(a, MessageDelta(0, word)) for word in said],
        Event(a, ended("".join(said))),
        *[Event(q, MessageEdited({"content": f"hello {number}"})) for number in range(edits)],
    ]
    await log.append(AppendRequest([StreamAppend(chat_stream(chat_id), events, 0)]))
    return chat_id


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110  # what another process did has no event here
            await asyncio.sleep(0.01)


async def position(log: PostgresLog) -> int:
    """That of the one that is furthest behind. Asked again and again: so not by a connection that is made for it."""
    (row,) = await log.reader.fetch(REACHED, NAMES)
    return int(row["position"])


def owns(projector: Projector) -> bool:
    """Whether it writes any."""
    return any(one.owns for one in projector.standings.values())


@contextlib.asynccontextmanager
async def build_of(dsn: str, *, lease_s: float = 60, projections: Sequence[Projection] = ALL) -> AsyncIterator[Writer]:
    connection = await connect(dsn, [schema_of(one.name) for one in projections])
    try:
        yield Writer(connection, projections, uuid4(), lease_s)
    finally:
        await connection.close()


async def assert_right(dsn: str) -> None:
    """The live rows are those of a fresh build."""
    built = await rebuild(dsn, ALL, lambda _: None)
    assert (built.compared, built.differing) == (True, {})


async def test_it_keeps_up_with_the_log(database: str, log: PostgresLog) -> None:
    projector = Projector(database, ALL, uuid4())
    projector.start()
    for number in range(3):
        chat_id = await talk(log)
        stored = await log.read(chat_stream(chat_id), limit=100)
        for event in stored:
            projector.observe(event)
        head = await log.head()
        assert await PostgresChatQueries(log.reader).reached(head, PATIENCE_S)
        assert len(await PostgresChatQueries(log.reader).listed(OWNER, offset=0, limit=10)) == number + 1

    def figure(name: str, projection: str) -> object:
        return next(value for _, found, _, value in projector.figures() if found == name).values[projection]

    assert figure("stenograph_projection_owned", "chat_list") == 1
    await until(lambda: figure("stenograph_projection_lag_events", "chat_tree") == 0)  # its rows are seen before it counts them
    await projector.close()
    assert not ours(database)[0].is_owned, "the lease is given back"
    await assert_right(database)


async def test_one_process_writes_it_and_the_next_one_takes_over(database: str, log: PostgresLog) -> None:
    first, second = (Projector(database, ALL, uuid4(), lease_s=3) for _ in range(2))
    first.start()
    await until(lambda: owns(first))
    second.start()
    await talk(log)
    await until(lambda: second.position > 0)
    assert not owns(second)
    await first.close()
    await until(lambda: owns(second))
    await talk(log)
    assert await PostgresChatQueries(log.reader).reached(await log.head(), PATIENCE_S)
    await second.close()
    await assert_right(database)


async def test_an_owner_that_was_thought_dead_moves_nothing(database: str, log: PostgresLog) -> None:
    await talk(log)
    head = await log.head()
    async with build_of(database, lease_s=2) as late, build_of(database) as next_one:
        assert await late.acquire()
        assert not await next_one.acquire()
        await asyncio.sleep(2.1)
        assert await next_one.acquire()
        with pytest.raises(CheckpointMoved):
            await late.advance(100, head)
        await next_one.advance(100, head)
        with pytest.raises(CheckpointMoved):
            await late.advance(100, head)
        assert not await late.acquire()
    await assert_right(database)


async def test_an_owner_that_hangs_in_the_middle_of_a_batch_holds_nobody_up_for_ever(
    database: str, log: PostgresLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after SIGSTOP: it has moved the checkpoint, not committed, and says nothing more."""
    monkeypatch.setitem(writing.SETTINGS, "idle_in_transaction_session_timeout", "1s")
    await talk(log)
    connection = await connect(database, [schema_of(name) for name in NAMES])
    hung = Writer(connection, ALL, uuid4(), 0.1)
    assert await hung.acquire()
    await connection.execute("BEGIN")
    await connection.execute("UPDATE projections SET position = 3")
    projector = Projector(database, ALL, uuid4(), lease_s=0.3)
    projector.start()
    assert await PostgresChatQueries(log.reader).reached(await log.head(), PATIENCE_S)
    await projector.close()
    await connection.close()
    await assert_right(database)


async def test_tables_of_another_version_are_not_written(database: str, log: PostgresLog) -> None:
    await talk(log)
    with psycopg.connect(database, autocommit=True) as newer:
        newer.execute("UPDATE projections SET sha256 = 'another'")
    async with build_of(database) as older:
        assert not await older.acquire()


async def test_whoever_runs_the_server_is_told_that_it_is_far_behind(database: str) -> None:
    projector = Projector(database, ALL, uuid4())
    assert projector.warnings == []
    projector.head = 1_000_000
    assert projector.warnings == [f"projection {name} is 1,000,000 events behind: what is read from it is as old" for name in NAMES]


async def test_a_bad_event_stops_it_where_it_stands_and_after_a_fix_it_goes_on(database: str, log: PostgresLog) -> None:
    good = await talk(log)
    bad = await talk(log, title="poison")
    other = await talk(log)
    before = [event.position for event in await log.read(chat_stream(good), limit=100)][-1]
    refusing = Refusing()
    projector = Projector(database, (refusing, ChatSearch(), ChatTree(), Figures()), uuid4(), lease_s=0.3)
    projector.start()
    standing = lambda: projector.standings["chat_list"]  # noqa: E731
    await until(lambda: standing().failure is not None)
    assert projector.warnings == [
        f"projection chat_list: the event at position {before + 1} (chat/{bad} version 1, chat_created) can't be projected: "
        "ValueError: what is this?"
    ]
    state = {one.name: one for one in ours(database)}["chat_list"]
    assert (state.failed_position, state.position, state.failure) == (before + 1, before, "ValueError: what is this?")
    head = await log.head()
    await until(lambda: all(one.position == head for one in ours(database) if one.name != "chat_list"))
    history = PostgresChatQueries(log.reader)
    assert (await history.chat(bad)).title == "poison", "reads are exact all the same"
    assert len(await history.listed(OWNER, offset=0, limit=10)) == 1
    assert not await history.reached(before + 1, 0.05)
    refusing.is_mended = True
    assert resume(database, "chat_list")
    assert await history.reached(await log.head(), PATIENCE_S)
    await until(lambda: standing().failure is None)
    assert {one.chat_id for one in await history.listed(OWNER, offset=0, limit=10)} == {good, bad, other}
    await projector.close()
    await assert_right(database)


@pytest.mark.parametrize("events_max", [50, 5_000], ids=["in a pipeline", "by COPY"])
async def test_a_row_that_postgres_refuses_is_named_by_its_event(database: str, log: PostgresLog, events_max: int) -> None:
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("ALTER TABLE stenograph_chat_list.chats ADD CONSTRAINT ours CHECK (title <> 'poison')")
    await talk(log)
    before = await log.head()
    await talk(log, title="poison")
    await talk(log)
    head = await log.head()
    async with build_of(database) as build:
        assert await build.acquire()
        with pytest.raises(Poisoned, match="CheckViolation") as refused:
            await build.advance(events_max, head)
        assert (refused.value.projection, refused.value.position, build.position) == ("chat_list", before + 1, before)
        with psycopg.connect(database, autocommit=True) as owner:
            owner.execute("ALTER TABLE stenograph_chat_list.chats DROP CONSTRAINT ours")
        while build.position < head:
            await build.advance(events_max, head)
    await assert_right(database)


async def test_a_start_tries_a_bad_event_once_more(database: str, log: PostgresLog) -> None:
    await talk(log, title="poison")
    refusing = Projector(database, [Refusing()], uuid4())
    refusing.start()
    await until(lambda: refusing.standings["chat_list"].failure is not None)
    await refusing.close()
    mended = Projector(database, ALL, uuid4())
    mended.start()
    assert await PostgresChatQueries(log.reader).reached(await log.head(), PATIENCE_S)
    await mended.close()
    assert [one.failure for one in ours(database)] == [None] * len(ALL)


async def test_paused_it_stands_still_until_it_is_resumed(database: str, log: PostgresLog) -> None:
    projector = Projector(database, ALL, uuid4(), lease_s=0.3)
    projector.start()
    await until(lambda: owns(projector))
    assert all(pause(database, name) for name in NAMES)
    chat_id = await talk(log)
    for event in await log.read(chat_stream(chat_id), limit=100):
        projector.observe(event)
    await until(lambda: not owns(projector))
    history = PostgresChatQueries(log.reader)
    assert not await history.reached(await log.head(), 0.5)
    assert (await history.chat(chat_id)).messages_count == 2
    assert all(resume(database, name) for name in NAMES)
    assert await history.reached(await log.head(), PATIENCE_S)
    assert pause(database, "chat_search")
    await talk(log)
    head = await log.head()
    await until(lambda: all((one.position == head) == (one.name != "chat_search") for one in ours(database)))
    assert resume(database, "chat_search")
    assert await history.reached(head, PATIENCE_S)
    await projector.close()
    assert not pause(database, "nothing of that name")


async def test_it_goes_on_when_its_connection_is_lost(database: str, log: PostgresLog) -> None:
    projector = Projector(database, ALL, uuid4(), lease_s=0.3)
    projector.start()
    for _ in range(3):
        await talk(log)
        assert await PostgresChatQueries(log.reader).reached(await log.head(), PATIENCE_S)
        with psycopg.connect(database, autocommit=True) as killer:
            killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'stenograph projector%' AND datname = current_database()"
            )
    await projector.close()
    await assert_right(database)


def started(database: str) -> Forked:
    with open(os.devnull, "r+b") as nothing:
        files = (nothing.fileno(),) * 3
        return Forked({"code": WORKER, "words": [database], "environ": dict(os.environ), "folder": str(ROOT)}, files)


async def test_killed_at_any_moment_its_rows_are_those_of_its_checkpoint(database: str, log: PostgresLog) -> None:
    for _ in range(300):
        await talk(log, words=3, edits=3)
    head, history = await log.head(), PostgresChatQueries(log.reader)
    places = []
    while await position(log) < head:
        worker = await asyncio.to_thread(started, database)
        was = await position(log)
        with contextlib.suppress(TimeoutError):  # the last one may be killed when it has nothing left to do
            async with asyncio.timeout(5):
                while await position(log) == was:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        await asyncio.sleep(random.uniform(0, 0.05))
        worker.kill()
        await asyncio.to_thread(worker.wait)
        places.append(await position(log))
    assert await history.reached(head, 0)
    assert len(places) > 2, "it was killed on its way"
    await assert_right(database)


# -------------------------------------------------------------------------------------------------------------- rebuild


async def test_one_that_was_interrupted_goes_on_where_it_was(database: str, log: PostgresLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "BATCH_EVENTS", 5)
    monkeypatch.setattr(replaying, "LEASE_S", 0.1)
    for _ in range(10):
        await talk(log)
    async with build_of(database) as live:
        assert await live.acquire()
        await live.advance(1000, await log.head())
    seen: list[Done] = []

    class Interrupted(Exception):
        pass

    def interrupted(done: Done) -> None:
        seen.append(done)
        if len(seen) == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        await rebuild(database, ALL, interrupted)
    await asyncio.sleep(0.2)  # the one that was interrupted has its lease for a moment
    again: list[Done] = []
    built = await rebuild(database, ALL, again.append)
    assert again[0].position > seen[-1].position
    assert (built.position, built.compared, built.differing) == (await log.head(), True, {})
    assert [one.name for one in ours(database)] == NAMES


async def test_a_rebuild_says_what_was_different_and_puts_it_right(database: str, log: PostgresLog) -> None:
    chat_id = await talk(log)
    async with build_of(database) as live:
        assert await live.acquire()
        await live.advance(1000, await log.head())
    with psycopg.connect(database, autocommit=True) as tamperer:
        tamperer.execute("UPDATE stenograph_chat_list.chats SET title = 'forged'")
        tamperer.execute("DELETE FROM stenograph_chat_search.texts")
    built = await rebuild(database, ALL, lambda _: None)
    assert built.differing == {"chats": (1, 1), "texts": (0, 3)}
    assert (await PostgresChatQueries(log.reader).chat(chat_id)).title == "a title"
    await assert_right(database)


async def test_a_rebuild_goes_on_beside_one_that_writes_and_people_who_read(database: str, log: PostgresLog) -> None:
    projector = Projector(database, ALL, uuid4(), lease_s=0.5)
    projector.start()
    history = PostgresChatQueries(log.reader)
    chats = [await talk(log) for _ in range(5)]
    is_over = False

    async def write() -> None:
        number = 0
        while not is_over:
            number += 1
            chat_id = chats[number % len(chats)]
            version = await log.version(chat_stream(chat_id))
            await log.append(AppendRequest([StreamAppend(chat_stream(chat_id), [Event(None, ChatRenamed(f"{number}"))], version)]))
            projector.wake()
            assert (await history.chat(chat_id)).title == f"{number}"

    writing = asyncio.create_task(write())
    for _ in range(3):
        built = await rebuild(database, ALL, lambda _: None)
        assert built.differing == {}
    is_over = True
    await writing
    assert await history.reached(await log.head(), PATIENCE_S)
    await projector.close()
    await assert_right(database)


async def test_a_long_one_is_built_by_processes(database: str, log: PostgresLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "FAR_POSITIONS", 0)
    for _ in range(10):
        await talk(log)
    async with build_of(database) as live:
        assert await live.acquire()
        await live.advance(1000, await log.head())
        events = live.events
    seen: list[Done] = []
    built = await rebuild(database, ALL, seen.append)
    assert built == Rebuilt(await log.head(), events, compared=True, differing={})
    assert seen[-1] == Done(built.position, built.position, events)
    await assert_right(database)
    await talk(log, title="poison")
    with pytest.raises(Poisoned, match="what is this"):
        await rebuild(database, [Refusing()], lambda _: None)


async def test_each_can_be_rebuilt_alone(database: str, log: PostgresLog) -> None:
    chat_id = await talk(log)
    projector = Projector(database, ALL, uuid4(), lease_s=0.5)
    projector.start()
    for one in (Figures(), ChatList(), ChatSearch(), ChatTree()):  # the chat is read from the last one below
        await talk(log)
        head = await log.head()
        await until(lambda head=head: projector.position == head)
        with psycopg.connect(database, autocommit=True) as tamperer:
            tamperer.execute("UPDATE stenograph_chat_list.chats SET title = 'forged'")
            tamperer.execute("UPDATE stenograph_chat_tree.chat_heads SET title = 'forged'")
            tamperer.execute("DELETE FROM stenograph_chat_search.texts WHERE chat_id = %s", (chat_id,))
            tamperer.execute("UPDATE stenograph_figures.counted_messages SET edits = 7")
        built = await rebuild(database, [one], lambda _: None)
        assert built.compared
        tables = {"chat_list": "chats", "chat_tree": "chat_heads", "chat_search": "texts", "figures": "counted_messages"}
        assert built.differing.keys() == {tables[one.name]}
    history = PostgresChatQueries(log.reader)
    assert (await history.chat(chat_id)).title == "a title"
    await projector.close()


async def test_one_that_is_behind_catches_up_alone_and_then_goes_with_the_others(database: str, log: PostgresLog) -> None:
    await talk(log)
    async with build_of(database, projections=[ChatTree()]) as alone:
        assert await alone.acquire()
        await alone.advance(3, await log.head())
        await alone.release()
    async with build_of(database) as writer:
        assert await writer.acquire()
        assert {one.name: one.position for one in writer.held} == {"chat_list": 0, "chat_search": 0, "chat_tree": 3, "figures": 0}
        await writer.advance(100, await log.head())
        assert {one.position for one in writer.held} == {3}
        await writer.advance(100, await log.head())
        assert {one.position for one in writer.held} == {await log.head()}
    await assert_right(database)


async def test_two_rebuilds_do_not_meet(database: str, log: PostgresLog) -> None:
    await talk(log)
    partition = replaying.begin(database, ALL, "_rebuild")[-1]
    connection = await connect(database, [schema_of("chat_list_rebuild")], role=None)
    suffix = "_rebuild" + replaying.part_of(partition)
    assert await Writer(connection, [ChatList()], uuid4(), 60, suffix=suffix, partition=partition).acquire()
    with pytest.raises(RebuildFailed, match="another process is rebuilding"):
        await rebuild(database, ALL, lambda _: None)
    await connection.close()


async def test_a_rebuild_stops_before_a_bad_event_and_leaves_the_live_one_alone(database: str, log: PostgresLog) -> None:
    await talk(log)
    await talk(log, title="poison")
    with pytest.raises(Poisoned) as stopped:
        await rebuild(database, [Refusing()], lambda _: None)
    assert "what is this?" in str(stopped.value)
    assert await position(log) == 0
