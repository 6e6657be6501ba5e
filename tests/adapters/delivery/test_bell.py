"""The bell between processes: it wakes the others, carries what may be lost, and comes back when its connection is gone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
import pytest

from adapters.postgres import bell as bells
from adapters.postgres.bell import PAYLOAD_BYTES_MAX, Bell
from adapters.postgres.connection import connect
from adapters.postgres.log import postgres_log
from commands.ports import AppendRequest, StreamAppend
from domain.chat.facts import ChatRenamed
from domain.event import Event
from domain.stream import chat_stream

pytestmark = pytest.mark.anyio

PATIENCE_S = 30.0  # only a test that fails waits so long


class Heard:
    """A bell, and what it heard."""

    def __init__(self, dsn: str, name: str, interval_s: float = 0.001) -> None:
        self.application = f"{name} {uuid4().hex[:6]}"
        self.heads: list[int] = []
        self.signals: list[bytes] = []
        self.bell = Bell(
            uuid4(),
            lambda: connect(dsn, application=self.application),
            rung=self.heads.append,
            signalled=self.signals.append,
            interval_s=interval_s,
        )

    async def listens(self) -> None:
        """It looks at the head once it listens."""
        seen = len(self.heads)
        await until(lambda: len(self.heads) > seen)


async def until(is_so: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110  # what is waited for happens in another process
            await asyncio.sleep(0.002)


@pytest.fixture
async def heard(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Any]]:
    """Makes bells that listen."""
    monkeypatch.setattr(bells, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(bells, "RETRY_S", 0.01)
    async with AsyncExitStack() as stack:

        async def start(name: str, **more: Any) -> Heard:
            made = Heard(database, name, **more)
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


async def test_a_ring_reaches_the_others_and_not_the_one_who_rang(heard: Callable[..., Any]) -> None:
    one, two, three = await heard("one"), await heard("two"), await heard("three")
    one.bell.ring(42)
    await until(lambda: 42 in two.heads and 42 in three.heads)
    assert 42 not in one.heads


async def test_a_signal_is_delivered_as_it_was_given_in_order(heard: Callable[..., Any]) -> None:
    one, two = await heard("one"), await heard("two")
    signals = [msgspec.json.encode({"stream": "chat/x", "data": {"n": number, "text": "ü\0🦉 '"}}) for number in range(30)]
    for signal in signals:
        one.bell.signal(signal)
    await until(lambda: len(two.signals) == 30)
    assert two.signals == signals
    assert one.signals == []


async def test_however_fast_the_log_moves_there_is_one_notification_a_tick(heard: Callable[..., Any]) -> None:
    two, three = await heard("two"), await heard("three")
    one = await heard("one", interval_s=1_000)  # the test is long over when the second tick comes
    head = 0
    while 50 not in three.heads:  # all the while, and while the notification is on its way
        head += 1
        one.bell.ring(head + 100)
        if max(two.heads) > 100:  # not the last one: two looks at the log's head, 0, in between
            two.bell.ring(50)
        await asyncio.sleep(0)
    assert one.bell.notifications == 1
    assert len([heard for heard in two.heads if heard > 100]) == 1


async def test_signals_take_as_many_payloads_as_they_need_and_one_that_fits_nowhere_holds_up_nobody(
    heard: Callable[..., Any],
) -> None:
    one, two = await heard("one"), await heard("two")
    huge = msgspec.json.encode("x" * PAYLOAD_BYTES_MAX)
    small = [msgspec.json.encode(f"{number}" + "ü" * 1000) for number in range(40)]
    for signal in (*small[:20], huge, *small[20:], huge):
        one.bell.signal(signal)
    one.bell.ring(7)
    await until(lambda: len(two.signals) == 40 and 7 in two.heads)
    assert two.signals == small


async def test_a_listener_whose_connection_was_ended_listens_again_and_looks_at_what_it_missed(
    database: str, heard: Callable[..., Any]
) -> None:
    log = postgres_log(database, lambda _: None)
    await log.start()
    try:
        one, two = await heard("one"), await heard("two")
        assert hang_up(database, two.application) >= 1
        await log.append(AppendRequest(appends=[StreamAppend(chat_stream(uuid4()), [Event(None, ChatRenamed("a"))], 0)]))
        await until(lambda: 1 in two.heads)
        one.bell.ring(99)
        await until(lambda: 99 in two.heads)
    finally:
        await log.close()


async def test_a_ringer_whose_connection_was_ended_rings_again(database: str, heard: Callable[..., Any]) -> None:
    one, two = await heard("one"), await heard("two")
    for head in range(1, 6):
        one.bell.ring(head * 100)
        await until(partial(two.heads.__contains__, head * 100))
        hang_up(database, one.application)


async def test_what_is_no_chime_is_passed_over(database: str, heard: Callable[..., Any]) -> None:
    one, two = await heard("one"), await heard("two")
    with psycopg.connect(database, autocommit=True) as owner:
        for payload in ("", "{", '{"node": 1}', "[]", "x" * 7000):
            owner.execute("SELECT pg_notify(%s, %s)", [bells.CHANNEL, payload])
    one.bell.ring(5)
    await until(lambda: 5 in two.heads)


async def test_a_bell_that_is_closed_rings_no_more(database: str, heard: Callable[..., Any]) -> None:
    one, two = await heard("one"), await heard("two")
    await one.bell.close()
    one.bell.ring(5)
    other = Heard(database, "late")
    await other.bell.start()
    try:
        await other.listens()
        other.bell.ring(6)
        await until(lambda: 6 in two.heads)
    finally:
        await other.bell.close()
    assert 5 not in two.heads
