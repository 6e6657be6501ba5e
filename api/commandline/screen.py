"""Writing to a terminal or a pipe: pieces of an answer, and a quiet note that goes away again."""

import shutil
import sys
from collections.abc import Mapping
from typing import Any, Final

import rich_click as click
from rich.cells import cell_len

from api.commandline.talk import Piece, Style
from client import State

RECONNECTING: Final = " [reconnecting …]"
LOOKS: Final[Mapping[Style, Mapping[str, Any]]] = {
    "text": {"reset": False},
    "reasoning": {"dim": True, "italic": True},
    "tool": {"fg": "cyan"},
    "note": {"dim": True},
    "error": {"fg": "red"},
}


class Screen:
    """``quiet`` (a pipe): the text alone goes to stdout, notes to stderr, reasoning nowhere."""

    def __init__(self, *, quiet: bool | None = None) -> None:
        self.quiet = not sys.stdout.isatty() if quiet is None else quiet
        self._column = 0
        self._note = ""
        self._noted = False

    def show(self, piece: Piece) -> None:
        self.clear_note()
        if self.quiet:
            if piece.style == "text":
                click.echo(piece.text, nl=False)
            elif piece.style in ("error", "note") and piece.text.strip():
                click.echo(piece.text.strip(), err=True)
            return
        text = self._wrapped(piece.text)
        click.echo(click.style(text, **LOOKS[piece.style]), nl=False)
        self._moved(text)

    def end_line(self) -> None:
        """Whatever comes next begins a line."""
        self.clear_note()
        if self._column or self.quiet:
            click.echo()
        self._column = 0

    def connection(self, state: State) -> None:
        """For ``Client.on_state``: a note in the middle of the sentence, gone when the sentence goes on."""
        if state.connected:
            self.clear_note()
            self._noted = False
        elif not self._noted:
            self._noted = True
            if self.quiet:
                click.echo(f"[connection lost ({state.reason}); reconnecting …]", err=True)
            else:
                self._note = RECONNECTING
                click.echo(click.style(self._note, dim=True), nl=False)

    def clear_note(self) -> None:
        if not self._note:
            return
        width = shutil.get_terminal_size().columns
        if self._column + cell_len(self._note) < width:
            click.echo("\b" * cell_len(self._note) + "\x1b[K", nl=False)
        else:
            self._moved(self._note)  # it ran over the line's edge, where it cannot be taken back: it stays
        self._note = ""

    def _wrapped(self, text: str) -> str:
        """A word that does not fit any more begins the next line. Only where a piece begins with a space: a word's rest stays with it."""
        width = shutil.get_terminal_size().columns
        first = text[1:].split(maxsplit=1)[:1] if text.startswith(" ") else []
        fits = not first or self._column + 1 + cell_len(first[0]) <= width
        return text if fits else "\n" + text[1:]

    def _moved(self, text: str) -> None:
        width = shutil.get_terminal_size().columns
        tail = text.rpartition("\n")[2]
        self._column = (cell_len(tail) if "\n" in text else self._column + cell_len(tail)) % max(1, width)
