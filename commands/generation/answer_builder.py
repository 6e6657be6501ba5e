"""The blocks of one answer as its provider's parts come: parts in, facts out, and what all of it comes to in the end."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog
from msgspec import UNSET
from msgspec.structs import replace

from commands.providers.provider import (
    Audio,
    Extras,
    File,
    Finish,
    LeftOut,
    Logprobs,
    Part,
    Reasoning,
    RefusalText,
    Skipped,
    Source,
    Text,
    ToolCall,
    Usage,
    Waiting,
)
from domain.generation import (
    CONTINUED,
    REFUSAL,
    BlockOpened,
    BlockSum,
    BlockType,
    MessageDelta,
)
from domain.values.storable import storable_text

logger = structlog.get_logger("run")

DELTA_CHARACTERS_MAX: Final = 32 * 1024  # at most 6 bytes each in JSON: below what an event may hold
LEFT_OUT_CHARACTERS_MAX: Final = 8 * 1024  # before one block: tags without end must not outgrow an event
LOGPROBS_BYTES_MAX: Final = 32 * 1024  # of one piece of text; with it, the text still fits into an event


class Block:
    """One block of the answer, as it grows."""

    __slots__ = ("index", "name", "text", "type")

    def __init__(self, index: int, type_: BlockType, name: str | None) -> None:
        self.index = index
        self.type = type_
        self.name = name
        self.text: list[str] = []

    def sum(self) -> BlockSum:
        return BlockSum(self.index, self.type, hashlib.sha256("".join(self.text).encode()).hexdigest())


class AnswerBuilder:
    """What was said so far: turns a provider's parts into the facts of the log."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.deltas = 0
        self.finish_reason: str | None = None
        self.usage: Mapping[str, Any] | None = None
        self.files: list[Mapping[str, Any]] = []
        self.sources: list[Mapping[str, Any]] = []
        self.extras: Mapping[str, Any] = {}
        self.unknown: Sequence[str] = ()
        self._tool_calls: dict[int, Block] = {}
        self.waiting: Waiting | None = None  # to be shown
        self._left_out = ""  # since the last block

    def add(self, parts: Sequence[Part]) -> list[BlockOpened | MessageDelta]:
        facts: list[BlockOpened | MessageDelta] = []
        for part in parts:
            if isinstance(part, Text):  # nearly every part; a class pattern costs three times as much
                self._say(facts, self._flowing("text", facts), part.text)
                continue
            match part:
                case Reasoning(text):
                    self._say(facts, self._flowing("reasoning", facts), text)
                case RefusalText(text):
                    self._say(facts, self._flowing("text", facts, REFUSAL), text)
                case ToolCall():
                    block = self._tool_calls.get(part.index)
                    if block is None:
                        block = self._tool_calls[part.index] = self._open("tool_call", facts, part.name, part.id)
                    if part.arguments:
                        self._say(facts, block, part.arguments)
                case Audio(data, audio_id):
                    self._say(facts, self._flowing("audio", facts, call_id=audio_id), data)
                case Logprobs(logprobs):
                    self._add_logprobs(facts, logprobs)
                case File(file):
                    self.files.append(file)
                case Source(source):
                    self.sources.append(source)
                case Extras(fields, unknown):
                    self.extras, self.unknown = {**fields, **self.extras}, unknown
                case LeftOut(text):
                    self._left_out += storable_text(text)
                    if len(self._left_out) > LEFT_OUT_CHARACTERS_MAX:
                        facts += self.finish()
                case Finish(reason):
                    self.finish_reason = reason
                    facts += self.finish()
                case Usage(usage):
                    self.usage = usage
                case Waiting():
                    self.waiting = part
                case Skipped(reason):
                    logger.info("provider_chunk_skipped", reason=reason)
        return facts

    def begin_with(self, text: str) -> list[BlockOpened | MessageDelta]:
        """The text of the continued answer as a block of its own, so that a reader can tell it from what is new."""
        facts: list[BlockOpened | MessageDelta] = []
        self._say(facts, self._open("text", facts, CONTINUED, None), text)
        return facts

    def _flowing(
        self, type_: BlockType, facts: list[BlockOpened | MessageDelta], name: str | None = None, call_id: str | None = None
    ) -> Block:
        """The block that text of this type goes on in: the last one, if it is of this type and name and nothing was left out since."""
        if self.blocks and not self._left_out and self.blocks[-1].type == type_ and self.blocks[-1].name == name:
            return self.blocks[-1]
        return self._open(type_, facts, name, call_id)

    def _add_logprobs(self, facts: list[BlockOpened | MessageDelta], logprobs: Mapping[str, Any]) -> None:
        last = facts[-1] if facts else None
        size_bytes = len(msgspec.json.encode(logprobs))
        if isinstance(last, MessageDelta) and last.logprobs is UNSET and size_bytes <= LOGPROBS_BYTES_MAX:
            facts[-1] = replace(last, logprobs=logprobs)
        else:
            logger.info("logprobs_left_out", reason="no text stands before them" if last is None else f"{size_bytes} bytes of one piece")

    def _open(self, type_: BlockType, facts: list[BlockOpened | MessageDelta], name: str | None, call_id: str | None) -> Block:
        block = Block(len(self.blocks), type_, name)
        self.blocks.append(block)
        facts.append(BlockOpened(block.index, type_, name, call_id, self._left_out or UNSET))
        self._left_out = ""
        return block

    def finish(self) -> list[BlockOpened | MessageDelta]:
        """Nothing follows. What was left out after the last block stands before an empty one, so that it is in the log."""
        facts: list[BlockOpened | MessageDelta] = []
        if self._left_out:
            self._open("text", facts, None, None)
        return facts

    def _say(self, facts: list[BlockOpened | MessageDelta], block: Block, text: str) -> None:
        text = storable_text(text)
        block.text.append(text)
        if 0 < len(text) <= DELTA_CHARACTERS_MAX:
            facts.append(MessageDelta(block.index, text))
            return
        starts = range(0, len(text), DELTA_CHARACTERS_MAX)
        facts += [MessageDelta(block.index, text[at : at + DELTA_CHARACTERS_MAX]) for at in starts]

    @property
    def content(self) -> str:
        return "".join("".join(block.text) for block in self.blocks if block.type == "text")

    def sums(self) -> list[BlockSum]:
        return [block.sum() for block in self.blocks]


