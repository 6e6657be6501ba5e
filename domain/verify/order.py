"""Numbers and times: positions without a gap, versions without a gap in each stream, time that never runs against position."""

from collections.abc import Iterator, Sequence

from domain.verify.finding import Finding, Rows, Run, VerifyBatch, found


def is_dense(numbers: tuple[int, ...]) -> bool:
    """Whether each number is one above the one before: a single comparison in C, since nearly all rows pass."""
    return numbers == (*range(numbers[0], numbers[0] + len(numbers)),)


class PositionCheck:
    """Each position is one above that of the row before."""

    name = "positions"

    def __init__(self, first: int) -> None:
        self._next = first

    def check_batch(self, batch: VerifyBatch) -> Iterator[Finding]:
        positions = batch.rows.positions
        expected, self._next = self._next, positions[-1] + 1
        if positions[0] == expected and is_dense(positions):
            return
        for position in positions:
            if position != expected:
                yield missing(self.name, expected, position - 1)
            expected = position + 1


def missing(check: str, first: int, last: int) -> Finding:
    what = f"position {first} is missing" if first == last else f"positions {first} to {last} are missing"
    return Finding(check=check, position=first, text=what)


class StreamPositionCheck:
    """PositionCheck of one stream, read by version, rise."""

    name = "positions"

    def __init__(self) -> None:
        self._last = 0

    def check_batch(self, batch: VerifyBatch) -> Iterator[Finding]:
        for entry in batch.rows.entries():
            if entry.position <= self._last:
                yield found(self, entry, f"expected a position above {self._last}, found {entry.position}")
            self._last = entry.position


class VersionCheck:
    """Each version is one above that of the row before in its stream; the first is 1.

    ``is_partial``: reading begins in the middle of streams, so the first version of each is accepted.
    Memory: some 150 bytes for each stream, independent of its length.
    """

    name = "versions"

    def __init__(self, *, is_partial: bool = False) -> None:
        self._is_partial = is_partial
        self._known: dict[bytes, int] = {}

    def check_batch(self, batch: VerifyBatch) -> Iterator[Finding]:
        known, versions = self._known, batch.rows.versions
        for runs in stretches(batch.rows.runs):
            stream_id, begin, end = runs[0][0].stream_id, runs[0][1], runs[-1][2]
            before = known.get(stream_id, 0)
            known[stream_id] = versions[end - 1]
            if versions[begin] != before + 1 or not is_dense(versions[begin:end]):
                yield from self._gaps(batch.rows, runs, before)

    def _gaps(self, rows: Rows, runs: Sequence[Run], before: int) -> Iterator[Finding]:
        for head, begin, end in runs:
            for at in range(begin, end):
                version = rows.versions[at]
                if version != before + 1 and not (self._is_partial and before == 0):
                    entry = rows.entry(head, at)
                    yield found(self, entry, f"expected version {before + 1} of {entry.stream}, found {version}")
                before = version


def stretches(runs: Sequence[Run]) -> Iterator[Sequence[Run]]:
    """Groups of consecutive runs of one stream."""
    begin, stream_id = 0, runs[0][0].stream_id
    for at, (head, _, _) in enumerate(runs):
        if head.stream_id != stream_id:
            yield runs[begin:at]
            begin, stream_id = at, head.stream_id
    yield runs[begin:]


class TimeCheck:
    """No row has an earlier time than the row before it."""

    name = "times"

    def __init__(self) -> None:
        self._last_us: int | None = None
        self._last_position = 0

    def check_batch(self, batch: VerifyBatch) -> Iterator[Finding]:
        times_us = batch.rows.times_us
        before_us, before = times_us[0] if self._last_us is None else self._last_us, self._last_position
        self._last_us, self._last_position = times_us[-1], batch.rows.positions[-1]
        if before_us <= times_us[0] and sorted(times_us) == [*times_us]:  # in C, and quick where they are in order
            return
        for entry in batch.rows.entries():
            if entry.at_us < before_us:
                text = f"expected a time not before that of position {before}, found one {(before_us - entry.at_us) / 1e6:g} s earlier"
                yield found(self, entry, text)
            before_us, before = entry.at_us, entry.position
