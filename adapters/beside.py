"""A projection built beside the live one, in a schema of its own: for a rebuild, which puts it in its place, or to compare the two.

It is built in lanes, each with its own share of the streams, its own connection and its own checkpoint: while Postgres writes what
one of them made, the other makes the next.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final
from uuid import uuid4

import msgspec
import psycopg
from psycopg import sql

import sql as our_sql
from adapters.migrate import create_projection, projection_sha256, schema_of
from adapters.postgres.queries import text
from adapters.projections import listed
from adapters.projector import Build, Lane, connect
from projections.projection import Projection

BATCH_EVENTS: Final = 5_000
LANES: Final = 2  # more are slower where there are two cores
LEASE_S: Final = 30.0

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

    def __init__(self, dsn: str, projection: Projection, name: str, builds: Sequence[Build], progressed: Callable[[Done], None]) -> None:
        self._dsn = dsn
        self._projection = projection
        self._schema = schema_of(name)
        self._builds = builds
        self._progressed = progressed

    @property
    def position(self) -> int:
        return max(build.position for build in self._builds)

    @property
    def events(self) -> int:
        """That were projected by this try."""
        return sum(build.events for build in self._builds)

    async def catch_up(self, until: int | None = None) -> None:
        """To ``until``, or to the head of the log. Raises what ``Build.advance`` raises."""
        lanes = [asyncio.create_task(self._catch_up(build, until)) for build in self._builds]
        try:
            await asyncio.gather(*lanes)
        finally:
            for lane in lanes:
                lane.cancel()
            await asyncio.wait(lanes)

    async def prepare_for_readers(self) -> None:
        """Make the indexes that only readers use."""
        _, indexes = parts(self._projection)
        async with await connect(self._dsn, self._schema, role=None) as connection:
            await connection.execute(INDEX_MEMORY, prepare=False)
            await connection.execute(indexes, prepare=False)

    async def _catch_up(self, build: Build, until: int | None) -> None:
        while True:
            head = until if until is not None else await build.head()
            if build.position >= head:
                return
            await build.advance(BATCH_EVENTS, head)
            self._progressed(Done(sum(one.position for one in self._builds) // len(self._builds), head, self.events))


@contextlib.asynccontextmanager
async def beside(dsn: str, projection: Projection, name: str, progressed: Callable[[Done], None]) -> AsyncIterator[Beside]:
    """Build ``projection`` in the schema of ``name``; see ``begin``. Raises ``Busy``."""
    async with contextlib.AsyncExitStack() as stack:
        builds: list[Build] = []
        for lane, lane_name in begin(dsn, projection, name).items():
            connection = await stack.enter_async_context(await connect(dsn, schema_of(name), role=None))
            builds.append(Build(connection, projection, lane_name, uuid4(), LEASE_S, lane))
            if not await builds[-1].take():
                raise Busy
        try:
            yield Beside(dsn, projection, name, builds, progressed)
        finally:
            for build in builds:
                with contextlib.suppress(psycopg.Error):  # a lease that nobody gives back runs out
                    await build.leave()


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


def drop(dsn: str, name: str) -> None:
    """What is built there goes, if anything is. Raises ``Busy`` if somebody builds it now."""
    lanes = [one for one in listed(dsn)[0] if one.name.startswith(f"{name}_")]
    if any(one.is_owned for one in lanes):
        raise Busy
    with psycopg.connect(dsn, autocommit=True) as connection, connection.transaction(), psycopg.RawCursor(connection) as cursor:
        if lanes:
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema_of(name))))
        cursor.execute(FORGET, (name,))
