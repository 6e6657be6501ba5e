"""Keys with values of the client's own choice: merged one by one; an event holds the changed ones only."""

from collections.abc import Mapping
from typing import Any

import msgspec


def differing(known: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of ``sent`` whose values differ from ``known``. Compared as JSON, since 1 equals true in Python."""
    encode = msgspec.json.encode
    return {key: value for key, value in sent.items() if key not in known or encode(known[key]) != encode(value)}
