"""What is only odd in a chat that somebody brings along is put right and said, instead of the whole chat being refused."""

from collections.abc import Mapping
from typing import Any, Final

from domain.chat.whole_chat import TITLE_CHARACTERS_MAX
from domain.errors import BadRequest
from domain.values.storable import is_storable, storable_json

# What is kept otherwise than it was sent, as it is told to people.
CLEANED: Final = "U+0000 or half of a surrogate pair left out"
CUT: Final = f"title cut to {TITLE_CHARACTERS_MAX:,} characters"


def normalised_chat(chat: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """The chat as the log can hold it, and a note for each kind of change. Raises ``BadRequest`` for a title that is no text."""
    notes: list[str] = []
    if not is_storable(chat) and (cleaned := storable_json(chat)) != chat:
        chat = cleaned
        notes.append(CLEANED)
    title = chat.get("title", "")
    if not isinstance(title, str):
        raise BadRequest("expected the title to be text")
    if len(title) > TITLE_CHARACTERS_MAX:
        chat = {**chat, "title": cut_title(title)}
        notes.append(CUT)
    return chat, notes


def cut_title(title: str) -> str:
    return title if len(title) <= TITLE_CHARACTERS_MAX else f"{title[: TITLE_CHARACTERS_MAX - 1]}…"
