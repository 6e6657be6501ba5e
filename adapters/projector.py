"""Runs projections: reads the log by position, lets a projection say what is to be written, and moves its checkpoint in the
same transaction.

One process at a time writes a projection, by a lease on its row in ``projections``. The lease only spares the others their work;
what makes it right is that the checkpoint moves by compare-and-set: an owner that was stopped and comes back moves nothing.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
import psycopg
import structlog
from asyncpg.pgproto.pgproto import UUID as FastUUID
from psycopg import errors, pq, sql
from psycopg.adapt import Dumper, Loader
from psycopg.types.string import ByteaBinaryLoader

from adapters.migrate import projection_sha256, schema_of
from adapters.postgres.connection import APP_ROLE
from adapters.postgres.queries import text
from domain.codec import today
from domain.event import Stored
from domain.stream import Stream
from projections.projection import Ask, Events, Projecting, Projection, Rows, Write

log = structlog.get_logger("projector")

UUID_OID: Final = psycopg.adapters.types["uuid"].oid

TAKE: Final = text("take_projection")
LEAVE: Final = text("leave_projection")
FAIL: Final = text("fail_projection")
RETRY_FAILED: Final = text("retry_failed_projection")
READ: Final = text("read_for_projection")
POSITION: Final = text("projection_position")
LOG_HEAD: Final = text("log_head")

BATCH_EVENTS: Final = 50  # of a server: some milliseconds of the loop that tokens go through, too
PIPED_EVENTS_MAX: Final = 100  # of a batch: beyond it the rows are many, and COPY pays
WINDOW_POSITIONS: Final = 50_000  # tokens are passed over by Postgres; this bounds how long one look takes
BEHIND_EVENTS: Final = 10_000  # beyond it whoever runs the server is told
INTERVAL_S: Final = 0.02  # between two batches of a server that keeps up
BATCH_TIMEOUT_S: Final = 30.0
IDLE_S: Final = 1.0  # without news: tokens alone move no row, and so wake nobody
LEASE_S: Final = 5.0
CLOSE_S: Final = 1.0
RETRY_FIRST_S: Final = 0.1
RETRY_MOST_S: Final = 5.0
FAILURE_CHARACTERS_MAX: Final = 2000
# Failures of the connection or the server, not of the event: lost, restarted, no room, deadlock, lock not available.
PASSING: Final = (psycopg.OperationalError, psycopg.InterfaceError, OSError, TimeoutError)
BEYOND_LIMITS: Final = (errors.ProgramLimitExceeded, errors.StatementTooComplex)  # among them by their class, but the event's fault


SETTINGS: Final = {
    "synchronous_commit": "off",
    "timezone": "UTC",
    "jit": "off",
    # An owner that is stopped in the middle of a batch, or cut off, must not hold the row that others wait for.
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "5s",
    # Everything here is looked up by key, in order of position. A planner that has no statistics yet, as after an import, thinks
    # that it knows a better way: 1,600 ms for a batch that takes 20.
    "plan_cache_mode": "force_generic_plan",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
}


class CheckpointMoved(Exception):
    """Somebody else writes this projection now, or it was paused: nothing of the batch was written."""


class Poisoned(Exception):
    """The event at ``position`` can't be projected. Nothing of it was written; everything before it was."""

    def __init__(self, position: int, reason: str) -> None:
        self.position = position
        self.reason = reason
        super().__init__(f"the event at position {position} can't be projected: {reason}")


# asyncpg's UUID is one, made and written in C: with Python's own, two ids of an event cost more than everything else about it.
class _UuidLoader(Loader):
    format = pq.Format.BINARY

    def load(self, data: Any) -> UUID:
        return FastUUID(bytes(data))  # type: ignore[no-any-return]


class _UuidDumper(Dumper):
    oid = UUID_OID

    def dump(self, obj: UUID) -> bytes:
        return str(obj).encode()


async def connect(dsn: str, schema: str, *, role: str | None = APP_ROLE) -> "psycopg.AsyncConnection[Any]":
    """A connection whose unqualified tables are those of ``schema``. What it loses in a crash is still in the log."""
    connection = await psycopg.AsyncConnection.connect(
        dsn,
        autocommit=True,
        cursor_factory=psycopg.AsyncRawCursor,
        application_name=f"stenograph projector {schema}",
        connect_timeout=5,
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=10_000,
    )
    try:
        connection.prepare_threshold = 0
        connection.adapters.register_loader("json", ByteaBinaryLoader)  # JSON is bytes: what is stored is not decoded here
        connection.adapters.register_loader("uuid", _UuidLoader)
        connection.adapters.register_dumper(FastUUID, _UuidDumper)
        if role is not None:
            await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)).as_string())
        await connection.execute(sql.SQL("SET search_path TO {}, public").format(sql.Identifier(schema)).as_string())
        for setting, value in SETTINGS.items():
            await connection.execute(sql.SQL("SET {} TO {}").format(sql.Identifier(setting), sql.Literal(value)).as_string())
    except BaseException:
        await connection.close()
        raise
    return connection


def stored(row: Sequence[Any]) -> Stored:
    return today(Stored(row[0], Stream(row[1], row[2]), *row[3:]))


class Lane(msgspec.Struct, frozen=True):
    """Some of the streams, so that several may build at the same time: each stream is in one lane of ``of``."""

    index: int
    of: int


WHOLE: Final = Lane(0, 1)


