"""Numbers and times: positions without a gap, versions without a gap in each stream, time that never runs against position."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from domain.verify.finding import Batch, Entry, Finding, found


class Positions:
    """Each position is one above that of the row before."""

    name = "positions"

    def __init__(self, first: int) -> None:
        self._next = first

    def take(self, batch: Batch) -> Iterator[Finding]:
        positions = [entry.position for entry in batch.entries]
        first, self._next = self._next, positions[-1] + 1
        if positions == list(range(first, self._next)):  # one comparison in C: the rule
            return
        expected = first
        for entry in batch.entries:
            if entry.position != expected:
                yield missing(self.name, expected, entry.position - 1)
            expected = entry.position + 1


def missing(check: str, first: int, last: int) -> Finding:
    what = f"position {first} is missing" if first == last else f"positions {first} to {last} are missing"
    return Finding(check=check, position=first, text=what)


class RisingPositions:
    """The same of one stream alone, read by version: its positions rise."""

    name = "positions"

    def __init__(self) -> None:
        self._last = 0

    def take(self, batch: Batch) -> Iterator[Finding]:
        for entry in batch.entries:
            if entry.position <= self._last:
                yield found(self, entry, f"expected a position above {self._last}, found {entry.position}")
            self._last = entry.position


class Versions:
    """Each version is one above that of the row before in its stream; the first is 1.

    ``is_partial``: what is read begins in the middle of streams, so the first version of each is taken as it is.
    Some 150 bytes for each stream, whatever its length.
    """

    name = "versions"

    def __init__(self, *, is_partial: bool = False) -> None:
        self._is_partial = is_partial
        self._known: dict[bytes, int] = {}

    def take(self, batch: Batch) -> Iterator[Finding]:
        known = self._known
        for entry in batch.entries:
            stream_id, version = entry.stream_id, entry.version
            before = known.get(stream_id, 0)
            if version != before + 1 and not (self._is_partial and before == 0):
                yield found(self, entry, f"expected version {before + 1} of {entry.stream}, found {version}")
            known[stream_id] = version


class Times:
    """No row is of an earlier time than the one before it."""

    name = "times"

    def __init__(self) -> None:
        self._last: Entry | None = None

    def take(self, batch: Batch) -> Iterator[Finding]:
        entries: Sequence[Entry] = batch.entries if self._last is None else (self._last, *batch.entries)
        self._last = entries[-1]
        times = [entry.at_us for entry in entries]
        if times == sorted(times):  # in C, and quick where they are in order
            return
        for before, entry in pairwise(entries):
            if entry.at_us < before.at_us:
                earlier_s = (before.at_us - entry.at_us) / 1e6
                yield found(
                    self, entry, f"expected a time not before that of position {before.position}, found one {earlier_s:g} s earlier"
                )
