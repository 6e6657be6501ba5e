"""Events of the log as events of one response: a pure function, so that every process numbers them alike at any time.

Source: https://platform.openai.com/docs/api-reference/responses-streaming.
"""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

from api.completions.chunks import LOST, Failure
from api.completions.responses.ids import conversation_id, response_id
from api.request.errors import status_of_provider
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
from domain.log.event import StoredEvent

Event = dict[str, Any]

# Of a response whose request did not say otherwise.
DEFAULTS: Final[Mapping[str, Any]] = {
    "background": False,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "default",
    "store": True,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "usage": None,
    "user": None,
}
# Why an answer ended early, by its finish reason.
INCOMPLETE: Final[Mapping[str, str]] = {"length": "max_output_tokens", "content_filter": "content_filter"}


class PartForm(msgspec.Struct, frozen=True):
    """How the text of a block is named."""

    part_type: str
    key: str
    events: str  # what the names of its events begin with
    part_more: Mapping[str, Any] = {}
    event_more: Mapping[str, Any] = {}


class ItemForm(msgspec.Struct, frozen=True):
    """How a block is named. ``part`` None: a function call, whose text is its arguments."""

    prefix: str  # of its id
    own: Mapping[str, Any]
    part: PartForm | None = None


MESSAGE: Final[Mapping[str, Any]] = {"type": "message", "role": "assistant"}
TEXT: Final = PartForm("output_text", "text", "response.output_text", {"annotations": [], "logprobs": []}, {"logprobs": []})
REFUSED: Final = ItemForm("msg", MESSAGE, PartForm("refusal", "refusal", "response.refusal"))
# By the type of the block. Of another type nothing is shown.
ITEM_FORMS: Final[Mapping[str, ItemForm]] = {
    "text": ItemForm("msg", MESSAGE, TEXT),
    "reasoning": ItemForm("rs", {"type": "reasoning", "summary": []}, PartForm("reasoning_text", "text", "response.reasoning_text")),
    "tool_call": ItemForm("fc", {"type": "function_call"}),
}


def form_of(block: BlockOpened) -> ItemForm | None:
    return REFUSED if block.type == "text" and block.name == REFUSAL else ITEM_FORMS.get(block.type)


class OutputItem:
    """One block of the answer. ``index`` counts the items of the response."""

    def __init__(self, message_id: UUID, index: int, block: BlockOpened, form: ItemForm) -> None:
        self.index = index
        self.status = "in_progress"
        self.pieces: list[str] = []
        self.form = form.part
        self.name = block.name or ""
        self.id = f"{form.prefix}_{message_id.hex}_{index}"
        self._own = dict(form.own) if form.part is not None else {**form.own, "call_id": block.id or "", "name": self.name}

    @property
    def is_open(self) -> bool:
        return self.status == "in_progress"

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def part(self) -> dict[str, Any]:
        assert self.form is not None
        return {"type": self.form.part_type, self.form.key: self.text, **self.form.part_more}

    def to_json(self, *, begun: bool = True) -> dict[str, Any]:
        """``begun``: False for an item that is announced, before its one part is."""
        said: dict[str, Any] = {"arguments": self.text} if self.form is None else {"content": [self.part()] if begun else []}
        return {"id": self.id, **self._own, "status": self.status, **said}


