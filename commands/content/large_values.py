"""Values that are too large for an event: stored as blobs beside the log, and referred to in their place.

A reference is ``{"blob": sha256, "size_bytes"}``, with ``media_type`` where the value was no text. ``references.py`` puts the values
back for readers.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from commands.ports import Blobs
from domain.errors import TooLarge
from domain.log.stream import Stream

VALUES_BYTES_MAX: Final = 128 * 1024  # of all values of an event together; above it the largest become blobs
REFERRED_BYTES_MIN: Final = 1024  # a reference itself takes a tenth of that
BLOB_BYTES_MAX: Final = 64 * 1024 * 1024
JSON: Final = "application/json"

Holder = TypeVar("Holder", bound=msgspec.Struct)  # a fact or a command, with ``content``, ``fields``, or both


async def with_references(holder: Holder, blobs: Blobs, stream: Stream, bytes_max: int = VALUES_BYTES_MAX) -> Holder:
    """The same with its largest values stored as blobs of ``stream``, as few as needed. Raises ``TooLarge`` for a single value."""
    sizes = large_values(holder)
    left = sum(sizes.values())
    for key, size in sorted(sizes.items(), key=lambda item: -item[1]):
        if left <= bytes_max:
            break
        if size > BLOB_BYTES_MAX:
            raise TooLarge(key, size, BLOB_BYTES_MAX)
        holder = with_value(holder, key, await reference(blobs, stream, values_of(holder)[key]))
        left -= size
    return holder


async def reference(blobs: Blobs, stream: Stream, value: Any) -> dict[str, Any]:
    """Store a text unchanged and any other value as JSON, which the reference notes."""
    is_text = isinstance(value, str)
    content = value.encode() if is_text else msgspec.json.encode(value)
    sha256 = await blobs.put(stream, content)
    return {"blob": sha256, "size_bytes": len(content), **({} if is_text else {"media_type": JSON})}


def values_of(holder: Any) -> dict[str, Any]:
    """The keys of a fact or a command as they are stored, with the unknown ones."""
    return {name: getattr(holder, name) for name in holder.__struct_fields__ if name != "fields"} | dict(getattr(holder, "fields", {}))


def large_values(holder: Any) -> dict[str, int]:
    """The values that may be stored as blobs (content, and unknown keys), with their sizes in bytes."""
    fields: Mapping[str, Any] = getattr(holder, "fields", {})
    given = {"content": holder.content, **fields} if hasattr(holder, "content") else fields
    sizes = {key: size_of(value) for key, value in given.items()}
    return {key: size for key, size in sizes.items() if size >= REFERRED_BYTES_MIN}


def size_of(value: Any) -> int:
    """The size as JSON; 0 of what is no Unicode, which the log refuses."""
    if isinstance(value, str) and len(value) * 6 < REFERRED_BYTES_MIN:
        return 0
    try:
        return len(msgspec.json.encode(value))
    except UnicodeEncodeError:
        return 0


def with_value(holder: Any, key: str, value: Any) -> Any:
    if key in getattr(holder, "fields", ()):
        return msgspec.structs.replace(holder, fields={**holder.fields, key: value})
    return msgspec.structs.replace(holder, **{key: value})
