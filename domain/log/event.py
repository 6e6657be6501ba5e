"""An event in its three forms: proposed by a decision, recorded with its numbers, and stored as bytes."""

from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec

from domain.log.stream import Stream

Fact = TypeVar("Fact", covariant=True)


class Actor(msgspec.Struct, frozen=True):
    """The person who caused an event, with the name and role of that moment."""

    id: UUID
    name: str
    role: str


class Event(msgspec.Struct, Generic[Fact], frozen=True):
    """One thing that happened. ``data`` carries neither its type nor the ids of its envelope."""

    message_id: UUID | None
    data: Fact


class Verbatim(msgspec.Struct, frozen=True):
    """A fact as its stored type and JSON, for a caller that has them already: from another log, or encoded before. They are stored
    unchanged; the caller has validated them.
    """

    name: str
    data: bytes


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """One row of the log. ``data`` and ``actor`` are JSON, the very bytes that were written: they are sent as they are.

    ``gc=False``: a process keeps tens of thousands of the newest, and nothing in them can make a cycle. Looking for garbage
    among them stopped everything for 45 ms every 50,000 tokens.
    """

    position: int
    stream: Stream
    version: int
    type: str
    message_id: UUID | None
    actor: bytes | None
    data: bytes
    at: datetime  # UTC; never runs against position


class Recorded(msgspec.Struct, Generic[Fact], frozen=True):
    """An event with its place in the log, for projections."""

    position: int
    stream: Stream
    version: int
    at: datetime
    actor: Actor | None
    event: Event[Fact]


# An event of an emitter that is none of our own types (docs/protocol.md §2): stored as given, under its own name.
class Emitted(msgspec.Struct, frozen=True):
    name: str
    data: Any


def emitters_name(fact: Emitted) -> str:
    """The name under which it is folded into its message: emitters of the reference system may write it with a prefix."""
    return fact.name.removeprefix("chat:message:")
