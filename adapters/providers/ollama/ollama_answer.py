"""Ollama's answer from its bytes: one JSON object a line, the last one with ``done: true`` and the counts."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import uuid4

import msgspec

from adapters.providers.answers.beside import Collector
from adapters.providers.answers.ends import classified, failure_of
from adapters.providers.answers.text import PIECE_CHARS_MAX, Cleaner, pieces
from adapters.providers.answers.usage import normalized
from adapters.providers.http.http import error_message, html_summary
from adapters.providers.http.lines import BOM, EVENT_BYTES_MAX, LineSplitter
from commands.providers.provider import Finish, Part, Reasoning, Skipped, Text, ToolCall, Usage
from domain.errors import ProviderFailed
from domain.log.codec import UNREADABLE

SKIPPED_IN_A_ROW_MAX: Final = 1_000
_SHOWN_BYTES: Final = 100


class _Function(msgspec.Struct, gc=False):
    name: str = ""
    arguments: Any = None


class _Call(msgspec.Struct, gc=False):
    id: str | None = None
    function: _Function | None = None


class _Message(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    role: str | None = None
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None
    images: list[str] | None = None  # base64


class _LooseMessage(_Message, gc=False):
    others: dict[str, Any] = {}  # under names that are not known


class _Line(msgspec.Struct, gc=False):
    message: _Message | None = None
    done: bool = False
    error: Any = None


_decode: Final = msgspec.json.Decoder(_Line).decode
_MESSAGE_KEYS: Final = frozenset(_Message.__struct_fields__) | {"tool_name"}


def _new_call_id() -> str:
    return f"call_{uuid4()}"


class OllamaReader:
    """The ``Reader`` of one answer."""

    def __init__(self, *, event_bytes_max: int = EVENT_BYTES_MAX, new_call_id: Callable[[], str] = _new_call_id) -> None:
        self.failure: ProviderFailed | None = None
        self.finishing = False
        self.done = False
        self._lines = LineSplitter(event_bytes_max)
        self._new_call_id = new_call_id
        self._cleaner = Cleaner()
        self._calls = 0
        self._beside = Collector()
        self._has_text = False
        self._understood = False
        self._skipped_in_a_row = 0
        self._first_unreadable = ""

    def feed(self, data: bytes) -> list[Part]:
        return self._parts(self._lines.feed(data))

    def flush(self) -> list[Part]:
        return []  # a line is whole, and so is what it says

    def finish(self) -> list[Part]:
        parts = self._parts([self._lines.finish()])
        if self.failure is None and not self.done:
            if not self._understood and self._first_unreadable:
                self._garbage()
            else:
                self.failure = ProviderFailed("provider_broke_off", 'the answer ended without a line that says "done": true')
        return parts

    def _parts(self, lines: list[bytes]) -> list[Part]:
        parts: list[Part] = []
        for line in lines:
            if self.done or self.failure is not None:
                break
            if not line or line.isspace():
                continue
            try:
                said, careful = _decode(line), False
            except UNREADABLE:
                line = line.removeprefix(BOM)  # of the first line: it is no part of it
                patient = _patiently(line)
                if patient is None:
                    self._skip(line, parts)
                    continue
                said, careful = patient, True
            if said.message is None and not said.done and not said.error:
                self._skip(line, parts)
                continue
            self._take(said, line, parts, careful)
        return parts

    def _take(self, said: _Line, line: bytes, parts: list[Part], careful: bool) -> None:
        self._understood = True
        self._skipped_in_a_row = 0
        message = said.message
        if message is not None:
            if message.thinking:
                self._say(Reasoning, message.thinking, parts, careful)
            if message.content:
                self._say(Text, message.content, parts, careful)
            for call in message.tool_calls or ():
                self._call(call, parts)
            for image in message.images or ():
                self._beside.add_files([{"type": "image", "url": f"data:image/png;base64,{image}"}], parts)
            if isinstance(message, _LooseMessage):
                self._beside.add_fields("message", message.others)
                self._beside.add_unknown([f"message.{name}" for name in message.others])
        if said.error:
            self.failure = ProviderFailed("provider_error", error_message(said.error))
        elif said.done:
            counts = _json(line)
            counts = counts if isinstance(counts, dict) else {}
            self._end(counts, parts)

    def _end(self, counts: Mapping[str, Any], parts: list[Part]) -> None:
        said = counts.get("done_reason")
        said = said if isinstance(said, str) and said else "stop"
        reason = "tool_calls" if self._calls else classified(said)
        is_empty = not (self._has_text or self._calls or self._beside.files)
        self.failure = failure_of(reason, said, is_empty=is_empty)
        if self.failure is None and is_empty:
            self.failure = self._beside.nothing_understood()
        if (extras := self._beside.extras()) is not None:
            parts.append(extras)
        parts.append(Usage(normalized(_usage(counts))))
        if self.failure is None:
            parts.append(Finish(reason))
            self.done = True
        self.finishing = True

    def _say(self, kind: type[Text] | type[Reasoning], text: str, parts: list[Part], careful: bool) -> None:
        self._has_text = True
        if careful or "\0" in text or self._cleaner.high:
            text = self._cleaner.clean(kind, text)
        if 0 < len(text) <= PIECE_CHARS_MAX:
            parts.append(kind(text))
        else:
            parts.extend(map(kind, pieces(text)))

    def _call(self, call: _Call, parts: list[Part]) -> None:
        """A call comes whole, its arguments as an object; OpenAI's form has them as a JSON text."""
        function = call.function or _Function()
        arguments = function.arguments
        try:
            text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
        except RecursionError:
            parts.append(Skipped("a tool call whose arguments are nested too deeply"))
            return
        first, *others = pieces(Cleaner().clean(None, text)) if text else ("",)
        call_id = Cleaner().clean(None, call.id or "") or self._new_call_id()
        parts.append(ToolCall(self._calls, first, call_id, Cleaner().clean(None, function.name)))
        parts.extend(ToolCall(self._calls, piece) for piece in others)
        self._calls += 1

    def _skip(self, line: bytes, parts: list[Part]) -> None:
        text = line[:_SHOWN_BYTES].decode("utf-8", "replace")
        shown = html_summary(text) or repr(text)
        self._first_unreadable = self._first_unreadable or shown
        parts.append(Skipped(f"not a line of an answer: {shown}"))
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row > SKIPPED_IN_A_ROW_MAX:
            self._garbage()

    def _garbage(self) -> None:
        self.failure = ProviderFailed("provider_garbage", f"expected the lines of an answer, received {self._first_unreadable}")


