"""Builds projections anew beside the live ones, compares the two, and puts the new ones in their place in one transaction.

Readers and the live projector go on meanwhile. What was built so far stays when it is interrupted, and is taken up by the next try.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import psycopg
from psycopg import errors, sql

from adapters.postgres.analysts import views
from adapters.postgres.connections.queries import text
from adapters.postgres.preparing.migrate import projection_sha256, schema_of
from adapters.projector.replay import DATABASE_FAILURES, DROP_SCHEMA, FORGET_REPLAYS, LEASE_S, Busy, Done, Replay, ReplayFailed, replay
from adapters.projector.writer import described
from projections.projection import Projection

SWAP_LOCK_TIMEOUT: Final = "10s"
SWAP_ATTEMPTS_MAX: Final = 5
SUFFIX: Final = "_rebuild"

LOCK_PROJECTION: Final = text("lock_projection")
LOCK_TABLE: Final = text("lock_table_exclusively")
RENAME_SCHEMA: Final = text("rename_schema")
TABLES: Final = text("projection_tables")
PUT_IN_PLACE: Final = text("put_projection_in_place")


class RebuildFailed(Exception):
    """The text says why, for the operator. The live projection is unchanged."""


class Rebuilt(msgspec.Struct, frozen=True):
    position: int
    events: int
    compared: bool  # False: an old one stood elsewhere in the log, so the two could not be the same
    differing: Mapping[str, tuple[int, int]]  # of each table that differed, the rows of the old one and of the new one


async def rebuild(dsn: str, projections: Sequence[Projection], progressed: Callable[[Done], None]) -> Rebuilt:
    """Raises ``RebuildFailed``, ``Poisoned`` for an event that can't be projected, ``CheckpointMoved`` if another rebuild took over."""
    projections = sorted(projections, key=name_of)
    try:
        async with replay(dsn, projections, SUFFIX, progressed) as built:
            await built.catch_up()
            await built.prepare_for_readers()
            for attempt in range(SWAP_ATTEMPTS_MAX):
                try:
                    return await swap(dsn, [projection.name for projection in projections], built)
                except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
                    if attempt == SWAP_ATTEMPTS_MAX - 1:
                        raise RebuildFailed(f"its readers did not let go of the old tables: {error}") from error
    except ReplayFailed as error:
        raise RebuildFailed(f"{error}\nWhat is built so far stays, and the next try goes on from there.") from error
    except DATABASE_FAILURES as error:
        raise RebuildFailed(f"the database failed: {described(None, error)}") from error
    except Busy:
        names = ", ".join(projection.name for projection in projections)
        raise RebuildFailed(f"another process is rebuilding {names}; if it died, try again in {LEASE_S:g} s") from None
    raise AssertionError("unreachable")


def name_of(projection: Projection) -> str:
    return projection.name


async def swap(dsn: str, names: Sequence[str], built: Replay) -> Rebuilt:
    """While the checkpoints of the live ones are locked, and so stand still: catch up with them, compare, rename."""
    async with (
        await psycopg.AsyncConnection.connect(dsn, autocommit=True, cursor_factory=psycopg.AsyncRawCursor) as connection,
        connection.transaction(),
    ):
        await connection.execute(text("bound_lock_waits"), (SWAP_LOCK_TIMEOUT,))
        live: dict[str, int] = {}
        for name in names:
            row = await (await connection.execute(LOCK_PROJECTION, (name,))).fetchone()
            if row is None:
                raise RebuildFailed(f"there is no projection {name}")
            live[name] = row[0]
        position = max(*live.values(), built.position)
        await built.catch_up(position)
        differing: dict[str, tuple[int, int]] = {}
        for name in names:
            if live[name] == position:
                differing |= await differences(connection, name)
        # In this order, as readers take them, so that neither holds what the other waits for.
        for name in names:
            for (table,) in await (await connection.execute(TABLES, (schema_of(name),))).fetchall():
                lock = sql.SQL(LOCK_TABLE).format(table=sql.Identifier(schema_of(name), table))
                await connection.execute(lock.as_string())
        for name in names:
            old, new = sql.Identifier(schema_of(name)), sql.Identifier(schema_of(name + SUFFIX))
            await connection.execute(sql.SQL(DROP_SCHEMA).format(schema=old).as_string())
            await connection.execute(sql.SQL(RENAME_SCHEMA).format(schema=new, name=old).as_string())
            await connection.execute(PUT_IN_PLACE, (name, position, projection_sha256(name)))
            await connection.execute(FORGET_REPLAYS, (name + SUFFIX,))
        if views.PROJECTION in names:
            await views.make_views_again(connection)
    return Rebuilt(position, built.events, all(one == position for one in live.values()), differing)


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
