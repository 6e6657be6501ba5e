"""An OpenAI-compatible answer from its bytes.

The usual chunk is decoded into typed structs. What does not fit them is taken apart once more with patience
(``openai_chunk.py``), and what even then means nothing becomes ``Skipped``.
"""

from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

import msgspec

from adapters.providers.answers.beside import Collector
from adapters.providers.answers.ends import classified, failure_of
from adapters.providers.answers.flow import Flow
from adapters.providers.answers.text import PIECE_CHARS_MAX, Cleaner, pieces
from adapters.providers.answers.usage import normalized
from adapters.providers.http.http import error_message, html_summary, members_of
from adapters.providers.http.lines import EVENT_BYTES_MAX, LINE_OVERHEAD_BYTES, too_large
from adapters.providers.http.sse import ErrorEvent, SseSplitter, Stray
from adapters.providers.openai.openai_chunk import (
    Call,
    Chunk,
    Delta,
    Function,
    LooseChoice,
    LooseChunk,
    decode,
    decoded_json,
    patiently,
)
from commands.providers.provider import Audio, Finish, Logprobs, Part, Reasoning, RefusalText, Skipped, Text, ToolCall, Usage
from domain.errors import ProviderFailed
from domain.log.codec import UNREADABLE
from domain.values.storable import storable_text

SKIPPED_IN_A_ROW_MAX: Final = 1_000  # chunks without meaning after which nothing better is expected
FUNCTION_INDEX: Final = -1  # of the one call of providers from before there were tools
_SHOWN_BYTES: Final = 100  # of a chunk that was not understood

Said = type[Text] | type[Reasoning] | type[RefusalText]


