"""Appending while something breaks: a client that is stopped, a connection that is cut or stalls, Postgres that restarts, a full
disk. Nothing is lost, nothing is doubled, and nobody waits for somebody else's trouble."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import UUID, uuid4

import asyncpg
import psycopg
import pytest

from adapters.embedded.server import EmbeddedPostgres
from adapters.postgres.appending import appender as appenders
from adapters.postgres.appending.appender import Appender
from adapters.postgres.connections.connection import connect
from adapters.postgres.log.log import PostgresLog, postgres_log
from adapters.postgres.preparing.migrate import migrate
from commands.ports import ANY, Appended, AppendRequest, Claim, CommandKey, StreamAppend
from domain.chat.facts import ChatRenamed
from domain.errors import ConcurrencyConflict, LogUnavailable
from domain.log.event import Event, StoredEvent
from domain.log.stream import Stream, chat_stream, user_stream
from tests.adapters.postgres.appending.proxy import FAULTS, Fault, Proxy
from tests.conftest import create_database, database_name, drop_database

pytestmark = pytest.mark.anyio

Closable = TypeVar("Closable", PostgresLog, Appender)
ROOT = Path(__file__).parents[4]
PATIENCE_S = 60.0  # how long a test waits for what must happen; only a test that fails takes so long


class Opened(Protocol):
    """Starts what is given, and closes it at the end of the test, however it ends."""

    async def __call__(self, made: Closable) -> Closable: ...


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    async with AsyncExitStack() as stack:

        async def open_(made: Closable) -> Closable:
            await made.start()
            stack.push_async_callback(made.close)
            return made

        yield open_


def titled(title: str) -> list[Event[Any]]:
    return [Event(None, ChatRenamed(title))]


def assert_whole(events: list[StoredEvent], written: dict[Stream, int]) -> None:
    """Each stream holds exactly what its writer was told: 0, 1, 2 … once each."""
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    assert [event.at for event in events] == sorted(event.at for event in events)
    for stream, count in written.items():
        mine = [event for event in events if event.stream == stream]
        assert [event.version for event in mine] == list(range(1, count + 1))
        assert [event.data for event in mine] == [b'{"title":"%d"}' % number for number in range(count)]


async def everything(dsn: str) -> list[StoredEvent]:
    log = postgres_log(dsn, lambda _: None)
    await log.reader.start()
    events = list(await log.read_log(after=0, limit=1_000_000))
    await log.reader.close()
    return events


class Writers:
    """Several that append, one event after the other, each to a stream of its own, until they are told to stop."""

    def __init__(self, append: Callable[[AppendRequest], Awaitable[Appended]], count: int = 8) -> None:
        self.written = {chat_stream(uuid4()): 0 for _ in range(count)}
        self._append = append
        self._stopped = False
        self._tasks = [asyncio.create_task(self._write(stream, number)) for number, stream in enumerate(self.written)]

    async def _write(self, stream: Stream, number: int) -> None:
        while not self._stopped:
            version = self.written[stream]
            # Some know the version, some do not and are known by a key that only the appender has.
            expected = ANY if number % 3 == 2 else version
            command = CommandKey(stream.id, str(version), b"") if number % 4 == 3 else None
            request = AppendRequest(appends=[StreamAppend(stream, titled(str(version)), expected)], command=command)
            appended = await self._append(request)
            assert list(appended.versions) == [version + 1]
            assert not appended.repeated or command is not None
            self.written[stream] = version + 1

    def total(self) -> int:
        return sum(self.written.values())

    async def more(self, count: int) -> None:
        """Returns when that many more were appended. A writer that failed fails the test."""
        goal = self.total() + count
        async with asyncio.timeout(PATIENCE_S):
            while self.total() < goal:
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.002)

    async def stop(self) -> None:
        self._stopped = True
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*self._tasks)


# ---------------------------------------------------------------------------------------------- a client that is stopped


@pytest.mark.slow
async def test_a_client_that_is_stopped_in_the_middle_of_an_append_holds_nobody_up(database: str, opened: Opened) -> None:
    log = await opened(postgres_log(database, lambda _: None))
    child = await asyncio.to_thread(
        subprocess.Popen, [sys.executable, "-m", "tests.adapters.postgres.appending.endless", database], cwd=ROOT
    )
    writers = Writers(log.append, 3)
    try:
        for _ in range(20):
            seen = await log.head() - writers.total()
            async with asyncio.timeout(PATIENCE_S):
                while await log.head() - writers.total() < seen + 30:  # the child is at it again
                    assert child.poll() is None
                    await asyncio.sleep(random.uniform(0, 0.003))
            os.kill(child.pid, signal.SIGSTOP)
            await writers.more(60)
            os.kill(child.pid, signal.SIGCONT)
    finally:
        child.kill()
        child.wait()
    await writers.stop()
    events = await everything(database)
    assert_whole(events, writers.written)
    theirs = [event for event in events if event.stream not in writers.written]
    for stream in {event.stream for event in theirs}:
        versions = [event.version for event in theirs if event.stream == stream]
        assert versions == list(range(1, len(versions) + 1))


# ---------------------------------------------------------------------------------------------------- a broken connection


@pytest.fixture
async def proxy(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    monkeypatch.setattr(appenders, "CALL_TIMEOUT_S", 0.25)  # how soon a stall is given up
    async with Proxy(database) as made:
        yield made


@pytest.fixture
async def appender(proxy: Proxy, opened: Opened) -> AsyncIterator[Appender]:
    yield await warm(await opened(Appender(lambda: connect(proxy.dsn, application="appender"), lambda _: None)))
    proxy.take()
    proxy.release()


async def warm(appender: Appender) -> Appender:
    """With its statement prepared: from now on a call is one message there, and its answer comes after the commit."""
    await asked_until_taken(appender, AppendRequest(appends=[]))
    return appender


async def asked_until_taken(appender: Appender, request: AppendRequest) -> Appended:
    """Asks again as long as the appender gives up: on a busy machine the short bounds of a test may be over before Postgres answers."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(LogUnavailable):
                return await appender.append(request)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("expected", [0, ANY])
