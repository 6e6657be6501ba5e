"""Lines of server-sent events, put together again: the page cuts what it reads wherever the network has cut it."""

from typing import Final

import msgspec

from domain.errors import TooLarge

PREFIX: Final = "data:"
PIECES_MAX: Final = 64  # of one line
CHARACTERS_MAX: Final = 128 * 1024  # of a line that comes in pieces


class LineAssembler:
    """Of one answer. A line with a JSON object or ``[DONE]`` behind ``data:`` is put together; other lines are returned as they come.

    A piece costs no more than a join and a parse of ``CHARACTERS_MAX``, and that only where it ends as a line does.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._characters = 0

    def add(self, piece: str) -> str | None:
        """The line that ends with this piece; None: more of it must follow.

        Raises ``TooLarge`` where the line has too many pieces or characters. What there is of it is forgotten.
        """
        if self._pieces == [PREFIX] and piece.startswith(PREFIX):
            self._forget()  # it was a line without data: no object begins so
        if not self._pieces and not (piece.startswith(PREFIX) or PREFIX.startswith(piece)):
            return piece
        line = self._line_of(piece)
        if line is not None:
            self._forget()
            return line
        self._pieces.append(piece)
        self._characters += len(piece)
        if len(self._pieces) > PIECES_MAX or self._characters > CHARACTERS_MAX:
            characters = self._characters
            self._forget()
            raise TooLarge(f"a line of your provider in at most {PIECES_MAX} pieces", characters, CHARACTERS_MAX)
        return None

    def _line_of(self, piece: str) -> str | None:
        """With what has begun, or by itself: then the rest of what has begun was lost."""
        if not piece.rstrip().endswith(("}", "]")):
            return None
        if self._pieces and self._characters + len(piece) <= CHARACTERS_MAX:
            line = "".join((*self._pieces, piece))
            if is_whole(line):
                return line
        return piece if is_whole(piece) else None

    def _forget(self) -> None:
        self._pieces.clear()
        self._characters = 0


def is_whole(line: str) -> bool:
    """Whether the line is ``data:`` with all of a JSON object or with ``[DONE]``."""
    if not line.startswith(PREFIX):
        return False
    said = line.removeprefix(PREFIX).strip()
    if not (said.startswith("{") and said.endswith("}")):
        return said == "[DONE]"
    try:
        msgspec.json.decode(said)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
    return True
