"""Model output as it may be stored: without U+0000 and lone surrogates, in pieces that fit into an event."""

from collections.abc import Iterator
from math import isfinite
from typing import Any, Final

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


def storable_json(value: Any, depth: int = 0) -> Any:
    """Decoded JSON as it may be stored; what is nested deeper than ``_DEPTH_MAX`` becomes null."""
    match value:
        case str():
            return storable(value)
        case dict() | list() if depth == _DEPTH_MAX:
            return None
        case dict():
            return {storable(key): storable_json(inner, depth + 1) for key, inner in value.items()}
        case list():
            return [storable_json(inner, depth + 1) for inner in value]
        case float() if not isfinite(value):
            return None  # JSON has no such number
        case _:
            return value
