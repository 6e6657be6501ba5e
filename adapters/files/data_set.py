"""A data set: a folder of Parquet files by table and day, which grows and is whole at every moment.

    DIR/events/day=2026-03-01/events-0000000000001-0000000052310.parquet    never changes; its name says which positions it holds
    DIR/generations/day=2026-03-01/generations.parquet                      replaced as a whole when a row of that day changes
    DIR/messages/day=2026-03-01/messages.parquet
    DIR/_stenograph/manifest.json                                           how far each is

A file is written in ``_stenograph``, flushed to the disk, and only then gets its name: a reader sees the whole file or none.
What was not finished is thrown away by the next writer. A file of events that got its name before the manifest says so counts: it
continues the positions that the manifest knows. So each event is in one file, once, wherever a writer was killed.
"""

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec

FORMAT: Final = 1
OWN_FOLDER: Final = "_stenograph"  # names that begin with an underscore are no data to Spark and others
EVENTS: Final = "events"
POSITION_DIGITS: Final = 13
NAME: Final = re.compile(rf"{EVENTS}-\d{{{POSITION_DIGITS}}}-\d{{{POSITION_DIGITS}}}\.parquet")  # what readers put beside it is theirs
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DataSetRefused(Exception):
    """In words, for the operator: why nothing was written."""


class DiskFull(DataSetRefused):
    """There is no room for the next file. What has its name is whole, and the next writer goes on behind it."""


class Manifest(msgspec.Struct):
    """``events`` and ``rows`` are positions of the log: up to which there are events, and as of which the rows of the other tables are."""

    format: int
    epoch: UUID | None
    ids: str  # how ids are shown: pseudonyms of which key, or as they are
    events: int = 0
    rows: int = 0
    basis: str = ""  # what the rows are computed from besides the log: where it differs, all of them are written anew


