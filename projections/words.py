"""The words of a text, as searches find them: without regard to case and accents, in any language, and without stemming.

One rule for what is kept and for what is asked, and not the database's own: that one depends on how the database was made, and takes
``example.com/path`` or ``foo.bar`` for one word. A word is a run of letters, marks and digits. Scripts that put no space between
words (Chinese, Japanese, Thai …) give one word a character, and so do symbols and emoji: what is written together is asked for as a phrase.
"""

import re
import unicodedata
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from itertools import chain, repeat
from operator import add
from typing import Final
from uuid import UUID

WORD_CHARACTERS_MAX: Final = 100  # what is longer is no word; its beginning is found

# Accents, and the vowel points that Hebrew and Arabic may be written with or without. Other marks make another word.
ACCENTS: Final = re.compile(
    "[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u065f\u0670\u1ab0-\u1aff\u1dc0-\u1dff]"
)
WITHOUT_SPACES: Final = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x312F),  # Han radicals, Kana, Bopomofo
    (0x31A0, 0x4DBF),
    (0x4E00, 0xA4CF),  # Han, Yi
    (0xAC00, 0xD7AF),  # Hangul: words are written with what follows them
    (0xF900, 0xFAFF),
    (0x1AFF0, 0x1B16F),
    (0x20000, 0x3FFFF),
)


class _Characters(dict[int, str | int]):
    """For ``str.translate``: what becomes of each character of a folded text. Filled as they come."""

    def __missing__(self, code: int) -> str | int:
        character = chr(code)
        category = unicodedata.category(character)
        made: str | int = " "
        if category == "So" or (category[0] in "LMN" and is_alone(code)):
            made = f" {character} "
        elif category[0] in "LMN":
            made = character
        self[code] = made
        return made


_characters: Final = _Characters()
_ascii: Final = bytes(ord(chr(code).lower()) if code < 128 and chr(code).isalnum() else 32 for code in range(256))
_places: Final = [f":{place} " for place in range(1, 16_384)]  # as many as Postgres keeps: what comes later stands at the last


def is_alone(code: int) -> bool:
    """Whether this letter is a word by itself."""
    return code >= 0x0E00 and any(first <= code <= last for first, last in WITHOUT_SPACES)


def folded(text: str) -> str:
    """Without case, accents, and the difference between forms of one letter."""
    plain = ACCENTS.sub("", unicodedata.normalize("NFKD", text.casefold()))
    return unicodedata.normalize("NFC", plain.casefold())


def words(text: str) -> list[str]:
    """In their order."""
    # Most text of most people, and four times as fast: each message that is written comes through here.
    plain = text.encode().translate(_ascii).decode() if text.isascii() else folded(text).translate(_characters)
    found = plain.split()
    if len(plain) > WORD_CHARACTERS_MAX:
        return [word[:WORD_CHARACTERS_MAX] for word in found]
    return found


def of_owner(owner_id: UUID) -> str:
    """The word that stands in everything one person owns: it is found with the others in one look into the index, and is no word."""
    return "=" + urlsafe_b64encode(owner_id.bytes).decode().rstrip("=")


def vector(found: Sequence[str], *more: str) -> str:
    """Words with their places, then ``more`` without: a ``tsvector``, as Postgres reads it."""
    placed = "".join(map(add, found, chain(_places, repeat(_places[-1]))))
    return placed + " ".join(more)
