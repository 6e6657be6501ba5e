"""Projections replayed from the first event on into schemas of their own: for a rebuild, which puts them in the place of the live ones,
or to compare the two.

A replay goes in partitions, each with its own share of the streams, its own connection and its own checkpoints. Where there is much to do
each partition is a process of its own, under the same lease.
"""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
import psycopg
from psycopg import sql

import sql as our_sql
from adapters.garbage_collection import collect_rarely
from adapters.postgres.connections.queries import text
from adapters.postgres.preparing.migrate import create_projection, projection_sha256, schema_of
from adapters.projector.checkpoints import listed
from adapters.projector.writer import CONFIGURE_SESSION, PASSING, BatchSize, CheckpointMoved, Partition, Writer, connect, described
from projections.projection import Projection

BATCH_EVENTS: Final = 5_000
PARTITIONS: Final = 2  # more are slower where there are two cores
DATABASE_FAILURES: Final = (psycopg.Error, OSError, TimeoutError)
LEASE_S: Final = 30.0
FAR_POSITIONS: Final = 200_000  # that are to be projected: beyond it a process pays, which takes half a second to start
FAILURES_MAX: Final = 15  # one after the other; by then a batch is one event
RETRY_S: Final = 0.5
LOOK_S: Final = 0.1  # between two looks at the processes

REPLAYS: Final = text("replays")
BEGIN_REPLAY: Final = text("begin_replay")
FORGET_REPLAYS: Final = text("forget_replays")
DROP_SCHEMA: Final = text("drop_schema")
FOR_READERS: Final = b"-- For readers:\n"  # in the file of a projection's tables: what follows is made last
INDEX_MEMORY: Final = "128MB"


class Busy(Exception):
    """Another process builds the same tables."""


class ReplayFailed(Exception):
    """In words: the database failed again and again, at the same events. What is written so far stays for the next try."""


class Done(msgspec.Struct, frozen=True):
    position: int
    head: int
    events: int  # that were projected by this try


