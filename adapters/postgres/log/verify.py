"""Reads the log for ``domain/verify``: in one snapshot, by one COPY, and nothing of it is kept.

A row is taken apart here and not by the driver: it would make an object of each id and time, and that costs more than all checks.
"""

from collections.abc import Callable, Iterator, Sequence
from struct import Struct
from typing import Any, Final

import msgspec
import psycopg
from psycopg import sql
from psycopg.pq.abc import PGconn
from psycopg.rows import class_row, namedtuple_row

from adapters.postgres.connections.copy_out import messages
from adapters.postgres.connections.queries import text
from domain.log.stream import KINDS, Stream
from domain.verify.blobs import StoredBlob
from domain.verify.finding import Finding, RowHeader, Rows
from domain.verify.log import Report, Verification

LOG_HEAD: Final = text("log_head")
LOG: Final = text("verify_log")
STREAM: Final = text("verify_stream")
SETTINGS: Final = text("verify_settings")
BLOBS: Final = text("verify_blobs")
BLOBS_OF_STREAM: Final = text("verify_blobs_of_stream")
EMPTY_STREAMS: Final = text("verify_empty_streams")
CLAIMS: Final = text("verify_claims")
REACHED: Final = text("verify_reached")
STREAM_IS_KNOWN: Final = text("verify_stream_is_known")

BATCH_EVENTS: Final = 400  # while it is checked, the next one fits into the socket's buffer: Postgres need not wait
BATCH_BYTES: Final = 4_000_000  # an event may have a quarter of a megabyte
BLOBS_AT_ONCE: Final = 100

KINDS_AS_SENT: Final = {kind.encode(): kind for kind in KINDS}
NAMES_KEPT_MAX: Final = 1_000  # emitters make up names as they like

# How COPY writes a row (PostgreSQL's manual, COPY, "Binary Format"): the number of columns, then each with its length before it, -1 for
# null. First what is another number in each row, then what rows that follow each other mostly have in common, then the data.
HEADER_BYTES: Final = 19
TRAILER: Final = b"\xff\xff"
LENGTH_BYTES: Final = 4
UUID_BYTES: Final = 16
KIND_BYTES: Final = 4
HEAD_COLUMNS: Final = 5
NULL: Final = -1
_numbers: Final = Struct("!2x4xq4xi4xq")  # position, version, time: the columns before ``head_of``
_usual: Final = Struct("!i16si4si16si")  # stream, its kind, message, length of the type: nearly all are in a chat and about a message
_length: Final = Struct("!i")
NO_HEAD: Final = _length.pack(NULL)  # no row goes on with this: each has a stream


class NoSuchStream(LookupError):
    """There is no event of it, nor a row that names it."""


class Verified(msgspec.Struct, frozen=True):
    position: int  # that was reached
    head: int
    events: int


def verify(
    dsn: str, progressed: Callable[[Verified], None], *, first: int = 1, stream: Stream | None = None, batch_events: int = BATCH_EVENTS
) -> Report:
    """Check the log from position ``first`` on, or one stream of it, up to the head that it has now. Writes nothing.

    Raises ``NoSuchStream``, or ``psycopg.Error`` if the database can't be read: ``database_errors`` names it for a command.
    """
    verifying = Verification(first=first, of_stream=stream is not None)
    with psycopg.connect(
        dsn, autocommit=True, cursor_factory=psycopg.RawCursor, row_factory=namedtuple_row, application_name="steno verify"
    ) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            connection.execute(SETTINGS)
            row = connection.execute(LOG_HEAD).fetchone()
            head = row.position if row is not None else 0
            if stream is not None:
                known = connection.execute(STREAM_IS_KNOWN, (stream.id,)).fetchone()
                if known is None or not known.is_known:
                    raise NoSuchStream(str(stream))
            for rows in read(connection, first, head, stream, batch_events):
                verifying.add_rows(rows)
                progressed(Verified(rows.positions[-1], head, verifying.events))
            compare_blobs(connection, verifying, stream)
            if stream is None:
                verifying.add(around_the_log(connection, head))
    return verifying.report(head)


def read(
    connection: "psycopg.Connection[Any]", first: int, last: int, stream: Stream | None, rows_max: int = BATCH_EVENTS
) -> Iterator[Rows]:
    query = sql.SQL(LOG if stream is None else STREAM).format(
        first=sql.Literal(first), last=sql.Literal(last), stream_id=sql.Literal(stream.id if stream is not None else None)
    )
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        names: dict[bytes, str] = {}  # a name is made once: there are few
        for rows in sent(connection.pgconn, rows_max):
            yield rows_of(rows, names)
        while copy.read():
            pass  # nothing: it ends the copy in order


