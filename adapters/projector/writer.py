"""The tables of a projection, and what moves them forward: reads the log by position, lets the projection say what is to be written,
and moves its checkpoint in the same transaction, by compare-and-set.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
import psycopg
from asyncpg.pgproto.pgproto import UUID as FastUUID
from psycopg import errors, pq, sql
from psycopg.adapt import Dumper, Loader
from psycopg.rows import dict_row, tuple_row
from psycopg.types.string import ByteaBinaryLoader

from adapters.postgres.connection import APP_ROLE
from adapters.postgres.migrate import projection_sha256
from adapters.postgres.queries import text
from domain.codec import decode_event, today
from domain.event import Stored
from domain.stream import Stream
from projections.projection import Ask, Events, Projection, Recorded, Rows, Write, step

UUID_OID: Final = psycopg.adapters.types["uuid"].oid

TAKE: Final = text("take_projection")
LEAVE: Final = text("leave_projection")
READ: Final = text("read_for_projection")
LOG_HEAD: Final = text("log_head")

PIPED_EVENTS_MAX: Final = 100  # of a batch: beyond it the rows are many, and COPY pays
BATCH_EVENTS_MAX: Final = 5_000
PAGE_EVENTS: Final = 500  # of a large batch that are read at once: an event is 256 KiB at most
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024  # of the events of a batch, where it is more than one
BATCH_S: Final = 2.0  # a batch that takes longer is followed by one of half as many events
GOOD_BATCHES: Final = 10  # after a failure, before batches grow again
BATCH_TIMEOUT_S: Final = 30.0
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
    """One event can't be projected. Nothing of it was written; everything before it was."""

    def __init__(self, event: Stored, reason: str) -> None:
        self.position = event.position
        self.reason = reason
        super().__init__(f"{name_of(event)} can't be projected: {reason}")


def named(position: int, kind: str | None, stream_id: UUID | None, version: int | None, type_: str | None) -> str:
    """One event, for an operator who looks for it."""
    return f"the event at position {position} ({kind}/{stream_id} version {version}, {type_})"


def name_of(event: Stored) -> str:
    return named(event.position, event.stream.kind, event.stream.id, event.version, event.type)


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
    position, kind, stream_id, version, type_, message_id, actor, data, at = row
    return today(Stored(position, Stream(kind, stream_id), version, type_, message_id, actor, data, at))


def recorded(event: Stored) -> Recorded:
    return Recorded(event, decode_event(event).data)


def events_of(rows: Sequence[Sequence[Any]]) -> list[Recorded]:
    return [recorded(stored(row)) for row in rows]


def described(what: str | None, error: BaseException) -> str:
    """What failed and how, in a line."""
    said = f"{type(error).__name__}: {error}".strip()
    return f"{what}: {said}" if what is not None else said


