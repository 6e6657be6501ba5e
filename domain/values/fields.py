"""Keys with values of the client's own choice: merged one by one; an event holds the changed ones only."""

from collections.abc import Mapping
from typing import Any

import msgspec


def differing(known: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of ``sent`` whose values differ from ``known``. Compared as JSON, since 1 equals true in Python."""
    encode = msgspec.json.encode
    return {key: value for key, value in sent.items() if key not in known or encode(known[key]) != encode(value)}


def without_nulls(fields: Mapping[str, Any]) -> dict[str, Any]:
    """For fields of which a null says the same as no key."""
    return {name: value for name, value in fields.items() if value is not None}


def replacing(known: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that differ between what is known and what is to be there instead; null for one that is to go."""
    wanted = without_nulls(sent)
    return {**differing(known, wanted), **{name: None for name in known if name not in wanted}}
