"""Brings a database up to date with the files in ``sql/``.

First ``migrations/NNNN_name.sql``, in order, each once, each in a transaction of its own together with its row in ``migrations``. Then
``functions/NAME.sql``, one routine a file, whenever the file's bytes differ from those applied last. Then ``projections/NAME.sql``, the
tables of one projection in a schema of its own: where the file differs from the one that made them, they are dropped and made anew, and
the log is replayed into them. The tables of a projection that has no file any more are dropped. Last the views of analysts
(``views.py``), where a file of them differs or one is missing. The connection is the owner's. The
server itself works as ``stenograph_app`` (``SET ROLE``), which may insert and read but not change the log; the grants are in the
migrations, the role is made here, since roles belong to the whole cluster and not to one database.

Any number of servers may start at once: every step is decided and done under one lock.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiosql
import psycopg
from psycopg import errors, sql

import sql as our_sql
from adapters.postgres.analysts import views
from adapters.postgres.connections.errors import database_errors
from adapters.postgres.connections.queries import text

APP_ROLE = "stenograph_app"
PART = re.compile(r"_\d+_of_\d+$")  # of a replay
VIEWS = "views"  # under which the views of analysts are known beside the functions
MIGRATION_NAME = re.compile(r"(?P<number>\d{4})_[a-z0-9_]+\.sql")

LOCK_TABLE: Final = text("lock_table_exclusively")
CREATE_SCHEMA: Final = text("create_schema")
DROP_SCHEMA: Final = text("drop_schema")
GRANT_SCHEMA: Final = text("grant_schema")
GRANT_TABLES: Final = text("grant_tables")
DROP_ROUTINE: Final = text("drop_routine")

_queries: Any = aiosql.from_path(our_sql.folder() / "queries" / "migrate.sql", "psycopg", mandatory_parameters=False)


class MigrationError(RuntimeError):
    """The database was left at the last migration that succeeded.

    ├── MigrationEdited       an applied file has other bytes now
    ├── MigrationsMisnumbered the files are not 0001, 0002, …, or one was slipped in before an applied one
    ├── DatabaseAhead         the database has migrations that this code does not know
    ├── MigrationFailed       Postgres refused a statement
    └── AppRoleMissing        the role ``stenograph_app`` cannot be made or taken
    """


class MigrationEdited(MigrationError):
    def __init__(self, name: str, applied_sha256: str, found_sha256: str) -> None:
        super().__init__(
            f"{name} was edited after it was applied (applied {applied_sha256[:12]}…, found {found_sha256[:12]}…): "
            "restore it and write a new migration"
        )
        self.name = name


class MigrationsMisnumbered(MigrationError):
    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"expected migration {expected}, found {found}")


class DatabaseAhead(MigrationError):
    def __init__(self, names: list[str]) -> None:
        super().__init__(f"the database has migrations that this version does not know ({', '.join(names)}): run a newer version")
        self.names = names


class MigrationFailed(MigrationError):
    def __init__(self, name: str, cause: psycopg.Error) -> None:
        super().__init__(f"{name}: {cause}")
        self.name = name


class AppRoleMissing(MigrationError):
    def __init__(self, cause: psycopg.Error) -> None:
        super().__init__(
            f"{str(cause).strip()}. The user of DATABASE_URL may not make or take the role {APP_ROLE}: have an administrator run once "
            f"CREATE ROLE {APP_ROLE} NOLOGIN; GRANT {APP_ROLE} TO the user of DATABASE_URL;"
        )


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a call of ``migrate`` changed: names of files, empty when the database was up to date."""

    migrations: list[str]
    functions: list[str]
    projections: list[str]


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    content: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def migrate(dsn: str, *, sql_folder: Path | None = None, lock_timeout_s: float = 60.0) -> Migrated:
    """Apply what is missing and return its names.

    ``lock_timeout_s`` bounds the wait for another server that migrates, and for each lock a statement needs.
    Raises ``MigrationError``, or ``DatabaseUnreachable`` when the database cannot be reached.
    """
    folder = sql_folder or our_sql.folder()
    migrations = _numbered(_files(folder / "migrations"))
    functions = _files(folder / "functions")
    projections = _files(folder / "projections")
    applied: list[str] = []
    with database_errors(), psycopg.connect(dsn, autocommit=True, application_name="steno migrate") as connection:
        with _step(connection, lock_timeout_s, "the bookkeeping"):
            _ensure_app_role(connection)
            _queries.create_bookkeeping(connection)
        for _ in range(len(migrations) + 1):
            with _step(connection, lock_timeout_s, "the list of migrations"):
                pending = _pending(migrations, dict(_queries.applied_migrations(connection)))
                if not pending:
                    break
                _apply_migration(connection, pending[0])
                applied.append(pending[0].name)
        with _step(connection, lock_timeout_s, "the list of functions"):
            known = dict(_queries.applied_functions(connection))
            changed = [file for file in functions if known.get(file.name) != file.sha256]
            for file in changed:
                _apply_function(connection, file)
        kept = {file.name.removesuffix(".sql") for file in projections}
        known_projections = dict(_queries.known_projections(connection)) if kept else {}
        for name in sorted(known_projections.keys() - kept):
            if not name.startswith(tuple(f"{one}_" for one in kept)):  # nor a replay of one that is kept
                with _step(connection, lock_timeout_s, f"the projection {name}, which is no more"):
                    drop_projection(connection, name)
        replayed: list[str] = []
        for file in projections:
            name = file.name.removesuffix(".sql")
            with _step(connection, lock_timeout_s, f"the projection {name}"):
                made = dict(_queries.known_projections(connection)).get(name)
                if made != file.sha256:
                    create_projection(connection, name, file.content, is_there=made is not None)
                    _queries.begin_projection(connection, name=name, sha256=file.sha256)
                    replayed.append(file.name)
        if views.files(folder):
            with _step(connection, lock_timeout_s, "the views of analysts"):
                sha256 = views.views_sha256(folder)
                if known.get(VIEWS) != sha256 or views.missing_views(connection, folder):
                    views.make_views(connection, folder)
                    _queries.record_function(connection, name=VIEWS, sha256=sha256)
    return Migrated(applied, [file.name for file in changed], replayed)


