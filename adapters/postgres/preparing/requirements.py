"""What a Postgres has to be before this server writes into it, asked at the start: version, encoding, and sessions of its own."""

from typing import Any, Final

import psycopg

from adapters.postgres.connections.errors import UnfitDatabase, database_errors
from adapters.postgres.connections.queries import text

VERSION_MIN: Final = 15
ENCODING: Final = "UTF8"
SERVER_FACTS: Final = text("server_facts")
BACKEND: Final = text("backend")
POOLER_TRIES: Final = 3


def require_database(dsn: str) -> None:
    """Raises ``UnfitDatabase``, or ``DatabaseError`` if the database cannot be asked."""
    with database_errors(), _connected(dsn) as connection:
        facts = connection.execute(SERVER_FACTS).fetchone()
        assert facts is not None
        version, encoding, database, backend = facts
        if version // 10_000 < VERSION_MIN:
            raise UnfitDatabase(f"this is PostgreSQL {version // 10_000}: expected {VERSION_MIN} or newer")
        if encoding != ENCODING:
            raise UnfitDatabase(
                f"the database {database} has the encoding {encoding}, which cannot hold every text: expected {ENCODING}. "
                f"Make another: createdb --encoding={ENCODING} --template=template0"
            )
        # A pooler makes up the number of the backend that it names at the start, since no backend belongs to the client yet.
        if connection.info.backend_pid != backend and _shares_backends(dsn, connection):
            raise UnfitDatabase(
                "a pooler in transaction mode stands before the database: this server needs sessions of its own, for LISTEN, for its role "
                "and for prepared statements. Let DATABASE_URL lead to Postgres itself, or to a pool in session mode (PgBouncer: "
                "pool_mode=session for this database); the server has a small pool of its own"
            )


def _connected(dsn: str) -> "psycopg.Connection[Any]":
    # Named here, since from a database in SQL_ASCII every text would come as bytes.
    return psycopg.connect(dsn, autocommit=True, application_name="stenograph requirements", client_encoding="utf8", prepare_threshold=None)


def _shares_backends(dsn: str, connection: "psycopg.Connection[Any]") -> bool:
    """Whether two connections that are open at the same time are served by one backend, which no two sessions are."""
    with _connected(dsn) as other:
        for _ in range(POOLER_TRIES):
            if connection.execute(BACKEND).fetchone() == other.execute(BACKEND).fetchone():
                return True
    return False
