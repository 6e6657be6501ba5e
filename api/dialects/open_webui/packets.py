"""Packets of Engine.IO 4 and Socket.IO 5 as text: those that a page without binary data and with the namespace ``/`` sends and gets.

https://socket.io/docs/v4/engine-io-protocol/, https://socket.io/docs/v4/socket-io-protocol/
"""

import re
from typing import Any, Final

import msgspec

from domain.errors import BadRequest
from domain.log.codec import UNREADABLE

NAMESPACE: Final = re.compile(r"/[^,]*,")
ACK_DIGITS_MAX: Final = 15

_encode: Final = msgspec.json.encode
_decode: Final = msgspec.json.Decoder().decode


class Ping(msgspec.Struct, frozen=True):
    probe: str


class Pong(msgspec.Struct, frozen=True):
    pass


class Connect(msgspec.Struct, frozen=True):
    auth: Any


class Disconnect(msgspec.Struct, frozen=True):
    """Of the namespace, or of the transport."""


class Event(msgspec.Struct, frozen=True):
    name: str
    data: Any  # the first argument; null where there is none. The page sends no others
    ack: int | None  # the number under which an acknowledgement is wanted


class Ack(msgspec.Struct, frozen=True):
    """The page's answer to an event of ours."""

    number: int
    data: Any


class OtherNamespace(msgspec.Struct, frozen=True):
    """A client asks to be connected to a namespace that there is not."""

    namespace: str


Packet = Ping | Pong | Connect | Disconnect | Event | Ack | OtherNamespace


def parse(text: str) -> Packet:
    """Raises ``BadRequest`` for what is none of these packets, also for binary ones."""
    match text[:1]:
        case "2":
            return Ping(text[1:])
        case "3":
            return Pong()
        case "1":
            return Disconnect()
        case "4":
            return parse_message(text[1:])
        case _:
            raise BadRequest(f"expected a packet of Engine.IO 4 as text, received {text[:40]!r}")


def parse_message(text: str) -> Packet:
    kind, rest = text[:1], text[1:]
    namespace = NAMESPACE.match(rest)
    if namespace is not None:
        if kind != "0":
            raise BadRequest(f"expected a packet for the namespace /, received {text[:40]!r}")
        return OtherNamespace(namespace[0][:-1])
    match kind:
        case "0":
            return Connect(decoded(rest) if rest else None)
        case "1":
            return Disconnect()
        case "2":
            number, rest = numbered(rest)
            match decoded(rest):
                case [str() as name, *arguments]:
                    return Event(name, arguments[0] if arguments else None, number)
                case _:
                    raise BadRequest(f"expected an event as a list that begins with its name, received {text[:40]!r}")
        case "3":
            number, rest = numbered(rest)
            match decoded(rest):
                case list() as arguments if number is not None:
                    return Ack(number, arguments[0] if arguments else None)
                case _:
                    raise BadRequest(f"expected an acknowledgement with its number and a list, received {text[:40]!r}")
        case _:
            raise BadRequest(f"expected a packet of Socket.IO 5 without binary data, received {text[:40]!r}")


def numbered(text: str) -> tuple[int | None, str]:
    rest = text.lstrip("0123456789")
    digits = text[: len(text) - len(rest)]
    if len(digits) > ACK_DIGITS_MAX:
        raise BadRequest("expected the number of an acknowledgement to be smaller")
    return (int(digits) if digits else None), rest


def decoded(text: str) -> Any:
    try:
        return _decode(text)
    except UNREADABLE:
        raise BadRequest(f"expected JSON in a packet, received {text[:40]!r}") from None


def opening(session_id: str, ping_interval_s: float, ping_timeout_s: float, payload_bytes_max: int) -> bytes:
    """The first packet of a transport."""
    said = {
        "sid": session_id,
        "upgrades": [],
        "pingInterval": int(ping_interval_s * 1000),
        "pingTimeout": int(ping_timeout_s * 1000),
        "maxPayload": payload_bytes_max,
    }
    return b"0" + _encode(said)


def connected(session_id: str, private_id: str) -> bytes:
    """``private_id``: the client says it again, with the ``offset`` of what it was sent last, when it connects once more."""
    return b"40" + _encode({"sid": session_id, "pid": private_id})


def refused(namespace: str) -> bytes:
    return b"44" + namespace.encode() + b"," + _encode({"message": "Invalid namespace"})


def event(name: str, data: Any, ack: int | None = None) -> bytes:
    return b"42" + (str(ack).encode() if ack is not None else b"") + _encode([name, data])


def encoded(data: Any) -> bytes:
    """For ``pieces_of_event``: encoded once for all who get it."""
    return _encode(data)


def pieces_of_event(name: bytes, data: bytes, offset: bytes | None = None) -> tuple[bytes, ...]:
    """An event whose data is encoded already. ``offset``: what its client says when it connects once more; text without quotes."""
    if offset is None:
        return b'42["', name, b'",', data, b"]"
    return b'42["', name, b'",', data, b',"', offset, b'"]'


def acknowledged(number: int, *data: Any) -> bytes:
    return b"43" + str(number).encode() + _encode(data)


PING: Final = b"2"
PONG: Final = b"3"
DISCONNECTED: Final = b"41"
