"""Text that others have written, as a terminal may get it: it shows what it says, and steers nothing.

A terminal obeys control characters: ``ESC[2J`` clears the screen, an OSC sequence sets the title or writes to the clipboard, a carriage
return hides what was written before it. Overrides of direction let a line read otherwise than it is. Everything that ``steno`` prints of a
model's, a person's or a server's words comes through here.
"""

import re
from typing import Final

# C0 but tab and line feed, DEL, C1, line and paragraph separators, and what turns the direction of the text after it.
_STEERING: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_BREAKS: Final = re.compile("[\t\n\x0b\x0c\r\x85\u2028\u2029]+")
_RAW_IN_JSON: Final = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def safe(text: str) -> str:
    """``text`` with its lines and tabs; each other control character as a picture of itself. Pieces of a text may come one by one."""
    return text if text.isascii() and text.isprintable() else _STEERING.sub(_picture, text)


def safe_line(text: str) -> str:
    """The same on one line."""
    return safe(_BREAKS.sub(" ", text))


def safe_json(text: str) -> str:
    """JSON with the same meaning: what would steer a terminal is escaped in it."""
    return _RAW_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    if found[0] == "\r":
        return ""  # half of a line end
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"<{code:04x}>"