class _KnownCall(msgspec.Struct):
    id: str = ""
    name: str = ""
    told: bool = False  # its first piece was returned
    arguments: list[str] = []


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
        self._flows: dict[Said, Flow] = {Text: Flow(), Reasoning: Flow(), RefusalText: Flow()}
        self._beside = Collector()
        self._fingerprint: str | None = None
        self._tier: str | None = None
        self._audio_id = ""
        self._has_audio = False
        self._was_whole = False  # a whole message came: its answer needs no other end
        self._choice: int | None = None
        self._calls: list[_KnownCall] = []
        self._call_at: dict[int, int] = {}  # the provider's index → ours
        self._finish_reason: str | None = None
        self._native_reason: str | None = None
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
                    chunk = decode(event)
                except UNREADABLE:
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
            whole = patiently(b"\n".join(self._strays))
            if whole is not None:
                self._take(whole, b"", parts, careful=True)
        if self.failure is None and not self.done:
            if self._finish_reason is not None or self._was_whole:
                self._end(parts)
            elif not self._understood and self._first_unreadable:
                self._garbage()
            else:
                parts += self.flush()
                self.failure = ProviderFailed("provider_broke_off", "the answer ended without a finish reason and without an end mark")
        return parts

    def _take(self, chunk: Chunk, event: bytes, parts: list[Part], *, careful: bool = False) -> None:
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
                if delta is not None:
                    if choice.finish_reason and delta.content and self._flows[Text].repeats(delta.content):
                        delta.content = None  # the whole text once more, as a last piece
                    self._say_delta(delta, parts, careful)
                if choice.text:
                    self._say(Text, choice.text, parts, careful)
                if (message := choice.message) is not None and (delta is None or choice.finish_reason):
                    self._say_rest(message, parts, careful)
                    self._was_whole = True
                if choice.logprobs:
                    parts.append(Logprobs(choice.logprobs))
                if isinstance(choice, LooseChoice):
                    self._take_beside(choice, parts)
                if choice.finish_reason:
                    self._finish_reason, self._native_reason = choice.finish_reason, choice.native_finish_reason
                    self.finishing = True
        elif choices is None and chunk.usage is None and chunk.timings is None and not chunk.error:
            patient = None if careful else patiently(event)
            if patient is None:
                self._skip(event, parts)
            else:
                self._take(patient, event, parts, careful=True)
            return
        self._understood = True
        self._skipped_in_a_row = 0
        if chunk.system_fingerprint is not None:
            self._fingerprint = chunk.system_fingerprint
        if chunk.service_tier is not None:
            self._tier = chunk.service_tier
        if isinstance(chunk, LooseChunk):
            self._beside.add_fields("chunk", chunk.beside.fields.get("chunk", {}))
            self._beside.add_sources(chunk.beside.sources, parts)
        if chunk.usage:
            self._usage.update(chunk.usage)
        if chunk.timings:
            self._usage.update(chunk.timings)
        if chunk.error:
            parts += self.flush()
            self._fail(chunk.error)

    def _take_beside(self, choice: LooseChoice, parts: list[Part]) -> None:
        beside = choice.beside
        for where, fields in beside.fields.items():
            self._beside.add_fields(where, fields)
        self._beside.add_unknown(beside.unknown)
        self._beside.add_files(beside.files, parts)
        self._beside.add_sources(beside.sources, parts)
        if not self._audio_id and isinstance(given := beside.audio.get("id"), str):
            self._audio_id = storable_text(given)
        if isinstance(data := beside.audio.get("data"), str) and data.isascii():
            parts.extend(Audio(piece, self._audio_id or None) for piece in pieces(data))
            self._has_audio = True
        if expires_at := beside.audio.get("expires_at"):
            self._beside.add_fields("message", {"audio": {"expires_at": expires_at}})

    def _say_delta(self, delta: Delta, parts: list[Part], careful: bool) -> None:
        if text := (delta.reasoning_content or delta.reasoning):
            self._say(Reasoning, text, parts, careful)
        if text := delta.content:
            self._say(Text, text, parts, careful)
        if delta.refusal:
            self._say(RefusalText, delta.refusal, parts, careful)
        for call in delta.tool_calls or ():
            self._call(call, parts, careful)
        if delta.function_call is not None:
            self._call(Call(FUNCTION_INDEX, function=delta.function_call), parts, careful)

    def _say_rest(self, message: Delta, parts: list[Part], careful: bool) -> None:
        """What a whole message says beyond its pieces, which have been said."""
        whole: tuple[tuple[Said, str | None], ...] = (
            (Reasoning, message.reasoning_content or message.reasoning),
            (Text, message.content),
            (RefusalText, message.refusal),
        )
        for kind, text in whole:
            if not text:
                continue
            rest = self._flows[kind].rest(text)
            if rest is None:
                parts.append(Skipped("a whole message that is another text than its pieces"))
            for piece in rest or ():
                self._tell(kind, piece, parts, careful)
        calls = [*(message.tool_calls or ())]
        if message.function_call is not None:
            calls.append(Call(FUNCTION_INDEX, function=message.function_call))
        for place, call in enumerate(calls):
            self._call_rest(place, call, parts, careful)

    def _call_rest(self, place: int, call: Call, parts: list[Part], careful: bool) -> None:
        """A whole call: the one with its id, or in its place among those whose pieces came."""
        by_id = next((ours for ours, known in enumerate(self._calls) if call.id and known.id == call.id), None)
        ours = by_id if by_id is not None else place if place < len(self._calls) else None
        if ours is None:
            self._call(call, parts, careful)
            return
        known, function = self._calls[ours], call.function or Function()
        said = "".join(known.arguments)
        arguments = function.arguments or ""
        rest = arguments[len(said) :] if arguments.startswith(said) else ""
        self._call_piece(ours, call.id or "", function.name or "", rest, parts, careful)

    def _say(self, kind: Said, text: str, parts: list[Part], careful: bool) -> None:
        flow = self._flows[kind]
        if flow.settled:  # nearly every piece
            flow.said.append(text)
            self._tell(kind, text, parts, careful)
            return
        for other_kind, other in self._flows.items():
            if other_kind is not kind:
                for piece in other.flush():
                    self._tell(other_kind, piece, parts, careful)
        for piece in flow.new(text):
            self._tell(kind, piece, parts, careful)

    def _tell(self, kind: Said, text: str, parts: list[Part], careful: bool) -> None:
        if careful or "\0" in text or self._cleaner.high:
            text = self._cleaner.clean(kind, text)
        if 0 < len(text) <= PIECE_CHARS_MAX:
            parts.append(kind(text))
        else:
            parts.extend(map(kind, pieces(text)))

    def _call(self, call: Call, parts: list[Part], careful: bool) -> None:
        function = call.function or Function()
        index = self._call_index(call.index, call.id or "", function.name or "")
        if index == len(self._calls):
            self._calls.append(_KnownCall())
        self._call_piece(index, call.id or "", function.name or "", function.arguments or "", parts, careful)

    def _call_piece(self, index: int, call_id: str, name: str, arguments: str, parts: list[Part], careful: bool) -> None:
        """The next piece of a call. What comes before its name is held: the log cannot name it later."""
        known = self._calls[index]
        known.id = known.id or Cleaner().clean(None, call_id)
        known.name = known.name or Cleaner().clean(None, name)
        if careful or "\0" in arguments or self._cleaner.high:
            arguments = self._cleaner.clean(index, arguments)
        if arguments:
            known.arguments.append(arguments)
        if known.told:
            parts.extend(ToolCall(index, piece) for piece in pieces(arguments))
        elif known.name and (known.id or known.arguments):
            self._tell_call(index, parts)

    def _tell_call(self, index: int, parts: list[Part]) -> None:
        known = self._calls[index]
        known.told, known.id = True, known.id or self._new_call_id()
        first, *others = [piece for held in known.arguments for piece in pieces(held)] or [""]
        parts.append(ToolCall(index, first, known.id, known.name or None))
        parts.extend(ToolCall(index, piece) for piece in others)

    def flush(self) -> list[Part]:
        """Nothing follows: what was held is said as it is."""
        parts: list[Part] = []
        for kind, flow in self._flows.items():
            for piece in flow.flush():
                self._tell(kind, piece, parts, careful=True)
        for index, known in enumerate(self._calls):
            if not known.told:
                self._tell_call(index, parts)
        return parts

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
                error = decoded_json(data)
                parts += self.flush()
                self._fail(data.decode("utf-8", "replace") if error is None else error)
            case Stray(line):
                looks_whole = line.lstrip()[:1] == b"{" and line.rstrip()[-1:] == b"}"
                chunk = patiently(line) if looks_whole else None
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
        chunk = patiently(event)
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

    @property
    def _is_empty(self) -> bool:
        return not (self._calls or self._has_audio or self._beside.files or any(flow.said for flow in self._flows.values()))

    def _end(self, parts: list[Part]) -> None:
        parts += self.flush()
        reason = classified(self._finish_reason or ("tool_calls" if self._calls else "stop"))
        native = classified(self._native_reason or "")
        if native == "error" and self._is_empty:
            reason = native
        said = (self._native_reason if reason == native else None) or self._finish_reason or reason
        self.failure = failure_of(reason, said, is_empty=self._is_empty)
        if self.failure is None and self._is_empty:
            self.failure = self._beside.nothing_understood()
        if self._fingerprint is not None:
            self._beside.add_fields("chunk", {"system_fingerprint": self._fingerprint})
        if self._tier is not None:
            self._beside.add_fields("chunk", {"service_tier": self._tier})
        if (extras := self._beside.extras()) is not None:
            parts.append(extras)
        if self._usage:
            parts.append(Usage(normalized(self._usage)))
        if self.failure is None:
            parts.append(Finish(reason))
            self.done = True
        self.finishing = True


def _shown(event: bytes) -> str:
    text = event[:_SHOWN_BYTES].decode("utf-8", "replace")
    return html_summary(text) or repr(text)
