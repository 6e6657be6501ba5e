"""Events of the log as those of one of Anthropic's messages: one content block after the other, each closed before the next opens.

Source: https://docs.anthropic.com/en/docs/build-with-claude/streaming.
"""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

from api.completions.chunks import LOST, Failure
from api.request import anthropic_errors
from api.request.errors import status_of_provider
from domain.generation import (
    BlockOpened,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    MessageDelta,
    MessageEnded,
    MessageStarted,
)
from domain.log.codec import decode_event
from domain.log.event import StoredEvent

STOP_REASONS: Final[Mapping[str, str]] = {
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


class BlockForm(msgspec.Struct, frozen=True):
    """How a block is named."""

    key: str  # what it says, whole
    delta_type: str
    delta_key: str
    start: Mapping[str, Any]


# By the type of the block. Of another type nothing is shown.
FORMS: Final[Mapping[str, BlockForm]] = {
    "text": BlockForm("text", "text_delta", "text", {"type": "text", "text": ""}),
    "reasoning": BlockForm("thinking", "thinking_delta", "thinking", {"type": "thinking", "thinking": "", "signature": ""}),
    "tool_call": BlockForm("input", "input_json_delta", "partial_json", {"type": "tool_use", "input": {}}),
}


class ContentBlock:
    """One block of the answer. ``index`` is its place among those that are shown, once it has begun."""

    def __init__(self, opened: BlockOpened) -> None:
        self.opened = opened
        self.index: int | None = None
        self.pieces: list[str] = []
        self.sent = 0  # of the pieces

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def is_complete(self) -> bool:
        """Whether the block is over once another has opened: text only goes on in the newest block, a call until its JSON is whole."""
        return self.opened.type != "tool_call" or is_json(self.text)

    def start(self) -> dict[str, Any]:
        """As it begins, without what it says."""
        of_call = {"id": self.opened.id or "", "name": self.opened.name or ""} if self.opened.type == "tool_call" else {}
        return {**FORMS[self.opened.type].start, **of_call}

    def delta(self, text: str) -> dict[str, Any]:
        form = FORMS[self.opened.type]
        return {"type": form.delta_type, form.delta_key: text}

    def to_json(self) -> dict[str, Any]:
        """Whole. A call whose arguments are no JSON object, such as one that was cut, has them as text: ``{"arguments": …}``."""
        form = FORMS[self.opened.type]
        return {**self.start(), form.key: input_of(self.text) if self.opened.type == "tool_call" else self.text}


class MessageFrames:
    """Stateful: feed it a chat's events in order, and it gives the SSE frames of the answer. ``with_thinking``: the reasoning, too."""

    def __init__(self, message_id: UUID, *, with_thinking: bool) -> None:
        self._message_id = message_id
        self._with_thinking = with_thinking
        self._blocks: list[ContentBlock] = []  # all of the answer
        self._shown: list[ContentBlock] = []  # in their order
        self._current = 0  # of the shown: the one that is open, or to open next
        self._model = ""
        self._stop_reason: str | None = None
        self._usage: Mapping[str, Any] = {}
        self.over = False
        self.failure: Failure | None = None

    @property
    def has_content(self) -> bool:
        return bool(self._blocks)

    def of(self, stored: StoredEvent) -> bytes:
        """The frames of one event; empty where it says nothing about this answer."""
        if stored.message_id != self._message_id or self.over:
            return b""
        match decode_event(stored).data:
            case MessageStarted(model=model):
                self._model = model
                return frame("message_start", message={**self.message(), "content": []})
            case BlockOpened() as opened:
                block = ContentBlock(opened)
                self._blocks.append(block)
                if opened.type in FORMS and (opened.type != "reasoning" or self._with_thinking):
                    self._shown.append(block)
                return self._advance()
            case MessageDelta(index=index, text=text):
                block = self._blocks[index]
                block.pieces.append(text)
                return self._unsent(block) if block.index is not None and block.index < self._current else self._advance()
            case MessageEnded() as end:
                self._usage = end.usage or {}
                return self._end(STOP_REASONS.get(end.finish_reason, "end_turn"))
            case GenerationCancelled():
                return self._end("end_turn")
            case GenerationFailed(code=code, detail=detail, provider=provider):
                return self._fail(Failure(code, detail, provider or {}))
            case GenerationInterrupted():
                return self._fail(LOST)
            case _:
                return b""

    def replace_text(self, message_id: UUID, text: str) -> None:
        """All of it in the first block of text; an answer without one has nothing to be replaced."""
        texts = [block for block in self._shown if block.opened.type == "text"]
        if message_id == self._message_id and texts:
            texts[0].pieces = [text]
            self._shown = [block for block in self._shown if block not in texts[1:]]

    def message(self) -> dict[str, Any]:
        """The message as of the last event."""
        return {
            "id": f"msg_{self._message_id.hex}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [block.to_json() for block in self._shown],
            "stop_reason": self._stop_reason,
            "stop_sequence": None,
            "usage": usage_of(self._usage),
        }

    def _advance(self, *, over: bool = False) -> bytes:
        """What can be sent now: of the open block all, and of the next once the open one is complete."""
        frames = b""
        while self._current < len(self._shown):
            block = self._shown[self._current]
            if block.index is None:
                block.index = self._current
                frames += frame("content_block_start", index=block.index, content_block=block.start())
            frames += self._unsent(block)
            has_next = self._current + 1 < len(self._shown) or block is not self._blocks[-1]
            if not over and not (has_next and block.is_complete):
                break
            frames += frame("content_block_stop", index=block.index)
            self._current += 1
        return frames

    def _unsent(self, block: ContentBlock) -> bytes:
        pieces, block.sent = block.pieces[block.sent :], len(block.pieces)
        return b"".join(frame("content_block_delta", index=block.index, delta=block.delta(piece)) for piece in pieces)

    def _end(self, stop_reason: str) -> bytes:
        self.over = True
        self._stop_reason = stop_reason
        delta = {"stop_reason": stop_reason, "stop_sequence": None}
        return self._advance(over=True) + frame("message_delta", delta=delta, usage=usage_of(self._usage)) + frame("message_stop")

    def _fail(self, failure: Failure) -> bytes:
        self.over = True
        self.failure = failure
        status = status_of_provider(failure.provider)
        more = {"provider": failure.provider}
        return self._advance(over=True) + frame("error", **anthropic_errors.shaped(status, failure.detail, more))


def frame(type_: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (type_.encode(), msgspec.json.encode({"type": type_, **fields}))


def is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def input_of(arguments: str) -> dict[str, Any]:
    if not arguments:
        return {}
    try:
        decoded = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        decoded = None
    return decoded if isinstance(decoded, dict) else {"arguments": arguments}


def usage_of(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Token counts by Anthropic's names, where what was read from a cache is counted apart from the rest of the input."""
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else None
    cached = cached if isinstance(cached, int) else 0
    read, written = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
    return {
        "input_tokens": max(0, read - cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": written,
    }
