"""Model output as it may be stored: cleaned piece by piece, and cut into pieces that fit into an event."""

from collections.abc import Iterator
from typing import Any, Final

from domain.values.storable import storable_json, storable_text

_DEPTH_MAX: Final = 20  # of what a provider nests in what it says beside its text
PIECE_CHARS_MAX: Final = 32 * 1024  # escaped as JSON at most 192 KiB; an event holds 256 KiB


class Cleaner:
    """Cleans the pieces of one answer. A surrogate pair that was cut between two pieces of one block is joined again:
    servers that cut their text by UTF-16 units do that, and half of an emoji is nobody's meaning."""

    __slots__ = ("_where", "high")

    def __init__(self) -> None:
        self.high = ""  # the first half of a pair; while there is one, the next piece must come through here too
        self._where: object = None  # the block it came from

    def clean(self, where: object, text: str) -> str:
        """``text`` as it may be stored; ``where`` names its block."""
        if self.high:
            if where == self._where:
                text = self.high + text
            self.high = ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            self.high, self._where, text = text[-1], where, text[:-1]
        return storable_text(text)


def pieces(text: str) -> Iterator[str]:
    """``text`` in pieces of at most ``PIECE_CHARS_MAX``; none if it is empty."""
    for start in range(0, len(text), PIECE_CHARS_MAX):
        yield text[start : start + PIECE_CHARS_MAX]


def bounded_json(value: Any) -> Any:
    """Decoded JSON as it may be stored; what is nested deeper than ``_DEPTH_MAX`` becomes null."""
    return storable_json(value, depth_max=_DEPTH_MAX)
