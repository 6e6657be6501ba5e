"""Moves the tables of projections forward: reads the log by position, lets each projection say what is to be written, and moves the
checkpoints in the same transaction, by compare-and-set.

Any number of projections share what is read and decoded, and one transaction, as long as they stand at the same position. One that
stands behind, or that can't project an event, goes alone.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
import psycopg
from asyncpg.pgproto.pgproto import UUID as FastUUID
from psycopg import errors, pq
from psycopg.adapt import Dumper, Loader
from psycopg.rows import dict_row, tuple_row
from psycopg.types.string import ByteaBinaryLoader

from adapters.postgres.connections.connection import APP_ROLE
from adapters.postgres.connections.database_url import unless_given
from adapters.postgres.connections.queries import text
from adapters.postgres.preparing.migrate import projection_sha256
from domain.log.codec import decode_event, today
from domain.log.event import StoredEvent
from domain.log.stream import Stream
from projections.projection import Ask, Events, Projecting, Projection, Recorded, Rows, Write, step, together

UUID_OID: Final = psycopg.adapters.types["uuid"].oid

TAKE: Final = text("take_projection")
LEAVE: Final = text("leave_projection")
READ: Final = text("read_for_projection")
LOG_HEAD: Final = text("log_head")
CONFIGURE_SESSION: Final = text("configure_session")

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


# A connection that died is noticed while it waits, unless the URL says otherwise.
CONNECTION: Final[Mapping[str, int]] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


class CheckpointMoved(Exception):
    """Somebody else writes this projection now, or it was paused: nothing of the batch was written."""


class Poisoned(Exception):
    """One event can't be projected. Nothing of it was written; everything before it was."""

    def __init__(self, projection: str, event: StoredEvent, reason: str) -> None:
        self.projection = projection
        self.position = event.position
        self.reason = reason
        super().__init__(f"{name_of(event)} can't be projected: {reason}")


def named(position: int, kind: str | None, stream_id: UUID | None, version: int | None, type_: str | None) -> str:
    """One event, for an operator who looks for it."""
    return f"the event at position {position} ({kind}/{stream_id} version {version}, {type_})"


def name_of(event: StoredEvent) -> str:
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


async def connect(dsn: str, schemas: Sequence[str], *, role: str | None = APP_ROLE) -> "psycopg.AsyncConnection[Any]":
    """A connection whose unqualified tables are those of ``schemas``. What it loses in a crash is still in the log."""
    connection = await psycopg.AsyncConnection.connect(
        dsn,
        autocommit=True,
        cursor_factory=psycopg.AsyncRawCursor,
        application_name=f"stenograph projector {' '.join(schemas)}"[:63],
        **unless_given(dsn, CONNECTION),
    )
    try:
        connection.prepare_threshold = 0
        connection.adapters.register_loader("json", ByteaBinaryLoader)  # JSON is bytes: what is stored is not decoded here
        connection.adapters.register_loader("uuid", _UuidLoader)
        connection.adapters.register_dumper(FastUUID, _UuidDumper)
        path = ", ".join(f'"{schema}"' for schema in [*schemas, "public"])
        settings = {"role": role or "none", "search_path": path, **SETTINGS}
        await connection.execute(CONFIGURE_SESSION, (list(settings), list(settings.values())))
    except BaseException:
        await connection.close()
        raise
    return connection


def stored(row: Sequence[Any]) -> StoredEvent:
    position, kind, stream_id, version, type_, message_id, actor, data, at = row
    return today(StoredEvent(position, Stream(kind, stream_id), version, type_, message_id, actor, data, at))


def recorded(event: StoredEvent) -> Recorded:
    return Recorded(event, decode_event(event).data, str(event.message_id) if event.message_id is not None else None)


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


class Checkpoint:
    """How far one projection is, under the name of its row in ``projections``."""

    def __init__(self, projection: Projection, suffix: str) -> None:
        self.projection = projection
        self.name = projection.name + suffix
        self.sha256 = projection_sha256(projection.name)
        self.position = 0


