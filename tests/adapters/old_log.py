"""A log as version 0.1.0 wrote it, kept as it was: ``tests/fixtures/old-log/0.1.0``.

``TABLE.copy`` is what COPY wrote, below a line with the names of the columns. ``chats/ID.json`` is what the chats in it were to their
readers. Neither is ever changed: whatever comes after 0.1.0 reads this log, and sees the same chats. Two people of it (ada@example.org,
bob@example.org) talked to the built-in model, one server was killed in mid-answer; no passwords are in it.
"""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psycopg

FOLDER = Path(__file__).parents[1] / "fixtures" / "old-log" / "0.1.0"
TABLES = ("streams", "events", "claims", "commands")


def put_in(dsn: str) -> None:
    """Into a migrated database without events, as it stands."""
    with psycopg.connect(dsn, autocommit=True) as connection, connection.transaction(), connection.cursor() as cursor:
        for table in TABLES:
            columns, _, rows = (FOLDER / f"{table}.copy").read_text().partition("\n")
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                copy.write(rows)


def chats() -> Iterator[tuple[UUID, Path]]:
    """Each chat, and the file that says what it was."""
    for line in (FOLDER / "streams.copy").read_text().splitlines()[1:]:
        stream_id, kind = line.split("\t")
        if kind == "chat":
            yield UUID(stream_id), FOLDER / "chats" / f"{stream_id}.json"
