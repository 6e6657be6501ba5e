"""What is typed while functions ask: which keys are an answer, which are a line for the room. A pipe is the keyboard."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.cli.channels.keyboard import Keyboard
from api.cli.channels.line_editor import DISCARDING, LineEditor
from stenograph_client import Call

pytestmark = pytest.mark.anyio
SURE = Call("c", "m", "confirmation", {"title": "Sure?"})
PASSWORD = Call("c", "m", "input", {"title": "Password?", "type": "password"})


class Desk:
    """A person in front of a room. ``hits`` are keys that the room has not read yet."""

    def __init__(self, descriptor: int, keys: int) -> None:
        self.written = ""
        self.keyboard = Keyboard(LineEditor(self._write, lambda: 200), descriptor)
        self._keys = keys

    def _write(self, text: str) -> None:
        self.written += text

    def hits(self, keys: bytes) -> None:
        os.write(self._keys, keys)

    def types(self, keys: bytes) -> None:
        self.hits(keys)
        self.keyboard.read()

    async def asked(self, call: Call) -> "asyncio.Task[Any]":
        """The question stands there: a turn of the loop draws it."""
        before = self.written.count("? ")
        task = asyncio.create_task(self.keyboard.questions.ask(call))
        await asyncio.sleep(0)
        assert self.written.count("? ") == before + 1
        return task

    async def ends(self, task: "asyncio.Task[Any]") -> None:
        """The call expires, or another client answers it."""
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    @property
    def lines(self) -> list[str | None]:
        """What the room has heard."""
        found = []
        while not self.keyboard.lines.empty():
            found.append(self.keyboard.lines.get_nowait())
        return found


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    read, write = os.pipe()
    yield Desk(read, write)
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("typed", [b"", b"correct ho"])
async def test_the_rest_of_a_password_whose_question_is_over_is_not_said(desk: Desk, typed: bytes) -> None:
    asking = await desk.asked(PASSWORD)
    if typed:
        desk.types(typed)
    await desk.ends(asking)
    desk.types(b"rse battery\r")
    assert desk.lines == []
    assert "battery" not in desk.written
    desk.types(b"hello\r")
    assert desk.lines == ["hello"]


async def test_the_rest_of_a_password_is_no_answer_to_the_next_question(desk: Desk) -> None:
    asking = await desk.asked(PASSWORD)
    desk.types(b"correct ho")
    await desk.ends(asking)
    asking = await desk.asked(Call("d", "m", "input", {"title": "Name?"}))
    assert desk.written.endswith(DISCARDING)
    desk.types(b"rse battery\r")
    desk.types(b"Ada\r")
    assert await asking == "Ada"
    assert desk.lines == []


async def test_a_line_between_an_answer_and_the_next_prompt_is_not_said(desk: Desk) -> None:
    asking = await desk.asked(SURE)
    desk.types(b"x\r")
    desk.types(b"y\r")  # the loop has not turned
    await asyncio.sleep(0)
    desk.types(b"n\r")
    assert await asking is False
    assert desk.lines == []


async def test_an_enter_before_the_question_is_no_answer(desk: Desk) -> None:
    desk.types(b"half a ")
    desk.hits(b"message\rand half")
    asking = await desk.asked(SURE)
    assert desk.lines == ["half a message"]
    desk.types(b"\r")
    await asyncio.sleep(0)
    assert not asking.done()
    desk.types(b"y\r")
    assert await asking is True
    desk.types(b" another\r")
    assert desk.lines == ["and half another"]


async def test_a_password_keeps_its_blanks(desk: Desk) -> None:
    asking = await desk.asked(PASSWORD)
    desk.types(b" open sesame \r")
    assert await asking == " open sesame "


async def test_a_question_that_is_left_to_others_discards_nothing(desk: Desk) -> None:
    asking = await desk.asked(SURE)
    desk.types(b"\x04")
    await asking
    desk.types(b"hello\r")
    assert desk.lines == ["hello"]
