"""Text as the log can hold it: without U+0000, and without half of a surrogate pair, which UTF-8 has no bytes for."""

from math import isfinite
from typing import Any

import msgspec


def storable_text(text: str) -> str:
    """``text`` with surrogate pairs made whole, and without U+0000 and lone surrogates."""
    if "\0" in text:
        text = text.replace("\0", "")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    return text


def is_storable(value: Any) -> bool:
    """Whether all texts of a JSON value are. False also for a text that says ``\\u0000`` in six characters."""
    try:
        return b"\\u0000" not in msgspec.json.encode(value)
    except UnicodeEncodeError:
        return False


def storable_json(value: Any, *, depth_max: int | None = None) -> Any:
    """The value with ``storable_text`` applied to each text and key of it. Null stands for what JSON has no number for, and for what is
    nested deeper than ``depth_max``.
    """
    match value:
        case str():
            return storable_text(value)
        case dict() | list() if depth_max == 0:
            return None
        case dict():
            deeper = None if depth_max is None else depth_max - 1
            return {storable_text(key) if isinstance(key, str) else key: storable_json(one, depth_max=deeper) for key, one in value.items()}
        case list():
            deeper = None if depth_max is None else depth_max - 1
            return [storable_json(one, depth_max=deeper) for one in value]
        case float() if not isfinite(value):
            return None
        case _:
            return value
