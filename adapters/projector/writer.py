"""The tables of a projection, and what moves them forward: reads the log by position, lets the projection say what is to be written,
and moves its checkpoint in the same transaction, by compare-and-set.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
import psycopg
from asyncpg.pgproto.pgproto import UUID as FastUUID
from psycopg import errors, pq, sql
from psycopg.adapt import Dumper, Loader
from psycopg.types.string import ByteaBinaryLoader

from adapters.postgres.connection import APP_ROLE
from adapters.postgres.migrate import projection_sha256
from adapters.postgres.queries import text
from domain.codec import today
from domain.event import Stored
from domain.stream import Stream
from projections.projection import Ask, Events, Projecting, Projection, Rows, Write

UUID_OID: Final = psycopg.adapters.types["uuid"].oid

TAKE: Final = text("take_projection")
LEAVE: Final = text("leave_projection")
READ: Final = text("read_for_projection")
LOG_HEAD: Final = text("log_head")

PIPED_EVENTS_MAX: Final = 100  # of a batch: beyond it the rows are many, and COPY pays
WINDOW_POSITIONS: Final = 50_000  # tokens are passed over by Postgres; this bounds how long one look takes
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


class Partition(msgspec.Struct, frozen=True):
    """Some of the streams, so that several may build at the same time: each stream is in one partition of ``of``."""

    index: int
    of: int


WHOLE: Final = Partition(0, 1)


class Writer:
    """The tables of one projection, as far as they are built: the live ones, or those beside them."""

    def __init__(
        self,
        connection: "psycopg.AsyncConnection[Any]",
        projection: Projection,
        name: str,
        owner: UUID,
        lease_s: float,
        partition: Partition = WHOLE,
    ) -> None:
        self._connection = connection
        self._projection = projection
        self._name = name
        self._owner = owner
        self._lease_s = lease_s
        self._partition = partition
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
        return self.position, until, list(self._projection.kinds), events_max, self._partition.index, self._partition.of

    async def _advance(self, events_max: int, until: int) -> tuple[int, int]:
        is_piped = events_max <= PIPED_EVENTS_MAX
        async with piped(self._connection) if is_piped else self._connection.transaction():
            (events,) = await self._answers([Events("read_for_projection", self._asked(until, events_max))])
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
            for write in writes:
                await (self._send(write) if is_piped else self._write(write))
        return position, len(events)

    async def _answers(self, asks: Sequence[Ask]) -> list[list[Any]]:
        """What Postgres says, in one round trip where the connection is a pipeline."""
        cursors = [await self._connection.execute(text(ask.query), ask.arguments, binary=True) for ask in asks]
        answers = [await cursor.fetchall() for cursor in cursors]
        return [[stored(row) for row in rows] if isinstance(ask, Events) else rows for ask, rows in zip(asks, answers, strict=True)]

    async def _send(self, write: Write) -> None:
        """In a pipeline. Not by ``executemany``, which waits for all that was sent before."""
        for row in write.rows:
            await self._connection.execute(text(write.statement), row)

    async def _write(self, write: Write) -> None:
        async with self._connection.cursor() as cursor:
            if write.copy is None:
                await cursor.executemany(text(write.statement), write.rows)
                return
            async with cursor.copy(text(write.copy)) as copying:
                for row in write.rows:
                    await copying.write_row(row)


def step(projecting: Projecting, answers: Sequence[Any] | None) -> tuple[Sequence[Ask], list[Write]]:
    """What a projection asks next, or what it writes when it asks no more."""
    try:
        return (projecting.send(answers) if answers is not None else next(projecting)), []
    except StopIteration as made:
        return [], made.value


@contextlib.asynccontextmanager
async def piped(connection: "psycopg.AsyncConnection[Any]") -> AsyncIterator[None]:
    """A transaction that waits for Postgres only where an answer is asked for, and once at its end."""
    try:
        async with connection.pipeline():
            await connection.execute("BEGIN")
            yield
            await connection.execute("COMMIT")
    finally:
        if connection.info.transaction_status != pq.TransactionStatus.IDLE:
            await connection.rollback()