class Writer:
    """Writes the tables of some projections, as far as they are written: the live ones, or with a ``suffix`` those of a replay."""

    def __init__(
        self,
        connection: "psycopg.AsyncConnection[Any]",
        projections: Sequence[Projection],
        owner: UUID,
        lease_s: float,
        *,
        suffix: str = "",
        partition: Partition = WHOLE,
        size: BatchSize | None = None,
    ) -> None:
        self._connection = connection
        self._owner = owner
        self._lease_s = lease_s
        self._partition = partition
        self._size = size or BatchSize(BATCH_EVENTS_MAX)
        self._batch: list[StoredEvent] = []  # that is being projected
        self.checkpoints = [Checkpoint(projection, suffix) for projection in projections]
        self.held: list[Checkpoint] = []  # those that this process may write
        self.events = 0  # that were projected

    @property
    def position(self) -> int:
        """Where the one is that is furthest behind of those that this process may write."""
        return min((one.position for one in self.held), default=0)

    async def acquire(self) -> bool:
        """Whether this process may write some of them now: those are ``held``. Renews the leases of those that it may write already."""
        held = []
        for one in self.checkpoints:
            row = await (await self._connection.execute(TAKE, (one.name, self._owner, self._lease_s, one.sha256))).fetchone()
            if row is not None:
                one.position = row[0]
                held.append(one)
        self.held = held
        return bool(held)

    async def release(self) -> None:
        for one in self.checkpoints:
            await self._connection.execute(LEAVE, (one.name, self._owner))

    async def head(self) -> int:
        row = await (await self._connection.execute(LOG_HEAD)).fetchone()
        return row[0] if row is not None else 0

    async def advance(self, events_max: int, until: int) -> None:
        """Project the next batch, and move the checkpoints: to its last event, or to ``until`` where no more stand before it.

        Those that stand furthest behind come first, until they stand where the next ones do. A batch that can't be projected is halved
        until the event is found that can't. Raises ``CheckpointMoved``, ``Poisoned``, or what the connection raises, which ``failing``
        tells more of; then nothing of the last batch was written.
        """
        behind = [one for one in self.held if one.position == self.position]
        ahead = [one.position for one in self.held if one.position > self.position]
        until = min(until, self.position + WINDOW_POSITIONS, *ahead)
        fails_until = self.position  # an event up to there can't be projected
        while True:
            limit = min(events_max, self._size.events)
            self._batch = []
            began_s = time.monotonic()
            try:
                is_full = await self._bounded(behind, limit, until)
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
                    await self._apart(behind, self._batch[0], error)
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
            if behind[0].position >= min(fails_until, until):
                return

    async def _apart(self, behind: Sequence[Checkpoint], event: StoredEvent, error: Exception) -> None:
        """An event that can't be projected by all at once: those that can go on, the first that can't is named."""
        if len(behind) == 1:
            raise Poisoned(behind[0].projection.name, event, f"{type(error).__name__}: {error}") from error
        failed: list[tuple[Checkpoint, Exception]] = []
        for one in behind:
            try:
                await self._bounded([one], 1, event.position)
            except (CheckpointMoved, *PASSING, asyncio.CancelledError):
                raise
            except Exception as own_error:  # noqa: BLE001  # it is told below
                failed.append((one, own_error))
        if failed:
            first, cause = failed[0]
            raise Poisoned(first.projection.name, event, f"{type(cause).__name__}: {cause}") from cause

    async def _bounded(self, behind: Sequence[Checkpoint], limit: int, until: int) -> bool:
        async with asyncio.timeout(BATCH_TIMEOUT_S):
            return await self._advance(behind, limit, until)

    @property
    def failing(self) -> str | None:
        """What a batch held that failed, where it had been read."""
        if len(self._batch) == 1:
            return name_of(self._batch[0])
        if self._batch:
            return f"{len(self._batch):,} events from {name_of(self._batch[0])} on"
        return None

    async def _read(self, behind: Sequence[Checkpoint], limit: int, until: int) -> tuple[list[StoredEvent], int, bool]:
        """The events of the next batch, the position up to which they are all there are, and whether a batch may be no larger."""
        kinds = sorted(frozenset().union(*(one.projection.kinds for one in behind)))
        events: list[StoredEvent] = []
        size_bytes, after = 0, behind[0].position
        while True:
            page = min(limit - len(events), PIPED_EVENTS_MAX if limit <= PIPED_EVENTS_MAX else PAGE_EVENTS)
            arguments = (after, until, kinds, page, self._partition.index, self._partition.of)
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

    async def _advance(self, behind: Sequence[Checkpoint], limit: int, until: int) -> bool:
        """Whether the batch was as large as one may be."""
        is_piped = limit <= PIPED_EVENTS_MAX
        async with piped(self._connection) if is_piped else self._connection.transaction():
            self._batch, position, is_full = await self._read(behind, limit, until)
            projecting = together(self._projecting(behind))
            asks, writes = step(projecting, None)
            # Before anything else is looked at or written: who may not write waits for no table, and holds none that a swap waits for.
            names = [one.name for one in behind]
            moving = Rows("move_checkpoints", (names, behind[0].position, position, self._owner, self._lease_s))
            moved, *answers = await self._answers([moving, *asks])
            if len(moved) < len(behind):
                raise CheckpointMoved
            while asks:
                asks, writes = step(projecting, answers)
                answers = await self._answers(asks)
            for write in writes:
                await (self._send(write) if is_piped else self._write(write))
        for one in behind:
            one.position = position
        self.events += len(self._batch)
        return is_full

    def _projecting(self, behind: Sequence[Checkpoint]) -> list[Projecting]:
        events = [recorded(event) for event in self._batch]
        of_each = [(one.projection, [event for event in events if event.stored.stream.kind in one.projection.kinds]) for one in behind]
        return [projection.project(own) for projection, own in of_each if own]

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
