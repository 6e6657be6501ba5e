"""A projection built beside the live one, in a schema of its own: for a rebuild, which puts it in its place, or to compare the two.

It is built in lanes, each with its own share of the streams, its own connection and its own checkpoint. Where there is much to do
each lane is a process of its own; they share the lease of whoever began them.
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
from adapters.build import Build, CheckpointMoved, Lane, connect
from adapters.garbage_collection import collect_rarely
from adapters.postgres.migrate import create_projection, projection_sha256, schema_of
from adapters.postgres.queries import text
from adapters.projections import listed
from projections.projection import Projection

BATCH_EVENTS: Final = 5_000
LANES: Final = 2  # more are slower where there are two cores
LEASE_S: Final = 30.0
FAR_POSITIONS: Final = 200_000  # that are to be projected: beyond it a process pays, which takes half a second to start
LOOK_S: Final = 0.1  # between two looks at the processes

BUILDS_BESIDE: Final = text("builds_beside")
BEGIN: Final = text("begin_beside")
FORGET: Final = text("forget_beside")
FOR_READERS: Final = b"-- For readers:\n"  # in the file of a projection's tables: what follows is made last
INDEX_MEMORY: Final = "SET maintenance_work_mem TO '128MB'"


class Busy(Exception):
    """Another process builds the same tables."""


class Done(msgspec.Struct, frozen=True):
    position: int
    head: int
    events: int  # that were projected by this try


class Beside:
    """``position`` is where all lanes are once ``catch_up`` has returned."""

    def __init__(self, dsn: str, projection: Projection, name: str, lanes: "Sequence[Running]", progressed: Callable[[Done], None]) -> None:
        self._dsn = dsn
        self._projection = projection
        self._schema = schema_of(name)
        self._lanes = lanes
        self._progressed = progressed

    @property
    def position(self) -> int:
        return max(lane.position for lane in self._lanes)

    @property
    def events(self) -> int:
        """That were projected by this try."""
        return sum(lane.events for lane in self._lanes)

    async def catch_up(self, until: int | None = None) -> None:
        """To ``until``, or to the head of the log. Raises what ``Build.advance`` raises."""
        head = until if until is not None else await self._lanes[0].build.head()
        if len(self._lanes) > 1 and head - min(lane.position for lane in self._lanes) > FAR_POSITIONS:
            await self._in_processes(head)
        tasks = [asyncio.create_task(self._catch_up(lane.build, until)) for lane in self._lanes]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _in_processes(self, head: int) -> None:
        """Whatever ends one of them is met again by who goes on here, and is said there."""
        for lane in self._lanes:
            lane.begin_process(self._dsn, self._projection, self._schema, head)
        try:
            while any(lane.is_alive for lane in self._lanes):
                await asyncio.sleep(LOOK_S)
                self._say(head)
        finally:
            for lane in self._lanes:
                lane.end_process()
        for lane in self._lanes:
            if not await lane.build.take():
                raise CheckpointMoved

    async def _catch_up(self, build: Build, until: int | None) -> None:
        while True:
            head = until if until is not None else await build.head()
            if build.position >= head:
                return
            await build.advance(BATCH_EVENTS, head)
            self._say(head)

    def _say(self, head: int) -> None:
        self._progressed(Done(sum(lane.position for lane in self._lanes) // len(self._lanes), head, self.events))

    async def prepare_for_readers(self) -> None:
        """Make the indexes that only readers use."""
        _, indexes = parts(self._projection)
        async with await connect(self._dsn, self._schema, role=None) as connection:
            await connection.execute(INDEX_MEMORY, prepare=False)
            await connection.execute(indexes, prepare=False)


class Running:
    """One lane. Its process, while there is one, says in shared memory how far it is."""

    def __init__(self, build: Build, name: str, owner: UUID, lane: Lane) -> None:
        self.build = build
        self._name, self._owner, self._lane = name, owner, lane
        self._process: Any = None
        self._context = multiprocessing.get_context("spawn")
        self._position: Any = self._context.Value("q", 0)
        self._events: Any = self._context.Value("q", 0)

    @property
    def position(self) -> int:
        return max(self.build.position, int(self._position.value))

    @property
    def events(self) -> int:
        return self.build.events + int(self._events.value)

    @property
    def is_alive(self) -> bool:
        return bool(self._process.is_alive())

    def begin_process(self, dsn: str, projection: Projection, schema: str, until: int) -> None:
        begun = (dsn, projection, schema, self._name, self._owner, self._lane, until, self._position, self._events)
        self._process = self._context.Process(target=run_lane, args=begun, daemon=True)
        self._process.start()

    def end_process(self) -> None:
        self._process.terminate()
        self._process.join()


def run_lane(
    dsn: str, projection: Projection, schema: str, name: str, owner: UUID, lane: Lane, until: int, position: Any, events: Any
) -> None:
    """The process of one lane."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who began it is interrupted, too, and ends it
    collect_rarely()
    beginner = os.getppid()

    async def run() -> None:
        async with await connect(dsn, schema, role=None) as connection:
            build = Build(connection, projection, name, owner, LEASE_S, lane)
            if await build.take():
                while build.position < until and os.getppid() == beginner:
                    await build.advance(BATCH_EVENTS, until)
                    position.value, events.value = build.position, build.events

    try:
        asyncio.run(run())
    except Exception:  # noqa: BLE001  # see ``Beside._in_processes``
        sys.exit(1)


