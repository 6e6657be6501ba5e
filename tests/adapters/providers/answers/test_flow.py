"""What is new in a piece that may repeat all before it."""

from itertools import accumulate

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from adapters.providers.answers.flow import CHAIN_CHARS_MIN, Flow


def said(*given_pieces: str) -> str:
    flow = Flow()
    return "".join(piece for text in given_pieces for piece in flow.new(text)) + "".join(flow.flush())


@given(st.lists(st.text(min_size=1, max_size=9), min_size=3, max_size=12))
def test_pieces_that_each_hold_all_before_them_are_said_once(pieces: list[str]) -> None:
    cumulative = list(accumulate(pieces))
    assume(len(cumulative[-1]) >= CHAIN_CHARS_MIN)
    assert said(*cumulative) == "".join(pieces)


@given(st.lists(st.text(min_size=1, max_size=9), max_size=12))
def test_pieces_that_are_new_are_said_as_they_come(pieces: list[str]) -> None:
    assume(len(pieces) < 3 or not (pieces[1].startswith(pieces[0]) and pieces[2].startswith(pieces[1])))
    assert said(*pieces) == "".join(pieces)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (("ha", "haha", "!"), "hahaha!"),  # new text that begins like the text before it
        (("ha", "haha"), "hahaha"),
        (("1", "10", " items"), "110 items"),
        (("The", "The answer", "The answer is 42."), "The answer is 42."),
        (("The", "The answer", "The answer is 42.", "The answer is 42."), "The answer is 42."),
        (("The answer is", "The answer is 42."), "The answer isThe answer is 42."),  # too short to tell
        (("The answer to it is", "The answer to it is 42."), "The answer to it is 42."),
        (("=", "=", "=", "="), "===="),
    ],
)
def test_both_kinds_are_told_apart(pieces: tuple[str, ...], expected: str) -> None:
    assert said(*pieces) == expected


@pytest.mark.parametrize(
    ("pieces", "whole", "expected"),
    [
        (("The", " answer"), "The answer is 42.", "The answer is 42."),
        (("The", " answer"), "The answer", "The answer"),
        (("The", "The answer"), "The answer is 42.", "The answer is 42."),
        (("ha", "haha"), "hahaha!", "hahaha!"),
        ((" The", " answer"), "The answer.", " The answer."),
        (("The answer \n",), "The answer", "The answer \n"),
        ((), "The answer", "The answer"),
    ],
)
def test_a_whole_text_adds_what_its_pieces_left_out(pieces: tuple[str, ...], whole: str, expected: str) -> None:
    flow = Flow()
    told = [piece for text in pieces for piece in flow.new(text)]
    rest = flow.rest(whole)
    assert rest is not None
    assert "".join([*told, *rest]) == expected


def test_a_whole_text_that_is_another_one_says_so() -> None:
    flow = Flow()
    flow.new("One")
    flow.new(" thing")
    assert flow.rest("Another thing") is None
