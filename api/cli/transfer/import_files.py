"""The JSON files in what is imported: the file itself, what a gzip file holds, or the conversations in a ZIP file."""

import gzip
import io
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from shutil import copyfileobj
from typing import IO, Any, Final

from api.cli.login import Failed
from commands.channels.importing.slack import USERS, is_export

SNIFFED_BYTES: Final = 64 * 1024
SPOOLED_BYTES_MAX: Final = 64 * 1024 * 1024  # of a ZIP file from a pipe that is kept in memory; above it in a temporary file
GZIP: Final = b"\x1f\x8b"
ZIP: Final = b"PK\x03\x04"
DAMAGED: Final = (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError)
# As ChatGPT and Claude name them. Beside them stand the account, feedback, pictures: nothing that is a chat.
CONVERSATIONS: Final = re.compile(r"(^|/)conversations([-_/][^/]*)?\.json$|(^|/)conversations/[^/]+\.json$", re.IGNORECASE)


class CountingFile(io.RawIOBase):
    """A file whose beginning was looked at already, and how far it is read."""

    def __init__(self, head: bytes, file: IO[bytes] | gzip.GzipFile) -> None:
        self.head = head
        self._ahead = head
        self._file = file
        self.done = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._ahead[: len(buffer)] or self._file.read(len(buffer))
        self._ahead = self._ahead[len(piece) :]
        self.done += len(piece)
        buffer[: len(piece)] = piece
        return len(piece)


def looked_into(file: IO[bytes] | gzip.GzipFile) -> CountingFile:
    return CountingFile(file.read(SNIFFED_BYTES), file)


class ImportFiles:
    """The files to read, one after the other; ``done`` and ``total`` count the bytes of all of them, or those of the archive."""

    def __init__(self, file: IO[bytes]) -> None:
        self._outer = looked_into(file)
        self._archive: zipfile.ZipFile | None = None
        self.read_bytes = 0  # of an archive of channels, which is read by name
        self._members: list[zipfile.ZipInfo] = []
        self.is_slack = False  # channels, not conversations with a model
        self._read: list[CountingFile] = []
        if self._outer.head.startswith(ZIP):
            self._archive = opened_zip(file, self._outer)
            is_slack = is_export(self._archive.namelist())
            self._members = [self._archive.getinfo(USERS)] if is_slack else conversations_of(self._archive)
            self.total = sum(member.file_size for member in (self._archive.infolist() if is_slack else self._members))
            self.is_slack = is_slack
        else:
            self.total = size_of(file)
        self.first = self._first()  # looked at, so that its format is known

    @property
    def archive(self) -> zipfile.ZipFile | None:
        return self._archive

    @property
    def done(self) -> int:
        if self.is_slack:
            return self.read_bytes
        return sum(one.done for one in self._read) if self._archive is not None else self._outer.done

    def __iter__(self) -> Iterator[CountingFile]:
        yield self.first
        if self._archive is not None:
            for member in self._members[1:]:
                yield self._member(member)

    def _first(self) -> CountingFile:
        if self._archive is not None:
            return self._member(self._members[0])
        if not self._outer.head.startswith(GZIP):
            return self._outer
        with reading_archives():
            return looked_into(gzip.open(io.BufferedReader(self._outer)))

    def _member(self, member: zipfile.ZipInfo) -> CountingFile:
        assert self._archive is not None
        with reading_archives():
            self._read.append(looked_into(self._archive.open(member)))
        return self._read[-1]


@contextmanager
def reading_archives() -> Iterator[None]:
    """Raises ``Failed`` where an archive is damaged or locked."""
    try:
        yield
    except DAMAGED as error:
        raise Failed(f"This archive is damaged: {error}. What comes before it is imported.") from None
    except RuntimeError as error:  # a password is needed
        raise Failed(f"This archive can't be read: {error}.") from None


def opened_zip(file: IO[bytes], reading: CountingFile) -> zipfile.ZipFile:
    if not file.seekable():
        spooled = tempfile.SpooledTemporaryFile(SPOOLED_BYTES_MAX)  # noqa: SIM115  # as long as the archive
        copyfileobj(reading, spooled)
        file = spooled
    with reading_archives():
        return zipfile.ZipFile(file)


def conversations_of(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files that hold conversations, by name. Raises ``Failed`` if there is no JSON file at all."""
    found = sorted((one for one in archive.infolist() if one.filename.lower().endswith(".json")), key=lambda one: one.filename)
    if not found:
        raise Failed("There is no JSON file in this ZIP file.")
    return [one for one in found if CONVERSATIONS.search(one.filename)] or found


def size_of(file: IO[bytes]) -> int:
    """The size in bytes; 0 if unknown, as of a pipe."""
    try:
        here = file.tell()
        size = file.seek(0, 2)
        file.seek(here)
    except (OSError, ValueError):
        return 0
    return size
