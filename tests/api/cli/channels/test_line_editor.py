"""The line that is typed while others write above it: what keys do, and what is drawn."""

import pytest

from api.cli.channels.line_editor import CLEAR, DISCARDED, DISCARDING, INTERRUPTED, EndOfInput, LineEditor


class Screen:
    def __init__(self, width: int = 20) -> None:
        self.written = ""
        self.editor = LineEditor(self.write, lambda: width)

    def write(self, text: str) -> None:
        self.written += text

    @property
    def line(self) -> str:
        """The line at the bottom, as it stands."""
        return self.written.rpartition(CLEAR)[2]


def test_enter_ends_a_line_and_a_paste_has_several() -> None:
    screen = Screen()
    assert screen.editor.feed(b"one") == []
    assert screen.line == "> one"
    assert screen.editor.feed(b"\n two \nthree") == ["one", "two"]
    assert screen.line == "> three"


def test_what_was_typed_is_taken_back() -> None:
    screen = Screen()
    screen.editor.feed(b"one two\x7f\x7f")
    assert screen.line == "> one t"
    screen.editor.feed(b"\x17")
    assert screen.line == "> one"
    screen.editor.feed(b"\x15")
    assert screen.line == "> "
    assert screen.editor.is_empty
    screen.editor.feed(b"\x7f")


def test_a_letter_of_several_bytes_may_come_in_pieces() -> None:
    screen = Screen()
    letter = "ü".encode()
    screen.editor.feed(letter[:1])
    screen.editor.feed(letter[1:])
    assert screen.editor.feed(b"\r") == ["ü"]


@pytest.mark.parametrize("keys", [b"\x1b[A", b"\x1b[1;5C", b"\x1bOP", b"\x1bx", b"\x00", b"\x1b[200~"])
def test_other_keys_leave_no_text(keys: bytes) -> None:
    screen = Screen()
    assert screen.editor.feed(b"a" + keys + b"b\n") == ["ab"]


def test_a_line_wider_than_the_terminal_shows_its_end() -> None:
    screen = Screen(width=10)
    screen.editor.feed(b"0123456789")
    assert screen.line == "> 3456789"
    assert screen.editor.feed(b"\n") == ["0123456789"]


def test_what_others_say_comes_above_and_the_line_stays() -> None:
    screen = Screen()
    screen.editor.feed(b"half a th")
    screen.editor.status = "(Bob types) "
    screen.editor.above("#1 hello")
    assert screen.written.endswith(f"{CLEAR}#1 hello\n{CLEAR}(Bob types) >  a th")


def test_ctrl_d_ends_an_empty_line_only() -> None:
    screen = Screen()
    screen.editor.feed(b"a\x04")
    screen.editor.feed(b"\x7f")
    with pytest.raises(EndOfInput):
        screen.editor.feed(b"\x04")


def test_a_question_takes_the_place_of_the_prompt_and_sets_aside_what_was_typed() -> None:
    screen = Screen(width=40)
    screen.editor.feed(b"half a mess")
    screen.editor.begin_question()
    screen.editor.prompt_question("  [y/N] ", hidden=False)
    assert screen.line == "  [y/N] "
    assert screen.editor.feed(b"y") == []
    assert (screen.line, screen.editor.is_empty) == ("  [y/N] y", True)
    assert screen.editor.feed(b"\n") == []
    assert (INTERRUPTED in screen.written, screen.line) == (True, "  [y/N] y")
    assert screen.editor.feed(b"\n") == ["y"]
    screen.editor.end_question(discard=False)
    assert (screen.line, screen.editor.is_empty) == ("> half a mess", False)


def test_a_hidden_answer_is_not_drawn_and_keeps_its_blanks() -> None:
    screen = Screen(width=40)
    screen.editor.begin_question()
    screen.editor.prompt_question("  > ", hidden=True)
    assert screen.editor.feed(b" secret \n") == [" secret "]
    screen.editor.end_question(discard=False)
    assert "s" not in screen.written


@pytest.mark.parametrize("end", [b"\n", b"\x04"])
def test_the_rest_of_an_answer_is_discarded_up_to_its_enter(end: bytes) -> None:
    screen = Screen(width=80)
    screen.editor.begin_question()
    screen.editor.prompt_question("  > ", hidden=True)
    screen.editor.feed(b"correct ho")
    screen.editor.end_question(discard=True)
    assert (DISCARDED in screen.written, screen.line) == (True, DISCARDING)
    assert screen.editor.feed(b"rse battery") == []
    assert (screen.line, screen.editor.is_empty) == (DISCARDING, True)
    assert screen.editor.feed(end + b"of the same paste\n") == []
    assert screen.line == "> "
    assert screen.editor.feed(b"hello\n") == ["hello"]
