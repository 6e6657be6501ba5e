"""A client's cursor: ``epoch:number`` of the last event that it has applied, ``start`` before the first, ``now`` after the newest."""

from functools import lru_cache
from typing import Literal, NamedTuple
from uuid import UUID

from domain.errors import BadCursor, CursorGone

NUMBER_DIGITS_MAX = 18


class Cursor(NamedTuple):
    epoch: UUID
    number: int  # a version in a stream, a position in the whole log

    def __str__(self) -> str:
        return f"{self.epoch}:{self.number}"


def parse_cursor(text: str) -> Cursor | Literal["start", "now"]:
    """Raises ``BadCursor``."""
    if text == "start":
        return "start"
    if text == "now":
        return "now"
    raw_epoch, colon, raw_number = text.rpartition(":")
    if not colon or not raw_number.isascii() or not raw_number.isdecimal() or len(raw_number) > NUMBER_DIGITS_MAX:
        raise BadCursor(text)
    try:
        return Cursor(_epoch(raw_epoch), int(raw_number))
    except ValueError:
        raise BadCursor(text) from None


@lru_cache(maxsize=64)  # nearly all cursors that a server is shown are of its own epoch
def _epoch(raw: str) -> UUID:
    return UUID(raw)


class ResumePoint(NamedTuple):
    """Where a reader goes on in a stream, or in the log: after this version or position, of ``head`` that there are."""

    after: int
    head: int


def resume_point(text: str, epoch: UUID, head: int) -> ResumePoint:
    """Raises ``BadCursor``, and ``CursorGone`` for a cursor of another epoch or above the head."""
    match parse_cursor(text):
        case "start":
            return ResumePoint(0, head)
        case "now":
            return ResumePoint(head, head)
        case Cursor(epoch=known, number=number):
            if known != epoch or number > head:
                raise CursorGone(text, epoch=epoch, head=head)
            return ResumePoint(number, head)