async def test_what_was_asked_once_is_written_once_whatever_happens_to_the_connection(
    database: str, appender: Appender, proxy: Proxy, fault: Fault, expected: int
) -> None:
    stream, user = chat_stream(uuid4()), user_stream(uuid4())
    request = AppendRequest(
        appends=[StreamAppend(stream, titled("0") + titled("1"), expected), StreamAppend(user, titled("0"), 0)],
        claims=[Claim("email", "a", user)],
    )
    proxy.next(fault)
    appended = await appender.append(request)
    assert (appended.position, list(appended.versions), appended.repeated) == (3, [2, 1], False)
    assert proxy.hit.is_set()
    proxy.release()  # what was stalled arrives now, after all
    if fault == "stall before it arrives":
        await proxy.late.wait()
    again = await appender.append(AppendRequest(appends=[StreamAppend(stream, titled("2"), 2)]))
    assert list(again.versions) == [3]
    events = await everything(database)
    assert_whole(events, {stream: 3, user: 1})
    assert appended.at == events[0].at


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_command_of_a_caller_is_answered_the_same_whatever_happens_to_the_connection(
    database: str, appender: Appender, proxy: Proxy, fault: Fault
) -> None:
    stream = chat_stream(uuid4())
    key = CommandKey(UUID(int=1), "k", b"hash", b'{"a": 1}')
    request = AppendRequest(appends=[StreamAppend(stream, titled("0"), 0)], command=key)
    proxy.next(fault)
    appended = await appender.append(request)
    assert (appended.position, list(appended.versions), appended.answer) == (1, [1], key.answer)
    proxy.release()
    if fault == "stall before it arrives":
        await proxy.late.wait()
    again = await appender.append(request)
    assert (again.position, list(again.versions), again.answer, again.repeated) == (1, [1], key.answer, True)
    assert_whole(await everything(database), {stream: 1})


async def test_of_a_batch_whose_outcome_is_not_known_each_request_gets_its_own(database: str, appender: Appender, proxy: Proxy) -> None:
    known, taken = chat_stream(uuid4()), Claim("email", "taken", user_stream(uuid4()))
    await appender.append(AppendRequest(appends=[StreamAppend(known, titled("0"), 0)], claims=[taken]))
    streams = [chat_stream(uuid4()) for _ in range(5)]
    proxy.next("cut before the answer")
    first = asyncio.create_task(appender.append(AppendRequest(appends=[StreamAppend(streams[0], titled("0"), 0)])))
    await proxy.hit.wait()  # what follows is one batch, asked beside nothing that is not known
    proxy.next("cut before the answer")
    outcomes = await asyncio.gather(
        first,
        appender.append(AppendRequest(appends=[StreamAppend(streams[1], titled("0"), 0)])),
        appender.append(AppendRequest(appends=[StreamAppend(known, titled("other"), 0)])),
        appender.append(AppendRequest(appends=[StreamAppend(streams[2], titled("0"), 0)], claims=[taken])),
        appender.append(AppendRequest(appends=[StreamAppend(streams[3], titled("0"), ANY)], command=CommandKey(UUID(int=1), "k", b""))),
        appender.append(AppendRequest(appends=[StreamAppend(streams[4], titled("0"), ANY)])),
        return_exceptions=True,
    )
    kinds = [type(outcome).__name__ for outcome in outcomes]
    assert kinds == ["Appended", "Appended", "ConcurrencyConflict", "ClaimTaken", "Appended", "Appended"]
    assert_whole(await everything(database), {known: 1, streams[0]: 1, streams[1]: 1, streams[2]: 0, streams[3]: 1, streams[4]: 1})


