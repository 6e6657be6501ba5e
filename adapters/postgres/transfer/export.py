"""Every chat of a database as JSON Lines (docs/json-lines.md), in one snapshot, page by page: memory does not grow with the log."""

from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.adapt import Loader
from psycopg.rows import namedtuple_row

from adapters.postgres.connections.queries import text
from domain.log.jsonlines import encode_blob, encode_event, references

CHATS: Final = text("export_chats")
EVENTS: Final = text("export_events")
BLOB: Final = text("export_blob")
OWNER: Final = text("export_owner")
TOTAL: Final = text("export_total")
PAGE_CHATS: Final = 500
PAGE_EVENTS: Final = 500


class _AsItIs(Loader):
    """JSON as the bytes that are stored."""

    def load(self, data: Any) -> bytes:
        return bytes(data)


class WholeExport:
    """A context manager: ``with WholeExport(dsn) as export``. It reads one moment of the log, whatever is written meanwhile."""

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(
            dsn, cursor_factory=psycopg.RawCursor, row_factory=namedtuple_row, application_name="stenograph export"
        )
        self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        self._connection.read_only = True
        self._connection.adapters.register_loader("json", _AsItIs)
        self.chats = 0
        self.events = 0

    def __enter__(self) -> "WholeExport":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def owner(self, email: str) -> UUID | None:
        """Who has this address, in its normal form."""
        row = self._connection.execute(OWNER, (email,)).fetchone()
        return row.stream_id if row is not None else None

    def total(self) -> int:
        """How many events there are at most."""
        row = self._connection.execute(TOTAL).fetchone()
        return row.events if row is not None else 0

    def lines(self, owner_id: UUID | None = None) -> Iterator[bytes]:
        """All chats, or those that somebody made, deleted ones too; some lines at a time."""
        last: UUID | None = None
        while True:
            page = self._connection.execute(CHATS, (last, owner_id, PAGE_CHATS)).fetchall()
            if not page:
                return
            for row in page:
                yield from self._chat(row.stream_id, f"chat/{row.name}".encode())
                self.chats += 1
            last = page[-1].stream_id

    def _chat(self, chat_id: UUID, name: bytes) -> Iterator[bytes]:
        kept: set[str] = set()
        after, before_us = 0, None
        while True:
            page = self._connection.execute(EVENTS, (chat_id, after, PAGE_EVENTS)).fetchall()
            made: list[bytes] = []
            for version, type_, message_id, actor, data, at_us in page:  # in the order of ``export_events``: once for each event
                for digest in references(data):
                    if digest not in kept:
                        kept.add(digest)
                        row = self._connection.execute(BLOB, (chat_id, digest)).fetchone()
                        if row is not None:
                            made.append(encode_blob(name, row.content))
                made.append(encode_event(name, version, at_us, before_us, type_, message_id, actor, data))
                before_us = at_us
            self.events += len(page)
            yield b"".join(made)
            if len(page) < PAGE_EVENTS:
                return
            after = page[-1].version
