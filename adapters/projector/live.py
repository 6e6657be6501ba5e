"""Keeps projections up to date beside a server.

One process at a time writes a projection, by a lease on its row in ``projections``. The lease only spares the others their work;
what makes it right is that the checkpoint moves by compare-and-set: an owner that was stopped and comes back moves nothing.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final
from uuid import UUID

import psycopg
import structlog
import uvloop

from adapters.postgres.migrate import schema_of
from adapters.postgres.queries import text
from adapters.projector.writer import PASSING, CheckpointMoved, Poisoned, Writer, connect
from domain.event import Stored
from projections.projection import Projection

log = structlog.get_logger("projector")

FAIL: Final = text("fail_projection")
RETRY_FAILED: Final = text("retry_failed_projection")
POSITION: Final = text("projection_position")
BATCH_EVENTS: Final = 50  # some milliseconds of Python, which tokens wait for, too
BEHIND_EVENTS: Final = 10_000  # beyond it whoever runs the server is told
INTERVAL_S: Final = 0.02  # between two batches of a server that keeps up
BATCH_TIMEOUT_S: Final = 30.0
IDLE_S: Final = 1.0  # without news: tokens alone move no row, and so wake nobody
LEASE_S: Final = 5.0
CLOSE_S: Final = 1.0
RETRY_FIRST_S: Final = 0.1
RETRY_MOST_S: Final = 5.0
FAILURE_CHARACTERS_MAX: Final = 2000


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
        self.owns = False

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
            self.wake()

    @property
    def warning(self) -> str | None:
        """What whoever runs the server should know."""
        if self.failure is not None:
            return f"projection {self.name}: {self.failure}"
        behind = self.head - self.position
        return f"projection {self.name} is {behind:,} events behind: lists are as old" if behind > BEHIND_EVENTS else None

    def figures(self) -> Iterator[tuple[str, str, str, float]]:
        """``(kind, name, help, value)`` for whoever watches."""
        name = f"stenograph_projection_{self.name}"
        yield "gauge", f"{name}_position", f"Checkpoint of the projection {self.name}.", self.position
        yield "gauge", f"{name}_lag_events", f"Events of the log that {self.name} does not hold yet.", max(0, self.head - self.position)
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
        retry_s = RETRY_FIRST_S
        is_first = True
        while True:
            try:
                async with await connect(self._dsn, schema_of(self.name)) as connection:
                    if is_first:
                        await connection.execute(RETRY_FAILED, (self.name,))
                        is_first = False
                    retry_s = RETRY_FIRST_S
                    await self._on(connection)
            except PASSING as error:
                log.warning("projector_waits", projection=self.name, error=f"{type(error).__name__}: {error}")
            except Exception:
                log.exception("projector_failed", projection=self.name)
            self.owns = False
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, RETRY_MOST_S)

    async def _on(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        build = Writer(connection, self._projection, self.name, self._owner, self._lease_s)
        try:
            while True:
                self.owns = await build.take()
                if not self.owns:
                    row = await (await connection.execute(POSITION, (self.name,))).fetchone()
                    if row is not None:
                        self.position, self.failure = row
                    await asyncio.sleep(self._lease_s / 3)
                    continue
                try:
                    await self._keep_up(build)
                except CheckpointMoved:
                    log.info("projection_taken_over", projection=self.name)
                except Poisoned as poisoned:
                    log.error("projection_stopped", projection=self.name, position=poisoned.position, error=poisoned.reason)
                    await connection.execute(FAIL, (self.name, self._owner, poisoned.position, poisoned.reason[:FAILURE_CHARACTERS_MAX]))
                    self.failure = str(poisoned)
        finally:
            with contextlib.suppress(Exception):  # a lease that nobody gives back runs out
                await build.leave()

    async def _keep_up(self, build: Writer) -> None:
        self.failure = None
        while True:
            self._news.clear()
            if self.head <= build.position:  # nobody has told of anything newer
                self.head = max(self.head, await build.head())
            while build.position < self.head:
                began_s = time.monotonic()
                async with asyncio.timeout(BATCH_TIMEOUT_S):
                    await build.advance(BATCH_EVENTS, self.head)
                self.position = build.position
                # Also when there is much to catch up with, half of the time is everybody else's.
                await asyncio.sleep(INTERVAL_S if build.position == self.head else time.monotonic() - began_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(IDLE_S, self._lease_s / 3)):
                    await self._news.wait()
            if not self._news.is_set() and not await build.take():
                raise CheckpointMoved


def call(loop: asyncio.AbstractEventLoop, what: Callable[[], object]) -> None:
    """Have it done in another thread's loop, unless that has ended."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(what)