class Build:
    """The tables of one projection, as far as they are built: the live ones, or those beside them."""

    def __init__(
        self, connection: "psycopg.AsyncConnection[Any]", projection: Projection, name: str, owner: UUID, lease_s: float, lane: Lane = WHOLE
    ) -> None:
        self._connection = connection
        self._projection = projection
        self._name = name
        self._owner = owner
        self._lease_s = lease_s
        self._lane = lane
        self._sha256 = projection_sha256(projection.name)
        self.position = 0
        self.events = 0  # that were projected

    async def take(self) -> bool:
        """Whether this process may write it now. Renews the lease where it may already."""
        row = await (await self._connection.execute(TAKE, (self._name, self._owner, self._lease_s, self._sha256))).fetchone()
        if row is not None:
            self.position = row[0]
        return row is not None

    async def leave(self) -> None:
        await self._connection.execute(LEAVE, (self._name, self._owner))

    async def head(self) -> int:
        row = await (await self._connection.execute(LOG_HEAD)).fetchone()
        return row[0] if row is not None else 0

    async def advance(self, events_max: int, until: int) -> None:
        """Project the next batch, and move the checkpoint: to its last event, or to ``until`` where no more stand before it.

        Raises ``CheckpointMoved``, ``Poisoned``, or what the connection raises; then nothing was written.
        """
        until = min(until, self.position + WINDOW_POSITIONS)
        try:
            position, events = await self._advance(events_max, until)
        except (CheckpointMoved, asyncio.CancelledError):
            raise
        except Exception as error:
            if isinstance(error, PASSING) and not isinstance(error, BEYOND_LIMITS):
                raise
            if events_max == 1:
                row = await (await self._connection.execute(READ, self._asked(until, 1))).fetchone()
                raise Poisoned(row[0] if row is not None else until, f"{type(error).__name__}: {error}") from error
            # Which event is it? Everything before it is projected, one by one.
            end = self.position + events_max
            while self.position < min(until, end):
                await self.advance(1, until)
            return
        self.position = position
        self.events += events

    def _asked(self, until: int, events_max: int) -> tuple[Any, ...]:
        return self.position, until, list(self._projection.kinds), events_max, self._lane.index, self._lane.of

    async def _advance(self, events_max: int, until: int) -> tuple[int, int]:
        is_piped = events_max <= PIPED_EVENTS_MAX
        async with piped(self._connection) if is_piped else self._connection.transaction():
            (rows,) = await self._answers([Rows("read_for_projection", self._asked(until, events_max))])
            events = [stored(row) for row in rows]
            position = events[-1].position if len(events) == events_max else until
            projecting = self._projection.project(events)
            asks, writes = step(projecting, None) if events else ([], [])
            # Before anything else is looked at or written: who may not write waits for no table, and holds none that a swap waits for.
            moving = Rows("move_checkpoint", (self._name, self.position, position, self._owner, self._lease_s))
            moved, *answers = await self._answers([moving, *asks])
            if not moved:
                raise CheckpointMoved
            while asks:
                asks, writes = step(projecting, answers)
                answers = await self._answers(asks)
            async with self._connection.cursor() as cursor:
                for write in writes:
                    if write.copy is None or is_piped:
                        await cursor.executemany(text(write.statement), write.rows)
                    else:
                        await copy(cursor, text(write.copy), write.rows)
        return position, len(events)

    async def _answers(self, asks: Sequence[Ask]) -> list[list[Any]]:
        """What Postgres says, in one round trip where the connection is a pipeline."""
        cursors = [await self._connection.execute(text(ask.query), ask.arguments, binary=True) for ask in asks]
        answers = [await cursor.fetchall() for cursor in cursors]
        return [[stored(row) for row in rows] if isinstance(ask, Events) else rows for ask, rows in zip(asks, answers, strict=True)]


def step(projecting: Projecting, answers: Sequence[Any] | None) -> tuple[Sequence[Ask], list[Write]]:
    """What a projection asks next, or what it writes when it asks no more."""
    try:
        return (projecting.send(answers) if answers is not None else next(projecting)), []
    except StopIteration as made:
        return [], made.value


@contextlib.asynccontextmanager
async def piped(connection: "psycopg.AsyncConnection[Any]") -> AsyncIterator[None]:
    """A transaction that waits for Postgres only where an answer is asked for, and once at its end: a server's loop is full of tokens,
    and each turn that is waited for is a turn behind all of them.
    """
    try:
        async with connection.pipeline():
            await connection.execute("BEGIN")
            yield
            await connection.execute("COMMIT")
    finally:
        if connection.info.transaction_status != pq.TransactionStatus.IDLE:
            await connection.rollback()


async def copy(cursor: "psycopg.AsyncCursor[Any]", statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    async with cursor.copy(statement) as copying:
        for row in rows:
            await copying.write_row(row)


class Projector:
    """Keeps one projection up to date, if no other process does. ``wake`` says that there is something new."""

    def __init__(self, dsn: str, projection: Projection, owner: UUID, *, lease_s: float = LEASE_S) -> None:
        self._dsn = dsn
        self._projection = projection
        self._owner = owner
        self._lease_s = lease_s
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.position = 0  # the checkpoint, as this process knows it
        self.head = 0
        self.failure: str | None = None
        self.owns = False

    @property
    def name(self) -> str:
        return self._projection.name

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"projector {self.name}")

    async def close(self) -> None:
        """Give the lease back. Where Postgres does not answer that takes some times ``CLOSE_S``: the driver has to be told again, each
        time that it waits for something, that nobody else does.
        """
        while self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=CLOSE_S)

    def wake(self) -> None:
        self._news.set()

    def observe(self, event: Stored) -> None:
        """A committed event, but for deltas."""
        self.head = max(self.head, event.position)
        if event.stream.kind in self._projection.kinds:
            self._news.set()

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
        build = Build(connection, self._projection, self.name, self._owner, self._lease_s)
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

    async def _keep_up(self, build: Build) -> None:
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
