"""What a person types in a room: lines for the room, or answers to what functions ask. No part of an answer becomes a line for the room."""

import asyncio
import os
import select
from collections.abc import Callable
from typing import Final

from api.cli.channels.line_editor import EndOfInput, LineEditor
from api.cli.chat.questions import Questions

KEYS_BYTES: Final = 4096
PENDING_READS_MAX: Final = 16


class RoomQuestions(Questions):
    """What functions ask the person in the room: the next line that they type is the answer, Ctrl-D leaves it to another client.

    ``read_pending`` handles the keys that were pressed and not read yet: they are no answer to a question that begins.
    """

    def __init__(self, editor: LineEditor, read_pending: Callable[[], None]) -> None:
        super().__init__()
        self._editor = editor
        self._read_pending = read_pending
        self._is_asking = False
        self._typed: asyncio.Future[str | None] | None = None  # of the last prompt of the question

    def say(self, line: str) -> None:
        self._editor.above(line)

    def begin(self) -> None:
        self._read_pending()
        self._is_asking = True
        self._editor.begin_question()

    def end(self) -> None:
        has_enter = self._typed is not None and self._typed.done() and not self._typed.cancelled()
        self._is_asking, self._typed = False, None
        self._editor.end_question(discard=not has_enter)

    async def line(self, prompt: str, *, hidden: bool = False) -> str | None:
        self._typed = asyncio.get_running_loop().create_future()
        self._editor.prompt_question(prompt, hidden=hidden)
        return await self._typed

    def take(self, line: str | None) -> bool:
        """Whether the line, or the end of the input, was typed for a question. A line between two prompts of one question is discarded."""
        if not self._is_asking:
            return False
        if self._typed is not None and not self._typed.done():
            self._typed.set_result(line)
        return True


class Keyboard:
    """``descriptor`` is a terminal in cbreak mode. ``lines`` are for the room; None is the end of the input."""

    def __init__(self, editor: LineEditor, descriptor: int) -> None:
        self.lines: asyncio.Queue[str | None] = asyncio.Queue()
        self.questions = RoomQuestions(editor, self.read_pending)
        self._editor = editor
        self._descriptor = descriptor

    def read(self) -> None:
        """Read keys that are there."""
        data = os.read(self._descriptor, KEYS_BYTES)
        try:
            lines = self._editor.feed(data) if data else None
        except EndOfInput:
            lines = None
        for line in [None] if lines is None else lines:
            if self.questions.take(line):
                return  # the rest of a paste was meant for the question: it is not said to everybody
            self.lines.put_nowait(line)

    def read_pending(self) -> None:
        """Read all keys that were pressed until now."""
        for _ in range(PENDING_READS_MAX):
            if not select.select([self._descriptor], [], [], 0)[0]:
                return
            self.read()