async def test_the_same_words_of_somebody_else_do_not_pass_for_ones_own(
    database: str, appender: Appender, proxy: Proxy, opened: Opened
) -> None:
    """Another process wrote the very same event at that version: a command was then not executed, and its key not used up."""
    stream = chat_stream(uuid4())
    proxy.next("stall before it arrives")
    key = CommandKey(UUID(int=1), "k", b"")
    claim = Claim("email", "a", stream)
    asked = asyncio.create_task(appender.append(AppendRequest(appends=[StreamAppend(stream, titled("0"), 0)], command=key, claims=[claim])))
    await proxy.hit.wait()
    other = await opened(postgres_log(database, lambda _: None))
    await other.append(AppendRequest(appends=[StreamAppend(stream, titled("0"), 0)]))
    with pytest.raises(ConcurrencyConflict):
        await asked
    proxy.release()
    await proxy.late.wait()
    assert await other.find_claim("email", "a") is None
    assert await other.find_command(UUID(int=1), "k") is None


@pytest.mark.slow
async def test_many_writers_over_a_connection_that_breaks_all_the_time(database: str, appender: Appender, proxy: Proxy) -> None:
    writers = Writers(appender.append)
    chance = random.Random(3)
    for _ in range(24):
        proxy.next(chance.choice(FAULTS))
        await proxy.hit.wait()
        await asyncio.sleep(chance.uniform(0, 0.05))
        proxy.release()
        await writers.more(chance.randint(1, 10))
    await writers.stop()
    assert proxy.faults == 24
    assert_whole(await everything(database), writers.written)


async def write_much_at_once(appender: Appender, streams_count: int = 300) -> dict[Stream, int]:
    streams = [chat_stream(uuid4()) for _ in range(streams_count)]
    await asyncio.gather(*(appender.append(AppendRequest([StreamAppend(stream, titled("0"), 0)])) for stream in streams))
    return dict.fromkeys(streams, 1)


async def test_the_second_connection_is_opened_when_much_waits(database: str, opened: Opened) -> None:
    connections = 0

    async def counted() -> Any:
        nonlocal connections
        connections += 1
        return await connect(database, application="appender")

    appender = await warm(await opened(Appender(counted, lambda _: None)))
    assert connections == 1
    written = await write_much_at_once(appender)
    while connections < 2:
        written |= await write_much_at_once(appender)
    for _ in range(5):  # now on both
        written |= await write_much_at_once(appender)
    assert connections == 2
    assert_whole(await everything(database), written)


async def test_where_no_second_connection_is_to_be_had_the_first_takes_all(
    database: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appenders, "RETRY_MOST_S", 0.001)
    asked = 0

    async def one_alone() -> Any:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise asyncpg.TooManyConnectionsError("too many connections for role")
        return await connect(database, application="appender")

    appender = await opened(Appender(one_alone, lambda _: None))
    written: dict[Stream, int] = {}
    while asked < 4:
        written |= await write_much_at_once(appender)
    assert_whole(await everything(database), written)


async def test_when_postgres_is_away_for_too_long_the_caller_is_told_and_may_ask_again(database: str, proxy: Proxy, opened: Opened) -> None:
    appender = await warm(await opened(Appender(lambda: connect(proxy.dsn, application="appender"), lambda _: None, hold_s=0.1)))
    stream = chat_stream(uuid4())
    request = AppendRequest(appends=[StreamAppend(stream, titled("0"), 0)], command=CommandKey(UUID(int=1), "k", b""))
    proxy.next("cut before the answer")
    cutting = asyncio.create_task(cut_for_ever(proxy))
    try:
        with pytest.raises(LogUnavailable):
            await appender.append(request)
    finally:
        cutting.cancel()
        await asyncio.wait([cutting])
        proxy.take()
    again = await asked_until_taken(appender, request)
    assert (again.position, list(again.versions), again.repeated) == (1, [1], True)
    assert_whole(await everything(database), {stream: 1})


