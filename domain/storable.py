"""Text as the log can hold it: without U+0000, and without half of a surrogate pair, which UTF-8 has no bytes for."""

from typing import Any

import msgspec


def storable_text(text: str) -> str:
    if "\0" in text:
        text = text.replace("\0", "")
    return text if text.isascii() else text.encode(errors="ignore").decode()


def is_storable(value: Any) -> bool:
    """Whether all texts of a JSON value are."""
    try:
        return b"\\u0000" not in msgspec.json.encode(value)
    except UnicodeEncodeError:
        return False


def storable_json(value: Any) -> Any:
    """The value with ``storable_text`` applied to each text and key of it."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, list):
        return [storable_json(one) for one in value]
    if isinstance(value, dict):
        return {storable_text(key) if isinstance(key, str) else key: storable_json(one) for key, one in value.items()}
    return value