def joined(facts: Sequence[BlockOpened | MessageDelta], deltas_max: int) -> Sequence[BlockOpened | MessageDelta]:
    """The same with at most about ``deltas_max`` deltas: adjacent ones of one block become one that says how many it holds."""
    if len(facts) <= deltas_max:
        return facts
    count = sum(type(fact) is MessageDelta for fact in facts)
    if count <= deltas_max:
        return facts
    each = -(-count // deltas_max)
    made: list[BlockOpened | MessageDelta] = []
    waiting: list[str] = []
    logprobs: list[Mapping[str, Any]] = []
    index = size = 0

    def flush() -> None:
        nonlocal size
        if waiting:
            made.append(MessageDelta(index, "".join(waiting), len(waiting), with_all(logprobs) if logprobs else UNSET))
            waiting.clear()
            logprobs.clear()
            size = 0

    for fact in facts:
        if isinstance(fact, BlockOpened):
            flush()
            made.append(fact)
            continue
        if waiting and (fact.index != index or len(waiting) == each or size + len(fact.text) > DELTA_CHARACTERS_MAX):
            flush()
        index = fact.index
        size += len(fact.text)
        waiting.append(fact.text)
        if fact.logprobs is not UNSET:
            logprobs.append(fact.logprobs)
    flush()
    return made


def with_all(logprobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The log probabilities of several pieces as those of one: their lists joined."""
    made: dict[str, Any] = {}
    for one in logprobs:
        for name, value in one.items():
            known = made.get(name)
            made[name] = [*known, *value] if isinstance(known, list) and isinstance(value, list) else value if value is not None else known
    return made