async def cut_for_ever(proxy: Proxy) -> None:
    while True:
        await proxy.hit.wait()
        proxy.next("cut before it arrives")


# ------------------------------------------------------------------------------------------------- Postgres itself is hit


@pytest.fixture
def own_postgres(open_folder: Path) -> Iterator[EmbeddedPostgres]:
    folder = open_folder / f"faults-{uuid4().hex[:8]}"
    with EmbeddedPostgres(folder) as embedded:
        migrate(embedded.dsn)
        yield embedded
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
async def test_postgres_may_be_killed_or_restarted_while_many_append(own_postgres: EmbeddedPostgres, opened: Opened) -> None:
    log = await opened(postgres_log(own_postgres.dsn, lambda _: None, hold_s=PATIENCE_S))
    writers = Writers(log.append)
    for how in (signal.SIGKILL, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        await writers.more(100)
        with psycopg.connect(own_postgres.dsn) as connection:
            row = connection.execute("SELECT setting FROM pg_settings WHERE name = 'data_directory'").fetchone()
        assert row is not None
        postmaster = int((Path(row[0]) / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, how)
        await asyncio.to_thread(wait_until_gone, postmaster)
        assert await asyncio.to_thread(own_postgres.ensure_running)
        await writers.more(100)
    await writers.stop()
    assert_whole(await everything(own_postgres.dsn), writers.written)


def wait_until_gone(pid: int) -> None:
    while Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        pass


@pytest.fixture
def small_disk(postgres_dsn: str, migrated_template: str, open_folder: Path) -> Iterator[tuple[str, Path]]:
    """A database on a disk of 32 MB, and a folder on that disk."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    with psycopg.connect(postgres_dsn, autocommit=True) as owner:
        row = owner.execute("SELECT setting FROM pg_settings WHERE name = 'data_directory'").fetchone()
        data = Path(row[0]) if row is not None else Path("/nonexistent")
        if not data.is_dir():
            pytest.skip("Postgres runs on another machine")
        disk = open_folder / f"disk-{uuid4().hex[:8]}"
        disk.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m,mode=0711", "tmpfs", disk], check=False).returncode != 0:
            pytest.skip("this system lets nobody mount a small disk")
        space = disk / "space"
        space.mkdir()
        shutil.chown(space, data.stat().st_uid, data.stat().st_gid)
        tablespace, dsn = f"small_{uuid4().hex[:8]}", create_database(postgres_dsn, template=database_name(migrated_template))
        try:
            owner.execute(f"CREATE TABLESPACE {tablespace} LOCATION '{space}'".encode())
            owner.execute(f"ALTER DATABASE {database_name(dsn)} SET TABLESPACE {tablespace}".encode())
            yield dsn, disk
        finally:
            drop_database(postgres_dsn, dsn)
            owner.execute(f"DROP TABLESPACE IF EXISTS {tablespace}".encode())
            subprocess.run(["umount", "-l", disk], check=False)


@pytest.mark.slow
async def test_a_full_disk_is_said_so_and_when_there_is_room_again_it_goes_on(small_disk: tuple[str, Path], opened: Opened) -> None:
    dsn, disk = small_disk
    log = await opened(postgres_log(dsn, lambda _: None, hold_s=0.3))
    stream, filler, large = chat_stream(uuid4()), disk / "filler", os.urandom(80_000).hex()  # which no compression makes small
    written = 0

    async def append(title: str) -> None:
        nonlocal written
        await log.append(AppendRequest(appends=[StreamAppend(stream, titled(title), written)]))
        written += 1

    await append("0")
    with filler.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(b"\0" * 65_536)
            except OSError:
                break
    with pytest.raises(LogUnavailable) as raised:
        for number in range(1, 2000):
            await append(f"{number}{os.urandom(20_000).hex()}")
    assert raised.value.code == "log_unavailable"
    assert await log.version(stream) == written  # reading goes on all the while
    with pytest.raises(LogUnavailable):
        await append(large)

    waiting = await opened(Appender(lambda: connect(dsn, application="patient"), lambda _: None, hold_s=PATIENCE_S))
    late = asyncio.create_task(waiting.append(AppendRequest(appends=[StreamAppend(stream, titled(large), written)])))
    while waiting.retries < 2:
        await asyncio.sleep(0.01)
        assert not late.done()
    filler.unlink()
    assert list((await late).versions) == [written + 1]
    written += 1
    await append("after")
    events = await everything(dsn)
    assert [event.version for event in events] == list(range(1, written + 1))
    assert [event.position for event in events] == list(range(1, written + 1))
    assert events[-2].data == b'{"title":"%s"}' % large.encode()
