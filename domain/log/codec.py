"""Facts to stored bytes and back. One table per stream kind maps the names in the log to classes.

Decoding tolerates unknown fields: an older server may read what a newer one wrote. A class with ``fields`` keeps them.
Bytes that are stored never change: an old type becomes the new event here, while it is decoded (``upcasting.py``).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import force_setattr

from domain.accounts.group import GROUP_TYPES
from domain.accounts.user.facts import USER_TYPES
from domain.channel.facts import CHANNEL_TYPES
from domain.channel.own import OWN_CHANNEL_TYPES
from domain.chat.facts import CHAT_TYPES
from domain.chat.folder import FOLDER_TYPES
from domain.errors import BadRequest, ContentRefused
from domain.generation import MessageEnded, Timings
from domain.log.event import Actor, Emitted, Event, StoredEvent, Verbatim
from domain.log.stream import Kind
from domain.log.upcasting import UPCASTS, Upcasts, chain
from domain.routing.function import FUNCTION_TYPES, USER_VALVES_TYPES
from domain.routing.model import MODEL_TYPES
from domain.routing.provider import PROVIDER_TYPES

TYPES: Final[Mapping[Kind, Mapping[str, type[Any]]]] = {
    "chat": CHAT_TYPES,
    "user": {**USER_TYPES, **FOLDER_TYPES, **USER_VALVES_TYPES, **OWN_CHANNEL_TYPES},
    "channel": CHANNEL_TYPES,
    "model": MODEL_TYPES,
    "group": GROUP_TYPES,
    "function": FUNCTION_TYPES,
    "provider": PROVIDER_TYPES,
}
NAMES: Final[Mapping[type[Any], str]] = {fact: name for table in TYPES.values() for name, fact in table.items()}
EVENT_BYTES_MAX: Final = 256 * 1024
NESTING_MAX: Final = 100  # deeper JSON can overflow the stack of a decoder, and a stored event must stay readable for ever
# What msgspec raises for bytes that are no JSON, or none that it can read: also text that is not UTF-8, or nested beyond its stack.
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
EMITTED_NAME: Final = re.compile(r"[a-z][a-z0-9_:.-]{0,63}")

READERS_KEPT_MAX: Final = 4096  # emitters make up names as they like

_encoder = msgspec.json.Encoder()
_any_decoder = msgspec.json.Decoder()
_actor_decoder = msgspec.json.Decoder(Actor)
_decoders: Final[Mapping[type[Any], msgspec.json.Decoder[Any]]] = {fact: msgspec.json.Decoder(fact) for fact in NAMES}
_open: Final = frozenset(fact for fact in NAMES if "fields" in fact.__struct_fields__)
_known: Final = {fact: frozenset(fact.__struct_fields__) - {"fields"} for fact in _open}
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')


def encode(fact: Any) -> tuple[str, bytes]:
    """The fact's type and JSON.

    Raises ``ContentRefused`` for text that Postgres cannot hold, ``BadRequest`` for a bad emitted name or JSON that is nested too deep.
    """
    kind = type(fact)
    if kind is Verbatim:
        return fact.name, fact.data
    try:
        if kind is Emitted:
            if not EMITTED_NAME.fullmatch(fact.name):
                raise BadRequest(f"expected an event type like [a-z][a-z0-9_:.-]{{0,63}}, received {fact.name[:80]!r}")
            name, data = fact.name, _encoder.encode(fact.data)
        else:
            name, data = NAMES[kind], _encoder.encode(_flat(fact) if kind in _open else fact)
    except UnicodeEncodeError:
        raise ContentRefused("a lone surrogate") from None
    except RecursionError:
        raise _too_deep() from None
    if data.find(b"\\u0000") >= 0:  # not "in": it tries bytes as a number first, and swallows an exception, 0.5 µs
        refuse_nul(data)
    if len(data) > NESTING_MAX and data.count(b"{") + data.count(b"[") > NESTING_MAX and nesting(data) > NESTING_MAX:
        raise _too_deep()
    return name, data


def nesting(data: bytes) -> int:
    """How deep JSON is nested; 0 for a string or a number."""
    depth = deepest = 0
    for byte in _STRING.sub(b"", data):
        if byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"}]":
            depth -= 1
    return deepest


def _too_deep() -> BadRequest:
    return BadRequest(f"expected JSON that is nested at most {NESTING_MAX} deep")


def refuse_nul(data: bytes) -> None:
    """Raises ``ContentRefused`` for JSON with U+0000 in it."""
    if b"\\u0000" in data and _NUL.search(data):
        raise ContentRefused("U+0000")


class Decoder:
    """Stored bytes to facts of today, by one table of upcasts."""

    def __init__(self, upcasts: Upcasts) -> None:
        """Raises ``EndlessUpcast``."""
        self._upcasts = upcasts
        self._readers: dict[tuple[str, str], Callable[[bytes], Any]] = {}
        for kind, name in upcasts:
            chain(upcasts, kind, name)

    def decode(self, kind: Kind, name: str, data: bytes) -> Any:
        """The fact. Raises ``msgspec.DecodeError`` where the bytes are not of its type: the log was tampered with."""
        return self.reader(kind, name)(data)

    def reader(self, kind: Kind, name: str) -> Callable[[bytes], Any]:
        """The decoder of one type's data. A caller with many events of one type looks it up once."""
        reader = self._readers.get((kind, name))
        if reader is None:
            reader = self._reader(kind, name)
            if len(self._readers) < READERS_KEPT_MAX:
                self._readers[kind, name] = reader
        return reader

    def decode_event(self, stored: StoredEvent) -> Event[Any]:
        return Event(stored.message_id, self.decode(stored.stream.kind, stored.type, stored.data))

    def today(self, stored: StoredEvent) -> StoredEvent:
        """The same event under its current type, for code that selects by type before it decodes. Never sent, hashed or exported."""
        if (stored.stream.kind, stored.type) not in self._upcasts:
            return stored
        name, steps = chain(self._upcasts, stored.stream.kind, stored.type)
        data = msgspec.json.decode(stored.data)
        for step in steps:
            data = step(data)
        return msgspec.structs.replace(stored, type=name, data=_encoder.encode(data))

    def _reader(self, kind: Kind, name: str) -> Callable[[bytes], Any]:
        today, steps = chain(self._upcasts, kind, name)
        fact = TYPES[kind].get(today)
        if not steps:
            return _emitted(today) if fact is None else _plain(fact) if fact not in _open else _with_fields(fact)

        def upcasted(data: bytes) -> Any:
            old = msgspec.json.decode(data)
            for step in steps:
                old = step(old)
            if fact is None:
                return Emitted(today, old)
            return _unflat(fact, old) if fact in _open else msgspec.convert(old, fact)

        return upcasted


