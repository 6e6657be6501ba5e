"""Keeps projections up to date beside a server.

One process at a time writes a projection, by a lease on its row in ``projections``. The lease only spares the others their work;
what makes it right is that the checkpoint moves by compare-and-set: an owner that was stopped and comes back moves nothing.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
import psycopg
import structlog
import uvloop

from adapters.postgres.migrate import schema_of
from adapters.postgres.queries import text
from adapters.projector.writer import PASSING, BatchSize, CheckpointMoved, Poisoned, Writer, connect, described, named
from domain.event import Stored
from projections.projection import Projection

log = structlog.get_logger("projector")

FAIL: Final = text("fail_projection")
RETRY_FAILED: Final = text("retry_failed_projection")
POSITION: Final = text("projection_position")
BACKLOG: Final = text("projection_backlog")
BATCH_EVENTS: Final = 50  # some milliseconds of Python, which tokens wait for, too
BEHIND_EVENTS: Final = 10_000  # beyond it whoever runs the server is told
INTERVAL_S: Final = 0.02  # between two batches of a server that keeps up
IDLE_S: Final = 1.0  # without news: tokens alone move no row, and so wake nobody
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


class Projector:
    """Keeps one projection up to date, if no other process does. ``wake`` says that there is something new.

    It has a thread and a loop of its own. A turn of the server's loop takes milliseconds while tokens stream, and a batch is many
    turns: they would be most of what a reader waits for.
    """

    def __init__(self, dsn: str, projection: Projection, owner: UUID, *, lease_s: float = LEASE_S) -> None:
        self._dsn = dsn
        self._projection = projection
        self._owner = owner
        self._lease_s = lease_s
        self._news = asyncio.Event()
        self._thread: threading.Thread | None = None
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None
        self.position = 0  # the checkpoint, as this process knows it
        self.head = 0
        self.failure: str | None = None
        self.retry: Retry | None = None
        self._writer: Writer | None = None
        self.retries = 0
        self.owns = False
        self._size = BatchSize(BATCH_EVENTS)
        self._backlog = Backlog(0, 0, 0)
        self._waiting: deque[tuple[int, int]] = deque()  # (position, bytes of the events up to it) that are not projected yet

    @property
    def name(self) -> str:
        return self._projection.name

    def start(self) -> None:
        # A daemon: a process that ends without ``close`` does not wait for it.
        self._thread = threading.Thread(target=self._in_thread, name=f"projector {self.name}", daemon=True)
        self._thread.start()

    def _in_thread(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, contextlib.suppress(asyncio.CancelledError):
            runner.run(self._run())

    async def close(self) -> None:
        """Give the lease back. Where Postgres does not answer that takes some times ``CLOSE_S``: the driver has to be told again, each
        time that it waits for something, that nobody else does.
        """
        while self._thread is not None and self._thread.is_alive():
            if self._running is not None:
                loop, task = self._running
                call(loop, task.cancel)
            await asyncio.to_thread(self._thread.join, CLOSE_S)

    def wake(self) -> None:
        if self._running is not None and not self._news.is_set():
            call(self._running[0], self._news.set)

    def observe(self, event: Stored) -> None:
        """A committed event, but for deltas."""
        self.head = max(self.head, event.position)
        if event.stream.kind in self._projection.kinds:
            self._wait_for(event.position, len(event.data))
            self.wake()

    def _wait_for(self, position: int, size_bytes: int) -> None:
        while self._waiting and self._waiting[0][0] <= self.position:
            self._waiting.popleft()
        if self._waiting and self._waiting[-1][0] // POSITIONS_TOGETHER == position // POSITIONS_TOGETHER:
            _, known = self._waiting.pop()
            size_bytes += known
        self._waiting.append((position, size_bytes))

    @property
    def lag_bytes(self) -> int:
        """Of the events that are not projected yet, tokens left out; of a backlog about as many as the log stores for it."""
        backlog = self._backlog
        known = max(self.position, backlog.until)
        size_bytes = sum(size for position, size in tuple(self._waiting) if position > known)
        if self.position < backlog.until:
            size_bytes += backlog.size_bytes * (backlog.until - self.position) // (backlog.until - backlog.after)
        return size_bytes

    @property
    def warning(self) -> str | None:
        """What whoever runs the server should know."""
        if self.failure is not None:
            return f"projection {self.name}: {self.failure}"
        if self.retry is not None:
            return f"projection {self.name} fails and is retried, {self.retry}"
        behind = self.head - self.position
        return f"projection {self.name} is {behind:,} events behind: lists are as old" if behind > BEHIND_EVENTS else None

    def figures(self) -> Iterator[tuple[str, str, str, float]]:
        """``(kind, name, help, value)`` for whoever watches."""
        name = f"stenograph_projection_{self.name}"
        yield "gauge", f"{name}_position", f"Checkpoint of the projection {self.name}.", self.position
        yield "gauge", f"{name}_lag_events", f"Events of the log that {self.name} does not hold yet.", max(0, self.head - self.position)
        yield "gauge", f"{name}_lag_bytes", "Bytes of these events, tokens left out.", self.lag_bytes
        yield "counter", f"{name}_retries", f"Batches of {self.name} that failed and were tried again.", self.retries
        yield "gauge", f"{name}_attempts", f"Failures of {self.name} one after the other; 0 while it does well.", self._attempts
        since = self.retry.since.timestamp() if self.retry is not None else 0.0
        yield "gauge", f"{name}_retrying_since_seconds", "When the first of them was, in seconds since 1970; 0: there is none.", since
        yield "gauge", f"{name}_owned", f"1 in the process that writes {self.name}.", float(self.owns)
        yield (
            "gauge",
            f"{name}_failed",
            f"1 while {self.name} can't project an event.",
            float(self.failure is not None),
        )

    async def _run(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running = asyncio.get_running_loop(), task
        is_first = True
        while True:
            try:
                async with await connect(self._dsn, schema_of(self.name)) as connection:
                    if is_first:
                        await connection.execute(RETRY_FAILED, (self.name,))
                        is_first = False
                    await self._on(connection)
            except PASSING as error:
                self._failed(error)
            except Exception as error:
                log.exception("projector_failed", projection=self.name)
                self._failed(error)
            self.owns = False
            await asyncio.sleep(min(RETRY_FIRST_S * 2 ** min(self._attempts - 1, 10), RETRY_MOST_S))

    def _failed(self, error: Exception) -> None:
        """The same batch is tried again, halved. What fails may be the database and not an event, so this never ends by itself."""
        what = self._writer.failing if self._writer is not None else None
        since = self.retry.since if self.retry is not None else datetime.now(UTC)
        self.retry = Retry(self._attempts + 1, since, described(what, error))
        self.retries += 1
        log.warning("projector_retries", projection=self.name, attempt=self.retry.attempts, since=since.isoformat(), error=self.retry.error)
        self._writer = None

    @property
    def _attempts(self) -> int:
        return self.retry.attempts if self.retry is not None else 0

    async def _on(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        writer = self._writer = Writer(connection, self._projection, self.name, self._owner, self._lease_s, size=self._size)
        try:
            while True:
                self.owns = await writer.take()
                if not self.owns:
                    row = await (await connection.execute(POSITION, (self.name,))).fetchone()
                    if row is not None:
                        self.position, failure, *event = row
                        self.failure = f"{named(*event)} can't be projected: {failure}" if failure is not None else None
                        self.retry = None
                    await asyncio.sleep(self._lease_s / 3)
                    continue
                try:
                    await self._keep_up(writer, connection)
                except CheckpointMoved:
                    log.info("projection_taken_over", projection=self.name)
                except Poisoned as poisoned:
                    log.error("projection_stopped", projection=self.name, position=poisoned.position, error=poisoned.reason)
                    await connection.execute(FAIL, (self.name, self._owner, poisoned.position, poisoned.reason[:FAILURE_CHARACTERS_MAX]))
                    self.failure = str(poisoned)
        finally:
            with contextlib.suppress(Exception):  # a lease that nobody gives back runs out
                await writer.leave()

    async def _keep_up(self, writer: Writer, connection: "psycopg.AsyncConnection[Any]") -> None:
        self.failure = None
        self.position = writer.position
        self.head = max(self.head, await writer.head())
        await self._count_backlog(connection, writer.position)
        while True:
            self._news.clear()
            if self.head <= writer.position:  # nobody has told of anything newer
                self.head = max(self.head, await writer.head())
            while writer.position < self.head:
                began_s = time.monotonic()
                await writer.advance(BATCH_EVENTS, self.head)
                self.position = writer.position
                self.retry = None
                # Also when there is much to catch up with, half of the time is everybody else's.
                await asyncio.sleep(INTERVAL_S if writer.position == self.head else time.monotonic() - began_s)
            self.retry = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(IDLE_S, self._lease_s / 3)):
                    await self._news.wait()
            if not self._news.is_set() and not await writer.take():
                raise CheckpointMoved

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
