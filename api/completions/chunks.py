"""Events of the log as chunks of OpenAI's chat completion stream, each with the cursor to take the stream up again."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from api.request import openai_errors
from commands.generation.answer_builder import with_all
from domain.generation import (
    REFUSAL,
    BlockOpened,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    MessageDelta,
    MessageEnded,
    MessageStarted,
)
from domain.log.codec import decode_event
from domain.log.event import Emitted, StoredEvent
from domain.log.stream import Stream
from projections.chat import blob_of

OBJECT: Final = "chat.completion.chunk"


class Choice:
    """One answer as it was said so far: one block list, one text."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.model = ""
        self.selected_model_id: str | None = None  # what an arena picked
        self.created = 0
        self.blocks: list[BlockOpened] = []
        self.tool_calls: list[dict[str, Any]] = []
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.finish_reason: str | None = None
        self.usage: Mapping[str, Any] | None = None
        self.refusal: list[str] = []
        self.audio: list[str] = []
        self.audio_id: str | None = None
        self.logprobs: list[Mapping[str, Any]] = []
        self.message: dict[str, Any] = {}  # what else the message holds: images, annotations, what only the provider knows
        self.extras: Mapping[str, Any] = {}


class Failure(msgspec.Struct, frozen=True):
    """Why there is no answer, or no whole one. ``provider``: what the provider itself said of it, as in ``ProviderFailed``."""

    code: str
    detail: str
    provider: Mapping[str, Any] = {}


LOST: Final = Failure("interrupted", "the server that answered was lost; what it said is kept")