def sent(pgconn: PGconn, rows_max: int) -> Iterator[list[bytes]]:
    """The rows of a COPY, so many at once; fewer where they are large."""
    received = messages(pgconn)
    row = next(received)[HEADER_BYTES:] or next(received)
    while row != TRAILER:
        rows: list[bytes] = []
        room_bytes = BATCH_BYTES
        while len(rows) < rows_max and room_bytes > 0 and row != TRAILER:
            rows.append(row)
            room_bytes -= len(row)
            row = next(received)
        yield rows


def rows_of(sent: Sequence[bytes], names: dict[bytes, str]) -> Rows:
    data: list[bytes] = []
    heads: list[RowHeader] = []
    begins: list[int] = []
    begin, end = _numbers.size, 0
    same = NO_HEAD
    for row in sent:
        if not row.startswith(same, begin):
            head, end = head_of(row, names)
            same = row[begin : end - LENGTH_BYTES]
            heads.append(head)
            begins.append(len(data))
        data.append(row[end:])
    positions, versions, times_us = zip(*map(_numbers.unpack_from, sent), strict=True)
    return Rows(positions, versions, times_us, data, [*zip(heads, begins, [*begins[1:], len(data)], strict=True)])


def head_of(row: bytes, names: dict[bytes, str]) -> tuple[RowHeader, int]:
    """What stands between the numbers and the data, and where the data begins."""
    at = _numbers.size
    if len(row) > at + _usual.size:
        id_length, stream_id, kind_length, kind, message_length, message_id, name_length = _usual.unpack_from(row, at)
        if id_length == message_length == UUID_BYTES and kind_length == KIND_BYTES:
            at += _usual.size
            name_end = at + name_length
            name = row[at:name_end]
            (actor_length,) = _length.unpack_from(row, name_end)
            at = name_end + LENGTH_BYTES
            end = at + max(actor_length, 0)
            actor = None if actor_length == NULL else row[at:end]
            return RowHeader(
                stream_id, KINDS_AS_SENT.get(kind), message_id, names.get(name) or named(names, name), actor
            ), end + LENGTH_BYTES
    return any_head_of(row, names)


def any_head_of(row: bytes, names: dict[bytes, str]) -> tuple[RowHeader, int]:
    """The same of a row of any shape."""
    at = _numbers.size
    values: list[bytes | None] = []
    for _ in range(HEAD_COLUMNS):
        (length,) = _length.unpack_from(row, at)
        at += LENGTH_BYTES
        values.append(None if length == NULL else row[at : at + length])
        at += max(length, 0)
    stream_id, kind, message_id, name, actor = values
    assert stream_id is not None and name is not None  # NOT NULL
    known_kind = KINDS_AS_SENT.get(kind) if kind is not None else None
    return RowHeader(stream_id, known_kind, message_id, named(names, name), actor), at + LENGTH_BYTES


def named(names: dict[bytes, str], name: bytes) -> str:
    found = names.get(name)
    if found is None:
        found = name.decode(errors="replace")
        if len(names) < NAMES_KEPT_MAX:
            names[name] = found
    return found


def compare_blobs(connection: "psycopg.Connection[Any]", verifying: Verification, stream: Stream | None) -> None:
    by_name = class_row(StoredBlob)
    with connection.cursor(name="blobs", row_factory=by_name) if stream is None else connection.cursor(row_factory=by_name) as cursor:
        if stream is None:
            cursor.itersize = BLOBS_AT_ONCE  # type: ignore[attr-defined]  # a cursor with a name has it
            cursor.execute(BLOBS)
        else:
            cursor.execute(BLOBS_OF_STREAM, (stream.id,))
        for blob in cursor:
            verifying.add(verifying.blobs.compare(blob))
    verifying.add(verifying.blobs.left())


def around_the_log(connection: "psycopg.Connection[Any]", head: int) -> Iterator[Finding]:
    """What refers to the log from outside of it."""
    for row in connection.execute(EMPTY_STREAMS):
        yield Finding(check="streams", position=None, stream=row.name, text=f"expected an event of {row.name}, found none")
    for row in connection.execute(CLAIMS):
        yield Finding(
            check="claims", position=None, text=f"expected the stream {row.stream_id} that claims {row.kind} {row.key!r}, found none"
        )
    for row in connection.execute(REACHED, (head,)):
        text_ = f"expected a log up to position {row.position}, seen by {row.what}, found its head at {head}"
        yield Finding(check="head", position=head + 1, text=text_)
