"""Figures as files: ``steno analytics export`` writes what came since the last time into a data set (``adapters/files/data_set.py``).

Events never change: each is written once, behind those that are there. Rows of generations and messages do change, so the days whose
rows the new events may have changed are written anew. Everything is as of one position, that of the projection ``figures``.
"""

import bisect
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row

from adapters.files.data_set import EVENTS, DataSet, DataSetRefused, NewFile, events_name
from adapters.postgres.connections.copy_out import messages
from adapters.postgres.connections.queries import text
from domain.log.codec import TYPES

SETTINGS: Final = text("export_settings")
STANDING: Final = text("export_standing")
DAYS: Final = text("export_days")
CHANGED_DAYS: Final = text("export_changed_days")
LOCK: Final = text("lock_figures")
COPY_EVENTS: Final = text("copy_events")
ROWS_AT_ONCE: Final = 131_072  # one group of rows of a file: what engines read by
FILE_ROWS_MAX: Final = 8_000_000
WINDOW_POSITIONS: Final = 1_048_576  # of one statement: no snapshot is held for long
PSEUDONYMS_KEPT_MAX: Final = 200_000
EMITTED: Final = "emitted"  # the type of an event whose name somebody made up: a name may be a word
KNOWN_TYPES: Final = frozenset(name for table in TYPES.values() for name in table)

# How each column is read from CSV, by the name of a type below.
EVENT_COLUMNS: Final = {
    "position": "int64",
    "kind": "name",
    "stream_id": "name",
    "version": "int32",
    "type": "name",
    "message_id": "name",
    "person_id": "name",
    "person_role": "name",
    "data_bytes": "int32",
    "recorded_at": "time",
    "first_recorded_at": "time",
}
IDS_OF_EVENTS: Final = (
    "stream_id",
    "message_id",
    "person_id",
)  # become pseudonyms here: in Postgres the hashes would take most of the time
GENERATION_COLUMNS: Final = {
    **dict.fromkeys(("conversation_id", "message_id", "kind"), "text"),
    "listed": "flag",
    **dict.fromkeys(("person_id", "requested_model_id", "model_id", "base_model_id", "provider_name"), "text"),
    **dict.fromkeys(("is_arena", "is_continued"), "flag"),
    **dict.fromkeys(("started_at", "first_token_at", "ended_at"), "time"),
    **dict.fromkeys(("outcome", "finish_reason", "error_code"), "text"),
    "provider_status": "int32",
    **dict.fromkeys(("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"), "int64"),
    "deltas": "int32",
    "characters": "int64",
    **dict.fromkeys(("tool_calls", "retries"), "int32"),
    **dict.fromkeys(("first_token_ms", "duration_ms", "gap_p50_ms", "gap_p95_ms", "gap_p99_ms", "gap_max_ms", "cost"), "float64"),
}
MESSAGE_COLUMNS: Final = {
    **dict.fromkeys(("conversation_id", "message_id", "parent_id", "kind"), "text"),
    "listed": "flag",
    **dict.fromkeys(("person_id", "role", "model_id", "base_model_id"), "text"),
    **dict.fromkeys(("is_generated", "is_imported"), "flag"),
    **dict.fromkeys(("sent_at", "recorded_at"), "time"),
    **dict.fromkeys(("characters", "input_tokens", "output_tokens"), "int64"),
    **dict.fromkeys(("edits", "reactions"), "int32"),
    "deleted_at": "time",
}


class RowTable(msgspec.Struct, frozen=True):
    """A table whose rows change: its columns, and what reads the rows of a day."""

    columns: Mapping[str, str]
    copy: str


ROW_TABLES: Final = {
    name: RowTable(columns, text(f"copy_{name}")) for name, columns in (("generations", GENERATION_COLUMNS), ("messages", MESSAGE_COLUMNS))
}


class Exported(msgspec.Struct):
    """What one export has written: events, files of events, rows of the other tables, and days of these."""

    position: int = 0  # up to which the data set holds everything
    events: int = 0
    files: int = 0
    rows: int = 0
    days: int = 0


class Standing(msgspec.Struct, frozen=True):
    """What the database says of itself, in one snapshot."""

    epoch: UUID | None
    position: int
    projection_sha256: str
    pseudonyms: bool
    key: bytes
    prices: str

    @property
    def ids(self) -> str:
        """How ids are shown. The key is not in it."""
        return f"pseudonyms {hashlib.sha256(b'of the key ' + self.key).hexdigest()[:12]}" if self.pseudonyms else "ids"

    @property
    def basis(self) -> str:
        of = (self.projection_sha256, self.prices, *(f"{table.columns} {table.copy}" for table in ROW_TABLES.values()))
        return hashlib.sha256("\n".join(of).encode()).hexdigest()