class Frames:
    """Stateful: feed it a chat's events in order, and it gives the SSE frames of the answers that were asked for."""

    def __init__(self, epoch: UUID, message_ids: Sequence[UUID], *, include_usage: bool, pick_first: bool = False) -> None:
        """``pick_first``: what an arena picked is a frame of its own, as in the reference; otherwise a key of the first chunk."""
        self._epoch = epoch
        self._pick_first = pick_first
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
            case MessageStarted(model=model, selected_model_id=picked):
                choice.model, choice.created, choice.selected_model_id = model, int(stored.at.timestamp()), picked
                delta = {"role": "assistant", "content": ""}
                if picked is None:
                    return cursor + self._chunk(choice, delta)
                if self._pick_first:
                    return b"data: %b\n\n" % msgspec.json.encode(self._pick(choice)) + cursor + self._chunk(choice, delta)
                return cursor + self._chunk(choice, delta, more=self._pick(choice))
            case BlockOpened() as block:
                choice.blocks.append(block)
                if block.type == "audio":
                    choice.audio_id = block.id
                    return cursor + self._chunk(choice, {"audio": {"id": block.id}})
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
            case MessageDelta(index=index, text=text, logprobs=logprobs):
                beside = {} if logprobs is msgspec.UNSET else {"logprobs": logprobs}
                choice.logprobs += beside.values()
                return cursor + self._chunk(choice, self._delta(choice, index, text), beside=beside)
            case Emitted(name="files" | "source") as emitted:
                return cursor + self._chunk(choice, self._emitted(choice, stored, emitted))
            case MessageEnded() as end:
                self._open.discard(stored.message_id)
                choice.finish_reason, choice.usage = end.finish_reason, end.usage
                choice.extras = end.extras or {}
                choice.message |= choice.extras.get("message", {})
                beside = choice.extras.get("choice", {})
                last = self._chunk(
                    choice, choice.extras.get("message", {}), end.finish_reason, beside=beside, more=choice.extras.get("chunk", {})
                )
                return cursor + last + (self._usage(choice) if self._include_usage else b"")
            case GenerationFailed(code=code, detail=detail, provider=provider):
                return cursor + self._failed(stored.message_id, Failure(code, detail, provider or {}))
            case GenerationInterrupted():
                return cursor + self._failed(stored.message_id, LOST)
            case GenerationCancelled():
                self._open.discard(stored.message_id)
                choice.finish_reason = "stop"
                return cursor + self._chunk(choice, {}, "stop")
            case _:
                return b""

    def _pick(self, choice: Choice) -> dict[str, Any]:
        """Among several answers with the index of this one."""
        which = {"index": choice.index} if len(self.choices) > 1 and self._pick_first else {}
        return {"selected_model_id": choice.selected_model_id, **which}

    def replace_text(self, message_id: UUID, text: str) -> None:
        choice = self.choices.get(message_id)
        if choice is not None:
            choice.text = [text]

    def _delta(self, choice: Choice, index: int, text: str) -> dict[str, Any]:
        block = choice.blocks[index]
        match block.type:
            case "text" if block.name == REFUSAL:
                choice.refusal.append(text)
                return {"refusal": text}
            case "text":
                choice.text.append(text)
                return {"content": text}
            case "reasoning":
                choice.reasoning.append(text)
                return {"reasoning_content": text}
            case "audio":
                choice.audio.append(text)
                return {"audio": {"data": text}}
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

    def _emitted(self, choice: Choice, stored: StoredEvent, emitted: Emitted) -> dict[str, Any]:
        """The files and sources of an answer, as OpenAI and OpenRouter name them."""
        if emitted.name == "files":
            entries = [image_of(file, stored.stream) for file in emitted.data["files"]]
            key = "images"
        else:
            entries, key = [annotation_of(emitted.data)], "annotations"
        choice.message[key] = [*choice.message.get(key, ()), *entries]
        return {key: entries}

    def _chunk(
        self,
        choice: Choice,
        delta: Mapping[str, Any],
        finish_reason: str | None = None,
        *,
        beside: Mapping[str, Any] = {},
        more: Mapping[str, Any] = {},
    ) -> bytes:
        """``beside`` stands beside the delta, ``more`` beside the choices."""
        chunk = {
            **more,
            "id": self.id,
            "object": OBJECT,
            "created": choice.created,
            "model": choice.model,
            "choices": [{**beside, "index": choice.index, "delta": delta, "finish_reason": finish_reason}],
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
        message: dict[str, Any] = {**choice.message, "role": "assistant", "content": "".join(choice.text)}
        if choice.refusal:
            message["refusal"] = "".join(choice.refusal)
            message["content"] = message["content"] or None
        if choice.audio:
            audio = {**choice.message.get("audio", {}), "id": choice.audio_id, "data": "".join(choice.audio)}
            message["audio"] = {**audio, "transcript": "".join(choice.text)}
        if choice.reasoning:
            message["reasoning_content"] = "".join(choice.reasoning)
        if choice.tool_calls:
            message["tool_calls"] = [{name: value for name, value in call.items() if name != "block"} for call in choice.tool_calls]
        beside: dict[str, Any] = {"logprobs": with_all(choice.logprobs)} if choice.logprobs else {}
        if choice.selected_model_id is not None and len(choices) > 1:
            beside["selected_model_id"] = choice.selected_model_id
        own = {"index": choice.index, "message": message, "finish_reason": choice.finish_reason}
        made.append({**choice.extras.get("choice", {}), **beside, **own})
    picked = choices[0].selected_model_id
    return {
        **choices[0].extras.get("chunk", {}),
        **({"selected_model_id": picked} if picked is not None else {}),
        "id": frames.id,
        "object": "chat.completion",
        "created": choices[0].created,
        "model": choices[0].model,
        "choices": made,
        "usage": choices[0].usage,
        "chat_id": chat_id,
    }


def image_of(file: Mapping[str, Any], stream: Stream) -> dict[str, Any]:
    """A file that is kept as a blob is named by the route that returns it."""
    url = file.get("url")
    if blob := blob_of(url):
        url = f"/api/v1/streams/{stream}/blobs/{blob}"
    return {"type": "image_url", "image_url": {"url": url}}


def annotation_of(source: Mapping[str, Any]) -> dict[str, Any]:
    named = source.get("source") or {}
    [places, *_] = source.get("metadata") or [{}]
    cited = {"url": named.get("url"), "title": named.get("name")}
    cited |= {name: places[name] for name in ("start_index", "end_index") if name in places}
    return {"type": "url_citation", "url_citation": cited}
