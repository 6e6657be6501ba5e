"""The bare way over a whole log: what any reader of all of it has to do at least. Rebuild and verify are measured beside it."""

import hashlib
import time
from typing import Final

import msgspec
import psycopg
from psycopg import sql

EVENTS: Final = "COPY (SELECT * FROM events ORDER BY position) TO STDOUT"
DATA: Final = "COPY (SELECT data FROM events ORDER BY position) TO STDOUT"
TABLES: Final = """
    SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.relkind = 'r' AND n.nspname LIKE 'stenograph\\_%' ORDER BY 1, 2
"""
MADE: Final = "CREATE TEMPORARY TABLE bare_rows (LIKE {} INCLUDING ALL) ON COMMIT DROP"


def copied_s(dsn: str) -> float:
    """Seconds to COPY all events out, and all rows of all projections into tables like theirs with the same indexes.

    That the rows are read out before is not counted.
    """
    with psycopg.connect(dsn) as connection:
        started_s = time.monotonic()
        with connection.cursor().copy(EVENTS) as copy:
            for _ in copy:
                pass
        took_s = time.monotonic() - started_s
        for schema, name in connection.execute(TABLES).fetchall():
            table = sql.Identifier(schema, name)
            with connection.cursor().copy(sql.SQL("COPY {} TO STDOUT").format(table)) as copy:
                rows = [bytes(block) for block in copy]
            connection.execute(sql.SQL(MADE).format(table))
            started_s = time.monotonic()
            with connection.cursor().copy("COPY bare_rows FROM STDIN") as copy:
                for block in rows:
                    copy.write(block)
            took_s += time.monotonic() - started_s
            connection.execute("DROP TABLE bare_rows")
        connection.rollback()
    return took_s


def scanned_s(dsn: str) -> float:
    """Seconds to COPY the data of all events out, to scan each as JSON and to take the SHA-256 of all of it."""
    scan = msgspec.json.Decoder(msgspec.Raw).decode
    digest = hashlib.sha256()
    started_s = time.monotonic()
    with psycopg.connect(dsn) as connection, connection.cursor().copy(DATA) as copy:
        for row in copy:
            data = bytes(row).replace(b"\\\\", b"\\")  # as COPY escapes it; JSON holds no other byte that it does
            scan(data)
            digest.update(data)
    return time.monotonic() - started_s
