"""Facts to stored bytes and back. One table per stream kind maps the names in the log to classes.

Decoding tolerates unknown fields: an older server may read what a newer one wrote. A class with ``fields`` keeps them.
Bytes that are stored never change: an old type becomes the new event here, while it is decoded (``UPCASTERS``).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from domain.chat import CHAT_TYPES, MessageEnded, Timings
from domain.errors import BadRequest, ContentRefused
from domain.event import Actor, Emitted, Event, Stored, Verbatim
from domain.stream import Kind
from domain.user import USER_TYPES

TYPES: Final[Mapping[str, Mapping[str, type[Any]]]] = {"chat": CHAT_TYPES, "user": USER_TYPES, "channel": {}}
NAMES: Final[Mapping[type[Any], str]] = {fact: name for table in TYPES.values() for name, fact in table.items()}
EVENT_BYTES_MAX: Final = 256 * 1024
EMITTED_NAME: Final = re.compile(r"[a-z][a-z0-9_:.-]{0,63}")

# (kind, old name) -> from the stored JSON to the name and JSON of today.
UPCASTERS: Final[Mapping[tuple[str, str], Callable[[bytes], tuple[str, bytes]]]] = {}

_encoder = msgspec.json.Encoder()
_actor_decoder = msgspec.json.Decoder(Actor)
_decoders: Final[Mapping[type[Any], msgspec.json.Decoder[Any]]] = {fact: msgspec.json.Decoder(fact) for fact in NAMES}
_open: Final = frozenset(fact for fact in NAMES if "fields" in fact.__struct_fields__)
_known: Final = {fact: frozenset(fact.__struct_fields__) - {"fields"} for fact in _open}
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def encode(fact: Any) -> tuple[str, bytes]:
    """The fact's type and JSON. Raises ``ContentRefused`` for text that Postgres cannot hold, ``BadRequest`` for a bad emitted name."""
    kind = type(fact)
    try:
        if kind is Emitted:
            if not EMITTED_NAME.fullmatch(fact.name):
                raise BadRequest(f"expected an event type like [a-z][a-z0-9_:.-]{{0,63}}, received {fact.name[:80]!r}")
            name, data = fact.name, _encoder.encode(fact.data)
        elif kind is Verbatim:
            name, data = fact.name, fact.data
        else:
            name, data = NAMES[kind], _encoder.encode(_flat(fact) if kind in _open else fact)
    except UnicodeEncodeError:
        raise ContentRefused("a lone surrogate") from None
    if b"\\u0000" in data:
        refuse_nul(data)
    return name, data


def refuse_nul(data: bytes) -> None:
    """Raises ``ContentRefused`` for JSON with U+0000 in it."""
    if b"\\u0000" in data and _NUL.search(data):
        raise ContentRefused("U+0000")


def decode(kind: Kind, name: str, data: bytes) -> Any:
    """The fact. Raises ``msgspec.ValidationError`` where the bytes are not of its type: the log was tampered with."""
    upcaster = UPCASTERS.get((kind, name))
    if upcaster is not None:
        name, data = upcaster(data)
    fact = TYPES[kind].get(name)
    if fact is None:
        return Emitted(name, msgspec.json.decode(data))
    if fact in _open:
        flat = msgspec.json.decode(data)
        if not flat.keys() <= _known[fact]:
            return _unflat(fact, flat)
    return _decoders[fact].decode(data)


def decode_event(stored: Stored) -> Event[Any]:
    return Event(stored.message_id, decode(stored.stream.kind, stored.type, stored.data))


def encode_actor(actor: Actor) -> bytes:
    return _encoder.encode(actor)


def decode_actor(actor: bytes | None) -> Actor | None:
    return _actor_decoder.decode(actor) if actor is not None else None


def _flat(fact: Any) -> dict[str, Any]:
    known = {name: getattr(fact, name) for name in fact.__struct_fields__ if name != "fields"}
    return {**fact.fields, **known}


def _unflat(fact: type[Any], flat: dict[str, Any]) -> Any:
    names = fact.__struct_fields__
    known = {name: flat.pop(name) for name in names if name in flat and name != "fields"}
    return msgspec.convert({**known, "fields": flat}, fact)


# What stands in an outline for each ``message_end``: that the generation is over, without the text that its deltas said.
OUTLINE_END: Final = encode(MessageEnded("", [], "", "", None, Timings(None, 0), 0))[1]
