"""Makes the schema ``analytics``: the views of ``sql/views/*.sql``, in order, and what their role may do.

A view in Postgres stays bound to the tables that it was made on, and a replay replaces the tables of the projection ``figures``. The
code that replaces them therefore calls ``make_views`` in the same transaction: an analyst sees the old ones until the commit, and then
the new ones.
"""

import hashlib
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import errors

import sql as our_sql
from adapters.postgres.connections.queries import text

PROJECTION: Final = "figures"
VIEWS: Final = text("analyst_views")
DROP: Final = text("drop_analyst_schema")
IS_FOREIGN: Final = text("schema_without_our_comment")
ROLE_EXISTS: Final = text("analyst_role_exists")
CREATE_ROLE: Final = text("create_analyst_role")
GRANT: Final = text("grant_analysts")


def files(folder: Path) -> list[Path]:
    return sorted((folder / "views").glob("*.sql"))


def views_sha256(folder: Path) -> str:
    """Of all files of views together, and their names."""
    digest = hashlib.sha256()
    for file in files(folder):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def missing_views(connection: "psycopg.Connection[Any]", folder: Path) -> bool:
    """Whether one of the views is not there: its table was dropped, and it with it."""
    there = {name for (name,) in connection.execute(VIEWS).fetchall()}
    wanted = {file.stem.partition("_")[2] for file in files(folder)} - {"schema"}
    return not wanted <= there


def statements(folder: Path) -> bytes:
    """What makes the schema, in one piece."""
    return b"\n".join(file.read_bytes() for file in files(folder))


def make_views(connection: "psycopg.Connection[Any]", folder: Path) -> None:
    """Make the schema anew in the transaction that is open. Raises what Postgres raises, ``DuplicateSchema`` where it is not ours."""
    if not connection.execute(IS_FOREIGN).fetchall()[0][0]:
        connection.execute(DROP)
    connection.execute(statements(folder))
    if ensure_role(connection):
        connection.execute(GRANT)


def ensure_role(connection: "psycopg.Connection[Any]") -> bool:
    """Whether there is the role of analysts. Roles belong to the whole cluster: not every owner of a database may make one."""
    if connection.execute(ROLE_EXISTS).fetchall()[0][0]:
        return True
    try:
        with connection.transaction():
            connection.execute(CREATE_ROLE)
    except errors.InsufficientPrivilege:
        return False
    except (errors.DuplicateObject, errors.UniqueViolation):
        pass  # a migration of another database of this cluster was quicker
    return True


async def make_views_again(connection: "psycopg.AsyncConnection[Any]") -> None:
    """The same where a replay has put other tables in place. The role is not made here: a start does that."""
    await connection.execute(DROP)
    await connection.execute(statements(our_sql.folder()))
    if (await (await connection.execute(ROLE_EXISTS)).fetchall())[0][0]:
        await connection.execute(GRANT)
