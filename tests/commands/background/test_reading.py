"""What can be read out of a task model's answer: the spellings that small models use, and answers that are no use."""

import pytest
from hypothesis import given, strategies

from commands.background.reading import first_line, read_follow_ups, read_tags, read_title


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ('{"title": "Owls at night"}', "Owls at night"),
        ('Sure! Here it is:\n```json\n{"title": "Owls at night"}\n```\nHope it helps {really}.', "Owls at night"),
        ("{'title': 'Owls at night'}", "Owls at night"),
        ("{“title”: “Owls at night”}", "Owls at night"),
        ('{"title": "Owls at night",}', "Owls at night"),
        ('<think>{"title": "no"} hmm</think>{"title": "Owls at night"}', "Owls at night"),
        ('{"note": {"x": 1}, "title": "Owls\\n at night"}', "Owls at night"),
        ('{"name": "x"} and then {"title": "Owls at night"}', "Owls at night"),
        ('"Owls at night"', "Owls at night"),
        ("**Title: Owls at night**", "Title: Owls at night"),
        ("Title: Owls at night", "Owls at night"),
        ('{"title": ""}', None),
        ('{"title": 7}', None),
        ("", None),
        ("<think>I never stop", None),
        ("I would be happy to help.\nWhat is it about?", None),
        ("x" * 101, None),
        ("{", None),
        ('{"title": "broken', None),
    ],
)
def test_a_title_is_read(answer: str, title: str | None) -> None:
    assert read_title(answer) == title


@pytest.mark.parametrize(
    ("answer", "tags"),
    [
        ('{"tags": ["Birds", "Night", "Birds"]}', ["Birds", "Night"]),
        ("Tags: ['Birds', 'Night']", ["Birds", "Night"]),
        ('{"tags": "Birds, Night"}', ["Birds", "Night"]),
        ('{"tags": [1, null, " Birds ", "none", "' + "x" * 60 + '"]}', ["Birds"]),
        ('{"tags": []}', []),
        ("Birds", []),
    ],
)
def test_tags_are_read(answer: str, tags: list[str]) -> None:
    assert list(read_tags(answer)) == tags


@pytest.mark.parametrize(
    ("answer", "questions"),
    [
        ('{"follow_ups": ["Why?", "When?"]}', ["Why?", "When?"]),
        ('["Why?", "When?"]', ["Why?", "When?"]),
        ("You could ask:\n1. Why?\n2) **When?**\n- Because.", ["Why?", "When?"]),
        ('{"follow_ups": ["a?", "b?", "c?", "d?", "e?", "f?"]}', ["a?", "b?", "c?", "d?", "e?"]),
        ("I don't know.", []),
    ],
)
def test_follow_ups_are_read(answer: str, questions: list[str]) -> None:
    assert list(read_follow_ups(answer)) == questions


@given(strategies.text(alphabet="{}[]\"'`:,\\ntilegsfow_u-1.?“”<hk/>") | strategies.text())
def test_nothing_that_a_model_says_is_an_error(answer: str) -> None:
    title, tags, questions = read_title(answer), read_tags(answer), read_follow_ups(answer)
    assert title is None or 0 < len(title) <= 100
    assert all(isinstance(one, str) and one for one in (*tags, *questions))


def test_a_hostile_answer_is_read_in_no_time() -> None:
    for answer in ("{" * 20_000, "[" * 20_000 + "]" * 20_000, '{"a":' * 5_000, "{}" * 10_000, "- " * 10_000):
        assert read_title(answer) is None
        assert list(read_follow_ups(answer)) == []


def test_a_question_gives_a_title_of_one_line() -> None:
    assert first_line("Why  do\nowls see?") == "Why do owls see?"
    assert first_line("word " * 50) == "word " * 18 + "word…"
    assert first_line("x" * 200) == "x" * 99 + "…"