def export(dsn: str, folder: Path, progressed: Callable[[int, int], None]) -> Exported:
    """Bring the data set in ``folder`` up to the projection's position. ``progressed`` gets how many events are done, and of how many.

    Raises ``DataSetRefused`` where the folder cannot be written or holds something else, ``psycopg.Error`` for the database. What was
    written until then is whole, and the next call goes on behind it.
    """
    try:
        import pyarrow as _  # noqa: F401
    except ImportError:
        raise DataSetRefused("Parquet needs pyarrow:  pip install 'stenograph[analytics]'") from None
    done = Exported()
    with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.RawCursor, application_name="steno analytics export") as connection:
        connection.execute(SETTINGS)
        standing = standing_of(connection)
        with DataSet(folder, standing.epoch, standing.ids) as data_set:
            if standing.position < data_set.manifest.rows:
                raise DataSetRefused(
                    f"The figures are computed anew and are at position {standing.position:,}; {folder} holds them up to "
                    f"{data_set.manifest.rows:,}. Export once they are there: steno projections list"
                )
            events = EventFiles(connection, data_set, standing, done)
            events.write_until(standing.position, progressed)
            # Rows and events as of the same position: what has come meanwhile is little.
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            with connection.transaction():
                connection.execute(LOCK)
                now = standing_of(connection)
                if (now.epoch, now.ids) != (standing.epoch, standing.ids):
                    raise DataSetRefused("Pseudonyms were switched, or the log has another history, meanwhile. Export again.")
                events.write_until(now.position, progressed)
                write_rows(connection, data_set, now, done)
            done.position = now.position
    return done


def standing_of(connection: "psycopg.Connection[Any]") -> Standing:
    """Raises ``DataSetRefused`` where nothing is counted yet."""
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        row = cursor.execute(STANDING).fetchone()
    if row is None:
        raise DataSetRefused("There are no figures yet: start the server once.")
    return Standing(**row._asdict())


class EventFiles:
    """Writes events behind those that the data set has, a file for each day."""

    def __init__(self, connection: "psycopg.Connection[Any]", data_set: DataSet, standing: Standing, done: Exported) -> None:
        self._connection = connection
        self._data_set = data_set
        self._ids = Pseudonyms(standing.key) if standing.pseudonyms else None
        self._done = done
        self._file: NewFile | None = None
        self._day = date.min
        self._first = self._last = 0  # positions in the file
        self._begun_after = data_set.manifest.events

    def write_until(self, last: int, progressed: Callable[[int, int], None]) -> None:
        position = self._data_set.manifest.events
        try:
            while position < last:
                until = min(position + WINDOW_POSITIONS, last)
                for table in self._read(position, until):
                    self._add(table)
                    progressed(self._last - self._begun_after, last - self._begun_after)
                position = until
            self._finish()
        finally:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _read(self, after: int, last: int) -> Iterator[Any]:
        query = sql.SQL(COPY_EVENTS).format(after=sql.Literal(after), last=sql.Literal(last))
        with self._connection.cursor() as cursor, cursor.copy(query) as copy:
            received = messages(self._connection.pgconn)
            for first in range(after, last, ROWS_AT_ONCE):
                # Positions have no gap, so it is known how many there are.
                rows = b"".join(islice(received, min(ROWS_AT_ONCE, last - first)))
                yield table_of(rows, EVENT_COLUMNS, self._shown)
            while copy.read():
                pass  # nothing: it ends the copy in order

    def _shown(self, name: str, values: Sequence[str]) -> Sequence[str]:
        """The different values of a column as analysts see them."""
        if name == "type":
            return [one if one in KNOWN_TYPES else EMITTED for one in values]
        return self._ids.of(values) if name in IDS_OF_EVENTS and self._ids is not None else values

    def _add(self, table: Any) -> None:
        at = table["recorded_at"]
        begin = 0
        while begin < table.num_rows:
            day: date = at[begin].as_py().date()
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
            end = bisect.bisect_left(range(table.num_rows), midnight, begin, key=lambda row: at[row].as_py())
            if self._file is None or day != self._day or self._file.rows >= FILE_ROWS_MAX:
                self._finish()
                self._file, self._day, self._first = self._data_set.writing(table.schema), day, table["position"][begin].as_py()
            self._file.add(table.slice(begin, end - begin))
            self._last = table["position"][end - 1].as_py()
            begin = end

    def _finish(self) -> None:
        """The file of a day gets its name, and the checkpoint moves behind it."""
        if self._file is None:
            return
        self._file.name(EVENTS, self._day, events_name(self._first, self._last))
        self._done.events += self._file.rows
        self._done.files += 1
        self._file = None
        self._data_set.manifest.events = self._last
        self._data_set.save()


