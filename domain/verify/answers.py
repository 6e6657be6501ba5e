"""Whether each answer is what was streamed: its deltas, block by block, and what its end says of them.

``message_end`` must repeat the text exactly, with the sha256 of each block and of the whole. An answer that failed or was stopped holds
the text so far, and may hold more: a last piece that the log did not take in time is kept there and nowhere else.
Memory is what the answers hold that are open at the same place of the log.
"""

import hashlib
from collections.abc import Iterator, Sequence
from operator import attrgetter
from types import NoneType
from typing import Any, Final

import msgspec

from domain.chat import (
    BlockOpened,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    GenerationOver,
    MessageDelta,
    MessageEnded,
    MessageStarted,
)
from domain.verify.finding import Batch, Entry, Finding, Head, Rows, found

ENDS: Final = (MessageEnded, GenerationFailed, GenerationCancelled, GenerationInterrupted)
_index: Final = attrgetter("index")
_text: Final = attrgetter("text")
OF_AN_ANSWER: Final = frozenset({MessageStarted, BlockOpened, MessageDelta, *ENDS})


class BlobRef(msgspec.Struct, frozen=True):
    """Content that an event could not hold."""

    blob: str  # its sha256, in hex
    size_bytes: int


class Answer:
    """One that is open: the texts of its blocks."""

    __slots__ = ("blocks", "deltas", "is_damaged")

    def __init__(self) -> None:
        self.blocks: list[tuple[str, list[str]]] = []
        self.deltas = 0
        self.is_damaged = False  # a part of it can't be read, and was named: its end says nothing new

    def goes_on(self, deltas: Sequence[MessageDelta]) -> bool:
        """Take what was streamed to one block of it. False, and nothing is taken, if it is not one block, or none that is there."""
        index = deltas[0].index
        if not 0 <= index < len(self.blocks) or (len(deltas) > 1 and len(set(map(_index, deltas))) > 1):
            return False
        self.blocks[index][1].extend(map(_text, deltas))
        self.deltas += len(deltas)
        return True


class Answers:
    """``is_partial``: what is read begins in the middle, so answers whose beginning is not seen are passed over."""

    name = "answers"

    def __init__(self, *, is_partial: bool = False) -> None:
        self._is_partial = is_partial
        self._open: dict[bytes, Answer] = {}

    @property
    def open_count(self) -> int:
        return len(self._open)

    def take(self, batch: Batch) -> Iterator[Finding]:
        for head, begin, facts in batch.spans:
            kind = type(facts[0])
            if kind is MessageDelta:
                answer = self._open.get(head.stream_id + (head.message_id or b""))
                if answer is None or not answer.goes_on(facts):
                    yield from self._wrong_deltas(batch.rows, head, begin, facts)
            elif kind in OF_AN_ANSWER:
                for at, fact in enumerate(facts, begin):
                    yield from self._turn(batch.rows, head, at, fact)
            elif kind is NoneType and head.message_id is not None:
                answer = self._open.get(head.stream_id + head.message_id)
                if answer is not None:
                    answer.is_damaged = True

    def _wrong_deltas(self, rows: Rows, head: Head, begin: int, deltas: Sequence[MessageDelta]) -> Iterator[Finding]:
        """Some of them, or all; those that are right are taken."""
        answer = self._open.get(head.stream_id + (head.message_id or b""))
        for at, delta in enumerate(deltas, begin):
            if answer is None:
                if not self._is_partial:
                    yield self._outside(rows.entry(head, at))
            elif not answer.goes_on((delta,)):
                answer.is_damaged = True
                text = f"expected a block below {len(answer.blocks)}, found a delta of block {delta.index}"
                yield found(self, rows.entry(head, at), text)

    def _turn(self, rows: Rows, head: Head, at: int, fact: Any) -> Iterator[Finding]:
        key = head.stream_id + (head.message_id or b"")
        answer = self._open.get(key)
        if isinstance(fact, MessageStarted):
            if answer is not None:
                yield found(self, rows.entry(head, at), "expected an answer that is not open, found its second beginning")
            self._open[key] = Answer()
        elif answer is None:
            if not self._is_partial:
                yield self._outside(rows.entry(head, at))
        elif isinstance(fact, BlockOpened):
            if fact.index != len(answer.blocks):
                answer.is_damaged = True
                yield found(self, rows.entry(head, at), f"expected block {len(answer.blocks)} to open, found block {fact.index}")
            answer.blocks.append((fact.type, []))
        else:
            del self._open[key]
            if not answer.is_damaged:
                for text in wrong(answer, fact):
                    yield found(self, rows.entry(head, at), text)

    def _outside(self, entry: Entry) -> Finding:
        return found(self, entry, f"expected an open answer, found a {entry.type} before its beginning or after its end")


def wrong(answer: Answer, end: GenerationOver) -> Iterator[str]:
    """How the end of an answer differs from what was streamed."""
    texts = ["".join(pieces) for _, pieces in answer.blocks]
    said = "".join(text for text, (type_, _) in zip(texts, answer.blocks, strict=True) if type_ == "text")
    if not isinstance(end, MessageEnded):
        yield from cut_off(said, end.content)
        return
    if end.deltas != answer.deltas:
        yield f"expected {end.deltas} deltas, found {answer.deltas}"
    known = [(block.index, block.type) for block in end.blocks]
    streamed = [(index, type_) for index, (type_, _) in enumerate(answer.blocks)]
    if known != streamed:
        yield f"expected the blocks {shown(known)}, found {shown(streamed)}"
    else:
        for block, text in zip(end.blocks, texts, strict=True):
            if (sha256 := sha256_of(text)) != block.sha256:
                yield f"expected block {block.index} ({block.type}) with sha256 {block.sha256}, found deltas with {sha256}"
    sha256 = sha256_of(said)
    if sha256 != end.sha256:
        yield f"expected a text with sha256 {end.sha256}, found deltas with {sha256}"
    reference = blob_ref(end.content)
    if reference is not None:
        if (reference.blob, reference.size_bytes) != (end.sha256, len(said.encode())):
            yield f"expected a blob {end.sha256} of {len(said.encode())} bytes, found {reference.blob} of {reference.size_bytes}"
    elif end.content != said:
        found = sha256_of(end.content) if isinstance(end.content, str) else "none"
        if found != end.sha256:  # else it is the deltas that are wrong, which is said above
            yield f"expected a content with sha256 {end.sha256}, found one with {found}"


def cut_off(said: str, content: Any) -> Iterator[str]:
    reference = blob_ref(content)
    if reference is not None:
        # What may follow the deltas is in the blob alone: its own check looks at it.
        size_bytes = len(said.encode())
        if reference.size_bytes < size_bytes or (reference.size_bytes == size_bytes and reference.blob != sha256_of(said)):
            yield f"expected a blob with the text so far, {size_bytes} bytes, found {reference.blob} of {reference.size_bytes}"
    elif not isinstance(content, str) or not content.startswith(said):
        characters = len(content) if isinstance(content, str) else 0
        yield f"expected the text so far, {len(said)} characters with sha256 {sha256_of(said)}, found another one of {characters}"


def blob_ref(content: Any) -> BlobRef | None:
    """What content refers to, if it does."""
    if not isinstance(content, dict):
        return None
    try:
        return msgspec.convert(content, BlobRef)
    except msgspec.ValidationError:
        return None


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def shown(blocks: Sequence[tuple[int, str]]) -> str:
    return ", ".join(f"{index} {type_}" for index, type_ in blocks) or "none"
