"""What a pipe returns or yields, as parts of an answer: text, chunks as objects or as lines of an event stream, whole completions."""

import codecs
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from adapters.providers.openai.openai_answer import OpenAIReader
from commands.providers.provider import Finish, Part, Text, Usage
from domain.errors import ProviderFailed

DATA: Final = "data:"
STREAM_STARTS: Final = (b"data:", b"event:", b"id:", b":")  # of an event stream
TEXT_EVENTS: Final = frozenset({"message", "delta", "chat:message:delta"})  # of an emitter: the next piece of the answer
SPOKEN: Final = ("choices", "error", "usage", "timings", "object")  # keys of an object that is a chunk, or a completion


class PipeAnswer:
    """Collects one answer. ``failure``: what the pipe has reported in its stream, after the parts before it."""

    def __init__(self) -> None:
        self._reader = OpenAIReader()
        self._calls_tools = False
        self._end: list[Part] = []
        self._bytes_are: Literal["events", "text"] | None = None
        self._held = b""  # bytes of which it is not known yet what they are
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.events: list[tuple[str, Any]] = []  # that it wants to emit, in chunks ``{"event": {"type", "data"}}``
        self.failure: ProviderFailed | None = None

    def add(self, item: Any) -> list[Part]:
        """The parts of one item. What comes after the end mark of an event stream still counts, if it is text."""
        if isinstance(item, str) and not item.startswith(DATA):
            return [Text(item)] if item else []
        if isinstance(item, bytes | bytearray):
            return self._add_bytes(bytes(item))
        if isinstance(item, str):
            return self._feed(item.encode())
        if isinstance(item, Mapping):
            return self._add_object(item)
        if item is None:
            return []
        return self._add_response(item) if hasattr(item, "status_code") else [Text(str(item))]

    def finish(self) -> list[Part]:
        """Nothing follows. The last part is ``Finish``, unless there is a failure."""
        held = self._held.decode("utf-8", "replace") + self._decoder.decode(b"", final=True)
        parts = [
            *([Text(held)] if held else []),
            *self._reader.flush(),
            *self._kept(self._reader.finish() if self._reader.finishing else []),
        ]
        if self.failure is not None:
            return parts
        ends = self._end or [Finish("tool_calls" if self._calls_tools else "stop")]
        return [*parts, *(one for one in ends if isinstance(one, Usage)), *(one for one in ends if isinstance(one, Finish))]

    def _add_bytes(self, item: bytes) -> list[Part]:
        """A piece of an event stream, or of text, however it was cut. The first bytes say which, for all that follow."""
        if self._bytes_are is None:
            self._held += item
            start = self._held.lstrip()
            if any(start.startswith(mark) for mark in STREAM_STARTS):
                self._bytes_are = "events"
            elif any(mark.startswith(start) for mark in STREAM_STARTS):
                return []  # too little to tell
            else:
                self._bytes_are = "text"
            item, self._held = self._held, b""
        if self._bytes_are == "events":
            return [] if self._reader.done else self._kept(self._reader.feed(item))
        text = self._decoder.decode(item)
        return [Text(text)] if text else []

    def _feed(self, event: bytes) -> list[Part]:
        """One or several whole events. After the end mark nothing of the stream counts."""
        if self._reader.done or self.failure is not None:
            return []
        return self._kept(self._reader.feed(event.rstrip() + b"\n\n"))

    def _add_object(self, item: Mapping[str, Any]) -> list[Part]:
        event = item.get("event")
        if isinstance(event, Mapping) and isinstance(event.get("type"), str):
            self.events.append((event["type"], event.get("data")))
            return []
        if any(name in item for name in SPOKEN):
            return self._feed(b"data: " + msgspec.json.encode(spoken(item)))
        for name in ("content", "response", "message", "text"):  # an answer in a pipe's own shape
            if isinstance(item.get(name), str):
                return [Text(item[name])]
        return [Text(msgspec.json.encode(item).decode())]

    def _add_response(self, response: Any) -> list[Part]:
        """A response of a web framework that is not streamed."""
        body = getattr(response, "body", b"")
        try:
            decoded = msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError):
            decoded = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body)
        if response.status_code >= 400:
            self._fail(decoded, response.status_code)
            return []
        return self.add(decoded)

    def _fail(self, said: Any, status: int) -> None:
        found = said
        if isinstance(said, Mapping):
            found = said.get("error") or said.get("detail") or said.get("message") or said
        if isinstance(found, Mapping):
            found = found.get("message") or found.get("detail") or msgspec.json.encode(found).decode()
        self.failure = ProviderFailed("provider_error", f"HTTP {status}: {found}"[:1000], {"status": status})

    def _kept(self, parts: list[Part]) -> list[Part]:
        """Those that are not the end: the answer may go on after it."""
        if self._reader.failure is not None:
            self.failure = self._reader.failure
        self._end += [part for part in parts if isinstance(part, Finish | Usage)]
        return [part for part in parts if not isinstance(part, Finish | Usage)]


def spoken(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """An error as Open WebUI's pipes give it, ``{"error": {"detail"}}``, in OpenAI's words."""
    error = item.get("error")
    if isinstance(error, Mapping) and "message" not in error and "detail" in error:
        return {**item, "error": {**error, "message": str(error["detail"])}}
    return item
