"""Compares the end of each answer with its deltas, block by block.

``message_end`` must repeat the text exactly, with the sha256 of each block and of the whole. An answer that failed or was stopped holds
the text so far, and may hold more: a last piece that could not be appended in time is kept in its end alone.
Memory grows with the text of the answers that are open at the same position.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from types import NoneType
from typing import Any, Final

import msgspec

from domain.generation import (
    BlockOpened,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    GenerationOver,
    MessageDelta,
    MessageEnded,
    MessageStarted,
)
from domain.verify.finding import Finding, RowHeader, VerifyBatch, found

ENDS: Final = (MessageEnded, GenerationFailed, GenerationCancelled, GenerationInterrupted)
_index: Final = attrgetter("index")
_text: Final = attrgetter("text")
OF_AN_ANSWER: Final = frozenset({MessageStarted, BlockOpened, MessageDelta, *ENDS})


class BlobRef(msgspec.Struct, frozen=True):
    """A reference to content that is too large for an event."""

    blob: str  # its sha256, in hex
    size_bytes: int


class ReplayedAnswer:
    """An open answer: the texts of its blocks."""

    __slots__ = ("blocks", "deltas", "is_damaged")

    def __init__(self) -> None:
        self.blocks: list[tuple[str, list[str]]] = []
        self.deltas = 0
        self.is_damaged = False  # a part of it could not be decoded and was reported: its end is not compared

    def add_deltas(self, deltas: Sequence[MessageDelta]) -> bool:
        """Add the deltas of one block. False, and nothing is added, if they belong to several blocks or to one that was not opened."""
        index = deltas[0].index
        if not 0 <= index < len(self.blocks) or (len(deltas) > 1 and len(set(map(_index, deltas))) > 1):
            return False
        self.blocks[index][1].extend(map(_text, deltas))
        self.deltas += len(deltas)
        return True


class AnswerCheck:
    """The check. ``is_partial``: reading begins in the middle of the log, so answers whose beginning was not read are skipped."""

    name = "answers"

    def __init__(self, *, is_partial: bool = False) -> None:
        self._is_partial = is_partial
        self._open: dict[bytes, ReplayedAnswer] = {}

    @property
    def open_count(self) -> int:
        return len(self._open)

    def check_batch(self, batch: VerifyBatch) -> Iterator[Finding]:
        for head, begin, facts in batch.spans:
            kind = type(facts[0])
            if kind is MessageDelta:
                answer = self._open.get(head.stream_id + (head.message_id or b""))
                if answer is not None and answer.add_deltas(facts):
                    continue
                wrong_of: Callable[[RowHeader, Any], Iterable[str]] = self._delta
            elif kind in OF_AN_ANSWER:
                wrong_of = self._turn
            elif kind is NoneType:
                wrong_of = self._unread
            else:
                continue
            for at, fact in enumerate(facts, begin):
                for text in wrong_of(head, fact):
                    yield found(self, batch.rows.entry(head, at), text)

    def _delta(self, head: RowHeader, delta: MessageDelta) -> Iterable[str]:
        """One delta of a run that is not all of one open block."""
        answer = self._open.get(head.stream_id + (head.message_id or b""))
        if answer is None:
            return self._outside(head)
        if answer.add_deltas((delta,)):
            return ()
        answer.is_damaged = True
        return (f"expected a block below {len(answer.blocks)}, found a delta of block {delta.index}",)

    def _turn(self, head: RowHeader, fact: Any) -> Iterable[str]:
        key = head.stream_id + (head.message_id or b"")
        answer = self._open.get(key)
        if isinstance(fact, MessageStarted):
            self._open[key] = ReplayedAnswer()
            return () if answer is None else ("expected an answer that is not open, found its second beginning",)
        if answer is None:
            return self._outside(head)
        if isinstance(fact, BlockOpened):
            known = len(answer.blocks)
            answer.blocks.append((fact.type, []))
            if fact.index == known:
                return ()
            answer.is_damaged = True
            return (f"expected block {known} to open, found block {fact.index}",)
        del self._open[key]
        return wrong(answer, fact) if not answer.is_damaged else ()

    def _unread(self, head: RowHeader, _: None) -> Iterable[str]:
        answer = self._open.get(head.stream_id + (head.message_id or b""))
        if answer is not None:
            answer.is_damaged = True
        return ()  # another check reports that it can't be decoded

    def _outside(self, head: RowHeader) -> Iterable[str]:
        return () if self._is_partial else (f"expected an open answer, found a {head.type} before its beginning or after its end",)


def wrong(answer: ReplayedAnswer, end: GenerationOver) -> Iterator[str]:
    """How the end of an answer differs from its deltas."""
    texts = ["".join(pieces) for _, pieces in answer.blocks]
    said = "".join([text for text, (type_, _) in zip(texts, answer.blocks, strict=True) if type_ == "text"])
    if not isinstance(end, MessageEnded):
        yield from cut_off(said, end.content)
        return
    if end.deltas != answer.deltas:
        yield f"expected {end.deltas} deltas, found {answer.deltas}"
    said_sha256 = None
    known = [(block.index, block.type) for block in end.blocks]
    streamed = [(index, type_) for index, (type_, _) in enumerate(answer.blocks)]
    if known != streamed:
        yield f"expected the blocks {format_blocks(known)}, found {format_blocks(streamed)}"
    else:
        for block, text in zip(end.blocks, texts, strict=True):
            sha256 = sha256_of(text)
            if text is said:  # most answers have one block: hashed once
                said_sha256 = sha256
            if sha256 != block.sha256:
                yield f"expected block {block.index} ({block.type}) with sha256 {block.sha256}, found deltas with {sha256}"
    sha256 = said_sha256 or sha256_of(said)
    if sha256 != end.sha256:
        yield f"expected a text with sha256 {end.sha256}, found deltas with {sha256}"
    reference = blob_ref(end.content)
    if reference is not None:
        if (reference.blob, reference.size_bytes) != (end.sha256, len(said.encode())):
            yield f"expected a blob {end.sha256} of {len(said.encode())} bytes, found {reference.blob} of {reference.size_bytes}"
    elif end.content != said:
        found = sha256_of(end.content) if isinstance(end.content, str) else "none"
        if found != end.sha256:  # otherwise the deltas are wrong, which is reported above
            yield f"expected a content with sha256 {end.sha256}, found one with {found}"


def cut_off(said: str, content: Any) -> Iterator[str]:
    reference = blob_ref(content)
    if reference is not None:
        # A piece after the last delta is in the blob alone: the check of blobs compares it.
        size_bytes = len(said.encode())
        if reference.size_bytes < size_bytes or (reference.size_bytes == size_bytes and reference.blob != sha256_of(said)):
            yield f"expected a blob with the text so far, {size_bytes} bytes, found {reference.blob} of {reference.size_bytes}"
    elif not isinstance(content, str) or not content.startswith(said):
        characters = len(content) if isinstance(content, str) else 0
        yield f"expected the text so far, {len(said)} characters with sha256 {sha256_of(said)}, found another one of {characters}"


def blob_ref(content: Any) -> BlobRef | None:
    """The reference that the content is; None if it is none."""
    if not isinstance(content, dict):
        return None
    try:
        return msgspec.convert(content, BlobRef)
    except msgspec.ValidationError:
        return None


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def format_blocks(blocks: Sequence[tuple[int, str]]) -> str:
    return ", ".join(f"{index} {type_}" for index, type_ in blocks) or "none"