class BatchSize:
    """How many events the next batch may hold: half as many after one that failed or took long, and more again after ``GOOD_BATCHES``."""

    def __init__(self, events_max: int) -> None:
        self.events_max = events_max
        self.events = events_max
        self._good_until = 0  # so many batches more have to do well

    def halve(self, events: int) -> None:
        self.events = max(1, min(self.events, events) // 2)
        self._good_until = GOOD_BATCHES

    def fit(self, events: int) -> None:
        """So many were as large as a batch may be."""
        self.events = max(1, events)

    def double(self) -> None:
        self._good_until -= 1
        if self._good_until < 0:
            self.events = min(self.events_max, self.events * 2)


class Partition(msgspec.Struct, frozen=True):
    """Some of the streams, so that several may build at the same time: each stream is in one partition of ``of``."""

    index: int
    of: int


WHOLE: Final = Partition(0, 1)


class Writer:
    """Writes the tables of one projection, as far as they are written: the live ones, or those of a replay."""

    def __init__(
        self,
        connection: "psycopg.AsyncConnection[Any]",
        projection: Projection,
        name: str,
        owner: UUID,
        lease_s: float,
        partition: Partition = WHOLE,
        size: BatchSize | None = None,
    ) -> None:
        self._connection = connection
        self._projection = projection
        self._name = name
        self._owner = owner
        self._lease_s = lease_s
        self._partition = partition
        self._size = size or BatchSize(BATCH_EVENTS_MAX)
        self._sha256 = projection_sha256(projection.name)
        self._batch: list[Stored] = []  # that is being projected
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

        A batch that can't be projected is halved until the event is found that can't. Raises ``CheckpointMoved``, ``Poisoned``, or what
        the connection raises, which ``failing`` tells more of; then nothing of the last batch was written.
        """
        until = min(until, self.position + WINDOW_POSITIONS)
        fails_until = self.position  # an event up to there can't be projected
        while True:
            limit = min(events_max, self._size.events)
            self._batch = []
            began_s = time.monotonic()
            try:
                async with asyncio.timeout(BATCH_TIMEOUT_S):
                    is_full = await self._advance(limit, until)
            except (CheckpointMoved, asyncio.CancelledError):
                raise
            except Exception as error:
                if isinstance(error, PASSING) and not isinstance(error, BEYOND_LIMITS):
                    self._size.halve(len(self._batch) or limit)
                    raise
                if not self._batch:  # it can't be read
                    if limit == 1:
                        raise
                    fails_until = max(fails_until, self.position + 1)
                elif len(self._batch) == 1:
                    raise Poisoned(self._batch[0], f"{type(error).__name__}: {error}") from error
                else:
                    fails_until = max(fails_until, self._batch[-1].position)
                self._size.halve(len(self._batch) or limit)
                continue
            if time.monotonic() - began_s > BATCH_S:
                self._size.halve(len(self._batch))
            elif is_full:
                self._size.fit(len(self._batch))
            elif limit == self._size.events:
                self._size.double()
            self._batch = []
            if self.position >= min(fails_until, until):
                return

    @property
    def failing(self) -> str | None:
        """What a batch held that failed, where it had been read."""
        if len(self._batch) == 1:
            return name_of(self._batch[0])
        if self._batch:
            return f"{len(self._batch):,} events from {name_of(self._batch[0])} on"
        return None

    async def _read(self, limit: int, until: int) -> tuple[list[Stored], int, bool]:
        """The events of the next batch, the position up to which they are all there are, and whether a batch may be no larger."""
        events: list[Stored] = []
        size_bytes, after = 0, self.position
        while True:
            page = min(limit - len(events), PIPED_EVENTS_MAX if limit <= PIPED_EVENTS_MAX else PAGE_EVENTS)
            arguments = (after, until, list(self._projection.kinds), page, self._partition.index, self._partition.of)
            rows = await (await self._connection.execute(READ, arguments, binary=True)).fetchall()
            for row in rows:
                event = stored(row)
                size_bytes += len(event.data)
                if size_bytes > BATCH_BYTES_MAX and events:
                    return events, events[-1].position, True
                events.append(event)
            if len(rows) < page:
                return events, until, False
            after = events[-1].position
            if len(events) == limit:
                return events, after, False

    async def _advance(self, limit: int, until: int) -> bool:
        """Whether the batch was as large as one may be."""
        is_piped = limit <= PIPED_EVENTS_MAX
        async with piped(self._connection) if is_piped else self._connection.transaction():
            self._batch, position, is_full = await self._read(limit, until)
            events = [recorded(event) for event in self._batch]
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
        self.position = position
        self.events += len(events)
        return is_full

    async def _answers(self, asks: Sequence[Ask]) -> list[list[Any]]:
        """What Postgres says, in one round trip where the connection is a pipeline."""
        cursors = []
        for ask in asks:
            cursor = self._connection.cursor(row_factory=tuple_row if isinstance(ask, Events) else dict_row)
            cursors.append(await cursor.execute(text(ask.query), ask.arguments, binary=True))
        answers: list[list[Any]] = [await cursor.fetchall() for cursor in cursors]
        return [
            [recorded(stored(row)) for row in rows] if isinstance(ask, Events) else rows for ask, rows in zip(asks, answers, strict=True)
        ]

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
