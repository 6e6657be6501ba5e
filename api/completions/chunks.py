"""Events of the log as chunks of OpenAI's chat completion stream, each with the cursor to take the stream up again."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from api.request import openai_errors
from domain.codec import decode_event
from domain.event import StoredEvent
from domain.generation import (
    BlockOpened,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    MessageDelta,
    MessageEnded,
    MessageStarted,
)

OBJECT: Final = "chat.completion.chunk"


class Choice:
    """One answer as it was said so far: one block list, one text."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.model = ""
        self.created = 0
        self.blocks: list[BlockOpened] = []
        self.tool_calls: list[dict[str, Any]] = []
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.finish_reason: str | None = None
        self.usage: Mapping[str, Any] | None = None


class Failure(msgspec.Struct, frozen=True):
    """Why there is no answer, or no whole one. ``provider``: what the provider itself said of it, as in ``ProviderFailed``."""

    code: str
    detail: str
    provider: Mapping[str, Any] = {}


class Frames:
    """Stateful: feed it a chat's events in order, and it gives the SSE frames of the answers that were asked for."""

    def __init__(self, epoch: UUID, message_ids: Sequence[UUID], *, include_usage: bool) -> None:
        self._epoch = epoch
        self._include_usage = include_usage
        self.choices = {message_id: Choice(index) for index, message_id in enumerate(message_ids)}
        self._open = set(message_ids)
        self.id = f"chatcmpl-{message_ids[0]}"
        self.failure: Failure | None = None

    @property
    def has_content(self) -> bool:
        """Whether any model has said something yet."""
        return any(choice.blocks for choice in self.choices.values())

    @property
    def over(self) -> bool:
        return not self._open

    def of(self, stored: StoredEvent) -> bytes:
        """The frame of one event; empty where it says nothing about these answers."""
        choice = self.choices.get(stored.message_id) if stored.message_id is not None else None
        if choice is None or stored.message_id not in self._open:
            return b""
        cursor = b"id: %b:%d\n" % (str(self._epoch).encode(), stored.version)
        match decode_event(stored).data:
            case MessageStarted(model=model):
                choice.model, choice.created = model, int(stored.at.timestamp())
                return cursor + self._chunk(choice, {"role": "assistant", "content": ""})
            case BlockOpened() as block:
                choice.blocks.append(block)
                if block.type != "tool_call":
                    return b""
                call = {
                    "index": len(choice.tool_calls),
                    "id": block.id,
                    "type": "function",
                    "function": {"name": block.name, "arguments": ""},
                }
                choice.tool_calls.append({**call, "block": block.index})
                return cursor + self._chunk(choice, {"tool_calls": [call]})
            case MessageDelta(index=index, text=text):
                return cursor + self._chunk(choice, self._delta(choice, index, text))
            case MessageEnded() as end:
                self._open.discard(stored.message_id)
                choice.finish_reason, choice.usage = end.finish_reason, end.usage
                last = self._chunk(choice, {}, end.finish_reason)
                return cursor + last + (self._usage(choice) if self._include_usage else b"")
            case GenerationFailed(code=code, detail=detail, provider=provider):
                return cursor + self._failed(stored.message_id, Failure(code, detail, provider or {}))
            case GenerationInterrupted():
                lost = Failure("interrupted", "the server that answered was lost; what it said is kept")
                return cursor + self._failed(stored.message_id, lost)
            case GenerationCancelled():
                self._open.discard(stored.message_id)
                choice.finish_reason = "stop"
                return cursor + self._chunk(choice, {}, "stop")
            case _:
                return b""

    def _delta(self, choice: Choice, index: int, text: str) -> dict[str, Any]:
        block = choice.blocks[index]
        match block.type:
            case "text":
                choice.text.append(text)
                return {"content": text}
            case "reasoning":
                choice.reasoning.append(text)
                return {"reasoning_content": text}
            case "tool_call":
                call = next(one for one in choice.tool_calls if one["block"] == index)
                call["function"]["arguments"] += text
                return {"tool_calls": [{"index": call["index"], "function": {"arguments": text}}]}

    def _failed(self, message_id: UUID | None, failure: Failure) -> bytes:
        if message_id is not None:
            self._open.discard(message_id)
        self.failure = failure
        more = {"provider": failure.provider}
        return b"data: %b\n\n" % msgspec.json.encode(openai_errors.shaped(502, failure.code, failure.detail, more))

    def _chunk(self, choice: Choice, delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        chunk = {
            "id": self.id,
            "object": OBJECT,
            "created": choice.created,
            "model": choice.model,
            "choices": [{"index": choice.index, "delta": delta, "finish_reason": finish_reason}],
        }
        return b"data: %b\n\n" % msgspec.json.encode(chunk)

    def _usage(self, choice: Choice) -> bytes:
        chunk = {"id": self.id, "object": OBJECT, "created": choice.created, "model": choice.model, "choices": [], "usage": choice.usage}
        return b"data: %b\n\n" % msgspec.json.encode(chunk)


def completion_of(frames: Frames, chat_id: UUID) -> dict[str, Any]:
    """The whole answer in OpenAI's form."""
    choices = list(frames.choices.values())
    made = []
    for choice in choices:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(choice.text)}
        if choice.reasoning:
            message["reasoning_content"] = "".join(choice.reasoning)
        if choice.tool_calls:
            message["tool_calls"] = [{name: value for name, value in call.items() if name != "block"} for call in choice.tool_calls]
        made.append({"index": choice.index, "message": message, "finish_reason": choice.finish_reason})
    return {
        "id": frames.id,
        "object": "chat.completion",
        "created": choices[0].created,
        "model": choices[0].model,
        "choices": made,
        "usage": choices[0].usage,
        "chat_id": chat_id,
    }