class DataSet:
    """To be used in a ``with``, which one writer can enter at a time: raises ``DataSetRefused`` for a second one."""

    def __init__(self, folder: Path, epoch: UUID | None, ids: str) -> None:
        """``epoch`` and ``ids`` are those of the log: a folder with others is refused by ``__enter__``."""
        self.folder = folder
        self._own = folder / OWN_FOLDER
        self._stack = contextlib.ExitStack()
        self._numbers = 0
        self.manifest = Manifest(FORMAT, epoch, ids)

    def __enter__(self) -> "DataSet":
        with contextlib.ExitStack() as opening, refusals(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not (self._own / "manifest.json").exists() and any(one.name != OWN_FOLDER for one in self.folder.iterdir()):
                raise DataSetRefused(f"{self.folder} holds other files. Name a folder that is empty, or one that was exported to before.")
            self._own.mkdir(exist_ok=True)
            lock = opening.enter_context((self._own / "lock").open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system gives it back when a writer is killed
            except BlockingIOError:
                raise DataSetRefused(f"Another export writes to {self.folder} now.") from None
            self._read_manifest()
            for left in self._own.glob("*.writing"):
                left.unlink()
            self._count_finished()
            self._stack = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _read_manifest(self) -> None:
        file, wanted = self._own / "manifest.json", self.manifest
        if not file.exists():
            self.save()
            return
        try:
            known = msgspec.json.decode(file.read_bytes(), type=Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataSetRefused(f"{file} cannot be read ({error}). Export to an empty folder.") from None
        if known.format != FORMAT:
            raise DataSetRefused(
                f"{self.folder} has the format {known.format}, and this version writes {FORMAT}. Export to an empty folder."
            )
        if known.epoch != wanted.epoch:
            raise DataSetRefused(
                f"{self.folder} was exported from another history of the log, {known.epoch}; this is {wanted.epoch}. "
                "Its positions are others. Export to an empty folder."
            )
        if known.ids != wanted.ids:
            raise DataSetRefused(f"{self.folder} shows ids in another way ({known.ids}; now {wanted.ids}). Export to an empty folder.")
        self.manifest = known

    def _count_finished(self) -> None:
        """Files of events that got their names behind the manifest's position: those that continue it count, others are removed."""
        found = sorted((positions_of(file), file) for file in self.folder.glob(f"{EVENTS}/day=*/*.parquet") if NAME.fullmatch(file.name))
        before = self.manifest.events
        for (first, last), file in found:
            if first == self.manifest.events + 1:
                self.manifest.events = last
            elif first > self.manifest.events:
                file.unlink()  # the one before it did not survive
        if self.manifest.events != before:
            self.save()

    def save(self) -> None:
        """The manifest, as it is now."""
        with refusals(self.folder):
            temporary = self._own / "manifest.writing"
            with temporary.open("wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(self.manifest)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._own / "manifest.json")
            flush(self._own)

    def writing(self, schema: Any) -> "NewFile":
        """A file that has no name yet. ``schema`` is pyarrow's."""
        self._numbers += 1
        return NewFile(self, self._own / f"{self._numbers}.writing", schema)

    def days(self, table: str) -> set[date]:
        """Those of which there are rows."""
        return {date.fromisoformat(one.name.removeprefix("day=")) for one in self.folder.glob(f"{table}/day=*")}

    def remove(self, table: str, day: date) -> None:
        """The rows of a day that has none any more."""
        with refusals(self.folder):
            folder = self.folder / table / f"day={day}"
            for file in folder.glob("*.parquet"):
                file.unlink()
            if folder.exists():
                folder.rmdir()
                flush(folder.parent)


class NewFile:
    """One file while it is written. It is finished by ``name``; without that, ``close`` throws it away."""

    def __init__(self, data_set: DataSet, path: Path, schema: Any) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._data_set = data_set
        self._path = path
        self.rows = 0
        with refusals(data_set.folder):
            self._sink: Any = path.open("wb")
        texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_dictionary(field.type)]
        # The file's own schema is all there is: without pyarrow's beside it, every reader sees the same types.
        self._writer: Any = pq.ParquetWriter(self._sink, schema, compression="zstd", use_dictionary=texts, store_schema=False)

    def add(self, table: Any) -> None:
        """A table of pyarrow becomes a group of rows. Raises ``DiskFull``."""
        with refusals(self._data_set.folder):
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self.rows += table.num_rows

    def name(self, table: str, day: date, name: str) -> None:
        """Flush it to the disk, then put it into its place, where it replaces one of the same name. Raises ``DiskFull``."""
        with refusals(self._data_set.folder):
            self._writer.close()
            self._sink.flush()
            os.fsync(self._sink.fileno())
            self._sink.close()
            folder = self._data_set.folder / table / f"day={day}"
            if not folder.exists():
                folder.mkdir(parents=True)
                flush(folder.parent)
                flush(folder.parent.parent)
            self._path.replace(folder / f"{name}.parquet")
            flush(folder)

    def close(self) -> None:
        """What has no name is thrown away."""
        with contextlib.suppress(OSError):
            self._writer.close()
        with contextlib.suppress(OSError):
            self._sink.close()
        self._path.unlink(missing_ok=True)


def events_name(first: int, last: int) -> str:
    return f"{EVENTS}-{first:0{POSITION_DIGITS}}-{last:0{POSITION_DIGITS}}"


def positions_of(file: Path) -> tuple[int, int]:
    _, first, last = file.stem.split("-")
    return int(first), int(last)


def flush(folder: Path) -> None:
    """The names in a folder, which a loss of power may otherwise take back."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextlib.contextmanager
def refusals(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(
                f"There is no room left for {folder} ({os.strerror(error.errno)}). The files that are there are complete: "
                "make room and export again; the export continues where it stopped."
            ) from None
        if error.errno is None:
            raise
        raise DataSetRefused(f"{error.filename or folder}: {os.strerror(error.errno)}.") from None
