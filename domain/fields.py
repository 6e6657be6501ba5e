"""Keys that are somebody's own to set as they like: merged one by one, and only what changes is told."""

from collections.abc import Mapping
from typing import Any

import msgspec


def differing(known: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``sent`` is not so already. Compared as JSON: in Python 1 and true are the same."""
    encode = msgspec.json.encode
    return {key: value for key, value in sent.items() if key not in known or encode(known[key]) != encode(value)}
