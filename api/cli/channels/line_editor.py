"""The line that a person types at the bottom of the terminal while others write above it."""

import codecs
import shutil
from collections.abc import Callable
from typing import Final

from rich.cells import cell_len

CLEAR: Final = "\r\x1b[K"
LINE_CHARACTERS_MAX: Final = 100_000
DISCARDED: Final = "[what you type is discarded up to the next Enter: it may be the rest of an answer]"
DISCARDING: Final = "[Enter goes on] "
INTERRUPTED: Final = "  [you were typing when this was asked: Enter once more sends what stands here as your answer]"


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
        self._question: str | None = None  # stands in place of the prompt
        self._hidden = False
        self._set_aside = ""  # what was typed when the question came
        self._interrupted = False  # the question came while something was typed: the next Enter may be meant for that
        self._discarding = False  # a question ended before its Enter: the rest of the answer is still being typed

    def show(self) -> None:
        """Draw the line anew: its end, where it is longer than the terminal is wide."""
        prompt = f"{self.status}> " if self._question is None else self._question
        if self._discarding:
            prompt = DISCARDING
        shown = "" if self._hidden or self._discarding else self._text
        room = max(1, self._width() - cell_len(prompt) - 1)
        while cell_len(shown) > room:
            shown = shown[1:]
        self._write(f"{CLEAR}{prompt}{shown}")

    def above(self, text: str) -> None:
        """Write lines above the one that is typed."""
        self._write(f"{CLEAR}{text}\n")
        self.show()

    def begin_question(self) -> None:
        """From here to ``end_question`` lines are answers. What is typed already is set aside."""
        self._set_aside, self._text = self._text, ""
        self._interrupted = bool(self._set_aside) and not self._discarding
        self._question, self._hidden = "", False

    def prompt_question(self, prompt: str, *, hidden: bool) -> None:
        """The next line is an answer, to be typed on an empty line. ``hidden``: it is not shown."""
        self._text = ""
        self._question, self._hidden = prompt, hidden
        self.show()

    def end_question(self, *, discard: bool) -> None:
        """What was typed before the question stands there again.

        ``discard``: the question ended before its Enter. What is typed up to the next Enter or Ctrl-D is the rest of an answer, perhaps
        of a password: it becomes no line, and is no answer to another question that begins meanwhile.
        """
        self._text, self._set_aside = self._set_aside, ""
        self._question, self._hidden, self._interrupted = None, False, False
        if discard:
            self._discarding = True
            self.above(DISCARDED)
        else:
            self.show()

    def hide(self) -> None:
        self._write(CLEAR)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is typed that the room is going to hear."""
        return not self._text or self._question is not None or self._discarding

    def feed(self, data: bytes) -> list[str]:
        """What the keyboard sent. Returns the lines that were finished by Enter. Raises ``EndOfInput``.

        An answer keeps the blanks around it, which may be part of a password; another line does not.
        """
        lines = []
        for character in self._decoder.decode(data):
            if self._in_escape(character):
                continue
            if self._discarding:
                if character in "\r\n\x04":
                    self._discarding = False
                    break  # the rest of a paste was typed for the question, too
            elif character in "\r\n":
                if self._interrupted:
                    self._interrupted = False
                    self.above(INTERRUPTED)
                    break
                lines.append(self._text if self._question is not None else self._text.strip())
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