def schema_of(projection: str) -> str:
    """Where its tables are. A database may hold other people's schemas, too."""
    return f"stenograph_{projection}"


def create_projection(connection: "psycopg.Connection[Any]", projection: str, tables: bytes, *, is_there: bool) -> None:
    """Make the tables of a projection, empty, in the transaction that is open. Those that are there go.

    Raises what Postgres raises, ``DuplicateSchema`` among it: a schema that nobody here made is nobody's here to drop.
    """
    schema = schema_of(projection)
    name = sql.Identifier(schema)
    if is_there:
        # In the order in which a projector and its readers take them, so that nobody holds what another waits for.
        _queries.hold_projection(connection, name=projection)
        for (table,) in _queries.tables_in(connection, schema=schema):
            connection.execute(sql.SQL(LOCK_TABLE).format(table=sql.Identifier(schema, table)))
        connection.execute(sql.SQL(DROP_SCHEMA).format(schema=name))
    connection.execute(sql.SQL(CREATE_SCHEMA).format(schema=name))
    before = _queries.current_search_path(connection)
    _queries.search_in(connection, path=f'"{schema}", public')
    connection.execute(tables)
    _queries.search_in(connection, path=before)
    role = sql.Identifier(APP_ROLE)
    connection.execute(sql.SQL(GRANT_SCHEMA).format(schema=name, role=role))
    connection.execute(sql.SQL(GRANT_TABLES).format(schema=name, role=role))


def drop_projection(connection: "psycopg.Connection[Any]", name: str) -> None:
    """The tables of a projection, or of a replay of one, that this version does not know."""
    _queries.hold_projection(connection, name=name)
    schema = sql.Identifier(schema_of(PART.sub("", name)))
    connection.execute(sql.SQL(DROP_SCHEMA).format(schema=schema))
    _queries.forget_projection(connection, name=name)


