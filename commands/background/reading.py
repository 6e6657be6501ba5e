"""What a task model has answered, read leniently: small models write JSON in prose, in code fences, with single quotes, or not at all.

Each function returns what can be used, and nothing where the answer is no use. Nothing here raises.
"""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from domain.values.storable import storable_text

TITLE_CHARACTERS_MAX: Final = 100
TAGS_MAX: Final = 5
TAG_CHARACTERS_MAX: Final = 50
FOLLOW_UPS_MAX: Final = 5
FOLLOW_UP_CHARACTERS_MAX: Final = 300
ANSWER_CHARACTERS_MAX: Final = 20_000  # what is longer is no answer to such a question
VALUES_MAX: Final = 20  # pieces of an answer that are tried

_THOUGHT: Final = re.compile(r"<think(?:ing)?\b[^>]*>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_TYPOGRAPHIC: Final = str.maketrans({"“": '"', "”": '"', "„": '"'})
_TRAILING_COMMA: Final = re.compile(r",(\s*[}\]])")
_LIST_ITEM: Final = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+(.+)$")
_CLOSES: Final = {"{": "}", "[": "]"}


def read_title(answer: str) -> str | None:
    answer = _without_thoughts(answer)
    for value in _values(answer):
        if isinstance(value, Mapping) and isinstance(title := value.get("title"), str) and (line := _one_line(title)):
            return line[:TITLE_CHARACTERS_MAX]
    plain = answer.strip().strip("`").strip()
    if plain and not set(plain) & set("{}[]\n") and len(plain) <= TITLE_CHARACTERS_MAX:
        return _one_line(plain.removeprefix("Title:")) or None
    return None


def read_tags(answer: str) -> Sequence[str]:
    tags = _texts(answer, ("tags",))
    return [tag for tag in dict.fromkeys(tags) if len(tag) <= TAG_CHARACTERS_MAX and tag.lower() != "none"][:TAGS_MAX]


def read_follow_ups(answer: str) -> Sequence[str]:
    found = _texts(answer, ("follow_ups", "followUps", "questions"))
    if not found:
        listed = (_LIST_ITEM.match(line) for line in _without_thoughts(answer).splitlines())
        found = [_one_line(item[1]) for item in listed if item is not None and item[1].rstrip(" *\"'").endswith(("?", "？", "؟"))]
    return [one[:FOLLOW_UP_CHARACTERS_MAX] for one in dict.fromkeys(found) if one][:FOLLOW_UPS_MAX]


def first_line(text: str) -> str:
    """A title for a chat of which no model has said what it is about: the beginning of its first question."""
    line = _one_line(text)
    if len(line) <= TITLE_CHARACTERS_MAX:
        return line
    cut = line[: TITLE_CHARACTERS_MAX - 1]
    return f"{cut.rpartition(' ')[0] or cut}…"


def _without_thoughts(answer: str) -> str:
    return _THOUGHT.sub("", answer[:ANSWER_CHARACTERS_MAX])


def _one_line(text: str) -> str:
    return " ".join(storable_text(text).split()).strip("\"'*").strip()


def _texts(answer: str, names: Sequence[str]) -> list[str]:
    """The texts in the list below one of these names, or in a list that stands alone."""
    for value in _values(_without_thoughts(answer)):
        listed = next((value[name] for name in names if name in value), None) if isinstance(value, Mapping) else value
        if isinstance(listed, str):
            listed = listed.split(",")
        if isinstance(listed, list):
            texts = [line for one in listed if isinstance(one, str) and (line := _one_line(one))]
            if texts:
                return texts
    return []


def _values(answer: str) -> Iterator[Any]:
    """The objects and lists in the answer, outermost first. Of a text that is none of both nothing is given."""
    tried = place = 0
    while tried < VALUES_MAX:
        starts = [at for bracket in _CLOSES if (at := answer.find(bracket, place)) >= 0]
        if not starts:
            return
        place = min(starts)
        end = answer.rfind(_CLOSES[answer[place]])
        while end > place and tried < VALUES_MAX:
            tried += 1
            value = _value(answer[place : end + 1])
            if value is not None:
                yield value
                break
            end = answer.rfind(_CLOSES[answer[place]], place, end)
        place += 1


def _value(text: str) -> Any:
    for candidate in dict.fromkeys([text, _TRAILING_COMMA.sub(r"\1", text.translate(_TYPOGRAPHIC))]):
        try:
            return msgspec.json.decode(candidate)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            pass
        try:
            return ast.literal_eval(candidate)  # single quotes: literals alone, nothing is called
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            pass
    return None
