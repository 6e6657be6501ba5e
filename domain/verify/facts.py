"""Whether each row says something: a stream that exists, a type and data that decode (old ones by their upcasts), an actor."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from domain.chat import (
    BlockOpened,
    BranchSelected,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    MessageAdded,
    MessageDeleted,
    MessageDelta,
    MessageEdited,
    MessageEnded,
    MessageRated,
    MessageStarted,
)
from domain.codec import DECODER, EMITTED_NAME, decode_actor
from domain.event import Emitted
from domain.verify.finding import Batch, Entry, Finding, found

# What is about a message, and nothing without one.
OF_A_MESSAGE: Final = frozenset(
    {
        BlockOpened,
        BranchSelected,
        Emitted,
        GenerationCancelled,
        GenerationFailed,
        GenerationInterrupted,
        MessageAdded,
        MessageDeleted,
        MessageDelta,
        MessageEdited,
        MessageEnded,
        MessageRated,
        MessageStarted,
    }
)
EMITTING: Final = frozenset({"chat", "channel"})  # kinds of streams that plugins write to, under names that they choose

Decode = Callable[[Any, str, bytes], Any]


def batch_of(entries: Sequence[Entry], decode: Decode = DECODER.decode) -> Batch:
    """The entries with their facts. All checks decode once."""
    facts: list[Any] = []
    for entry in entries:
        try:
            facts.append(decode(entry.kind, entry.type, entry.data))
        except Exception:  # noqa: BLE001  # whatever stands there: ``Facts`` asks again, and says so
            facts.append(None)
    return Batch(entries, facts)


class Facts:
    name = "facts"

    def __init__(self, decode: Decode = DECODER.decode) -> None:
        self._decode = decode

    def take(self, batch: Batch) -> Iterator[Finding]:
        for entry, fact in zip(batch.entries, batch.facts, strict=True):
            if type(fact) is MessageDelta and entry.actor is None and entry.message_id is not None:
                continue  # nearly all of them
            if fact is None:
                yield found(self, entry, self._why(entry))
            elif entry.message_id is None and type(fact) in OF_A_MESSAGE and entry.kind == "chat":
                yield found(self, entry, f"expected the message that a {entry.type} is about, found none")
            elif type(fact) is Emitted and (entry.kind not in EMITTING or not EMITTED_NAME.fullmatch(entry.type)):
                yield found(self, entry, f"expected a type of a {entry.kind} stream, found {entry.type[:80]!r}")
            if entry.actor is not None:
                try:
                    decode_actor(entry.actor)
                except msgspec.DecodeError as error:
                    yield found(self, entry, f"expected an actor: {error}")

    def _why(self, entry: Entry) -> str:
        if entry.kind is None:
            return f"expected a stream {UUID(bytes=entry.stream_id)}, found none"
        try:
            self._decode(entry.kind, entry.type, entry.data)
        except Exception as error:  # noqa: BLE001  # an upcast that is not total raises whatever it likes
            return f"expected the data of a {entry.type}: {error}"
        raise AssertionError("what could not be decoded can be now")
