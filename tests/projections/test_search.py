"""How what somebody looks for is read, and which piece of a text shows it."""

import pytest
from hypothesis import given, strategies

from domain.errors import BadSearch
from projections.search import (
    SNIPPET_CHARACTERS,
    TEXT_CHARACTERS_MAX,
    WORDS_MAX,
    Phrase,
    Search,
    Term,
    conditions,
    matches,
    parsed,
    query,
    snippet,
    terms,
)
from projections.words import words


def said(text: str) -> str:
    """The phrases in short."""
    phrases = parsed(text).phrases
    return "nothing" if phrases is None else " ".join("-".join(one.words) + "*" * one.is_prefix for one in phrases)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "nothing"),
        ("   ", "nothing"),
        ("pinned:true", "nothing"),
        ("cat", "cat*"),
        ("cat ", "cat"),
        ("The cat", "the cat*"),
        ('"the cat"', "the-cat"),
        ('"the cat', "the-cat*"),
        ('"the cat" on', "the-cat on*"),
        ("foo.bar", "foo-bar*"),
        ("don't stop ", "don-t stop"),
        ("cat pinned:true", "cat*"),
        ("tag:x cat", "cat*"),
        ("你好", "你-好*"),
        ("http://example.org", "http-example-org*"),
        ("note:this", "note-this*"),
        ('"pinned:true"', "pinned-true"),
        ("!?", ""),
        ('""', ""),
    ],
)
def test_words_are_looked_for_each_by_itself_and_what_is_written_together_as_a_phrase(text: str, expected: str) -> None:
    assert said(text) == expected


def test_tokens_say_which_chats_in_any_order() -> None:
    text = 'tag:work PINNED:true folder:"My Plans" tag:"To Do" archived:false cat shared:TRUE tag:none folder:x'
    assert parsed(text) == Search(
        phrases=(Phrase(("cat",), is_prefix=True),),
        tags=("work", "to_do"),
        is_untagged=True,
        folders=("My Plans", "x"),
        pinned=True,
        archived=False,
        shared=True,
    )
    assert parsed("pinned:true pinned:TRUE").pinned is True


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("pinned:maybe", "expected pinned:true or pinned:false, received pinned:maybe"),
        ("cat archived: x", "expected archived:true or archived:false, received archived:"),
        ("shared:true shared:false", "expected shared: once"),
        ("tag:", "expected tag:NAME"),
        ('folder:""', "expected folder:NAME"),
        ("x" * (TEXT_CHARACTERS_MAX + 1), f"at most {TEXT_CHARACTERS_MAX} characters, received {TEXT_CHARACTERS_MAX + 1}"),
        ("a " * (WORDS_MAX + 1), f"at most {WORDS_MAX} words, received {WORDS_MAX + 1}"),
    ],
)
def test_what_cannot_be_looked_for_is_refused_in_words(text: str, reason: str) -> None:
    with pytest.raises(BadSearch) as refused:
        parsed(text)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("cat ", True),
        ("CAT dog ", True),
        ("ca ", False),
        ("do", True),
        ("dogs ", False),
        ('"cat and dog"', True),
        ('"dog and cat"', False),
        ('"and do', True),
        ('"and do"', False),
        ("cat bird", False),
        ("fur", True),
    ],
)
def test_a_text_has_it_when_it_has_all_its_phrases(text: str, is_found: bool) -> None:
    assert matches(parsed(text).phrases or (), words("Cat and dog, für immer")) is is_found


def test_what_postgres_is_asked() -> None:
    assert query(parsed('cat "the dog" bi').phrases or ()) == "('cat') & ('the' <-> 'dog') & ('bi':*)"


def test_each_word_of_all_phrases_is_a_term_once() -> None:
    assert terms(parsed('"the cat the" cat "the ca').phrases or ()) == [Term("the"), Term("cat"), Term("ca", is_prefix=True)]


@pytest.mark.parametrize(
    ("wanted", "asked"),
    [
        ([Term("a"), Term("b", True)], ["'a'", "'b':*", "'b':*"]),
        ([Term("a"), Term("b"), Term("c")], ["'a'", "'b'", "'c'"]),
        ([Term("a"), Term("b"), Term("c"), Term("d"), Term("e", True)], ["'a'", "'b'", "'c' & 'd' & 'e':*"]),
    ],
)
def test_conditions_are_as_many_as_a_query_takes(wanted: list[Term], asked: list[str]) -> None:
    assert conditions(wanted, 3) == asked


@given(strategies.text(max_size=60))
def test_whatever_is_typed_is_read_or_refused(text: str) -> None:
    try:
        search = parsed(text)
    except BadSearch:
        return
    assert (search.phrases is None) <= (not text.strip() or ":" in text)


# ---------------------------------------------------------------------------------------------------------- snippets


def test_a_short_text_is_shown_whole_on_one_line() -> None:
    assert snippet("Hello\n\n  world\t\x1b[31m!", (Phrase(("world",)),)) == "Hello world [31m!"


@pytest.mark.parametrize("hit", ["needle", "Nadel", "größe", "針", "Ünïcode"])
def test_a_long_text_is_shown_around_what_was_found(hit: str) -> None:
    text = "hay " * 200 + f"in front the {hit} is here " + "stack " * 200
    made = snippet(text, (Phrase(("the",)), Phrase(tuple(words(hit)))))
    assert hit in made
    assert made.startswith("…hay")
    assert made.endswith("…")
    assert len(made) <= SNIPPET_CHARACTERS + 2


def test_a_snippet_begins_and_ends_with_the_text() -> None:
    text = "needle " + "hay " * 200 + "pin"
    assert snippet(text, (Phrase(("needle",)),)).startswith("needle hay")
    assert snippet(text, (Phrase(("pin",)),)).endswith("hay pin")
    assert snippet(text, (Phrase(("pi",), is_prefix=True),)).endswith("hay pin")


def test_markup_stays_the_text_that_it_is() -> None:
    assert snippet("<script>alert('cat')</script>", (Phrase(("cat",)),)) == "<script>alert('cat')</script>"


@given(strategies.text(max_size=400), strategies.text(min_size=1, max_size=5).filter(words))
def test_whatever_was_found_has_a_snippet(text: str, sought: str) -> None:
    made = snippet(f"{text} {sought} {text}", (Phrase(tuple(words(sought)), is_prefix=True),))
    assert 0 < len(made) <= SNIPPET_CHARACTERS + 2
    assert "\n" not in made
