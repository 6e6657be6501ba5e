"""Model output as it may be stored: without U+0000 and lone surrogates, in pieces that fit into an event."""

from collections.abc import Iterator
from typing import Final

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
        return storable(text)


def storable(text: str) -> str:
    """``text`` with surrogate pairs made whole, and without U+0000 and lone surrogates."""
    if "\0" in text:
        text = text.replace("\0", "")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    return text


def pieces(text: str) -> Iterator[str]:
    """``text`` in pieces of at most ``PIECE_CHARS_MAX``; none if it is empty."""
    for start in range(0, len(text), PIECE_CHARS_MAX):
        yield text[start : start + PIECE_CHARS_MAX]
