"""The bell between processes: it brings the others' commits, carries what may be lost, and comes back when its connection is gone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import psycopg
import pytest

from adapters.postgres.connections.connection import connect
from adapters.postgres.log import bell as bells
from adapters.postgres.log.bell import PAYLOAD_BYTES_MAX, Bell
from adapters.postgres.log.log import PostgresLog, postgres_log
from commands.ports import Appended, AppendRequest, StreamAppend
from domain.chat.facts import ChatRenamed
from domain.log.event import Actor, Event, StoredEvent
from domain.log.stream import chat_stream

pytestmark = pytest.mark.anyio

PATIENCE_S = 30.0  # only a test that fails waits so long


class Heard:
    """A bell, the log of its process, and what it heard."""

    def __init__(self, dsn: str, name: str, interval_s: float = 0.001) -> None:
        self.dsn = dsn
        self.application = f"{name} {uuid4().hex[:6]}"
        self.heads: list[int] = []
        self.events: list[StoredEvent] = []
        self.signals: list[bytes] = []
        self.node_id = uuid4()
        self.bell = Bell(
            self.node_id,
            lambda: connect(dsn, application=self.application),
            rung=self.heads.append,
            committed=self.events.extend,
            signalled=self.signals.append,
            interval_s=interval_s,
        )
        self.log: PostgresLog = postgres_log(dsn, announce_as=self.bell.announce_as)

    async def listens(self) -> None:
        """It looks at the head once it listens."""
        seen = len(self.heads)
        await until(lambda: len(self.heads) > seen)

    async def append(self, *titles: str, by: Actor | None = None) -> Appended:
        events = [Event(None, ChatRenamed(title)) for title in titles]
        return await self.log.append(AppendRequest([StreamAppend(chat_stream(uuid4()), events, 0)], by))


async def until(is_so: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110  # what is waited for happens in another process
            await asyncio.sleep(0.002)


async def know_each_other(*all_of_them: Heard) -> None:
    await until(lambda: all(one.bell.announce_as() == one.node_id for one in all_of_them))


@pytest.fixture
async def heard(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Any]]:
    """Makes bells that listen, each with a log."""
    monkeypatch.setattr(bells, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(bells, "RETRY_S", 0.01)
    async with AsyncExitStack() as stack:

        async def start(name: str, **more: Any) -> Heard:
            made = Heard(database, name, **more)
            await made.log.start()
            stack.push_async_callback(made.log.close)
            await made.bell.start()
            stack.push_async_callback(made.bell.close)
            await made.listens()
            return made

        yield start


def hang_up(database: str, application: str) -> int:
    with psycopg.connect(database, autocommit=True) as owner:
        ended = owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()",
            [f"stenograph {application}"],
        )
        return len(ended.fetchall())


@asynccontextmanager
async def notifications_of(database: str) -> AsyncIterator[list[str]]:
    """Every notification, as Postgres delivers it."""
    payloads: list[str] = []
    connection = await asyncpg.connect(database)
    try:
        await connection.add_listener(await connection.fetchval(bells.CHANNEL), lambda *said: payloads.append(str(said[-1])))
        yield payloads
    finally:
        await connection.close()


async def test_a_commit_reaches_the_others_as_it_stands_in_the_log_and_not_the_process_that_made_it(heard: Callable[..., Any]) -> None:
    one, two, three = await heard("one"), await heard("two"), await heard("three")
    await know_each_other(one, two, three)
    await one.append('say "ü\u2028🦉"\n', "", by=Actor(uuid4(), "Ada", "user"))
    await one.append("by nobody")
    written: Sequence[StoredEvent] = await one.log.read_log(after=0, limit=10)
    await until(lambda: len(two.events) == len(three.events) == 3)
    assert two.events == three.events == written
    assert one.events == []


async def test_of_a_commit_that_fits_into_no_notification_the_others_hear_the_head(heard: Callable[..., Any]) -> None:
    one, two = await heard("one"), await heard("two")
    await know_each_other(one, two)
    for titles in (["x"] * 41, ["x" * PAYLOAD_BYTES_MAX], ["ü" * 100] * 30):
        head = (await one.append(*titles)).position
        await until(lambda head=head: head in two.heads)
    assert two.events == []
    await one.append("it fits")
    await until(lambda: len(two.events) == 1)


async def test_what_a_commit_announces_is_found_by_index_however_long_the_log_is(heard: Callable[..., Any], database: str) -> None:
    one, two = await heard("one"), await heard("two")
    await know_each_other(one, two)
    await one.append(*["x"] * 2_000)
    for title in ("a", "b", "c"):
        await one.append(title)
    await until(lambda: len(two.events) == 3)
    await one.log.close()  # a session that ends leaves its counts
    with psycopg.connect(database, autocommit=True) as owner:
        row = owner.execute("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'events'").fetchone()
    assert row is not None
    assert row[0] < 2_000


async def test_a_process_that_is_alone_announces_nothing_and_one_that_greets_changes_that(heard: Callable[..., Any], database: str) -> None:
    async with notifications_of(database) as payloads:
        one = await heard("one")
        await one.append("alone")
        two = await heard("two")
        await know_each_other(one, two)
        await one.append("in company")
        await until(lambda: two.events)
        await until(lambda: any('"head" : 2' in payload for payload in payloads))
        assert not any('"head" : 1' in payload for payload in payloads)


async def test_who_greets_no_more_is_forgotten(heard: Callable[..., Any]) -> None:
    one, two = await heard("one"), await heard("two")
    await know_each_other(one, two)
    await two.bell.close()
    await until(lambda: one.bell.announce_as() is None)
    await one.append("alone again")


async def test_a_commit_of_a_command_is_announced_and_the_command_is_not_taken_for_a_listener(
    database: str, heard: Callable[..., Any]
) -> None:
    one = await heard("one")
    node_id: UUID = uuid4()
    log = postgres_log(database, announce_as=lambda: node_id)
    await log.start()
    try:
        await log.append(AppendRequest([StreamAppend(chat_stream(uuid4()), [Event(None, ChatRenamed("a"))], 0)]))
        await until(lambda: one.events)
        assert one.bell.announce_as() is None
    finally:
        await log.close()


async def test_an_appender_that_lost_its_connection_announces_on_the_next(database: str, heard: Callable[..., Any]) -> None:
    one, two = await heard("one"), await heard("two")
    await know_each_other(one, two)
    await one.append("before")
    assert hang_up(database, "appender") >= 1
    await one.append("after")
    await until(lambda: [event.position for event in two.events] == [1, 2])


async def test_a_signal_is_delivered_as_it_was_given_in_order(heard: Callable[..., Any]) -> None:
    one, two = await heard("one"), await heard("two")
    signals = [msgspec.json.encode({"stream": "chat/x", "data": {"n": number, "text": "ü\0🦉 '"}}) for number in range(30)]
    for signal in signals:
        one.bell.signal(signal)
    await until(lambda: len(two.signals) == 30)
    assert two.signals == signals
    assert one.signals == []


async def test_however_many_signals_there_are_there_is_one_notification_a_tick(heard: Callable[..., Any]) -> None:
    one, two = await heard("one", interval_s=1_000), await heard("two")  # the test is long over when the second tick comes
    for _ in range(50):
        one.bell.signal(b"1")
        two.bell.signal(b"2")
        await asyncio.sleep(0)
    await until(lambda: len(one.signals) == 50)
    assert one.bell.notifications == 1


async def test_signals_take_as_many_payloads_as_they_need_and_one_that_fits_nowhere_holds_up_nobody(
    heard: Callable[..., Any],
) -> None:
    one, two = await heard("one"), await heard("two")
    huge = msgspec.json.encode("x" * PAYLOAD_BYTES_MAX)
    small = [msgspec.json.encode(f"{number}" + "ü" * 1000) for number in range(40)]
    for signal in (*small[:20], huge, *small[20:], huge):
        one.bell.signal(signal)
    await until(lambda: len(two.signals) == 40)
    assert two.signals == small


async def test_a_listener_whose_connection_was_ended_listens_again_and_looks_at_what_it_missed(heard: Callable[..., Any]) -> None:
    one, two = await heard("one"), await heard("two")
    await know_each_other(one, two)
    assert hang_up(one.dsn, two.application) >= 1
    await one.append("perhaps missed")
    await until(lambda: 1 in two.heads)
    await one.append("heard again")
    await until(lambda: two.events and two.events[-1].position == 2)


async def test_a_bell_whose_connection_was_ended_signals_again(heard: Callable[..., Any]) -> None:
    one, two = await heard("one"), await heard("two")
    for number in range(5):
        signal = msgspec.json.encode(number)
        while signal not in two.signals:  # one that was on its way may be lost
            one.bell.signal(signal)
            await asyncio.sleep(0.01)
        hang_up(one.dsn, one.application)


async def test_what_is_no_chime_is_passed_over(database: str, heard: Callable[..., Any]) -> None:
    one, two = await heard("one"), await heard("two")
    with psycopg.connect(database, autocommit=True) as owner:
        for payload in ("", "{", '{"node": 1}', "[]", "x" * 7000, f'{{"node": "{uuid4()}", "head": 1, "events": [[1]]}}'):
            owner.execute("SELECT pg_notify((SELECT channel FROM bell), %s)", [payload])
    one.bell.signal(b"5")
    await until(lambda: b"5" in two.signals)


async def test_a_head_that_an_older_version_rings_is_heard(database: str, heard: Callable[..., Any]) -> None:
    one = await heard("one")
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("SELECT pg_notify((SELECT channel FROM bell), %s)", [f'{{"node":"{uuid4()}","head":77,"signals":[]}}'])
    await until(lambda: 77 in one.heads)


async def test_a_bell_that_is_closed_says_nothing_more(database: str, heard: Callable[..., Any]) -> None:
    one, two = await heard("one"), await heard("two")
    await one.bell.close()
    one.bell.signal(b"5")
    three = await heard("three")
    three.bell.signal(b"6")
    await until(lambda: b"6" in two.signals)
    assert b"5" not in two.signals


async def test_another_login_of_the_database_neither_hears_it_nor_rings_it(heard: Callable[..., Any], database: str) -> None:
    """Postgres lets everybody listen: the name of the channel is what is kept from them."""
    one, other = await heard("one"), await heard("other")
    await know_each_other(one, other)
    with psycopg.connect(database, autocommit=True) as stranger:
        stranger.execute("SET ROLE stenograph_analyst")
        stranger.execute("LISTEN stenograph")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            stranger.execute("SELECT channel FROM public.bell")
        readable = stranger.execute("SELECT string_agg(prosrc, '') FROM pg_proc WHERE proname = 'append_batch'").fetchone()
        assert readable is not None
        assert "pg_notify((SELECT b.channel" in readable[0], "its text, which everybody can read, does not say the name"
        appended = await one.append("a secret")
        await until(lambda: [event.position for event in other.events] == [appended.position])
        stranger.execute("SELECT pg_notify('stenograph', %s)", (f'{{"node":"{uuid4()}","head":77,"signals":[]}}',))
        heard_there = [said.payload for said in stranger.notifies(timeout=0.2)]
        assert [said for said in heard_there if "77" not in said] == []
    await one.append("one more")
    await until(lambda: len(other.events) == 2)
    assert 77 not in other.heads
