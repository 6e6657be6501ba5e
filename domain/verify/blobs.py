"""Content by reference: each blob that an event refers to exists and has the sha256 of its name."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from uuid import UUID

from msgspec import UNSET

from domain.chat.facts import MessageAdded, MessageEdited
from domain.generation import ActionRan, FilterApplied, MessageStarted
from domain.routing.call import CallAnswered, CallOpened
from domain.routing.function import FunctionChanged, FunctionCreated
from domain.verify.answers import ENDS, BlobRef, blob_ref
from domain.verify.finding import Finding, LogRow, VerifyBatch, found

SOURCES: Final = frozenset({FunctionCreated, FunctionChanged})  # of functions
TRACES: Final = (FilterApplied, ActionRan)
OURS: Final = (MessageStarted, *ENDS, *TRACES, CallOpened, CallAnswered)  # the server alone writes what they refer to
REFERRING: Final = frozenset({MessageAdded, MessageEdited, *OURS})


class StoredBlob(NamedTuple):
    """One blob, with the hash that Postgres computed of its content."""

    stream_id: bytes
    sha256: bytes  # its key
    content_sha256: bytes  # of the stored bytes
    size_bytes: int


class Reference(NamedTuple):
    entry: LogRow  # the first one
    size_bytes: int
    is_ours: bool  # false: a person's message, which may hold text that only looks like a reference


class BlobCheck:
    """The check. Keeps the references, which are few, until ``compare`` is given the stored blobs."""

    name = "blobs"

    def __init__(self) -> None:
        self._references: dict[tuple[bytes, bytes], Reference] = {}

    def check_batch(self, batch: VerifyBatch) -> Iterator[Finding]:
        for head, begin, facts in batch.spans:
            if type(facts[0]) in SOURCES:
                for at, fact in enumerate(facts, begin):
                    if fact.source is not UNSET:
                        yield from self._refer(batch.rows.entry(head, at), BlobRef(fact.source.blob, fact.source.size_bytes), is_ours=True)
                continue
            if type(facts[0]) not in REFERRING:
                continue
            for at, fact in enumerate(facts, begin):
                for reference in filter(None, map(blob_ref, referred(fact))):
                    yield from self._refer(batch.rows.entry(head, at), reference, is_ours=isinstance(fact, OURS))

    def _refer(self, entry: LogRow, reference: BlobRef, *, is_ours: bool) -> Iterator[Finding]:
        try:
            sha256 = bytes.fromhex(reference.blob)
        except ValueError:
            sha256 = b""
        if len(sha256) == 32:
            known = self._references.get((entry.stream_id, sha256))
            if known is None or (is_ours and not known.is_ours):
                self._references[entry.stream_id, sha256] = Reference(entry, reference.size_bytes, is_ours)
        elif is_ours:
            yield found(self, entry, f"expected the sha256 of a blob, found {reference.blob[:80]!r}")

    def compare(self, stored: StoredBlob) -> Iterator[Finding]:
        """To be called once for each stored blob."""
        reference = self._references.pop((stored.stream_id, stored.sha256), None)
        if stored.content_sha256 != stored.sha256:
            text = f"expected blob {stored.sha256.hex()} to have this sha256, found content with {stored.content_sha256.hex()}"
            if reference is not None:
                yield found(self, reference.entry, text)
            else:  # a crash may leave a blob that no event refers to
                yield Finding(check=self.name, position=None, text=f"{text}, in the stream {UUID(bytes=stored.stream_id)}")
        elif reference is not None and reference.is_ours and stored.size_bytes != reference.size_bytes:
            yield found(self, reference.entry, f"expected a blob of {reference.size_bytes} bytes, found {stored.size_bytes}")

    def left(self) -> Iterator[Finding]:
        """To be called after all blobs: the references without a blob."""
        for (_, sha256), reference in self._references.items():
            if reference.is_ours:
                yield found(self, reference.entry, f"expected a blob {sha256.hex()}, found none")


def referred(fact: Any) -> tuple[Any, ...]:
    """What may be a reference in it."""
    match fact:
        case MessageEdited(fields=fields):
            return fields.get("content"), fields.get("originalContent")
        case FilterApplied(original=kept) | ActionRan(result=kept):
            return (kept,)
        case MessageStarted(payload=payload):
            return (payload,)
        case CallOpened(data=data) | CallAnswered(data=data):
            return (data,)
        case _:
            return (fact.content,)
