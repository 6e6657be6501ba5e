"""Builds a projection anew beside the live one, compares the two, and puts the new one in its place in one transaction.

Readers and the live projector go on meanwhile. What was built so far stays when it is interrupted, and is taken up by the next try.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

import msgspec
import psycopg
from psycopg import errors, sql

import sql as our_sql
from adapters.migrate import create_projection, projection_sha256, schema_of
from adapters.postgres.queries import text
from adapters.projector import Build, Lane, connect
from projections.projection import Projection

BATCH_EVENTS: Final = 5_000
LANES: Final = 2  # streams are divided among them; more than two are slower where there are two cores
LEASE_S: Final = 30.0
SWAP_LOCK_TIMEOUT: Final = "10s"
SWAP_ATTEMPTS_MAX: Final = 5
SUFFIX: Final = "_rebuild"

LOCK_PROJECTION: Final = text("lock_projection")
TABLES: Final = text("projection_tables")
PUT_IN_PLACE: Final = text("put_projection_in_place")
REBUILDS: Final = text("rebuilds")
FORGET_REBUILDS: Final = text("forget_rebuilds")
BEGIN: Final = text("begin_rebuild")


class RebuildFailed(Exception):
    """In words for whoever asked for it. The live projection is as it was."""


class Done(msgspec.Struct, frozen=True):
    position: int
    head: int
    events: int  # that were projected by this try


class Rebuilt(msgspec.Struct, frozen=True):
    position: int
    events: int
    compared: bool  # False: the old one stood elsewhere in the log, so the two could not be the same
    differing: Mapping[str, tuple[int, int]]  # of each table that differed, the rows of the old one and of the new one


async def rebuild(dsn: str, projection: Projection, progressed: Callable[[Done], None]) -> Rebuilt:
    """Raises ``RebuildFailed``, ``Poisoned`` for an event that can't be projected, ``CheckpointMoved`` if another rebuild took over."""
    async with contextlib.AsyncExitStack() as stack:
        builds: list[Build] = []
        for lane, name in begin(dsn, projection).items():
            connection = await stack.enter_async_context(await connect(dsn, schema_of(projection.name + SUFFIX), role=None))
            builds.append(Build(connection, projection, name, uuid4(), LEASE_S, lane))
            if not await builds[-1].take():
                raise RebuildFailed(f"another process is rebuilding {projection.name}; if it died, try again in {LEASE_S:g} s")
        # While Postgres writes what one lane made, the other makes the next.
        lanes = [asyncio.create_task(catch_up(build, builds, progressed)) for build in builds]
        try:
            await asyncio.gather(*lanes)
        finally:
            for lane_task in lanes:
                lane_task.cancel()
            await asyncio.wait(lanes)
        for attempt in range(SWAP_ATTEMPTS_MAX):
            try:
                return await swap(dsn, projection.name, builds, progressed)
            except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
                if attempt == SWAP_ATTEMPTS_MAX - 1:
                    raise RebuildFailed(f"its readers did not let go of the old tables: {error}") from error
        raise AssertionError("unreachable")


def begin(dsn: str, projection: Projection) -> dict[Lane, str]:
    """The tables beside the live ones: empty, or as an interrupted rebuild left them. Returns the checkpoint of each lane."""
    of = LANES if projection.by_stream else 1
    lanes = {Lane(index, of): f"{projection.name}{SUFFIX}_{index + 1}_of_{of}" for index in range(of)}
    sha256 = projection_sha256(projection.name)
    with psycopg.connect(dsn, autocommit=True) as connection, connection.transaction(), psycopg.RawCursor(connection) as cursor:
        known: dict[str, str] = dict(cursor.execute(REBUILDS, (projection.name + SUFFIX,)).fetchall())
        if known != dict.fromkeys(lanes.values(), sha256):
            tables = (our_sql.folder() / "projections" / f"{projection.name}.sql").read_bytes()
            create_projection(connection, projection.name + SUFFIX, tables, is_there=bool(known))
            cursor.execute(FORGET_REBUILDS, (projection.name + SUFFIX,))
            for name in lanes.values():
                cursor.execute(BEGIN, (name, sha256))
    return lanes


async def catch_up(build: Build, builds: Sequence[Build], progressed: Callable[[Done], None], until: int | None = None) -> None:
    """To ``until``, or to the log's head."""
    while True:
        head = until if until is not None else await build.head()
        if build.position >= head:
            return
        await build.advance(BATCH_EVENTS, head)
        progressed(Done(sum(one.position for one in builds) // len(builds), head, sum(one.events for one in builds)))


async def swap(dsn: str, name: str, builds: Sequence[Build], progressed: Callable[[Done], None]) -> Rebuilt:
    """While the live one's checkpoint is locked, and so stands still: catch up with it, compare, rename."""
    async with (
        await psycopg.AsyncConnection.connect(dsn, autocommit=True, cursor_factory=psycopg.AsyncRawCursor) as connection,
        connection.transaction(),
    ):
        await connection.execute(text("bound_lock_waits"), (SWAP_LOCK_TIMEOUT,))
        row = await (await connection.execute(LOCK_PROJECTION, (name,))).fetchone()
        if row is None:
            raise RebuildFailed(f"there is no projection {name}")
        live = row[0]
        position = max(live, *(build.position for build in builds))
        for build in builds:
            await catch_up(build, builds, progressed, position)
        compared = position == live
        differing = await differences(connection, name) if compared else {}
        # In this order, as readers take them, so that neither holds what the other waits for.
        for (table,) in await (await connection.execute(TABLES, (schema_of(name),))).fetchall():
            lock = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(schema_of(name), table))
            await connection.execute(lock.as_string())
        old, new = sql.Identifier(schema_of(name)), sql.Identifier(schema_of(name + SUFFIX))
        for statement in ("DROP SCHEMA {old} CASCADE", "ALTER SCHEMA {new} RENAME TO {old}"):
            await connection.execute(sql.SQL(statement).format(old=old, new=new).as_string())
        await connection.execute(PUT_IN_PLACE, (name, position, projection_sha256(name)))
        await connection.execute(FORGET_REBUILDS, (name + SUFFIX,))
    return Rebuilt(position, sum(build.events for build in builds), compared, differing)


async def differences(connection: "psycopg.AsyncConnection[Any]", name: str) -> dict[str, tuple[int, int]]:
    """The tables that do not hold the same rows, whatever their order, with how many each has."""
    found: dict[str, tuple[int, int]] = {}
    for (table,) in await (await connection.execute(TABLES, (schema_of(name),))).fetchall():
        old, new = [await digest(connection, schema_of(one), table) for one in (name, name + SUFFIX)]
        if old != new:
            found[table] = (old[0], new[0])
    return found


async def digest(connection: "psycopg.AsyncConnection[Any]", schema: str, table: str) -> tuple[int, int]:
    """How many rows, and a sum over the hashes of all of them."""
    query = sql.SQL(text("digest_of_table")).format(table=sql.Identifier(schema, table))
    row = await (await connection.execute(query.as_string())).fetchone()
    assert row is not None
    return row[0], row[1]
