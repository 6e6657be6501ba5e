"""Reads the log for ``domain/verify``: in one snapshot, by one COPY, and nothing of it is kept.

A row is taken apart here and not by the driver: it would make an object of each id and time, and that costs more than all checks.
"""

import select
from collections.abc import Callable, Iterator
from itertools import islice
from struct import Struct
from typing import Any, Final

import msgspec
import psycopg
from psycopg import sql

from adapters.postgres.queries import text
from domain.stream import KINDS, Stream
from domain.verify.blobs import StoredBlob
from domain.verify.finding import Entry, Finding
from domain.verify.log import Report, Verifying

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

BATCH_EVENTS: Final = 2_000
BLOBS_AT_ONCE: Final = 100
WAIT_S: Final = 0.5  # for Postgres, before it is looked whether somebody pressed Ctrl-C

KINDS_AS_SENT: Final = {kind.encode(): kind for kind in KINDS}
NAMES_KEPT_MAX: Final = 1_000  # emitters make up names as they like

# How COPY writes a row (PostgreSQL's manual, COPY, "Binary Format"): the number of columns, then each with its length before it, -1 for
# null. Nearly all rows are about a message, without an actor, in a stream whose kind has four letters: those are read at one stroke.
HEADER_BYTES: Final = 19
TRAILER: Final = b"\xff\xff"
UUID_BYTES: Final = 16
KIND_BYTES: Final = 4
NULL: Final = -1
_common: Final = Struct("!hiqiii16siqi16sii4si")  # position, version, stream, time, message, actor's length, kind, type's length
_fixed: Final = Struct("!hiqiii16siq")  # the first four of these
_length: Final = Struct("!i")


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

    Raises ``NoSuchStream``, or what the driver raises where the database can't be read.
    """
    verifying = Verifying(first=first, of_stream=stream is not None)
    with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.RawCursor, application_name="steno verify") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            connection.execute(SETTINGS)
            row = connection.execute(LOG_HEAD).fetchone()
            head = row[0] if row is not None else 0
            if stream is not None:
                known = connection.execute(STREAM_IS_KNOWN, (stream.id,)).fetchone()
                if known is None or not known[0]:
                    raise NoSuchStream(str(stream))
            entries = read(connection, first, head, stream)
            while batch := list(islice(entries, batch_events)):
                verifying.take(batch)
                progressed(Verified(batch[-1].position, head, verifying.events))
            compare_blobs(connection, verifying, stream)
            if stream is None:
                verifying.add(around_the_log(connection, head))
    return verifying.report(head)


def read(connection: "psycopg.Connection[Any]", first: int, last: int, stream: Stream | None) -> Iterator[Entry]:
    query = sql.SQL(LOG if stream is None else STREAM).format(
        first=sql.Literal(first), last=sql.Literal(last), stream_id=sql.Literal(stream.id if stream is not None else None)
    )
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        yield from entries(rows(connection))
        while copy.read():
            pass  # nothing: it ends the copy in order


def rows(connection: "psycopg.Connection[Any]") -> Iterator[bytes]:
    """The rows of a COPY, as they come from libpq. The driver's own way takes three times as long for each."""
    next_row = connection.pgconn.get_copy_data
    is_first = True
    while True:
        count, row = next_row(1)
        if count > 0:
            data = bytes(row)
            if is_first:
                data, is_first = data[HEADER_BYTES:], False
            if data == TRAILER:
                return
            if data:
                yield data
        elif count == 0:
            select.select([connection.pgconn.socket], [], [], WAIT_S)
            connection.pgconn.consume_input()
        else:
            return  # an error: the driver, which reads on, raises it


def entries(rows: Iterator[bytes]) -> Iterator[Entry]:
    common, common_bytes = _common.unpack_from, _common.size
    known: dict[bytes, str] = {}  # a name is made once: there are few
    for row in rows:
        if len(row) > common_bytes:
            *_, id_length, message_id, actor_length, kind_length, kind, length = fields = common(row)
            if id_length == UUID_BYTES and actor_length == NULL and kind_length == KIND_BYTES:
                end = common_bytes + length
                name = row[common_bytes:end]
                yield Entry(
                    fields[2],
                    fields[4],
                    fields[6],
                    fields[8],
                    KINDS_AS_SENT.get(kind),
                    message_id,
                    None,
                    known.get(name) or named(known, name),
                    row[end + 4 :],
                )
                continue
        yield any_entry(row, known)


def any_entry(row: bytes, known: dict[bytes, str]) -> Entry:
    """The same for a row of any shape."""
    _, _, position, _, version, _, stream_id, _, at_us = _fixed.unpack_from(row)
    at, values = _fixed.size, list[bytes | None]()
    while at < len(row):
        (length,) = _length.unpack_from(row, at)
        at += _length.size
        values.append(None if length == NULL else row[at : at + length])
        at += max(length, 0)
    message_id, actor, kind, name, data = values
    assert name is not None and data is not None  # NOT NULL
    kind_name = KINDS_AS_SENT.get(kind) if kind is not None else None
    return Entry(position, version, stream_id, at_us, kind_name, message_id, actor, named(known, name), data)


def named(known: dict[bytes, str], name: bytes) -> str:
    found = known.get(name)
    if found is None:
        found = name.decode(errors="replace")
        if len(known) < NAMES_KEPT_MAX:
            known[name] = found
    return found


def compare_blobs(connection: "psycopg.Connection[Any]", verifying: Verifying, stream: Stream | None) -> None:
    with connection.cursor(name="blobs") if stream is None else connection.cursor() as cursor:
        if stream is None:
            cursor.itersize = BLOBS_AT_ONCE  # type: ignore[attr-defined]  # a cursor with a name has it
            cursor.execute(BLOBS)
        else:
            cursor.execute(BLOBS_OF_STREAM, (stream.id,))
        for row in cursor:
            verifying.add(verifying.blobs.compare(StoredBlob(*row)))
    verifying.add(verifying.blobs.left())


def around_the_log(connection: "psycopg.Connection[Any]", head: int) -> Iterator[Finding]:
    """What refers to the log from outside of it."""
    for (name,) in connection.execute(EMPTY_STREAMS):
        yield Finding(check="streams", position=None, stream=name, text=f"expected an event of {name}, found none")
    for kind, key, stream_id in connection.execute(CLAIMS):
        yield Finding(check="claims", position=None, text=f"expected the stream {stream_id} that claims {kind} {key!r}, found none")
    for what, position in connection.execute(REACHED, (head,)):
        text_ = f"expected a log up to position {position}, which {what} has seen, found its head at {head}"
        yield Finding(check="head", position=head + 1, text=text_)
