"""The line that a person types at the bottom of the terminal while others write above it."""

import codecs
import shutil
from collections.abc import Callable
from typing import Final

from rich.cells import cell_len

CLEAR: Final = "\r\x1b[K"
LINE_CHARACTERS_MAX: Final = 100_000


class EndOfInput(Exception):
    """Ctrl-D on an empty line."""


class LineEditor:
    """``write`` puts text onto the terminal, which is in cbreak mode without echo; ``width`` is asked each time."""

    def __init__(self, write: Callable[[str], None], width: Callable[[], int] = lambda: shutil.get_terminal_size().columns) -> None:
        self._write = write
        self._width = width
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._escape = ""  # of a sequence that a key sends, as far as it has come
        self.status = ""  # stands before the prompt

    def show(self) -> None:
        """Draw the line anew: its end, where it is longer than the terminal is wide."""
        prompt = f"{self.status}> "
        shown, room = self._text, max(1, self._width() - cell_len(prompt) - 1)
        while cell_len(shown) > room:
            shown = shown[1:]
        self._write(f"{CLEAR}{prompt}{shown}")

    def above(self, text: str) -> None:
        """Write lines above the one that is typed."""
        self._write(f"{CLEAR}{text}\n")
        self.show()

    def hide(self) -> None:
        self._write(CLEAR)

    @property
    def is_empty(self) -> bool:
        return not self._text

    def feed(self, data: bytes) -> list[str]:
        """What the keyboard sent. Returns the lines that were finished by Enter. Raises ``EndOfInput``."""
        lines = []
        for character in self._decoder.decode(data):
            if self._in_escape(character):
                continue
            if character in "\r\n":
                lines.append(self._text.strip())
                self._text = ""
            elif character == "\x04":
                if not self._text:
                    raise EndOfInput
            else:
                self._text = self._edited(character)
        self.show()
        return lines

    def _edited(self, character: str) -> str:
        match character:
            case "\x7f" | "\b":
                return self._text[:-1]
            case "\x15":  # Ctrl-U
                return ""
            case "\x17":  # Ctrl-W
                return self._text.rstrip().rpartition(" ")[0]
            case _ if character.isprintable() and len(self._text) < LINE_CHARACTERS_MAX:
                return self._text + character
            case _:
                return self._text

    def _in_escape(self, character: str) -> bool:
        """Arrows and the like do nothing, and none of what they send is text."""
        if not self._escape:
            if character != "\x1b":
                return False
            self._escape = character
            return True
        self._escape += character
        is_introduced = len(self._escape) == 2 and character in "[O"
        if not is_introduced and (len(self._escape) == 2 or "@" <= character <= "~"):
            self._escape = ""
        return True
