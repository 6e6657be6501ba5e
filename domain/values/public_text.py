"""A text from another system as everybody may read it: without addresses and without keys. The server's log has all of it."""

import re
from typing import Final

ADDRESS: Final = "[address]"
KEY: Final = "***"
PIECE_CHARACTERS_MIN: Final = 6  # of a piece of a known key; shorter ones are words as well
END_CHARACTERS_MIN: Final = 4  # of one that begins or ends it, as services name a key to its owner

ADDRESSES: Final = re.compile(
    r"""
      \b[a-z][a-z0-9+.-]*://[^\s"'<>()\[\]]*(?:\[[0-9a-f:.]+\][^\s"'<>()\[\]]*)?   # a URL
    | \[[0-9a-f]*:[0-9a-f:.]+\](?::\d+)?                                           # an IPv6 address in brackets
    | (?<![\w:])(?:[0-9a-f]{1,4}:){3,7}[0-9a-f:]*(?![\w:])                         # … and without
    | \b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?(?!\w|\.\w)                                 # an IPv4 address
    | \blocalhost(?::\d+)?\b
    | \b[a-z0-9-]+(?:\.[a-z0-9-]+)+:\d{2,5}\b                                      # a name with a port
    | (?<=\bhost=)[^\s,)]+
    | (?<=\bport=)\d+
    | (?<=\bport\ )\d+
    | (?<=\bserver\ at\ )"[^"]*"
    | (?<=\bhost\ )"[^"]*"
    | (?<=\bhost\ name\ )"[^"]*"
    """,
    re.IGNORECASE | re.VERBOSE,
)
KEYS: Final = re.compile(
    r"""
      \b(?:sk|pk|rk|gsk|xai|hf|key|ghp)[-_][\w*…-]{4,}   # what begins as keys of known services do
    | \baiza[\w-]{8,}
    | \bbearer\ \S{4,}
    | [\w-]*\*{3,}[\w*-]*                                               # what another system has covered but for its ends
    | \b[\w-]{2,}(?:\.{3}|…)[\w-]{2,}\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
PIECES: Final = re.compile(rf"[\w-]{{{END_CHARACTERS_MIN},}}")


def public_text(text: str, *, secret: str = "", hosts: tuple[str, ...] = ()) -> str:
    """``text`` without anything that looks like an address or a key, without ``secret`` and pieces of it, and without these ``hosts``."""
    if secret:
        text = text.replace(secret, KEY)
        text = PIECES.sub(lambda found: KEY if is_piece(found.group(), secret) else found.group(), text)
    text = ADDRESSES.sub(ADDRESS, text)
    for host in filter(None, hosts):
        text = re.sub(rf"(?<![\w.-]){re.escape(host)}(?::\d+)?(?![\w-])", ADDRESS, text, flags=re.IGNORECASE)
    return KEYS.sub(KEY, text)


def is_piece(text: str, secret: str) -> bool:
    return secret.startswith(text) or secret.endswith(text) or (len(text) >= PIECE_CHARACTERS_MIN and text in secret)
