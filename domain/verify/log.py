"""All checks of the log together, and their report."""

from collections.abc import Iterable

import msgspec

from domain.log.codec import DECODER, Decoder
from domain.verify.answers import AnswerCheck
from domain.verify.blobs import BlobCheck
from domain.verify.facts import FactCheck, batch_of
from domain.verify.finding import Check, Finding, Rows
from domain.verify.order import PositionCheck, StreamPositionCheck, TimeCheck, VersionCheck

LISTED_MAX = 20  # findings that are kept for each check; all are counted


class Report(msgspec.Struct, frozen=True):
    head: int  # the log's last position, when it began
    events: int  # that were read
    open_answers: int  # without an end so far: their text can't be compared yet
    counts: dict[str, int]  # of findings, of each check
    first_bad_position: int | None
    findings: list[Finding]  # by position; at most ``LISTED_MAX`` of each check

    @property
    def is_whole(self) -> bool:
        return not self.counts


class Verification:
    """Runs all checks over the log in order. ``first``: the first position read. ``of_stream``: only one stream is read, by version."""

    def __init__(self, *, first: int = 1, of_stream: bool = False, decoder: Decoder = DECODER) -> None:
        is_partial = first > 1
        self._decoder = decoder
        self.blobs = BlobCheck()
        self._answers = AnswerCheck(is_partial=is_partial)
        self._checks: tuple[Check, ...] = (
            StreamPositionCheck() if of_stream else PositionCheck(first),
            VersionCheck(is_partial=is_partial),
            TimeCheck(),
            FactCheck(decoder),
            self._answers,
            self.blobs,
        )
        self.events = 0
        self._counts: dict[str, int] = {}
        self._listed: list[Finding] = []
        self._first_bad: int | None = None

    def add_rows(self, rows: Rows) -> None:
        """The next rows."""
        self.events += len(rows.data)
        batch = batch_of(rows, self._decoder)
        for check in self._checks:
            self.add(check.check_batch(batch))

    def add(self, findings: Iterable[Finding]) -> None:
        """Count and keep findings; also those of checks outside this class."""
        for finding in findings:
            count = self._counts[finding.check] = self._counts.get(finding.check, 0) + 1
            if finding.position is not None and (self._first_bad is None or finding.position < self._first_bad):
                self._first_bad = finding.position
            if count <= LISTED_MAX:
                self._listed.append(finding)

    def report(self, head: int) -> Report:
        by_position = sorted(self._listed, key=lambda finding: (finding.position is None, finding.position or 0))
        return Report(head, self.events, self._answers.open_count, dict(self._counts), self._first_bad, by_position)