class Pseudonyms:
    """As ``analytics.pseudonym`` (``sql/views/00_schema.sql``) shows ids."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: dict[str, str] = {}

    def of(self, ids: Sequence[str]) -> list[str]:
        if len(self._known) > PSEUDONYMS_KEPT_MAX:
            self._known.clear()
        return [self._known.get(one) or self._new(one) for one in ids]

    def _new(self, one: str) -> str:
        digits = hashlib.sha256(self._key + bytes.fromhex(one.replace("-", ""))).hexdigest()
        made = self._known[one] = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}"
        return made


def write_rows(connection: "psycopg.Connection[Any]", data_set: DataSet, standing: Standing, done: Exported) -> None:
    """The days of rows that may have changed. A day is written as a whole, so that repeating it after a crash changes nothing."""
    manifest = data_set.manifest
    is_all = manifest.basis != standing.basis
    if not is_all and manifest.rows == standing.position:
        return
    found = connection.execute(DAYS) if is_all else connection.execute(CHANGED_DAYS, (manifest.rows, standing.position))
    changed = found.fetchall()
    for name, table in ROW_TABLES.items():
        days = {day for of, day in changed if of == name} | (data_set.days(name) if is_all else set())
        for day in sorted(days):
            rows = write_day(connection, data_set, name, table, day)
            done.rows += rows
            done.days += rows > 0
    manifest.rows, manifest.basis = standing.position, standing.basis
    data_set.save()


def write_day(connection: "psycopg.Connection[Any]", data_set: DataSet, name: str, table: RowTable, day: date) -> int:
    """How many rows the day has."""
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    query = sql.SQL(table.copy).format(since=sql.Literal(begin), until=sql.Literal(begin + timedelta(days=1)))
    file: NewFile | None = None
    try:
        with connection.cursor() as cursor, cursor.copy(query) as copy:
            rows: list[bytes] = []
            while data := copy.read():
                rows.append(bytes(data))
                if len(rows) == ROWS_AT_ONCE:
                    file = added(data_set, file, table_of(b"".join(rows), table.columns))
                    rows.clear()
            if rows:
                file = added(data_set, file, table_of(b"".join(rows), table.columns))
        if file is None:
            data_set.remove(name, day)
            return 0
        file.name(name, day, name)
        written, file = file.rows, None
        return written
    finally:
        if file is not None:
            file.close()


def added(data_set: DataSet, file: NewFile | None, table: Any) -> NewFile:
    file = file if file is not None else data_set.writing(table.schema)
    file.add(table)
    return file


def table_of(rows: bytes, columns: Mapping[str, str], shown: Callable[[str, Sequence[str]], Sequence[str]] | None = None) -> Any:
    """A table of pyarrow from rows of CSV. ``shown`` turns the different values of each ``name`` column into others. Times are of UTC."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    read = {
        "int32": pa.int32(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "flag": pa.bool_(),
        "text": pa.string(),
        "name": pa.dictionary(pa.int32(), pa.string()),
        "time": pa.timestamp("us"),
    }
    table = arrow_csv.read_csv(
        pa.BufferReader(rows),
        arrow_csv.ReadOptions(use_threads=False, block_size=len(rows) + 1, column_names=list(columns)),
        arrow_csv.ParseOptions(newlines_in_values=True),
        arrow_csv.ConvertOptions(
            column_types={name: read[type_] for name, type_ in columns.items()},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )
    arrays = []
    for name, type_ in columns.items():
        array = table[name].combine_chunks()
        if type_ == "time":
            array = array.cast(pa.timestamp("us", "UTC"))
        elif type_ == "name" and shown is not None:
            array = pa.DictionaryArray.from_arrays(array.indices, pa.array(shown(name, array.dictionary.to_pylist()), pa.string()))
        arrays.append(array)
    return pa.table(arrays, names=list(columns))
