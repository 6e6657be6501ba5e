"""What counts as a word, and that what is asked for is cut into words as what was said."""

from uuid import UUID

import pytest
from hypothesis import given, strategies

from projections.words import WORD_CHARACTERS_MAX, folded, of_owner, vector, words

TEXTS = strategies.text(strategies.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat, the HAT", "the cat the hat"),
        ("don't call foo.bar(x_1) at example.com/a-b?c=d", "don t call foo bar x 1 at example com a b c d"),
        ("<b>bold</b> & 3.14e5", "b bold b 3 14e5"),
        ("Äpfel, Straße, élan, e\u0301lan, Ærø", "apfel strasse elan elan ærø"),
        ("ΣΊΣΥΦΟΣ σίσυφος", "σισυφοσ σισυφοσ"),
        ("Ёлка мой", "елка мои"),
        ("İstanbul ISTANBUL", "istanbul istanbul"),
        ("ﬁne Ｆｕｌｌ ①", "fine full 1"),
        ("你好世界 hello世界", "你 好 世 界 hello 世 界"),
        ("がっこう ｶﾞｯｺｳ", "が っ こ う ガ ッ コ ウ"),
        ("안녕하세요", "안 녕 하 세 요"),
        ("हिन्दी में", "हिन्दी में"),
        ("שָׁלוֹם مُحَمَّد", "שלום محمد"),
        ("good 👍🏽 25°C", "good 👍 25 ° c"),
        ("!?… --", ""),
        ("", ""),
    ],
)
def test_words_are_what_stands_between_other_characters_without_case_and_accents(text: str, expected: str) -> None:
    assert words(text) == expected.split()


def test_of_what_is_too_long_for_a_word_the_beginning_is_kept() -> None:
    assert words("x" * 5000 + " y") == ["x" * WORD_CHARACTERS_MAX, "y"]
    assert words("ä" * 5000) == ["a" * WORD_CHARACTERS_MAX]


@given(TEXTS)
def test_words_are_their_own_words_and_cannot_be_taken_for_anything_else(text: str) -> None:
    found = words(text)
    assert words(" ".join(found)) == found
    for word in found:
        assert word
        assert not set(word) & set(" '\\:*&|!()<>-=\t\n")


@given(TEXTS)
def test_upper_and_lower_case_are_the_same_words(text: str) -> None:
    assert folded(folded(text)) == folded(text)
    if len(text.upper()) == len(text) and text.upper().lower() == text.lower():
        assert words(text.upper()) == words(text.lower())


def test_a_vector_says_where_each_word_stands_and_who_owns_it() -> None:
    owner = of_owner(UUID(int=7))
    assert vector(["the", "cat", "the"], owner) == f"the:1 cat:2 the:3 {owner}"
    assert vector([], owner) == owner
    assert words(owner) != [owner], "nobody can ask for it"
    assert vector(["a"] * 20_000).split()[-1] == "a:16383"
