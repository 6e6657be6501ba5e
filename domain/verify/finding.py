"""What a check is given, and what it says."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import msgspec

from domain.stream import Kind


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One row of the log, nearly as Postgres sends it: millions of ids and times are compared here, and few are ever shown."""

    position: int
    version: int
    stream_id: bytes  # 16
    at_us: int  # microseconds, from whatever moment; only compared
    kind: Kind | None  # of the stream; None: there is no such stream
    message_id: bytes | None  # 16
    actor: bytes | None
    type: str
    data: bytes

    @property
    def stream(self) -> str:
        return f"{self.kind or '?'}/{UUID(bytes=self.stream_id)}"


class Batch(NamedTuple):
    """Entries of the log in order, and for each the fact that it holds; None where it can't be decoded."""

    entries: Sequence[Entry]
    facts: Sequence[Any]
    but_deltas: Sequence[tuple[Entry, Any]]  # the two without the deltas of answers, which are nearly all


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that can't be in a log that was only ever appended to."""

    check: str
    position: int | None  # None: what is wrong stands at no position
    text: str  # expected and found
    stream: str | None = None
    version: int | None = None
    message_id: UUID | None = None


class Check(Protocol):
    """``take`` is given all batches in order, and says what is wrong. It goes on behind what it found: one damage, one finding."""

    name: str

    def take(self, batch: Batch) -> Iterable[Finding]: ...


def found(check: Check, entry: Entry, text: str) -> Finding:
    message_id = UUID(bytes=entry.message_id) if entry.message_id is not None else None
    return Finding(check=check.name, position=entry.position, text=text, stream=entry.stream, version=entry.version, message_id=message_id)