def projection_sha256(name: str) -> str:
    """Of the file that makes the projection's tables."""
    return hashlib.sha256((our_sql.folder() / "projections" / f"{name}.sql").read_bytes()).hexdigest()


def _files(folder: Path) -> list[_File]:
    return [_File(path.name, path.read_bytes()) for path in sorted(folder.glob("*.sql"))]


def _numbered(files: list[_File]) -> list[_File]:
    for number, file in enumerate(files, start=1):
        matched = MIGRATION_NAME.fullmatch(file.name)
        if matched is None or int(matched["number"]) != number:
            raise MigrationsMisnumbered(f"{number:04}_….sql", file.name)
    return files


def _pending(files: list[_File], applied: dict[str, str]) -> list[_File]:
    known = {file.name for file in files}
    if unknown := [name for name in applied if name not in known]:
        raise DatabaseAhead(unknown)
    for file, name in zip(files, applied, strict=False):
        if file.name != name:
            raise MigrationsMisnumbered(f"{name}, which is applied", file.name)
        if file.sha256 != applied[name]:
            raise MigrationEdited(name, applied[name], file.sha256)
    return files[len(applied) :]


@contextlib.contextmanager
def _step(connection: psycopg.Connection, lock_timeout_s: float, name: str) -> Iterator[None]:
    """One transaction under the lock. What Postgres refuses is said to be about ``name`` unless something inside knew better."""
    try:
        with connection.transaction():
            _queries.take_migration_lock(connection, timeout=f"{round(lock_timeout_s * 1000)}ms")
            yield
    except psycopg.OperationalError as error:
        if not isinstance(error, errors.LockNotAvailable | errors.DeadlockDetected):
            raise
        raise MigrationFailed(name, error) from error
    except psycopg.Error as error:
        raise MigrationFailed(name, error) from error


def _apply_migration(connection: psycopg.Connection, file: _File) -> None:
    try:
        connection.execute(file.content)
    except psycopg.Error as error:
        raise MigrationFailed(file.name, error) from error
    _queries.record_migration(connection, name=file.name, sha256=file.sha256)


def _apply_function(connection: psycopg.Connection, file: _File) -> None:
    """Replace the routine in place; where its signature changed, which CREATE OR REPLACE cannot do, drop the old one."""
    routine = file.name.removesuffix(".sql")
    before = {signature for (signature,) in _queries.routines_named(connection, name=routine)}
    try:
        try:
            with connection.transaction():
                connection.execute(file.content)
        except errors.InvalidFunctionDefinition:
            _drop(connection, before)
            connection.execute(file.content)
        else:
            after = {signature for (signature,) in _queries.routines_named(connection, name=routine)}
            if after - before:  # another list of arguments made a second routine beside the first
                _drop(connection, before)
    except psycopg.Error as error:
        raise MigrationFailed(file.name, error) from error
    _queries.record_function(connection, name=file.name, sha256=file.sha256)


def _drop(connection: psycopg.Connection, signatures: set[str]) -> None:
    for signature in signatures:
        connection.execute(sql.SQL(DROP_ROUTINE).format(routine=sql.SQL(signature)))  # Postgres quoted it itself


def _ensure_app_role(connection: psycopg.Connection) -> None:
    if not _queries.role_exists(connection):
        # DuplicateObject, UniqueViolation: a migration of another database of this cluster was quicker.
        try:
            with contextlib.suppress(errors.DuplicateObject, errors.UniqueViolation), connection.transaction():
                _queries.create_role(connection)
        except errors.InsufficientPrivilege as error:
            raise AppRoleMissing(error) from error
    try:
        with connection.transaction():
            _queries.take_role(connection)
    except errors.InsufficientPrivilege:
        try:
            with connection.transaction():
                _queries.grant_role(connection)
                _queries.take_role(connection)
        except errors.InsufficientPrivilege as error:
            raise AppRoleMissing(error) from error