class ResponseEvents:
    """Stateful: feed it the events of one chat in order, from the start of the answer; it gives the response's events, numbered.

    ``said_again``: what the response says again of its request.
    """

    def __init__(self, chat_id: UUID, message_id: UUID, said_again: Mapping[str, Any]) -> None:
        self._message_id = message_id
        self._said_again = said_again
        self._number = 0
        self._items: list[OutputItem] = []
        self._item_of: dict[int, OutputItem] = {}  # by the number of the block
        self._state: dict[str, Any] = {
            "id": response_id(chat_id, message_id),
            "object": "response",
            "created_at": 0,
            "status": "in_progress",
            "completed_at": None,
            "conversation": {"id": conversation_id(chat_id)},
        }
        self.over = False
        self.failure: Failure | None = None

    @property
    def has_content(self) -> bool:
        return bool(self._items)

    def response(self) -> dict[str, Any]:
        """The response as of the last event."""
        return {**DEFAULTS, **self._said_again, **self._state, "output": [item.to_json() for item in self._items]}

    def of(self, stored: StoredEvent) -> list[Event]:
        """The response's events for one event of the log; none where it says nothing of this answer."""
        if stored.message_id != self._message_id or self.over:
            return []
        match decode_event(stored).data:
            case MessageStarted(model=model):
                self._state |= {"model": model, "created_at": int(stored.at.timestamp())}
                return [self._event(name, response=self.response()) for name in ("response.created", "response.in_progress")]
            case BlockOpened() as block:
                # Text goes on in the newest block alone, calls may go on side by side until the answer ends.
                ended = [item for item in self._items if item.is_open and item.form is not None]
                closed = [event for item in ended for event in self._close(item, "completed")]
                form = form_of(block)
                if form is None:
                    return closed
                item = self._item_of[block.index] = OutputItem(self._message_id, len(self._items), block, form)
                return closed + self._open(item)
            case MessageDelta(index=index, text=text):
                return [self._say(self._item_of[index], text)] if index in self._item_of else []
            case MessageEnded() as end:
                self._state["usage"] = usage_of(end.usage) if end.usage is not None else None
                reason = INCOMPLETE.get(end.finish_reason)
                if reason is not None:
                    self._state["incomplete_details"] = {"reason": reason}
                    return self._end("incomplete", "response.incomplete")
                self._state["completed_at"] = int(stored.at.timestamp())
                return self._end("completed", "response.completed")
            case GenerationFailed(code=code, detail=detail, provider=provider):
                return self._fail(Failure(code, detail, provider or {}))
            case GenerationInterrupted():
                return self._fail(LOST)
            case GenerationCancelled():
                return self._end("cancelled", "response.incomplete")  # there is no event of its own for it
            case _:
                return []

    def _event(self, type_: str, **fields: Any) -> Event:
        event = {"type": type_, "sequence_number": self._number, **fields}
        self._number += 1
        return event

    def _open(self, item: OutputItem) -> list[Event]:
        self._items.append(item)
        events = [self._event("response.output_item.added", output_index=item.index, item=item.to_json(begun=False))]
        if item.form is not None:
            events.append(self._event("response.content_part.added", **place(item), part=item.part()))
        return events

    def _say(self, item: OutputItem, text: str) -> Event:
        item.pieces.append(text)
        if item.form is None:
            return self._event("response.function_call_arguments.delta", item_id=item.id, output_index=item.index, delta=text)
        return self._event(f"{item.form.events}.delta", **place(item), delta=text, **item.form.event_more)

    def _close(self, item: OutputItem, status: str) -> list[Event]:
        item.status = status
        if item.form is None:
            of_call = {"item_id": item.id, "output_index": item.index, "name": item.name, "arguments": item.text}
            events = [self._event("response.function_call_arguments.done", **of_call)]
        else:
            done = {**place(item), item.form.key: item.text, **item.form.event_more}
            events = [
                self._event(f"{item.form.events}.done", **done),
                self._event("response.content_part.done", **place(item), part=item.part()),
            ]
        return [*events, self._event("response.output_item.done", output_index=item.index, item=item.to_json())]

    def _fail(self, failure: Failure) -> list[Event]:
        self.failure = failure
        message = failure.provider.get("message") or failure.detail
        self._state["error"] = {"code": error_code(failure), "message": message}
        return self._end("failed", "response.failed")

    def _end(self, status: str, type_: str) -> list[Event]:
        self.over = True
        items_status = "completed" if status == "completed" else "incomplete"
        closed = [event for item in self._items if item.is_open for event in self._close(item, items_status)]
        self._state["status"] = status
        return [*closed, self._event(type_, response=self.response())]


def place(item: OutputItem) -> dict[str, Any]:
    """Where text of an item belongs: each item has one part."""
    return {"item_id": item.id, "output_index": item.index, "content_index": 0}


def frame(event: Event) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), msgspec.json.encode(event))


def error_code(failure: Failure) -> str:
    """OpenAI's name for the failure."""
    status = status_of_provider(failure.provider)
    if status == 429:
        return "rate_limit_exceeded"
    return "invalid_prompt" if status in (400, 422) else "server_error"


def usage_of(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Token counts by OpenAI's names; what the provider did not count is 0."""
    read = details(usage, "input_tokens_details", "prompt_tokens_details")
    written = details(usage, "output_tokens_details", "completion_tokens_details")
    return {
        "input_tokens": usage.get("input_tokens", 0),
        "input_tokens_details": {"cached_tokens": count(read, "cached_tokens"), "cache_write_tokens": count(read, "cache_write_tokens")},
        "output_tokens": usage.get("output_tokens", 0),
        "output_tokens_details": {"reasoning_tokens": count(written, "reasoning_tokens")},
        "total_tokens": usage.get("total_tokens", 0),
    }


def details(usage: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    return next((usage[name] for name in names if isinstance(usage.get(name), Mapping)), {})


def count(given: Mapping[str, Any], name: str) -> int:
    value = given.get(name)
    return value if isinstance(value, int) else 0