def _usage(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Ollama's counts and durations (ns) under the reference system's names."""

    def number(name: str) -> int:
        value = counts.get(name)
        return value if isinstance(value, int) else 0

    def rate(tokens: str, duration: str) -> float | str:
        return round(number(tokens) * 1_000_000_000 / number(duration), 2) if number(duration) > 0 else "N/A"

    seconds = number("total_duration") // 1_000_000_000
    read, written = number("prompt_eval_count"), number("eval_count")
    return {
        "input_tokens": read,
        "output_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens": read,
        "completion_tokens": written,
        "response_token/s": rate("eval_count", "eval_duration"),
        "prompt_token/s": rate("prompt_eval_count", "prompt_eval_duration"),
        "total_duration": number("total_duration"),
        "load_duration": number("load_duration"),
        "prompt_eval_count": read,
        "prompt_eval_duration": number("prompt_eval_duration"),
        "eval_count": written,
        "eval_duration": number("eval_duration"),
        "approximate_total": f"{seconds // 3600}h{seconds % 3600 // 60}m{seconds % 60}s",
        "completion_tokens_details": {"reasoning_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
    }


def _json(line: bytes) -> object:
    try:
        return json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def _patiently(line: bytes) -> _Line | None:
    match _json(line):
        case {"error": error} if error:
            return _Line(error=error)
        case {"message": dict() as message, **rest}:
            content, thinking, calls = message.get("content"), message.get("thinking"), message.get("tool_calls")
            images = message.get("images")
            others = {name: value for name, value in message.items() if name not in _MESSAGE_KEYS and value not in (None, "", [], {})}
            loose = _LooseMessage(
                None,
                content if isinstance(content, str) else None,
                thinking if isinstance(thinking, str) else None,
                [_tool_call(call) for call in calls if isinstance(call, dict)] if isinstance(calls, list) else None,
                [image for image in images if isinstance(image, str)] if isinstance(images, list) else None,
                others,
            )
            return _Line(loose, rest.get("done") is True)
        case {"done": True}:
            return _Line(done=True)
        case _:
            return None


def _tool_call(call: Mapping[str, Any]) -> _Call:
    function, call_id = call.get("function"), call.get("id")
    function = function if isinstance(function, dict) else {}
    name = function.get("name")
    return _Call(call_id if isinstance(call_id, str) else None, _Function(name if isinstance(name, str) else "", function.get("arguments")))