class Replay:
    """``position`` is where all partitions are once ``catch_up`` has returned."""

    def __init__(
        self, dsn: str, projections: Sequence[Projection], suffix: str, partitions: "Sequence[Running]", progressed: Callable[[Done], None]
    ) -> None:
        self._dsn = dsn
        self.projections = projections
        self._suffix = suffix
        self._partitions = partitions
        self._progressed = progressed

    @property
    def position(self) -> int:
        return max(partition.position for partition in self._partitions)

    @property
    def events(self) -> int:
        """That were projected by this try."""
        return sum(partition.events for partition in self._partitions)

    async def catch_up(self, until: int | None = None) -> None:
        """To ``until``, or to the head of the log. Raises what ``Writer.advance`` raises."""
        head = until if until is not None else await self._partitions[0].writer.head()
        if len(self._partitions) > 1 and head - min(partition.position for partition in self._partitions) > FAR_POSITIONS:
            await self._in_processes(head)
        tasks = [asyncio.create_task(self._catch_up(partition, until)) for partition in self._partitions]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _in_processes(self, head: int) -> None:
        """A process that fails ends; its partition goes on here afterwards, which then reports the error."""
        for partition in self._partitions:
            partition.begin_process(head)
        try:
            while any(partition.is_alive for partition in self._partitions):
                await asyncio.sleep(LOOK_S)
                self._say(head)
        finally:
            for partition in self._partitions:
                partition.end_process()
        for partition in self._partitions:
            if not await partition.writer.acquire():
                raise CheckpointMoved

    async def _catch_up(self, partition: "Running", until: int | None) -> None:
        """What fails on the way is tried again on a new connection, with half as many events each time."""
        failures = 0
        while True:
            try:
                head = until if until is not None else await partition.writer.head()
                if partition.position_here >= head:
                    return
                await partition.writer.advance(BATCH_EVENTS, head)
            except PASSING as error:
                failures += 1
                if failures > FAILURES_MAX:
                    raise ReplayFailed(described(partition.writer.failing, error)) from error
                await asyncio.sleep(RETRY_S)
                await partition.reconnect()
                continue
            failures = 0
            self._say(head)

    def _say(self, head: int) -> None:
        self._progressed(Done(sum(partition.position for partition in self._partitions) // len(self._partitions), head, self.events))

    async def prepare_for_readers(self) -> None:
        """Make the indexes that only readers use."""
        for projection in self.projections:
            _, indexes = parts(projection)
            if not indexes:
                continue
            async with await connect(self._dsn, [schema_of(projection.name + self._suffix)], role=None) as connection:
                await connection.execute(CONFIGURE_SESSION, (["maintenance_work_mem"], [INDEX_MEMORY]))
                await connection.execute(indexes, prepare=False)


class Running:
    """One partition. Its process, while there is one, says in shared memory how far it is."""

    def __init__(self, dsn: str, projections: Sequence[Projection], suffix: str, partition: Partition) -> None:
        self._dsn, self._projections, self._suffix = dsn, projections, suffix
        self._owner, self._partition = uuid4(), partition
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._size = BatchSize(BATCH_EVENTS)
        self._events_before = 0  # by writers whose connections were lost
        self.writer: Writer
        self._process: Any = None
        self._context = multiprocessing.get_context("spawn")
        self._position: Any = self._context.Value("q", 0)
        self._events: Any = self._context.Value("q", 0)

    async def connect(self) -> bool:
        """Whether this process may write all of them."""
        schemas = [schema_of(projection.name + self._suffix) for projection in self._projections]
        self._connection = await connect(self._dsn, schemas, role=None)
        self.writer = writer_of(self._connection, self._projections, self._suffix, self._owner, self._partition, self._size)
        await self.writer.acquire()
        return len(self.writer.held) == len(self._projections)

    async def reconnect(self) -> None:
        """Raises ``CheckpointMoved``, or what a connection raises, after which it can be called again."""
        self._events_before += self.writer.events
        self.writer.events = 0
        await self._disconnect()
        with contextlib.suppress(*PASSING):  # the next batch fails, and is counted
            if not await self.connect():
                raise CheckpointMoved

    async def close(self) -> None:
        with contextlib.suppress(*PASSING):  # one that was cut off: its lease runs out
            await self.writer.release()
        await self._disconnect()

    async def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(*PASSING):
                await self._connection.close()

    @property
    def position_here(self) -> int:
        """As far as this process has written it."""
        return self.writer.position

    @property
    def position(self) -> int:
        return max(self.writer.position, int(self._position.value))

    @property
    def events(self) -> int:
        return self._events_before + self.writer.events + int(self._events.value)

    @property
    def is_alive(self) -> bool:
        return bool(self._process.is_alive())

    def begin_process(self, until: int) -> None:
        begun = (self._dsn, self._projections, self._suffix, self._owner, self._partition, until, self._position, self._events)
        self._process = self._context.Process(target=run_partition, args=begun, daemon=True)
        self._process.start()

    def end_process(self) -> None:
        self._process.terminate()
        self._process.join()


def writer_of(
    connection: "psycopg.AsyncConnection[Any]",
    projections: Sequence[Projection],
    suffix: str,
    owner: UUID,
    partition: Partition,
    size: BatchSize | None = None,
) -> Writer:
    return Writer(connection, projections, owner, LEASE_S, suffix=suffix + part_of(partition), partition=partition, size=size)


def part_of(partition: Partition) -> str:
    return f"_{partition.index + 1}_of_{partition.of}"


def run_partition(
    dsn: str, projections: Sequence[Projection], suffix: str, owner: UUID, partition: Partition, until: int, position: Any, events: Any
) -> None:
    """The process of one partition."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that began it is interrupted, too, and ends it
    collect_rarely()
    beginner = os.getppid()

    async def run() -> None:
        schemas = [schema_of(projection.name + suffix) for projection in projections]
        async with await connect(dsn, schemas, role=None) as connection:
            writer = writer_of(connection, projections, suffix, owner, partition)
            await writer.acquire()
            if len(writer.held) == len(projections):
                while writer.position < until and os.getppid() == beginner:
                    await writer.advance(BATCH_EVENTS, until)
                    position.value, events.value = writer.position, writer.events

    try:
        asyncio.run(run())
    except Exception:  # noqa: BLE001  # see ``Replay._in_processes``
        sys.exit(1)


@contextlib.asynccontextmanager
async def replay(
    dsn: str, projections: Sequence[Projection], suffix: str, progressed: Callable[[Done], None], *, keep: bool = True
) -> AsyncIterator[Replay]:
    """Replay ``projections`` together, each into a schema of its own, named with ``suffix``. Raises ``Busy``.

    With ``keep`` what is written stays there for the next try.
    """
    is_ours = False
    try:
        async with contextlib.AsyncExitStack() as stack:
            partitions: list[Running] = []
            for partition in begin(dsn, projections, suffix):
                partitions.append(Running(dsn, projections, suffix, partition))
                may_write = await partitions[-1].connect()
                stack.push_async_callback(partitions[-1].close)
                if not may_write:
                    raise Busy
            is_ours = True
            yield Replay(dsn, projections, suffix, partitions, progressed)
    finally:
        if is_ours and not keep:
            drop(dsn, projections, suffix)


def begin(dsn: str, projections: Sequence[Projection], suffix: str) -> list[Partition]:
    """The tables: empty, or as an interrupted replay left them."""
    of = PARTITIONS if all(projection.by_stream for projection in projections) else 1
    partitions = [Partition(index, of) for index in range(of)]
    with psycopg.connect(dsn, autocommit=True) as connection, connection.transaction(), psycopg.RawCursor(connection) as cursor:
        for projection in projections:
            name, sha256 = projection.name + suffix, projection_sha256(projection.name)
            wanted = {name + part_of(partition): sha256 for partition in partitions}
            known: dict[str, str] = dict(cursor.execute(REPLAYS, (name,)).fetchall())
            if known != wanted:
                tables, _ = parts(projection)
                create_projection(connection, name, tables, is_there=bool(known))
                cursor.execute(FORGET_REPLAYS, (name,))
                for partition_name in wanted:
                    cursor.execute(BEGIN_REPLAY, (partition_name, sha256))
    return partitions


def parts(projection: Projection) -> tuple[bytes, bytes]:
    """What makes the projection's tables, and what makes the indexes that only readers use."""
    tables, _, indexes = (our_sql.folder() / "projections" / f"{projection.name}.sql").read_bytes().partition(FOR_READERS)
    return tables, indexes


def require_idle(dsn: str, projections: Sequence[Projection], suffix: str) -> None:
    """Raises ``Busy`` if another process replays one of them now."""
    prefixes = tuple(f"{projection.name}{suffix}_" for projection in projections)
    if any(one.is_owned and one.name.startswith(prefixes) for one in listed(dsn)[0]):
        raise Busy


def drop(dsn: str, projections: Sequence[Projection], suffix: str) -> None:
    """What was written there goes, if anything was."""
    with psycopg.connect(dsn, autocommit=True) as connection, connection.transaction(), psycopg.RawCursor(connection) as cursor:
        for name in (projection.name + suffix for projection in projections):
            if cursor.execute(REPLAYS, (name,)).fetchone() is not None:
                connection.execute(sql.SQL(DROP_SCHEMA).format(schema=sql.Identifier(schema_of(name))))
                cursor.execute(FORGET_REPLAYS, (name,))
