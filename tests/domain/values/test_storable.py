"""Text as the log can hold it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.values.storable import is_storable, storable_json, storable_text

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # with surrogates and U+0000


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("a\0b", "ab"),
        ("\ud83d", ""),
        ("half \ude00 of it", "half  of it"),
        ("\ud83d\ude00", "😀"),
        ("\ud83d\ud83d\ude00\ude00", "😀"),
        ("ünï 😀", "ünï 😀"),
    ],
)
def test_pairs_are_joined_and_halves_dropped(text: str, stored: str) -> None:
    assert storable_text(text) == stored


@given(ANY_TEXT)
def test_what_is_left_can_be_stored_and_stays(text: str) -> None:
    stored = storable_text(text)
    assert is_storable(stored)
    assert storable_text(stored) == stored


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")))
def test_a_text_that_can_be_stored_is_not_changed(text: str) -> None:
    assert storable_text(text) == text


@given(st.recursive(ANY_TEXT | st.floats() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner), max_leaves=10))
def test_any_json_can_be_stored_then(value: Any) -> None:
    stored = storable_json(value)
    assert is_storable(stored)
    msgspec.json.encode(stored)


def test_what_is_nested_too_deep_is_null() -> None:
    assert storable_json({"a": [[1]], "b": 2}, depth_max=2) == {"a": [None], "b": 2}
    assert storable_json([float("inf"), float("nan"), 1.5]) == [None, None, 1.5]
