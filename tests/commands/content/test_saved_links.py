"""Where a saved message stands, when its copy says so in one direction only."""

from typing import Any

from hypothesis import given
from hypothesis.strategies import composite, dictionaries, integers, lists, none, sampled_from

from commands.saving.saved_chat import named_as_children

IDS = [str(number) for number in range(8)]
links = dictionaries(
    sampled_from(IDS), lists(sampled_from(IDS), max_size=4).map(lambda children: {"childrenIds": children}), min_size=1, max_size=8
)


@composite
def copies(draw: Any) -> dict[str, Any]:
    messages: dict[str, Any] = draw(links)
    for number, one in enumerate(messages):
        above = draw(none() | integers(0, number - 1)) if number else None
        messages[one]["parentId"] = list(messages)[above] if above is not None else None
    return messages


def message(parent: str | None, *children: Any) -> dict[str, Any]:
    return {"parentId": parent, "childrenIds": list(children)}


def test_a_child_that_names_no_parent_is_below_the_one_that_names_it() -> None:
    assert named_as_children({"q": message(None, "a"), "a": message(None)}) == {"a": "q"}


def test_a_parent_that_the_child_names_counts_more() -> None:
    assert named_as_children({"q": message(None, "a"), "r": message(None), "a": message("r")}) == {}


def test_of_two_that_name_it_the_first_counts() -> None:
    assert named_as_children({"q": message(None, "a"), "r": message(None, "a"), "a": message(None)}) == {"a": "q"}


def test_what_is_no_link_is_passed_over() -> None:
    assert named_as_children({"q": message(None, "nobody", 1, None), "r": {"childrenIds": "q"}, "s": "x"}) == {}


def test_a_long_chain_is_read_once() -> None:
    chain = {str(number): message(None, str(number + 1)) for number in range(50_000)}
    assert len(named_as_children(chain)) == 49_999


@given(copies())
def test_no_circle_is_made(messages: dict[str, Any]) -> None:
    named = named_as_children(messages)
    for start in messages:
        at: str | None = start
        for _ in range(len(messages)):
            at = messages[at]["parentId"] or named.get(at)
            if at is None:
                break
        assert at is None