def _plain(fact: type[Any]) -> Callable[[bytes], Any]:
    return _decoders[fact].decode


def _with_fields(fact: type[Any]) -> Callable[[bytes], Any]:
    decode_known, decode_all, known = _decoders[fact].decode, _any_decoder.decode, tuple(_known[fact])

    def read(data: bytes) -> Any:
        flat = decode_all(data)
        if not isinstance(flat, dict):
            return decode_known(data)
        if "fields" in flat:
            return _unflat(fact, flat)
        event = decode_known(data)  # decoded a second time in C: cheaper than converting the dict
        for name in known:
            flat.pop(name, None)
        if flat:
            force_setattr(event, "fields", flat)
        return event

    return read


def _emitted(name: str) -> Callable[[bytes], Any]:
    return lambda data: Emitted(name, msgspec.json.decode(data))


def encode_actor(actor: Actor) -> bytes:
    return _encoder.encode(actor)


def decode_actor(actor: bytes | None) -> Actor | None:
    return _actor_decoder.decode(actor) if actor is not None else None


DECODER: Final = Decoder(UPCASTS)
decode = DECODER.decode
decode_event = DECODER.decode_event
today = DECODER.today


def _flat(fact: Any) -> dict[str, Any]:
    """The unknown keys, then the known ones. An unknown key does not stand in for a known one that is not set."""
    flat = dict(fact.fields)
    for name in fact.__struct_fields__:
        if name == "fields":
            continue
        value = getattr(fact, name)
        if value is msgspec.UNSET:
            flat.pop(name, None)
        else:
            flat[name] = value
    return flat


def _unflat(fact: type[Any], flat: dict[str, Any]) -> Any:
    names = fact.__struct_fields__
    known = {name: flat.pop(name) for name in names if name in flat and name != "fields"}
    return msgspec.convert({**known, "fields": flat}, fact)


# Replaces the data of each ``message_end`` in an outline: the generation is over, without its text.
OUTLINE_END: Final = encode(MessageEnded("", [], "", "", None, Timings(None, 0), 0))[1]
