"""Emitted events that are too large for one event: an added text becomes several events, other texts become blobs beside the log.

Any text of an emitter's data may be replaced by a reference, at any depth: the address of a file, an embed, the content of a ``replace``.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from commands.content.large_values import BLOB_BYTES_MAX, REFERRED_BYTES_MIN, VALUES_BYTES_MAX, reference, size_of
from commands.ports import Blobs
from domain.chat.commands import Emit
from domain.errors import TooLarge
from domain.log.event import Emitted, emitters_name
from domain.log.stream import Stream

PIECE_CHARACTERS: Final = 32 * 1024  # at most 6 bytes each in JSON: below what an event may hold
ADDING: Final = frozenset({"message", "delta"})  # what they say is added to their message: in several events as well as in one
Path = tuple[str | int, ...]  # the keys and indexes that lead to a value


def is_large(command: Emit) -> bool:
    return size_of(command.data) > VALUES_BYTES_MAX


def in_pieces(command: Emit) -> list[Emit]:
    """Several that add up to the same message, none of them with a longer text than ``PIECE_CHARACTERS``."""
    data = command.data
    content = data.get("content") if isinstance(data, dict) else None
    if emitters_name(Emitted(command.name, data)) not in ADDING or not isinstance(content, str):
        return [command]
    pieces = [content[at : at + PIECE_CHARACTERS] for at in range(0, len(content), PIECE_CHARACTERS)] or [""]
    rest = [msgspec.structs.replace(command, data={"content": piece}) for piece in pieces[1:]]
    return [msgspec.structs.replace(command, data={**data, "content": pieces[0]}), *rest]


async def emit_with_references(command: Emit, blobs: Blobs, stream: Stream) -> Emit:
    """The same with its largest texts stored as blobs of ``stream``, as few as needed. Raises ``TooLarge`` for a single text."""
    data, left = command.data, size_of(command.data)
    texts = sorted(((size_of(text), path) for path, text in texts_of(data)), key=lambda one: -one[0])
    for size, path in texts:
        if left <= VALUES_BYTES_MAX or size < REFERRED_BYTES_MIN:
            break
        if size > BLOB_BYTES_MAX:
            raise TooLarge(".".join(map(str, path)) or "data", size, BLOB_BYTES_MAX)
        data = with_value_at(data, path, await reference(blobs, stream, value_at(data, path)))
        left -= size
    return msgspec.structs.replace(command, data=data)


def texts_of(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """All texts of a value, with the way to each."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from texts_of(one, (*path, key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from texts_of(one, (*path, index))


def value_at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def with_value_at(value: Any, path: Path, new: Any) -> Any:
    """A copy of the value with another one at the end of the path."""
    if not path:
        return new
    changed = value.copy()
    changed[path[0]] = with_value_at(value[path[0]], path[1:], new)
    return changed
