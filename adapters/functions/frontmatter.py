"""The lines at the top of a function's source, in its first string: ``title: …``, ``author: …``, ``version: …``."""

import re
from collections.abc import Mapping
from typing import Final

LINES_MAX: Final = 500
VALUE_CHARACTERS_MAX: Final = 4_000
_LINE: Final = re.compile(r"\s*([A-Za-z_]+):\s*(.*?)\s*")


def frontmatter(source: str) -> Mapping[str, str]:
    """The keys and values, as texts. Empty where the source does not begin with a line that is three quotes."""
    lines = source.lstrip("\ufeff").splitlines()
    if not lines or lines[0].strip() != '"""':
        return {}
    found: dict[str, str] = {}
    for line in lines[1:LINES_MAX]:
        if '"""' in line:
            break
        match = _LINE.fullmatch(line)
        if match is not None:
            found[match[1]] = match[2][:VALUE_CHARACTERS_MAX]
    return found
