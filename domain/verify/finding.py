"""The input of a check, and what it reports."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import msgspec

from domain.log.stream import Kind


class RowHeader(msgspec.Struct, frozen=True, gc=False):
    """The columns that consecutive rows mostly share, as the tokens of an answer do."""

    stream_id: bytes  # 16
    kind: Kind | None  # of the stream; None: the stream does not exist
    message_id: bytes | None  # 16
    type: str
    actor: bytes | None


class LogRow(msgspec.Struct, frozen=True, gc=False):
    """One row of the log, nearly as Postgres sends it: millions of ids and times are compared, and few are converted for a report."""

    position: int
    version: int
    stream_id: bytes  # 16
    at_us: int  # microseconds since a fixed moment; only compared
    kind: Kind | None
    message_id: bytes | None
    actor: bytes | None
    type: str
    data: bytes

    @property
    def stream(self) -> str:
        return f"{self.kind or '?'}/{UUID(bytes=self.stream_id)}"


Run = tuple[RowHeader, int, int]  # rows with one head that follow each other: where they begin and end


class Rows(NamedTuple):
    """Rows of the log in order, at least one, by column: a row gets an object of its own only when a finding is reported."""

    positions: tuple[int, ...]
    versions: tuple[int, ...]
    times_us: tuple[int, ...]
    data: Sequence[bytes]
    runs: Sequence[Run]  # each row is in one

    def entry(self, head: RowHeader, at: int) -> LogRow:
        return LogRow(
            self.positions[at],
            self.versions[at],
            head.stream_id,
            self.times_us[at],
            head.kind,
            head.message_id,
            head.actor,
            head.type,
            self.data[at],
        )

    def entries(self) -> Iterator[LogRow]:
        """The rows as objects, for a check that has to find the row at fault."""
        return (self.entry(head, at) for head, begin, end in self.runs for at in range(begin, end))


class VerifyBatch(NamedTuple):
    """Rows with their facts. A span is a run, or one row of it: its header, the index where it begins, and facts of one type.

    A row that can't be decoded stands alone, with None.
    """

    rows: Rows
    spans: Sequence[tuple[RowHeader, int, Sequence[Any]]]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that cannot be in a log that was only ever appended to."""

    check: str
    position: int | None  # None: the fault is at no position
    text: str  # expected and found
    stream: str | None = None
    version: int | None = None
    message_id: UUID | None = None


class Check(Protocol):
    """``check_batch`` is given all batches in order. After a fault it continues from the new values: one damage, one finding."""

    name: str

    def check_batch(self, batch: VerifyBatch) -> Iterable[Finding]: ...


def found(check: Check, entry: LogRow, text: str) -> Finding:
    message_id = UUID(bytes=entry.message_id) if entry.message_id is not None else None
    return Finding(check=check.name, position=entry.position, text=text, stream=entry.stream, version=entry.version, message_id=message_id)
