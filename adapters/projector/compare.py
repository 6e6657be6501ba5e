"""Compares the rows of projections with those of a fresh replay: made as for a rebuild, looked at in one snapshot, and dropped.

The live projections go on meanwhile. They stand still for the moment in which the replay reaches their
checkpoint and the snapshot is taken.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
import psycopg
from psycopg import sql

from adapters.postgres.connections.queries import text
from adapters.postgres.preparing.migrate import projection_sha256, schema_of
from adapters.projector.replay import DATABASE_FAILURES, LEASE_S, Busy, Done, Replay, ReplayFailed, drop, replay, require_idle
from adapters.projector.writer import CheckpointMoved, Poisoned, described
from domain.verify.finding import Finding
from domain.verify.log import LISTED_MAX
from projections.projection import Projection

SUFFIX: Final = "_verify"
CHECK: Final = "projections"
NEAR_POSITIONS: Final = 10_000  # behind the live one: the rest is replayed while its checkpoint is held
LOCK_TIMEOUT: Final = "10s"
VALUE_CHARACTERS_MAX: Final = 300

PROJECTION: Final = text("verify_projection")
LOCK: Final = text("lock_projection")
BOUND_LOCK_WAITS: Final = text("bound_lock_waits")
TABLES: Final = text("projection_tables")
DIGEST: Final = text("digest_of_table")
COLUMNS: Final = text("verify_columns")
DIFFERING: Final = text("verify_differing_rows")


class NotCompared(Exception):
    """In words: why it can't be compared now. Nothing is wrong with it."""


class Compared(msgspec.Struct, frozen=True):
    name: str
    position: int  # the checkpoint that it was compared at
    count: int  # of findings
    findings: list[Finding]  # at most ``LISTED_MAX``


async def verify_projections(
    dsn: str, projections: Sequence[Projection], progressed: Callable[[Done], None]
) -> tuple[list[Compared], list[str]]:
    """What was compared, and in words why others were not. Those that stand at the same position are replayed together.

    An event that can't be projected is a finding.
    """
    compared: list[Compared] = []
    groups, notes = await at_one_position(dsn, projections)
    for group in groups:
        names = ", ".join(projection.name for projection in group)
        try:
            require_idle(dsn, group, SUFFIX)
            drop(dsn, group, SUFFIX)  # what one that was killed left there
            compared += await replayed(dsn, group, progressed)
            continue
        except (NotCompared, ReplayFailed) as error:
            reason = str(error)
        except CheckpointMoved:
            reason = "another process took the replay's tables over"
        except Busy:
            reason = f"another process is verifying it; if it died, try again in {LEASE_S:g} s"
        except DATABASE_FAILURES as error:
            reason = f"the database failed: {described(None, error)}"
        notes.append(f"{names} was not compared: {reason}")
    return compared, notes


async def at_one_position(dsn: str, projections: Sequence[Projection]) -> tuple[list[list[Projection]], list[str]]:
    """Those that share their batches stand at the same position; one that is paused or failed stands elsewhere."""
    found: dict[int, list[Projection]] = {}
    notes: list[str] = []
    async with await psycopg.AsyncConnection.connect(dsn, cursor_factory=psycopg.AsyncRawCursor) as connection:
        await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        for projection in projections:
            try:
                found.setdefault(await checkpoint(connection, projection.name), []).append(projection)
            except NotCompared as error:
                notes.append(f"{projection.name} was not compared: {error}")
    return list(found.values()), notes


async def replayed(dsn: str, projections: Sequence[Projection], progressed: Callable[[Done], None]) -> list[Compared]:
    """One that can't be replayed is left out, and the others are replayed without it."""
    if not projections:
        return []
    try:
        async with replay(dsn, projections, SUFFIX, progressed, keep=False) as built:
            return await compare(dsn, built)
    except Poisoned as error:
        finding = Finding(check=CHECK, position=error.position, text=f"{error.projection} can't be replayed: {error}")
        others = [projection for projection in projections if projection.name != error.projection]
        return [Compared(error.projection, error.position - 1, 1, [finding]), *await replayed(dsn, others, progressed)]


