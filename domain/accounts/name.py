"""Rules for names and descriptions that are shown to other people."""

import unicodedata
from typing import Final

from domain.errors import BadRequest

# Characters that a name may not hold: controls, surrogates, line ends, and marks that change the direction of the text around it.
NAME_REFUSED: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
TURNS_TEXT: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def require_name(name: str, characters_max: int) -> None:
    """Raises ``BadRequest`` for a name without a visible character, one that is too long, or one that would change the text around it."""
    visible = any(unicodedata.category(character)[0] in "LNPS" for character in name)
    clean = all(unicodedata.category(character) not in NAME_REFUSED and character not in TURNS_TEXT for character in name)
    if not visible or not clean or len(name) > characters_max:
        raise BadRequest(f"expected a name of 1 to {characters_max} visible characters without control characters")


def trimmed_name(name: str, characters_max: int) -> str:
    """The name without the white space around it. Raises as ``require_name`` does."""
    name = name.strip()
    require_name(name, characters_max)
    return name


def require_description(description: str, characters_max: int) -> str:
    """The description as it is. Raises ``BadRequest`` for one that is too long."""
    if len(description) > characters_max:
        raise BadRequest(f"expected a description of at most {characters_max} characters, received {len(description)}")
    return description
