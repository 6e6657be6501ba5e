"""Each row decodes: its stream exists, its type and data decode (old ones through their upcasters), its actor decodes."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import NoneType
from typing import Any, Final
from uuid import UUID

import msgspec

from domain.channel.facts import OF_A_CHANNEL_MESSAGE
from domain.chat.facts import OF_A_MESSAGE
from domain.log.codec import DECODER, EMITTED_NAME, Decoder, decode_actor
from domain.log.event import Emitted
from domain.verify.finding import Finding, RowHeader, Rows, VerifyBatch, found

OF_MESSAGES: Final[Mapping[str | None, Collection[Any]]] = {"chat": OF_A_MESSAGE, "channel": OF_A_CHANNEL_MESSAGE}
EMITTING: Final = frozenset({"chat", "channel"})  # kinds of streams in which plugins emit events of types that they choose
ACTORS_KEPT_MAX: Final = 10_000


def batch_of(rows: Rows, decoder: Decoder = DECODER) -> VerifyBatch:
    """The rows with their facts: decoded once for all checks."""
    spans: list[tuple[RowHeader, int, Sequence[Any]]] = []
    data = rows.data
    for head, begin, end in rows.runs:
        read = decoder.reader(head.kind, head.type) if head.kind is not None else no_stream
        try:
            spans.append((head, begin, (read(data[begin]),) if end - begin == 1 else list(map(read, data[begin:end]))))
        except Exception:  # noqa: BLE001  # ``FactCheck`` decodes it again and reports the error
            spans += ((head, at, (read_or_none(read, data[at]),)) for at in range(begin, end))
    return VerifyBatch(rows, spans)


def read_or_none(read: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return read(data)
    except Exception:  # noqa: BLE001  # as above
        return None


def no_stream(_: bytes) -> Any:
    raise LookupError("no stream")


class FactCheck:
    name = "facts"

    def __init__(self, decoder: Decoder = DECODER) -> None:
        self._decoder = decoder
        self._actors: set[bytes] = set()  # that decode

    def check_batch(self, batch: VerifyBatch) -> Iterator[Finding]:
        actors = self._actors
        for head, begin, facts in batch.spans:
            kind = type(facts[0])
            is_decoded = kind is not NoneType and kind is not Emitted and (head.message_id is not None or kind not in OF_A_MESSAGE)
            if is_decoded and (head.actor is None or head.actor in actors):
                continue
            wrong = list(self._wrong(head, facts[0], batch.rows.data[begin]))
            for at in range(begin, begin + len(facts)):
                yield from (found(self, batch.rows.entry(head, at), text) for text in wrong)

    def _wrong(self, head: RowHeader, fact: Any, data: bytes) -> Iterator[str]:
        if fact is None:
            yield self._why(head, data)
        elif head.message_id is None and type(fact) in OF_MESSAGES.get(head.kind, ()):
            yield f"expected the message that a {head.type} is about, found none"
        elif type(fact) is Emitted and (head.kind not in EMITTING or not EMITTED_NAME.fullmatch(head.type)):
            yield f"expected a type of a {head.kind} stream, found {head.type[:80]!r}"
        if head.actor is not None and head.actor not in self._actors:
            try:
                decode_actor(head.actor)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                yield f"expected an actor: {error}"
            else:
                self._keep(head.actor)

    def _keep(self, actor: bytes) -> None:
        """One actor causes many events: it is decoded once."""
        if len(self._actors) >= ACTORS_KEPT_MAX:
            self._actors.clear()
        self._actors.add(actor)

    def _why(self, head: RowHeader, data: bytes) -> str:
        if head.kind is None:
            return f"expected a stream {UUID(bytes=head.stream_id)}, found none"
        try:
            self._decoder.decode(head.kind, head.type, data)
        except Exception as error:  # noqa: BLE001  # an upcaster that is not total may raise any exception
            return f"expected the data of a {head.type}: {error}"
        raise AssertionError("what could not be decoded can be now")
