"""What may be the name of something that other people or other pages show."""

import unicodedata
from typing import Final

from domain.errors import BadRequest

# Characters that a name may not hold: controls, surrogates, line ends, and what turns the direction of other people's text.
NAME_REFUSED: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
TURNS_TEXT: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def require_name(name: str, characters_max: int) -> None:
    """Raises ``BadRequest`` for a name that nobody could see, that is too long, or that would disturb what stands around it."""
    visible = any(unicodedata.category(character)[0] in "LNPS" for character in name)
    clean = all(unicodedata.category(character) not in NAME_REFUSED and character not in TURNS_TEXT for character in name)
    if not visible or not clean or len(name) > characters_max:
        raise BadRequest(f"expected a name of 1 to {characters_max} visible characters without control characters")
