"""Keeps projections up to date beside a server.

One process at a time writes a projection, by a lease on its row in ``projections``; one thread serves any number of them. The lease only
spares the other processes the work; what makes it right is that the checkpoint moves by compare-and-set: an owner that was stopped and
comes back moves nothing.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
import psycopg
import structlog
import uvloop

from adapters.postgres.connections.queries import text
from adapters.postgres.preparing.migrate import schema_of
from adapters.projector.writer import PASSING, BatchSize, CheckpointMoved, Poisoned, Writer, connect, described, named
from commands.metrics import SHORT_SECONDS, Histogram, Labelled, MetricFigure
from domain.log.event import StoredEvent
from projections.projection import Projection

logger = structlog.get_logger("projector")

FAIL: Final = text("fail_projection")
RETRY_FAILED: Final = text("retry_failed_projections")
POSITIONS: Final = text("projection_positions")
BACKLOG: Final = text("projection_backlog")
BATCH_EVENTS: Final = 50  # some milliseconds of Python, which tokens wait for, too
BEHIND_EVENTS: Final = 10_000  # a longer backlog becomes a warning of /ready
INTERVAL_S: Final = 0.02  # between two batches of a server that keeps up
IDLE_S: Final = 1.0  # the longest wait without a wake-up: deltas change no row, so they do not wake the projector
LEASE_S: Final = 5.0
CLOSE_S: Final = 1.0
RETRY_FIRST_S: Final = 0.1
RETRY_MOST_S: Final = 5.0
FAILURE_CHARACTERS_MAX: Final = 2000
POSITIONS_TOGETHER: Final = 256  # whose bytes are counted as one: a long backlog is a short list
BACKLOG_POSITIONS: Final = 100_000  # whose bytes are counted at a start: those of a longer backlog are estimated by these


class Retry(msgspec.Struct, frozen=True):
    """A batch that failed and is tried again, with fewer events each time."""

    attempts: int
    since: datetime
    error: str

    def __str__(self) -> str:
        return f"attempt {self.attempts} since {self.since:%Y-%m-%dT%H:%M:%SZ}: {self.error}"


class Backlog(msgspec.Struct, frozen=True):
    """What waited already when this process began to write: so many bytes of events between two positions."""

    after: int
    until: int
    size_bytes: int


class Standing(msgspec.Struct):
    """One projection, as this process knows it."""

    position: int = 0  # the checkpoint
    owns: bool = False  # whether this process writes it
    failure: str | None = None  # it can't project an event, and waits there


class Projector:
    """Keeps some projections up to date, those that no other process does. ``wake`` says that there is something new.

    It has a thread and a loop of its own. A turn of the server's loop takes milliseconds while tokens stream, and a batch is many
    turns: they would be most of what a reader waits for.
    """

    def __init__(
        self,
        dsn: str,
        projections: Sequence[Projection],
        owner: UUID,
        *,
        lease_s: float = LEASE_S,
        interval_s: float = INTERVAL_S,
        name: str = "projector",
    ) -> None:
        """``interval_s`` between two batches: longer ones are fewer. ``name`` is what its metrics are called by."""
        self._dsn = dsn
        self._name = name
        self._projections = projections
        self._kinds = frozenset().union(*(projection.kinds for projection in projections))
        self._owner = owner
        self._lease_s = lease_s
        self._interval_s = interval_s
        self._news = asyncio.Event()
        self._thread: threading.Thread | None = None
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
        self._writer: Writer | None = None
        self._size = BatchSize(BATCH_EVENTS)
        self._backlog = Backlog(0, 0, 0)
        self._waiting: deque[tuple[int, int]] = deque()  # (position, bytes of the events up to it) that are not projected yet
        self.standings = {projection.name: Standing() for projection in projections}
        self.head = 0
        self.retry: Retry | None = None
        self.retries = 0
        self.batch_s = Histogram(SHORT_SECONDS)

    @property
    def position(self) -> int:
        """Where the one is that is furthest behind."""
        return min(one.position for one in self.standings.values())

    def start(self) -> None:
        # A daemon: a process that ends without ``close`` does not wait for it.
        self._thread = threading.Thread(target=self._in_thread, name=self._name, daemon=True)
        self._thread.start()

    def _in_thread(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, contextlib.suppress(asyncio.CancelledError):
            runner.run(self._run())

    async def close(self) -> None:
        """Give the leases back. While Postgres does not answer, this takes several times ``CLOSE_S``: the task is cancelled again for
        each wait of the driver.
        """
        while self._thread is not None and self._thread.is_alive():
            if self._running is not None:
                loop, task = self._running
                call(loop, task.cancel)
            await asyncio.to_thread(self._thread.join, CLOSE_S)

    def wake(self) -> None:
        if self._running is not None and not self._news.is_set():
            call(self._running[0], self._news.set)

    def observe(self, event: StoredEvent) -> None:
        """A committed event, but for deltas."""
        self.head = max(self.head, event.position)
        if event.stream.kind in self._kinds:
            self._wait_for(event.position, len(event.data))
            self.wake()

    def _wait_for(self, position: int, size_bytes: int) -> None:
        reached = self.position
        while self._waiting and self._waiting[0][0] <= reached:
            self._waiting.popleft()
        if self._waiting and self._waiting[-1][0] // POSITIONS_TOGETHER == position // POSITIONS_TOGETHER:
            _, known = self._waiting.pop()
            size_bytes += known
        self._waiting.append((position, size_bytes))

    def lag_bytes(self, name: str) -> int:
        """Of the events that one does not hold yet, tokens left out; of a backlog about as many as the log stores for it."""
        reached, backlog = self.standings[name].position, self._backlog
        known = max(reached, backlog.until)
        size_bytes = sum(size for position, size in tuple(self._waiting) if position > known)
        if reached < backlog.until:
            size_bytes += backlog.size_bytes * (backlog.until - reached) // (backlog.until - backlog.after)
        return size_bytes

    @property
    def warnings(self) -> list[str]:
        """What an operator should know."""
        found = [f"projection {name}: {one.failure}" for name, one in self.standings.items() if one.failure is not None]
        if self.retry is not None:
            names = ", ".join(name for name, one in self.standings.items() if one.failure is None)
            found.append(f"{names} can't be brought up to date and this is retried, {self.retry}")
        for name, one in self.standings.items():
            if one.failure is None and self.head - one.position > BEHIND_EVENTS:
                found.append(f"projection {name} is {self.head - one.position:,} events behind: what is read from it is as old")
        return found

    def figures(self) -> Iterator[MetricFigure]:
        """The metrics of this projector and its projections (``commands/metrics.py``)."""

        def each(value: Callable[[str, Standing], float]) -> Labelled:
            return Labelled("projection", {name: value(name, one) for name, one in self.standings.items()})

        def own(value: float | Histogram) -> Labelled:
            return Labelled("projector", {self._name: value})

        of = "stenograph_projection"
        yield "gauge", f"{of}_position", "Checkpoint of a projection.", each(lambda _, one: one.position)
        lag = each(lambda _, one: max(0, self.head - one.position))
        yield "gauge", f"{of}_lag_events", "Events of the log that a projection does not hold yet.", lag
        yield "gauge", f"{of}_lag_bytes", "Bytes of these events, tokens left out.", each(lambda name, _: self.lag_bytes(name))
        yield "gauge", f"{of}_owned", "1 in the process that writes the projection.", each(lambda _, one: float(one.owns))
        yield "gauge", f"{of}_failed", "1 while it can't project an event.", each(lambda _, one: float(one.failure is not None))
        of = "stenograph_projector"
        yield "histogram", f"{of}_batch_duration_seconds", "From reading a batch of events to its commit.", own(self.batch_s)
        yield "counter", f"{of}_retries", "Batches that failed and were tried again.", own(self.retries)
        yield "gauge", f"{of}_attempts", "Failures one after the other; 0 while all is well.", own(self._attempts)
        since = own(self.retry.since.timestamp() if self.retry is not None else 0.0)
        yield "gauge", f"{of}_retrying_since_timestamp_seconds", "When the first of these was; 0: there is none.", since

    async def _run(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running = asyncio.get_running_loop(), task
        is_first = True
        while True:
            try:
                async with await connect(self._dsn, [schema_of(name) for name in self.standings]) as connection:
                    if is_first:
                        await connection.execute(RETRY_FAILED, (list(self.standings),))
                        is_first = False
                    await self._on(connection)
            except PASSING as error:
                self._failed(error)
            except Exception as error:
                logger.exception("projector_failed")
                self._failed(error)
            for one in self.standings.values():
                one.owns = False
            await asyncio.sleep(min(RETRY_FIRST_S * 2 ** min(self._attempts - 1, 10), RETRY_MOST_S))

    def _failed(self, error: Exception) -> None:
        """The same batch is tried again, halved. What fails may be the database and not an event, so this never ends by itself."""
        what = self._writer.failing if self._writer is not None else None
        since = self.retry.since if self.retry is not None else datetime.now(UTC)
        self.retry = Retry(self._attempts + 1, since, described(what, error))
        self.retries += 1
        logger.warning("projector_retries", attempt=self.retry.attempts, since=since.isoformat(), error=self.retry.error)
        self._writer = None

    @property
    def _attempts(self) -> int:
        return self.retry.attempts if self.retry is not None else 0

    async def _on(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        writer = self._writer = Writer(connection, self._projections, self._owner, self._lease_s, size=self._size)
        try:
            while True:
                is_owner = await writer.acquire()
                await self._look(writer, connection)
                if not is_owner:
                    self.retry = None
                    await asyncio.sleep(self._lease_s / 3)
                    continue
                try:
                    await self._keep_up(writer, connection)
                except CheckpointMoved:
                    logger.info("projections_changed_hands")
                except Poisoned as poisoned:
                    name, reason = poisoned.projection, poisoned.reason[:FAILURE_CHARACTERS_MAX]
                    logger.error("projection_stopped", projection=name, position=poisoned.position, error=str(poisoned))
                    await connection.execute(FAIL, (name, self._owner, poisoned.position, reason))
                    self.standings[name].failure = str(poisoned)
        finally:
            with contextlib.suppress(Exception):  # a lease that is not given back runs out
                await writer.release()

    async def _look(self, writer: Writer, connection: "psycopg.AsyncConnection[Any]") -> None:
        """Where all of them are, also those that this process may not write."""
        held = {one.projection.name for one in writer.held}
        for name, position, failure, *event in await (await connection.execute(POSITIONS, (list(self.standings),))).fetchall():
            failed = f"{named(*event)} can't be projected: {failure}" if failure is not None else None
            self.standings[name] = Standing(position, name in held, failed)

    async def _keep_up(self, writer: Writer, connection: "psycopg.AsyncConnection[Any]") -> None:
        self.head = max(self.head, await writer.head())
        await self._count_backlog(connection, writer.position)
        is_all = len(writer.held) == len(writer.checkpoints)
        look_s = time.monotonic() + self._lease_s / 3
        while True:
            self._news.clear()
            if self.head <= writer.position:  # nothing newer was told of
                self.head = max(self.head, await writer.head())
            while writer.position < self.head:
                began_s = time.monotonic()
                await writer.advance(BATCH_EVENTS, self.head)
                self.batch_s.observe(time.monotonic() - began_s)
                for one in writer.held:
                    self.standings[one.projection.name].position = one.position
                self.retry = None
                if not is_all and time.monotonic() > look_s:
                    break
                # Also when there is much to catch up with, half of the time is everybody else's.
                await asyncio.sleep(self._interval_s if writer.position == self.head else time.monotonic() - began_s)
            self.retry = None
            if is_all or time.monotonic() < look_s:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(IDLE_S, self._lease_s / 3)):
                        await self._news.wait()
            # Those that were paused, failed, or written by another process may be free now; those that are held may have been paused.
            if time.monotonic() > look_s or not self._news.is_set():
                before = [one.name for one in writer.held]
                if not await writer.acquire() or [one.name for one in writer.held] != before:
                    raise CheckpointMoved
                look_s = time.monotonic() + self._lease_s / 3

    async def _count_backlog(self, connection: "psycopg.AsyncConnection[Any]", position: int) -> None:
        """How many bytes wait at the start: those of events that this process is not told of any more."""
        until = min(self.head, position + BACKLOG_POSITIONS)
        if until > position:
            row = await (await connection.execute(BACKLOG, (position, until))).fetchone()
            counted: int = row[0] if row is not None else 0
            self._backlog = Backlog(position, self.head, counted * (self.head - position) // (until - position))


def call(loop: asyncio.AbstractEventLoop, what: Callable[[], object]) -> None:
    """Have it done in another thread's loop, unless that has ended."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(what)
