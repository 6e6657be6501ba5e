"""What somebody looks for: words and phrases, and tokens that say which chats (``tag:``, ``folder:``, ``pinned:`` …)."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

import msgspec

from domain.chat.state import tag_id
from domain.errors import BadSearch
from projections.words import is_alone, words

TEXT_CHARACTERS_MAX: Final = 500
WORDS_MAX: Final = 64
SNIPPET_CHARACTERS: Final = 160
BEFORE_CHARACTERS: Final = 50  # of a snippet, before the hit
LOOKED_THROUGH_MAX: Final = 20_000  # characters of a text whose letters are not those of the words, for the sake of its snippet

FLAGS: Final = ("pinned", "archived", "shared")
TOKENS: Final = ("tag", "folder", *FLAGS)
SPACES: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


class Phrase(msgspec.Struct, frozen=True):
    """Words that stand one after the other; mostly it is one."""

    words: tuple[str, ...]
    is_prefix: bool = False  # of the last one only the beginning is given

    @property
    def length(self) -> int:
        return sum(map(len, self.words))


class Term(NamedTuple):
    """A word, wherever it stands, or the beginning of one."""

    word: str
    is_prefix: bool = False


class Search(msgspec.Struct, frozen=True):
    """What was asked for. ``phrases`` must all be in one text; None: nothing is to be looked for, every chat will do."""

    phrases: tuple[Phrase, ...] | None = None
    tags: tuple[str, ...] = ()  # their ids; a chat has all of them
    is_untagged: bool = False
    folders: tuple[str, ...] = ()  # names or ids; a chat is in one of them
    pinned: bool | None = None
    archived: bool | None = None
    shared: bool | None = None


def parsed(text: str) -> Search:
    """Raises ``BadSearch``."""
    phrases, named = split(text, TOKENS)
    for token in ("tag", "folder"):
        if "" in named.get(token, ()):
            raise BadSearch(f"expected {token}:NAME, received {token}: without a name")
    tags = [tag_id(name) for name in named.get("tag", ())]
    return Search(
        phrases=phrases,
        tags=tuple(tag for tag in tags if tag != "none"),
        is_untagged="none" in tags,
        folders=tuple(named.get("folder", ())),
        **{token: flag(token, named.get(token, ())) for token in FLAGS},
    )


def split(text: str, tokens: Sequence[str]) -> tuple[tuple[Phrase, ...] | None, dict[str, list[str]]]:
    """The phrases of a text, None where nothing is to be looked for; and the values of its tokens ``NAME:VALUE``, by name.

    Raises ``BadSearch``.
    """
    if len(text) > TEXT_CHARACTERS_MAX:
        raise BadSearch(f"expected a text of at most {TEXT_CHARACTERS_MAX} characters, received {len(text)}")
    part_of = part_pattern(tuple(tokens))
    phrases: list[Phrase] = []
    named: dict[str, list[str]] = {}
    is_text = is_unfinished = False
    at, end = 0, len(text.rstrip())
    while at < end:
        part = part_of.match(text, at)
        assert part is not None  # it takes whatever is not a space
        at = part.end()
        value = part["quoted"] if part["quoted"] is not None else part["plain"]
        if part["token"]:
            named.setdefault(part["token"].lower(), []).append(value.strip())
            continue
        is_text = True
        found = tuple(words(value))
        if found:
            phrases.append(Phrase(found))
        is_unfinished = bool(found) and not part["closed"] and not (at == end < len(text))
    if sum(len(phrase.words) for phrase in phrases) > WORDS_MAX:
        raise BadSearch(f"expected at most {WORDS_MAX} words, received {sum(len(phrase.words) for phrase in phrases)}")
    if is_unfinished:
        phrases[-1] = Phrase(phrases[-1].words, is_prefix=True)
    return tuple(phrases) if is_text else None, named


@cache
def part_pattern(tokens: tuple[str, ...]) -> re.Pattern[str]:
    """The next part of a text: a word, a phrase in quotes, or a token with its value."""
    named = "|".join(tokens)
    return re.compile(rf'\s*(?:(?P<token>{named}):)?(?:"(?P<quoted>[^"]*)(?P<closed>"?)|(?P<plain>\S*))', re.IGNORECASE)


def flag(token: str, values: Sequence[str]) -> bool | None:
    said = {value.lower() for value in values}
    for value in values:
        if value.lower() not in ("true", "false"):
            raise BadSearch(f"expected {token}:true or {token}:false, received {token}:{value[:50]}")
    if len(said) > 1:
        raise BadSearch(f"expected {token}: once, received it as true and as false")
    return said.pop() == "true" if said else None


def matches(phrases: Sequence[Phrase], text: Sequence[str]) -> bool:
    """Whether all of them are among the words of one text. What the index must agree with."""
    return all(any(begins(phrase, text, at) for at in range(len(text))) for phrase in phrases)


def begins(phrase: Phrase, text: Sequence[str], at: int) -> bool:
    *first, last = phrase.words
    end = at + len(first)
    if end >= len(text) or list(text[at:end]) != first:
        return False
    return text[end].startswith(last) if phrase.is_prefix else text[end] == last


def query(phrases: Sequence[Phrase]) -> str:
    """A ``tsquery``, as Postgres reads it. Words hold neither quotes nor backslashes."""
    return " & ".join("(" + " <-> ".join(map(quoted, phrase.words)) + (":*" if phrase.is_prefix else "") + ")" for phrase in phrases)


def terms(phrases: Sequence[Phrase]) -> list[Term]:
    """The words of the phrases, each once."""
    return list(
        dict.fromkeys(
            Term(word, phrase.is_prefix and place == len(phrase.words)) for phrase in phrases for place, word in enumerate(phrase.words, 1)
        )
    )


def conditions(wanted: Sequence[Term], count: int) -> list[str]:
    """``count`` queries, all of which a text must meet to have each of ``wanted``, of which there is one at least: one a query, in their
    order, and what is left over in the last one. Where there are fewer it is repeated.
    """
    asked = [quoted(term.word) + (":*" if term.is_prefix else "") for term in wanted]
    asked += asked[-1:] * (count - len(asked))
    return [*asked[: count - 1], " & ".join(asked[count - 1 :])]


def quoted(word: str) -> str:
    return f"'{word}'"


def snippet(text: str, phrases: Sequence[Phrase]) -> str:
    """A piece of ``text`` around what was found of the longest of the phrases, on one line. Plain text: whoever shows it escapes it."""
    line = SPACES.sub(" ", text).strip()
    if len(line) <= SNIPPET_CHARACTERS:
        return line
    at = place(line, max(phrases, key=lambda phrase: phrase.length)) if phrases else 0
    start = max(0, min(at - BEFORE_CHARACTERS, len(line) - SNIPPET_CHARACTERS))
    if start > 0:
        space = line.find(" ", start, at)
        start = space + 1 if space >= 0 else start
    end = start + SNIPPET_CHARACTERS
    if end < len(line):
        space = line.rfind(" ", max(at, end - BEFORE_CHARACTERS), end)
        end = space if space > start else end
    return ("…" if start > 0 else "") + line[start:end].strip() + ("…" if end < len(line) else "")


def place(line: str, phrase: Phrase) -> int:
    """Where the phrase begins, or about there; 0 where it can't be said."""
    lowered = line.lower()
    if len(lowered) == len(line):
        found = pattern(phrase).search(lowered)
        if found is not None:
            return found.start()
    for chunk in re.finditer(r"\S+", line[:LOOKED_THROUGH_MAX]):
        if begins_somewhere(phrase.words[0], words(chunk[0]), is_prefix=phrase.is_prefix and len(phrase.words) == 1):
            return chunk.start()
    return 0


def begins_somewhere(word: str, text: Sequence[str], *, is_prefix: bool) -> bool:
    return any(one.startswith(word) if is_prefix else one == word for one in text)


def pattern(phrase: Phrase) -> re.Pattern[str]:
    stands_alone = is_alone(ord(phrase.words[0][0]))
    before = "" if stands_alone else r"(?<![^\W_])"
    after = "" if phrase.is_prefix or is_alone(ord(phrase.words[-1][0])) else r"(?![^\W_])"
    between = r"[\W_]*" if stands_alone else r"[\W_]+"
    return re.compile(before + between.join(map(re.escape, phrase.words)) + after)
