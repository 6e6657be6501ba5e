"""Lines of a provider that the page has cut wherever the network had cut them."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.dialects.open_webui.line_assembler import CHARACTERS_MAX, PIECES_MAX, LineAssembler
from domain.errors import TooLarge

WHOLE = 'data: {"text": "see data: it"}'


def assembled(*pieces: str) -> list[str]:
    lines = LineAssembler()
    return [line for piece in pieces if (line := lines.add(piece)) is not None]


# Without what could make a piece from the middle of a text a whole line by itself: that no reader could tell apart.
characters = st.characters(exclude_characters="}]", exclude_categories=("Cs",))
texts = st.lists(characters | st.sampled_from(["data:", "data: {", "d", '"', "{", "\\"])).map("".join)
lines_said = st.builds(lambda text: "data: " + json.dumps({"text": text}, ensure_ascii=False), texts)
others = st.sampled_from([": a comment", "event: x", "id: 7", "retry: 10", "data: [DONE]", "data:[DONE]", 'data:{"a":1}\r', '{"a":1}'])


@given(st.lists(lines_said | others, max_size=6), st.data())
def test_lines_are_the_same_however_they_were_cut(said: list[str], data: st.DataObject) -> None:
    pieces: list[str] = []
    for line in said:
        cuts: set[int] = set()
        if line.startswith("data:"):
            cuts = data.draw(st.sets(st.integers(1, len(line) - 1), max_size=10))
        made = [line[a:b] for a, b in pairwise([0, *sorted(cuts), len(line)])]
        # The page leaves out blank pieces, so a cut makes none here.
        pieces += made if all(piece.strip() for piece in made) else [line]
    assert assembled(*pieces) == said


@pytest.mark.parametrize("cut", range(1, len(WHOLE)))
def test_a_line_may_be_cut_anywhere(cut: int) -> None:
    assert assembled(WHOLE[:cut], WHOLE[cut:], "data: [DONE]") == [WHOLE, "data: [DONE]"]


def test_a_line_may_come_in_single_characters() -> None:
    line = 'data: {"a":[{"b":"}"}]}'
    assert assembled(*line) == [line]


@pytest.mark.parametrize("begun", ["data:", "d", 'data: {"a":', "data: {broken}"])
def test_a_beginning_without_its_rest_is_dropped_at_the_next_whole_line(begun: str) -> None:
    assert assembled(begun, WHOLE, WHOLE) == [WHOLE, WHOLE]


def test_a_line_without_data_does_not_spoil_the_next_that_is_cut() -> None:
    assert assembled("data:", WHOLE[:12], WHOLE[12:]) == [WHOLE]


def test_a_whole_line_may_be_longer_than_one_in_pieces() -> None:
    line = 'data: {"a":"' + "x" * CHARACTERS_MAX + '"}'
    assert assembled(line, "data: {}") == [line, "data: {}"]


@pytest.mark.parametrize("piece", ["x", "}", "data:", "x" * (CHARACTERS_MAX // 8)])
def test_a_line_that_does_not_end_is_refused_and_forgotten(piece: str) -> None:
    lines = LineAssembler()
    lines.add('data: {"a":')
    with pytest.raises(TooLarge):
        for _ in range(PIECES_MAX):
            assert lines.add(piece) is None
    assert lines.add(WHOLE) == WHOLE


@given(st.lists(st.sampled_from(["data:", "d", "a", "data: {", "{", "}", "]", "[DONE]", '"', " ", "x", "\ud800", "data: {}"])))
def test_nothing_that_comes_is_kept_without_bound(pieces: list[str]) -> None:
    lines = LineAssembler()
    for piece in pieces:
        try:
            lines.add(piece)
        except TooLarge:
            assert lines.add("event: x") == "event: x", "it has begun anew"