async def compare(dsn: str, built: Replay) -> list[Compared]:
    names = [projection.name for projection in built.projections]
    async with (
        await psycopg.AsyncConnection.connect(dsn, autocommit=True, cursor_factory=psycopg.AsyncRawCursor) as holder,
        await psycopg.AsyncConnection.connect(dsn, autocommit=True, cursor_factory=psycopg.AsyncRawCursor) as reader,
    ):
        await reader.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await reader.set_read_only(True)
        while (live := await checkpoint(holder, names[0])) - built.position > NEAR_POSITIONS:
            await built.catch_up(live)
        async with reader.transaction():
            async with holder.transaction():
                await holder.execute(BOUND_LOCK_WAITS, (LOCK_TIMEOUT,))
                for name in names:
                    await holder.execute(LOCK, (name,))
                positions = {await checkpoint(holder, name) for name in names}
                if len(positions) > 1:
                    raise NotCompared(f"{', '.join(names)} came to stand at different positions meanwhile: try again")
                live = positions.pop()
                await built.catch_up(live)
                await checkpoint(reader, names[0])  # the first statement takes the snapshot
            return [await compared_tables(reader, name, live) for name in names]


async def compared_tables(reader: "psycopg.AsyncConnection[Any]", name: str, position: int) -> Compared:
    findings: list[Finding] = []
    count = 0
    for (table,) in await (await reader.execute(TABLES, (schema_of(name),))).fetchall():
        if await digest(reader, schema_of(name), table) == await digest(reader, schema_of(name + SUFFIX), table):
            continue
        more, some = await differences(reader, name, table, LISTED_MAX)
        count += more
        findings += some[: LISTED_MAX - len(findings)]
    return Compared(name, position, count, findings)


async def checkpoint(connection: "psycopg.AsyncConnection[Any]", name: str) -> int:
    row = await (await connection.execute(PROJECTION, (name,))).fetchone()
    if row is None:
        raise NotCompared(f"there are no tables of {name} yet: a server makes them at its start")
    if row[0] != projection_sha256(name):
        raise NotCompared(f"the tables of {name} are those of another version: a server of this one makes them anew at its start")
    position: int = row[1]
    return position


async def digest(connection: "psycopg.AsyncConnection[Any]", schema: str, table: str) -> Any:
    query = sql.SQL(DIGEST).format(table=sql.Identifier(schema, table))
    return await (await connection.execute(query.as_string())).fetchone()


async def differences(connection: "psycopg.AsyncConnection[Any]", name: str, table: str, most: int) -> tuple[int, list[Finding]]:
    """How many rows are not as they should be, and a finding for each of the first ones."""
    columns = await (await connection.execute(COLUMNS, (schema_of(name), table))).fetchall()
    keys = [column for column, is_key in columns if is_key]
    query = sql.SQL(DIFFERING).format(
        live=sql.Identifier(schema_of(name), table),
        built=sql.Identifier(schema_of(name + SUFFIX), table),
        key=sql.SQL(", ").join(sql.Identifier("t", key) for key in keys),
        same_key=sql.SQL(" AND ").join(sql.SQL("{} = {}").format(sql.Identifier("o", key), sql.Identifier("t", key)) for key in keys),
        most=sql.Literal(most),
    )
    rows = await (await connection.execute(query.as_string())).fetchall()
    names = [column for column, _ in columns]
    findings = [difference(f"{name}.{table}", keys, names, *row[:3]) for row in rows]
    return rows[0][3] if rows else 0, findings


def difference(table: str, keys: Sequence[str], columns: Sequence[str], key: str, live: str | None, built: str | None) -> Finding:
    """What one row is and what it should be, as JSON; None: it isn't there."""
    values = msgspec.json.decode(key)
    where = f"{table} ({', '.join(f'{name} {shown(value)}' for name, value in zip(keys, values, strict=True))})"
    known = msgspec.json.decode(live or built or "{}")
    position = known.get("position")
    position = position if isinstance(position, int) else None
    if live is None or built is None:
        what = "expected this row, found none" if live is None else "expected no such row, found one"
        return Finding(check=CHECK, position=position, text=f"{where}: {what}: {shortened(live or built or '')}")
    different = list(cells(columns, msgspec.json.decode(live), msgspec.json.decode(built)))
    return Finding(check=CHECK, position=position, text=f"{where}: {'; '.join(different) or 'other bytes of the same JSON'}")


def cells(columns: Sequence[str], live: dict[str, Any], built: dict[str, Any]) -> Iterator[str]:
    for column in columns:
        if live.get(column) != built.get(column):
            yield f"{column}: expected {shown(built.get(column))}, found {shown(live.get(column))}"


def shown(value: Any) -> str:
    return shortened(msgspec.json.encode(value).decode())


def shortened(value: str) -> str:
    return value if len(value) <= VALUE_CHARACTERS_MAX else value[:VALUE_CHARACTERS_MAX] + "…"
