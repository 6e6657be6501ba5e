"""What the server asks the person during an answer, on the terminal."""

import asyncio
import contextlib
import os
import sys
import termios
from abc import ABC, abstractmethod
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


class Questions(ABC):
    """Asks one question after the other. What it cannot ask is left to the person's other clients."""

    def __init__(self) -> None:
        self._asking = asyncio.Lock()

    def can_ask(self, kind: str) -> bool:
        return kind in ("confirmation", "input")

    @abstractmethod
    def say(self, line: str) -> None:
        """Write a line above where the answer is typed."""

    @abstractmethod
    async def line(self, prompt: str, *, hidden: bool = False) -> str | None:
        """One line as it is typed; None at the end of the input. What was typed before the question is no answer to it."""

    async def ask(self, call: Call) -> Any:
        """The answer, for ``on_call`` of the client package."""
        async with self._asking:
            if not self.can_ask(call.kind):
                self.leave_to_others(call.kind)
                return UNANSWERED
            question = call.data if isinstance(call.data, dict) else {}
            self.begin()
            try:
                for line in heading(question):
                    self.say(line)
                return await (self._confirm() if call.kind == "confirmation" else self._input(question))
            except asyncio.CancelledError:
                self.say(click.style("[the question is over: it was answered elsewhere, or what asked was stopped]", dim=True))
                raise
            finally:
                self.end()

    @abstractmethod
    def begin(self) -> None:
        """A question begins."""

    @abstractmethod
    def end(self) -> None:
        """The question is over: it has its answer, or was cancelled."""

    def leave_to_others(self, kind: str) -> None:
        self.say(click.style(f"[{safe_line(kind)} is asked: answer it in another client]", dim=True))

    async def _confirm(self) -> Any:
        while True:
            typed = await self.line("  [y/N] ")
            if typed is None:
                return UNANSWERED
            if typed.strip().lower() in YES | NO:
                return typed.strip().lower() in YES
            self.say("  Type y or n.")

    async def _input(self, question: dict[str, Any]) -> Any:
        options = options_of(question.get("options"))
        for number, (label, _) in enumerate(options, 1):
            self.say(f"  {number}. {safe_line(label)}")
        hint = safe_line(str(question.get("placeholder") or ""))
        prompt = f"  ({hint}) > " if hint else "  > "
        while True:
            typed = await self.line(prompt, hidden=question.get("type") == "password")
            if typed is None:
                return UNANSWERED
            if not options:
                return typed or str(question.get("value") or "")
            if typed.strip().isdecimal() and 1 <= int(typed) <= len(options):
                return options[int(typed) - 1][1]
            self.say(f"  Type a number from 1 to {len(options)}.")


class TerminalQuestions(Questions):
    """Asks while an answer is printed. It holds back the text that arrives meanwhile, which would run into what the person types.

    Without a terminal it asks nothing.
    """

    def __init__(self, screen: Terminal, stdin: TextIO | None = None) -> None:
        super().__init__()
        self._screen = screen
        self._stdin = stdin or sys.stdin
        self._held: list[StyledPiece] = []
        self._unfinished: contextlib.ExitStack | None = None  # keeps hidden what is still typed for a question that is over

    def show(self, piece: StyledPiece) -> None:
        """Write a piece of the answer, once no question stands there."""
        if self._asking.locked():
            self._held.append(piece)
        else:
            self._screen.show(piece)

    async def ask(self, call: Call) -> Any:
        try:
            return await super().ask(call)
        finally:
            if not self._asking.locked():
                for piece in self._held:
                    self._screen.show(piece)
                self._held.clear()

    def can_ask(self, kind: str) -> bool:
        return super().can_ask(kind) and not self._screen.quiet and self._stdin.isatty()

    def begin(self) -> None:
        self._screen.end_line()

    def end(self) -> None:
        if self._unfinished is not None:
            click.secho("[what you type for it goes nowhere: Enter goes on]", dim=True)

    def leave_to_others(self, kind: str) -> None:
        self._screen.show(StyledPiece("note", f"\n[{safe_line(kind)} is asked: answer it in another client]\n"))

    def say(self, line: str) -> None:
        click.echo(line)

    async def line(self, prompt: str, *, hidden: bool = False) -> str | None:
        await self.discard_unfinished()
        descriptor = self._stdin.fileno()
        with contextlib.ExitStack() as echo:
            if hidden:
                echo.enter_context(without_echo(descriptor))
            termios.tcflush(descriptor, termios.TCIFLUSH)
            click.echo(prompt, nl=False)
            try:
                typed = await read_line(descriptor)
            except asyncio.CancelledError:
                if hidden:
                    self._unfinished = echo.pop_all()
                raise
        if hidden or typed is None:
            click.echo()
        return typed

    async def discard_unfinished(self) -> None:
        """Wait for the Enter of a password whose question is over: the rest of it must become no answer and no message."""
        if self._unfinished is not None:
            await read_line(self._stdin.fileno())
            self.close()

    def close(self) -> None:
        """The terminal shows again what is typed, and forgets what was typed and not read."""
        if self._unfinished is not None:
            termios.tcflush(self._stdin.fileno(), termios.TCIFLUSH)
            self._unfinished.close()
            self._unfinished = None


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
