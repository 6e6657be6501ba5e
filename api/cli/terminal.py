"""Writing to a terminal or a pipe: pieces of an answer, and a quiet note that goes away again."""

import shutil
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import rich_click as click
from rich.cells import cell_len

from api.cli.chat.answer_text import Style, StyledPiece
from api.cli.safe_text import safe, safe_line
from stenograph_client import State

RECONNECTING: Final = " [reconnecting …]"
LOOKS: Final[Mapping[Style, Mapping[str, Any]]] = {
    "text": {"reset": False},
    "reasoning": {"dim": True, "italic": True},
    "tool": {"fg": "cyan"},
    "note": {"dim": True},
    "error": {"fg": "red"},
}


class LineWrapper:
    """Breaks lines between words, for text that comes in pieces. ``width`` is asked each time: a window may be resized."""

    def __init__(self, width: Callable[[], int] = lambda: shutil.get_terminal_size().columns) -> None:
        self.width = width
        self.column = 0  # how many cells of the line are taken

    def of(self, text: str) -> str:
        """``text`` as it is to be written. A word that does not fit any more begins the next line, if its piece begins with a space: the
        rest of a word stays with its beginning."""
        first = text[1:].split(maxsplit=1)[:1] if text.startswith(" ") else []
        if first and self.column + 1 + cell_len(first[0]) > self.width():
            text = "\n" + text[1:]
        self.note_written(text)
        return text

    def note_written(self, text: str) -> None:
        """``text`` was written as it is."""
        tail = text.rpartition("\n")[2]
        cells = cell_len(tail) + (0 if "\n" in text else self.column)
        width = max(1, self.width())
        self.column = (cells - 1) % width + 1 if cells else 0  # a full line is still the line: the terminal waits with its next


class Terminal:
    """``quiet`` (a pipe): the text alone goes to stdout, notes to stderr, reasoning nowhere."""

    def __init__(self, *, quiet: bool | None = None) -> None:
        self.quiet = not sys.stdout.isatty() if quiet is None else quiet
        self._wrap = LineWrapper()
        self._note = ""
        self._noted = False

    def show(self, piece: StyledPiece) -> None:
        self.clear_note()
        text = safe(piece.text)
        if self.quiet:
            if piece.style == "text":
                click.echo(text, nl=False)
            elif piece.style in ("error", "note") and text.strip():
                click.echo(text.strip(), err=True)
            return
        click.echo(click.style(self._wrap.of(text), **LOOKS[piece.style]), nl=False)

    def note(self, text: str) -> None:
        """A line of its own about what happens."""
        self.end_line()
        click.secho(text, dim=True, err=self.quiet)

    def end_line(self) -> None:
        """Whatever comes next begins a line."""
        self.clear_note()
        if self._wrap.column or self.quiet:
            click.echo()
        self._wrap.column = 0

    def connection(self, state: State) -> None:
        """For ``Client.on_state``: a note in the middle of the sentence, gone when the sentence goes on."""
        if state.connected:
            self.clear_note()
            self._noted = False
        elif not self._noted:
            self._noted = True
            if self.quiet:
                click.echo(f"[connection lost ({safe_line(str(state.reason))}); reconnecting …]", err=True)
            else:
                self._note = RECONNECTING
                click.echo(click.style(self._note, dim=True), nl=False)

    def clear_note(self) -> None:
        if not self._note:
            return
        if self._wrap.column + cell_len(self._note) < self._wrap.width():
            click.echo("\b" * cell_len(self._note) + "\x1b[K", nl=False)
        else:
            self._wrap.note_written(self._note)  # it ran over the line's edge, where it cannot be taken back: it stays
        self._note = ""
