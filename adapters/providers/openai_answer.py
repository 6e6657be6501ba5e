"""An OpenAI-compatible answer from its bytes.

The usual chunk is decoded into typed structs, which skips everything that nobody reads. What does not fit them (content in
parts, lone surrogates, broken UTF-8, arguments as objects) is taken apart once more with patience, and what even then means
nothing becomes ``Skipped``.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import uuid4

import msgspec

from adapters.providers.http import error_message, members_of
from adapters.providers.lines import EVENT_BYTES_MAX, LINE_OVERHEAD_BYTES, too_large
from adapters.providers.sse import ErrorEvent, SseSplitter, Stray
from adapters.providers.text import PIECE_CHARS_MAX, Cleaner, pieces
from adapters.providers.usage import normalized
from commands.providers import Finish, Part, Reasoning, RefusalText, Skipped, Text, ToolCall, Usage
from domain.errors import ProviderFailed

SKIPPED_IN_A_ROW_MAX: Final = 1_000  # chunks without meaning after which nothing better is expected
_SHOWN_BYTES: Final = 100  # of a chunk that was not understood


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None  # DeepSeek, vLLM, llama.cpp
    reasoning: str | None = None  # OpenRouter, newer vLLM
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None  # of an answer that did not stream
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    timings: dict[str, Any] | None = None  # llama.cpp
    error: Any = None


class _KnownCall(msgspec.Struct):
    id: str
    named: bool


_decode: Final = msgspec.json.Decoder(_Chunk).decode
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def _new_call_id() -> str:
    return f"call_{uuid4().hex}"


class OpenAIReader:
    """The ``Reader`` of one answer. Of several choices the first is read."""

    def __init__(self, *, event_bytes_max: int = EVENT_BYTES_MAX, new_call_id: Callable[[], str] = _new_call_id) -> None:
        self.failure: ProviderFailed | None = None
        self.finishing = False
        self.done = False
        self._sse = SseSplitter(event_bytes_max)
        self._event_bytes_max = event_bytes_max
        self._new_call_id = new_call_id
        self._cleaner = Cleaner()
        self._choice: int | None = None
        self._calls: list[_KnownCall] = []
        self._call_at: dict[int, int] = {}  # the provider's index → ours
        self._finish_reason: str | None = None
        self._usage: dict[str, Any] = {}
        self._understood = False
        self._skipped_in_a_row = 0
        self._strays: list[bytes] = []  # lines outside any event: together they may be an answer that does not stream
        self._strays_bytes = 0
        self._first_unreadable = ""

    def feed(self, data: bytes) -> list[Part]:
        parts: list[Part] = []
        for event in self._sse.feed(data):
            if type(event) is bytes:
                try:
                    chunk = _decode(event)
                except _UNREADABLE:
                    self._unusual(event, parts)
                else:
                    self._take(chunk, event, parts)
            else:
                self._odd(event, parts)
            if self.done or self.failure is not None:
                break
        return parts

    def finish(self) -> list[Part]:
        parts: list[Part] = []
        for event in self._sse.finish():
            if self.done or self.failure is not None:
                break
            if type(event) is bytes:
                self._unusual(event, parts)
            else:
                self._odd(event, parts)
        if not self._understood and self._strays and self.failure is None and not self.done:
            whole = _patiently(b"\n".join(self._strays))
            if whole is not None:
                self._take(whole, b"", parts, careful=True)
        if self.failure is None and not self.done:
            if self._finish_reason is not None:
                self._end(parts)
            elif not self._understood and self._first_unreadable:
                self._garbage()
            else:
                self.failure = ProviderFailed("provider_broke_off", "the answer ended without a finish reason and without an end mark")
        return parts

    def _take(self, chunk: _Chunk, event: bytes, parts: list[Part], *, careful: bool = False) -> None:
        """``careful``: the chunk may hold lone surrogates, which the typed decoder never lets through."""
        choices = chunk.choices
        if choices:
            for choice in choices:
                if choice.index != self._choice:
                    if self._choice is not None:
                        parts.append(Skipped(f"another choice, {choice.index}"))
                        continue
                    self._choice = choice.index
                delta = choice.delta
                if delta is None:
                    delta = choice.message
                    if delta is not None and not choice.finish_reason:
                        choice.finish_reason = "tool_calls" if delta.tool_calls else "stop"  # a whole answer is whole
                if delta is not None:
                    if text := (delta.reasoning_content or delta.reasoning):
                        self._say(Reasoning, text, parts, careful)
                    if text := delta.content:
                        self._say(Text, text, parts, careful)
                    if delta.refusal:
                        self._say(RefusalText, delta.refusal, parts, careful)
                    if delta.tool_calls:
                        for call in delta.tool_calls:
                            self._call(call, parts, careful)
                if choice.finish_reason:
                    self._finish_reason = choice.finish_reason
                    self.finishing = True
        elif choices is None and chunk.usage is None and chunk.timings is None and not chunk.error:
            patient = None if careful else _patiently(event)
            if patient is None:
                self._skip(event, parts)
            else:
                self._take(patient, event, parts, careful=True)
            return
        self._understood = True
        self._skipped_in_a_row = 0
        if chunk.usage:
            self._usage.update(chunk.usage)
        if chunk.timings:
            self._usage.update(chunk.timings)
        if chunk.error:
            self._fail(chunk.error)

    def _say(self, kind: type[Text] | type[Reasoning] | type[RefusalText], text: str, parts: list[Part], careful: bool) -> None:
        if careful or "\0" in text or self._cleaner.high:
            text = self._cleaner.clean(kind, text)
        if 0 < len(text) <= PIECE_CHARS_MAX:
            parts.append(kind(text))
        else:
            parts.extend(map(kind, pieces(text)))

    def _call(self, call: _Call, parts: list[Part], careful: bool) -> None:
        function = call.function or _Function()
        arguments, name = function.arguments or "", function.name or ""
        index = self._call_index(call.index, call.id or "", name)
        if careful or "\0" in arguments or self._cleaner.high:
            arguments = self._cleaner.clean(index, arguments)
            name = Cleaner().clean(None, name)
        new = index == len(self._calls)
        if new:
            given = Cleaner().clean(None, call.id or "") if careful else (call.id or "").replace("\0", "")
            self._calls.append(_KnownCall(given or self._new_call_id(), False))
        known = self._calls[index]
        tell_name = name if name and not known.named else None
        known.named = known.named or bool(name)
        first, *others = pieces(arguments) if arguments else ("",)
        if new or first or tell_name:
            parts.append(ToolCall(index, first, known.id if new else None, tell_name))
        parts.extend(ToolCall(index, piece) for piece in others)

    def _call_index(self, theirs: int | None, call_id: str, name: str) -> int:
        """Which call a piece belongs to. Servers leave out the index, or give every call the index 0."""
        new = len(self._calls)
        if theirs is not None:
            ours = self._call_at.get(theirs, new)
            if ours < new and name and call_id and call_id != self._calls[ours].id:
                ours = new  # a named call with an id of its own under a used index
            self._call_at[theirs] = ours
            return ours
        if call_id:
            return next((ours for ours, known in enumerate(self._calls) if known.id == call_id), new)
        return new if name or not new else new - 1

    def _odd(self, event: bytes | Stray | ErrorEvent, parts: list[Part]) -> None:
        """Whatever is not the data of an ordinary event."""
        match event:
            case ErrorEvent(data):
                self._understood = True
                error = _json(data)
                self._fail(data.decode("utf-8", "replace") if error is None else error)
            case Stray(line):
                looks_whole = line.lstrip()[:1] == b"{" and line.rstrip()[-1:] == b"}"
                chunk = _patiently(line) if looks_whole else None
                if chunk is not None and (chunk.error or chunk.choices):
                    self._take(chunk, line, parts, careful=True)
                elif self._understood:
                    self._skip(line, parts)
                else:
                    self._note(line)
                    self._strays.append(line)
                    self._strays_bytes += len(line) + LINE_OVERHEAD_BYTES
                    if self._strays_bytes > self._event_bytes_max:
                        raise too_large(self._event_bytes_max)
            case bytes():
                self._unusual(event, parts)

    def _unusual(self, event: bytes, parts: list[Part]) -> None:
        """The end mark, or a chunk that the typed decoder refused."""
        if event.strip() == b"[DONE]":
            if not self._understood and self._first_unreadable:
                self._garbage()
            else:
                self._end(parts)
            return
        chunk = _patiently(event)
        if chunk is not None:
            self._take(chunk, event, parts, careful=True)
        elif b"\n" in event:  # a server that forgets the blank lines between its events
            for line in event.split(b"\n"):
                if line and not self.done and self.failure is None:
                    self._unusual(line, parts)
        else:
            self._skip(event, parts)

    def _skip(self, event: bytes, parts: list[Part]) -> None:
        self._note(event)
        parts.append(Skipped(f"not a chunk of an answer: {_shown(event)}"))
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row > SKIPPED_IN_A_ROW_MAX:
            self._garbage()

    def _note(self, event: bytes) -> None:
        if not self._first_unreadable:
            self._first_unreadable = _shown(event)

    def _garbage(self) -> None:
        self.failure = ProviderFailed("provider_garbage", f"expected the chunks of an answer, received {self._first_unreadable}")

    def _fail(self, error: object) -> None:
        said = error_message(error) or "the provider reported an error without saying which"
        self.failure = ProviderFailed("provider_error", said, members_of(error))

    def _end(self, parts: list[Part]) -> None:
        if self._usage:
            parts.append(Usage(normalized(self._usage)))
        parts.append(Finish(self._finish_reason or ("tool_calls" if self._calls else "stop")))
        self.finishing = self.done = True


def _shown(event: bytes) -> str:
    return repr(event[:_SHOWN_BYTES].decode("utf-8", "replace"))


def _json(data: bytes) -> object:
    """JSON as the standard library reads it: with lone surrogates, and after broken UTF-8 was replaced. ``None`` if it is none."""
    try:
        return json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def _patiently(data: bytes) -> _Chunk | None:
    """A chunk from JSON of nearly any shape, or ``None`` if it is none."""
    try:
        return _chunk(_json(data))
    except RecursionError:  # nested deeper than any answer is
        return None


def _chunk(decoded: object) -> _Chunk | None:
    match decoded:
        case {"object": "error", "message": str() as message}:  # older vLLM
            return _Chunk(error=message)
        case {"choices": list() as choices, **rest}:
            usable = [_choice(choice) for choice in choices if isinstance(choice, dict)]
            if choices and not usable:
                return None
            return _Chunk(usable, _object(rest.get("usage")), _object(rest.get("timings")), rest.get("error"))
        case {"error": failure} if failure:
            return _Chunk(error=failure)
        case {"usage": dict() as usage}:
            return _Chunk(usage=usage)
        case _:
            return None


def _choice(choice: Mapping[str, Any]) -> _Choice:
    index, reason = choice.get("index"), choice.get("finish_reason")
    return _Choice(
        index if isinstance(index, int) else 0,
        _delta(choice.get("delta")),
        _delta(choice.get("message")),
        reason if isinstance(reason, str) else None,
    )


def _delta(delta: object) -> _Delta | None:
    if not isinstance(delta, dict):
        return None
    text, thought = _content(delta.get("content"))
    calls = delta.get("tool_calls")
    return _Delta(
        text,
        thought or _string(delta.get("reasoning_content")) or _string(delta.get("reasoning")),
        refusal=_string(delta.get("refusal")),
        tool_calls=[_tool_call(call) for call in calls if isinstance(call, dict)] if isinstance(calls, list) else None,
    )


def _content(content: object) -> tuple[str, str]:
    """Text and reasoning of a content that is a string or a list of typed parts, as Mistral and others send it."""
    match content:
        case str():
            return content, ""
        case {"text": str() as text}:
            return text, ""
        case list():
            texts: list[str] = []
            thoughts: list[str] = []
            for part in content:
                match part:
                    case {"type": "thinking" | "reasoning" as kind, **rest}:
                        inner = rest.get(kind, rest.get("text"))
                        thoughts += _content(inner)
                    case _:
                        text, thought = _content(part)
                        texts.append(text)
                        thoughts.append(thought)
            return "".join(texts), "".join(thoughts)
        case _:
            return "", ""


def _tool_call(call: Mapping[str, Any]) -> _Call:
    index, call_id, function = call.get("index"), call.get("id"), call.get("function")
    if not isinstance(function, dict):
        return _Call(index if isinstance(index, int) else None, _string(call_id))
    arguments = function.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return _Call(index if isinstance(index, int) else None, _string(call_id), _Function(_string(function.get("name")), arguments))


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _object(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None
