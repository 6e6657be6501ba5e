"""What the server asks on the terminal: a real one, of which the test has the other end."""

import asyncio
import contextlib
import os
import pty
import termios
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from api.cli.chat.answer_text import StyledPiece
from api.cli.chat.questions import TerminalQuestions
from api.cli.terminal import Terminal
from stenograph_client import UNANSWERED, Call
from tests.commands.world import until

pytestmark = pytest.mark.anyio


class Keyboard:
    def __init__(self, screen: int, terminal: Any) -> None:
        self.screen, self.terminal = screen, terminal

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.terminal.fileno())[3] & termios.ECHO)

    def type(self, text: str) -> None:
        os.write(self.screen, text.encode())


@pytest.fixture
async def keyboard() -> AsyncIterator[Keyboard]:
    master, slave = pty.openpty()
    with os.fdopen(slave, "r") as terminal:
        yield Keyboard(master, terminal)
    os.close(master)


def call(kind: str, **data: Any) -> Call:
    return Call("c", "m", kind, data)


async def asked(keyboard: Keyboard, question: Call, *typed: str, prompt: Callable[[], str]) -> Any:
    """The answer, where each line is typed once there is a prompt for it."""
    questions = TerminalQuestions(Terminal(quiet=False), keyboard.terminal)
    asking = asyncio.create_task(questions.ask(question))
    for number, line in enumerate(typed):
        await until(lambda number=number: prompt().count("> ") + prompt().count("[y/N] ") > number)
        keyboard.type(line)
    async with asyncio.timeout(60):
        return await asking


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Everything that was written so far."""
    text = ""

    def read() -> str:
        nonlocal text
        text += capsys.readouterr().out
        return text

    return read


@pytest.mark.parametrize(
    ("typed", "answer"),
    [(["y\n"], True), (["YES\n"], True), (["\n"], False), (["n\n"], False), (["perhaps\n", "y\n"], True), (["\x04"], UNANSWERED)],
    ids=str,
)
async def test_a_confirmation_is_yes_or_no(keyboard: Keyboard, written: Callable[[], str], typed: list[str], answer: Any) -> None:
    question = call("confirmation", title="Delete it?", message="All of\nit.")
    assert await asked(keyboard, question, *typed, prompt=written) is answer
    assert "? Delete it?\n  All of\n  it.\n  [y/N] " in written()


@pytest.mark.parametrize(
    ("question", "typed", "answer"),
    [
        ({"title": "Name?", "placeholder": "your name"}, ["Ünal 🦉\n"], "Ünal 🦉"),
        ({"title": "Name?", "value": "Ada"}, ["\n"], "Ada"),
        ({"title": "Name?"}, ["\n"], ""),
        ({"title": "Which?", "options": ["a", {"label": "b", "value": 2}]}, ["3\n", "x\n", "2\n"], 2),
    ],
    ids=str,
)
async def test_an_input_is_what_was_typed(
    keyboard: Keyboard, written: Callable[[], str], question: dict[str, Any], typed: list[str], answer: Any
) -> None:
    assert await asked(keyboard, call("input", **question), *typed, prompt=written) == answer


async def test_a_password_is_not_shown_while_it_is_typed_and_the_terminal_shows_again_what_comes_after(
    keyboard: Keyboard, written: Callable[[], str]
) -> None:
    asking = asyncio.create_task(asked(keyboard, call("input", title="Password?", type="password"), prompt=written))
    await until(lambda: "> " in written())
    assert not keyboard.echoes
    keyboard.type("secret\n")
    assert await asking == "secret"
    assert keyboard.echoes


async def test_what_was_typed_before_the_question_is_no_answer_to_it(keyboard: Keyboard, written: Callable[[], str]) -> None:
    keyboard.type("y\n")
    assert await asked(keyboard, call("confirmation", title="Sure?"), "n\n", prompt=written) is False


async def test_the_words_of_others_steer_no_terminal(keyboard: Keyboard, written: Callable[[], str]) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\u202eevil"
    question = call("input", title=evil, message=evil, placeholder=evil, options=[evil])
    assert await asked(keyboard, question, "1\n", prompt=written) == evil
    said = written().replace("\x1b[1m", "").replace("\x1b[0m", "")  # the title is bold
    assert not any(one in said for one in ("\x1b", "\x07", "\u202e"))


async def test_what_is_said_while_a_question_stands_there_comes_after_it(keyboard: Keyboard, written: Callable[[], str]) -> None:
    questions = TerminalQuestions(Terminal(quiet=False), keyboard.terminal)
    questions.show(StyledPiece("text", "before "))
    asking = asyncio.create_task(questions.ask(call("confirmation", title="Sure?")))
    await until(lambda: "[y/N] " in written())
    questions.show(StyledPiece("text", "meanwhile"))
    assert "meanwhile" not in written()
    keyboard.type("y\n")
    assert await asking is True
    assert written().endswith("meanwhile")


async def half_a_password(keyboard: Keyboard, written: Callable[[], str]) -> TerminalQuestions:
    """Its question is over."""
    questions = TerminalQuestions(Terminal(quiet=False), keyboard.terminal)
    asking = asyncio.create_task(questions.ask(call("input", title="Password?", type="password")))
    await until(lambda: "> " in written())
    keyboard.type("correct ho")
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    return questions


async def test_the_rest_of_a_password_whose_question_is_over_is_hidden_and_goes_nowhere(
    keyboard: Keyboard, written: Callable[[], str]
) -> None:
    questions = await half_a_password(keyboard, written)
    assert "Enter goes on" in written()
    discarding = asyncio.create_task(questions.discard_unfinished())
    await asyncio.sleep(0)
    assert not keyboard.echoes and not discarding.done()
    keyboard.type("rse\n")
    await discarding
    assert keyboard.echoes
    keyboard.type("Hello\n")
    assert keyboard.terminal.readline() == "Hello\n"


async def test_it_is_no_answer_to_the_next_question(keyboard: Keyboard, written: Callable[[], str]) -> None:
    questions = await half_a_password(keyboard, written)
    asking = asyncio.create_task(questions.ask(call("input", title="Name?")))
    await until(lambda: "Name?" in written())
    keyboard.type("rse\n")
    await until(lambda: written().count("> ") == 2)
    keyboard.type("Ada\n")
    assert await asking == "Ada"


async def test_who_leaves_has_the_terminal_as_it_was(keyboard: Keyboard, written: Callable[[], str]) -> None:
    with contextlib.closing(await half_a_password(keyboard, written)):
        assert not keyboard.echoes
    assert keyboard.echoes


async def test_a_question_that_hides_nothing_leaves_the_terminal_as_it_was(keyboard: Keyboard, written: Callable[[], str]) -> None:
    asking = asyncio.create_task(asked(keyboard, call("confirmation", title="Sure?"), prompt=written))
    await until(lambda: "[y/N] " in written())
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    assert keyboard.echoes


@pytest.mark.parametrize(("kind", "quiet"), [("execute", False), ("request:user_input", False), ("confirmation", True)])
async def test_what_a_terminal_cannot_ask_is_left_to_other_clients(
    keyboard: Keyboard, capsys: pytest.CaptureFixture[str], kind: str, quiet: bool
) -> None:
    questions = TerminalQuestions(Terminal(quiet=quiet), keyboard.terminal)
    assert await questions.ask(call(kind, title="x")) is UNANSWERED
    both = capsys.readouterr()
    assert f"{kind} is asked" in both.out + both.err
