"""What the server asks the person during an answer, on the terminal."""

import asyncio
import contextlib
import os
import sys
import termios
from collections.abc import Iterator, Sequence
from typing import Any, Final, TextIO

import rich_click as click

from api.cli.chat.answer_text import StyledPiece
from api.cli.safe_text import safe, safe_line
from api.cli.terminal import Terminal
from stenograph_client import UNANSWERED, Call

LINE_BYTES_MAX: Final = 64 * 1024
YES: Final = frozenset({"y", "yes"})
NO: Final = frozenset({"n", "no", ""})


class TerminalQuestions:
    """Asks one question after the other, and holds back what is said meanwhile: it would run into what the person types.

    What a terminal cannot ask, or is no terminal, is left to the person's other clients.
    """

    def __init__(self, screen: Terminal, stdin: TextIO | None = None) -> None:
        self._screen = screen
        self._stdin = stdin or sys.stdin
        self._asking = asyncio.Lock()
        self._held: list[StyledPiece] = []

    def show(self, piece: StyledPiece) -> None:
        """Write a piece of the answer, once no question stands there."""
        if self._asking.locked():
            self._held.append(piece)
        else:
            self._screen.show(piece)

    async def ask(self, call: Call) -> Any:
        """The answer, for ``Client.answer(on_call=…)``."""
        try:
            return await self._ask(call)
        finally:
            if not self._asking.locked():
                for piece in self._held:
                    self._screen.show(piece)
                self._held.clear()

    async def _ask(self, call: Call) -> Any:
        async with self._asking:
            if call.kind not in ("confirmation", "input") or self._screen.quiet or not self._stdin.isatty():
                self._screen.show(StyledPiece("note", f"\n[{safe_line(call.kind)} is asked: answer it in another client]\n"))
                return UNANSWERED
            question = call.data if isinstance(call.data, dict) else {}
            self._screen.end_line()
            for line in heading(question):
                click.echo(line)
            try:
                return await (self._confirm() if call.kind == "confirmation" else self._input(question))
            except asyncio.CancelledError:
                click.secho("\n[the question is over: it was answered elsewhere, or what asked was stopped]", dim=True)
                raise

    async def _confirm(self) -> Any:
        while True:
            typed = await self._line("  [y/N] ")
            if typed is None:
                return UNANSWERED
            if typed.strip().lower() in YES | NO:
                return typed.strip().lower() in YES
            click.echo("  Type y or n.")

    async def _input(self, question: dict[str, Any]) -> Any:
        options = options_of(question.get("options"))
        for number, (label, _) in enumerate(options, 1):
            click.echo(f"  {number}. {safe_line(label)}")
        hint = safe_line(str(question.get("placeholder") or ""))
        prompt = f"  ({hint}) > " if hint else "  > "
        while True:
            typed = await self._line(prompt, hidden=question.get("type") == "password")
            if typed is None:
                return UNANSWERED
            if not options:
                return typed or str(question.get("value") or "")
            if typed.strip().isdecimal() and 1 <= int(typed) <= len(options):
                return options[int(typed) - 1][1]
            click.echo(f"  Type a number from 1 to {len(options)}.")

    async def _line(self, prompt: str, *, hidden: bool = False) -> str | None:
        """One line as it is typed; None at the end of the input. What was typed before the question is no answer to it."""
        descriptor = self._stdin.fileno()
        with without_echo(descriptor) if hidden else contextlib.nullcontext():
            termios.tcflush(descriptor, termios.TCIFLUSH)
            click.echo(prompt, nl=False)
            typed = await read_line(descriptor)
        if hidden or typed is None:
            click.echo()
        return typed


def heading(question: dict[str, Any]) -> Iterator[str]:
    """The lines above the prompt, safe for a terminal."""
    title, message = (str(question.get(key) or "") for key in ("title", "message"))
    yield click.style(f"? {safe_line(title or message or 'The server asks')}", bold=True)
    if title and message:
        for line in safe(message).splitlines():
            yield f"  {line}"


def options_of(given: Any) -> Sequence[tuple[str, Any]]:
    """The label and the value of each choice."""
    if not isinstance(given, list):
        return []
    made: list[tuple[str, Any]] = []
    for one in given:
        value = one.get("value", one.get("label")) if isinstance(one, dict) else one
        made.append((str(one.get("label", value)) if isinstance(one, dict) else str(one), value))
    return made


async def read_line(descriptor: int) -> str | None:
    """The next line of a terminal, without blocking the loop. Safe to cancel."""
    loop = asyncio.get_running_loop()
    typed = b""
    while not typed.endswith(b"\n"):
        readable = asyncio.Event()
        loop.add_reader(descriptor, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(descriptor)
        piece = os.read(descriptor, 4096)
        if not piece:
            return typed.decode("utf-8", "replace") if typed else None
        typed = (typed + piece)[:LINE_BYTES_MAX]
    return typed.decode("utf-8", "replace").rstrip("\r\n")


@contextlib.contextmanager
def without_echo(descriptor: int) -> Iterator[None]:
    before = termios.tcgetattr(descriptor)
    hidden = [*before]
    hidden[3] &= ~termios.ECHO
    termios.tcsetattr(descriptor, termios.TCSADRAIN, hidden)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
