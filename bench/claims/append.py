"""The appender beside its own statement: ``CALL append_batch`` with the same rows, at the same batch size, in the same log.

Ours and raw take turns, so that both see the same machine, the same checkpoints and a log of the same length.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final
from uuid import uuid4

import asyncpg

from adapters.postgres.appending.appender import CALL
from adapters.postgres.appending.waiting import Waiting, call_arguments
from adapters.postgres.connections.connection import connect
from adapters.postgres.log.log import PostgresLog, postgres_log
from bench.host import Host
from bench.report import Line, percentile
from commands.ports import AppendRequest, StreamAppend
from domain.generation import MessageDelta
from domain.log.event import Event, StoredEvent
from domain.log.stream import chat_stream

ROUNDS: Final = 5
SLICE_S: Final = 2.0
ALONE_CALLS: Final = 400
ALONE_PAUSE_S: Final = 0.005
SNAPSHOT_S: Final = 60.0
PREPARED_CALLS_MAX: Final = 8_000
EXPECTED_AT: Final = 12  # where call_arguments puts the expected versions


class Writer:
    """One chat that appends one small delta after another."""

    def __init__(self) -> None:
        self.stream = chat_stream(uuid4())
        self.message_id = uuid4()
        self.version = 0

    def request(self) -> AppendRequest:
        event = Event(self.message_id, MessageDelta(0, " token"))
        return AppendRequest(appends=[StreamAppend(self.stream, [event], self.version)])


class Side:
    """What one side did in all its turns."""

    def __init__(self) -> None:
        self.events = 0
        self.batches = 0
        self.seconds = 0.0
        self.cpu_s = 0.0  # of this process: what Postgres uses is the same on both sides
        self.rates: list[float] = []

    def add(self, events: int, batches: int, seconds: float, cpu_s: float) -> None:
        self.events += events
        self.batches += batches
        self.seconds += seconds
        self.cpu_s += cpu_s
        self.rates.append(events / seconds)

    @property
    def rate(self) -> float:
        return self.events / self.seconds


async def run(host: Host) -> list[Line]:
    dsn = host.database()
    log = postgres_log(dsn, ignore)
    await log.start()
    raw = await connect(dsn, application="bench")
    slice_s, rounds = (0.3, 2) if host.quick else (SLICE_S, ROUNDS)
    lines: list[Line] = []
    try:
        for chats in (64, 512):
            writers = [Writer() for _ in range(chats)]
            mine, bare = await in_turns(log, raw, writers, slice_s, rounds)
            lines.append(line(f"{chats} chats at once", mine, bare, least=0.8 if chats == 512 else 0.7))
        lines.append(await alone(log, raw, 30 if host.quick else ALONE_CALLS))
        lines += await beside_a_snapshot(dsn, log, raw, slice_s, 1.5 if host.quick else SNAPSHOT_S)
    finally:
        await raw.close()
        await log.close()
    return lines


def ignore(_: Sequence[StoredEvent]) -> None:
    """There is no reader."""


def line(what: str, mine: Side, bare: Side, *, least: float = 0.7) -> Line:
    spread = ", ".join(f"{ours / theirs:.2f}" for ours, theirs in zip(mine.rates, bare.rates, strict=True))
    size = mine.events / mine.batches
    note = f"{size:.0f} events a batch (raw {bare.events / bare.batches:.0f}); ratios of the turns: {spread}"
    note += f"; our CPU {1e6 * mine.cpu_s / mine.events:.0f} µs an event (raw {1e6 * bare.cpu_s / bare.events:.0f})"
    return Line(what=what, measured=mine.rate, unit="events/s", raw=bare.rate, ratio_at_least=least, note=note)


async def in_turns(log: PostgresLog, raw: Any, writers: Sequence[Writer], slice_s: float, rounds: int) -> tuple[Side, Side]:
    mine, bare = Side(), Side()
    await ours(log, writers, min(0.5, slice_s), Side())  # warm: statements prepared, pages in memory
    for _ in range(rounds):
        await ours(log, writers, slice_s, mine)
        await theirs(
            raw, writers, slice_s, bare, batch=max(1, round(mine.events / max(1, mine.batches)))
        )  # a busy machine may end no batch in a slice
    return mine, bare


async def ours(log: PostgresLog, writers: Sequence[Writer], seconds: float, side: Side) -> None:
    batches = log.appender.batches
    cpu_s, started = time.process_time(), time.perf_counter()
    deadline = started + seconds

    async def write(writer: Writer) -> int:
        count = 0
        while time.perf_counter() < deadline:
            await log.append(writer.request())
            writer.version += 1
            count += 1
        return count

    counts = await asyncio.gather(*(write(writer) for writer in writers))
    side.add(sum(counts), log.appender.batches - batches, time.perf_counter() - started, time.process_time() - cpu_s)


async def theirs(raw: "asyncpg.Connection[Any]", writers: Sequence[Writer], seconds: float, side: Side, *, batch: int) -> None:
    """The statement alone, one call after another, its arguments made before the clock runs."""
    chosen = writers[:batch]
    loop = asyncio.get_running_loop()
    waiting = [Waiting(writer.request(), loop.create_future()) for writer in chosen]
    arguments = list(call_arguments(waiting))
    # Of all arguments only the expected versions change from call to call.
    assert arguments[EXPECTED_AT] == array([writer.version for writer in chosen])
    expected = [array([writer.version + number for writer in chosen]) for number in range(min(PREPARED_CALLS_MAX, int(seconds * 4_000)))]
    calls = refused = 0
    cpu_s, started = time.process_time(), time.perf_counter()
    deadline = started + seconds
    for text in expected:
        arguments[EXPECTED_AT] = text
        row = await raw.fetchrow(CALL, len(chosen), False, *arguments)
        refused += any(row["outcomes"])
        calls += 1
        if time.perf_counter() >= deadline:
            break
    took, cpu_s = time.perf_counter() - started, time.process_time() - cpu_s
    assert not refused, "a raw call was refused: the versions are wrong"
    for writer in chosen:
        writer.version += calls
    side.add(calls * len(chosen), calls, took, cpu_s)


def array(numbers: list[int]) -> str:
    """As the appender writes it."""
    return f"{{{str(numbers)[1:-1]}}}"


async def alone(log: PostgresLog, raw: Any, calls: int) -> Line:
    """One append at a time on an idle log, ours and raw by turns."""
    writer = Writer()
    loop = asyncio.get_running_loop()
    mine: list[float] = []
    bare: list[float] = []
    for number in range(calls + 20):
        await asyncio.sleep(ALONE_PAUSE_S)
        request = writer.request()
        started = time.perf_counter()
        await log.append(request)
        ours_s = time.perf_counter() - started
        writer.version += 1
        await asyncio.sleep(ALONE_PAUSE_S)
        arguments = call_arguments([Waiting(writer.request(), loop.create_future())])
        started = time.perf_counter()
        await raw.fetchrow(CALL, 1, False, *arguments)
        raw_s = time.perf_counter() - started
        writer.version += 1
        if number >= 20:
            mine.append(ours_s * 1000)
            bare.append(raw_s * 1000)
    note = f"p99 {percentile(mine, 0.99):.2f} ms, raw {percentile(bare, 0.99):.2f} ms"
    return Line(
        what="alone on an idle log, p50", measured=percentile(mine, 0.5), unit="ms", raw=percentile(bare, 0.5), ratio_at_most=1.3, note=note
    )


async def beside_a_snapshot(dsn: str, log: PostgresLog, raw: Any, slice_s: float, seconds: float) -> list[Line]:
    """The same while somebody holds a snapshot open, as a backup or a long report does; and before and after that."""
    writers = [Writer() for _ in range(512)]
    without = [await in_turns(log, raw, writers, slice_s, 2)]
    holder = await asyncpg.connect(dsn)
    try:
        async with holder.transaction(isolation="repeatable_read", readonly=True):
            await holder.fetchval("SELECT count(*) FROM streams")
            await ours(log, writers, max(0.0, seconds - 4 * slice_s), Side())
            beside, bare = await in_turns(log, raw, writers, slice_s, 2)
    finally:
        await holder.close()
    without.append(await in_turns(log, raw, writers, slice_s, 2))
    before, after = (mine.rate for mine, _ in without)
    raw_said = f"raw {without[0][1].rate:,.0f}, {bare.rate:,.0f} and {without[1][1].rate:,.0f}"
    drift = Line(
        what="the same, beside the rate without the snapshot",
        measured=beside.rate,
        unit="events/s",
        raw=(before + after) / 2,
        ratio_at_least=0.7,
        note=f"raw is here the appender's own rate: {before:,.0f} before and {after:,.0f} after; {raw_said} before, beside and after",
    )
    return [line(f"512 chats, at the end of {seconds:g} s beside an open snapshot", beside, bare), drift]