@contextlib.asynccontextmanager
async def beside(
    dsn: str, projection: Projection, name: str, progressed: Callable[[Done], None], *, keep: bool = True
) -> AsyncIterator[Beside]:
    """Build ``projection`` in the schema of ``name``; with ``keep`` what is built stays there for the next try. Raises ``Busy``."""
    is_ours = False
    try:
        async with contextlib.AsyncExitStack() as stack:
            lanes: list[Running] = []
            for lane, lane_name in begin(dsn, projection, name).items():
                connection = await stack.enter_async_context(await connect(dsn, schema_of(name), role=None))
                owner = uuid4()
                lanes.append(Running(Build(connection, projection, lane_name, owner, LEASE_S, lane), lane_name, owner, lane))
                if not await lanes[-1].build.take():
                    raise Busy
            is_ours = True
            try:
                yield Beside(dsn, projection, name, lanes, progressed)
            finally:
                for running in lanes:
                    with contextlib.suppress(psycopg.Error):  # one that was cut off: its lease runs out
                        await running.build.leave()
    finally:
        if is_ours and not keep:
            drop(dsn, name)


def begin(dsn: str, projection: Projection, name: str) -> dict[Lane, str]:
    """The tables: empty, or as an interrupted build left them. Returns the name of each lane's checkpoint."""
    of = LANES if projection.by_stream else 1
    lanes = {Lane(index, of): f"{name}_{index + 1}_of_{of}" for index in range(of)}
    sha256 = projection_sha256(projection.name)
    with psycopg.connect(dsn, autocommit=True) as connection, connection.transaction(), psycopg.RawCursor(connection) as cursor:
        known: dict[str, str] = dict(cursor.execute(BUILDS_BESIDE, (name,)).fetchall())
        if known != dict.fromkeys(lanes.values(), sha256):
            tables, _ = parts(projection)
            create_projection(connection, name, tables, is_there=bool(known))
            cursor.execute(FORGET, (name,))
            for lane_name in lanes.values():
                cursor.execute(BEGIN, (lane_name, sha256))
    return lanes


def parts(projection: Projection) -> tuple[bytes, bytes]:
    """What makes the projection's tables, and what makes the indexes that only readers use."""
    tables, _, indexes = (our_sql.folder() / "projections" / f"{projection.name}.sql").read_bytes().partition(FOR_READERS)
    return tables, indexes


def require_idle(dsn: str, name: str) -> None:
    """Raises ``Busy`` if somebody builds there now."""
    if any(one.is_owned and one.name.startswith(f"{name}_") for one in listed(dsn)[0]):
        raise Busy


def drop(dsn: str, name: str) -> None:
    """What is built there goes, if anything is."""
    with psycopg.connect(dsn, autocommit=True) as connection, connection.transaction(), psycopg.RawCursor(connection) as cursor:
        if cursor.execute(BUILDS_BESIDE, (name,)).fetchone() is not None:
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema_of(name))))
            cursor.execute(FORGET, (name,))
