"""Whether each row says something: a stream that exists, a type and data that decode (old ones by their upcasts), an actor."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from domain.chat import (
    OF_A_MESSAGE,
    MessageDelta,
)
from domain.codec import DECODER, EMITTED_NAME, Decoder, decode_actor
from domain.event import Emitted
from domain.stream import Kind
from domain.verify.finding import Batch, Entry, Finding, found

EMITTING: Final = frozenset({"chat", "channel"})  # kinds of streams that plugins write to, under names that they choose


def batch_of(entries: Sequence[Entry], decoder: Decoder = DECODER) -> Batch:
    """The entries with their facts: decoded once for all checks."""
    facts: list[Any] = []
    but_deltas: list[tuple[Entry, Any]] = []
    kind: Kind | None = None
    name = ""
    read: Callable[[bytes], Any] = no_stream
    for entry in entries:
        if entry.type is not name or entry.kind is not kind:  # a token mostly follows a token, here or in another chat
            kind, name = entry.kind, entry.type
            read = decoder.reader(kind, name) if kind is not None else no_stream
        try:
            fact = read(entry.data)
        except Exception:  # noqa: BLE001  # whatever stands there, ``Facts`` asks again and says it
            fact = None
        facts.append(fact)
        if type(fact) is not MessageDelta or entry.actor is not None or entry.message_id is None:
            but_deltas.append((entry, fact))
    return Batch(entries, facts, but_deltas)


def no_stream(_: bytes) -> Any:
    raise LookupError("no stream")


class Facts:
    name = "facts"

    def __init__(self, decoder: Decoder = DECODER) -> None:
        self._decoder = decoder

    def take(self, batch: Batch) -> Iterator[Finding]:
        for entry, fact in batch.but_deltas:
            if fact is None:
                yield found(self, entry, self._why(entry))
            elif entry.message_id is None and type(fact) in OF_A_MESSAGE and entry.kind == "chat":
                yield found(self, entry, f"expected the message that a {entry.type} is about, found none")
            elif type(fact) is Emitted and (entry.kind not in EMITTING or not EMITTED_NAME.fullmatch(entry.type)):
                yield found(self, entry, f"expected a type of a {entry.kind} stream, found {entry.type[:80]!r}")
            if entry.actor is not None:
                try:
                    decode_actor(entry.actor)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    yield found(self, entry, f"expected an actor: {error}")

    def _why(self, entry: Entry) -> str:
        if entry.kind is None:
            return f"expected a stream {UUID(bytes=entry.stream_id)}, found none"
        try:
            self._decoder.decode(entry.kind, entry.type, entry.data)
        except Exception as error:  # noqa: BLE001  # an upcast that is not total raises whatever it likes
            return f"expected the data of a {entry.type}: {error}"
        raise AssertionError("what could not be decoded can be now")
