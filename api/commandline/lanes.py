"""Several answers that are written at the same time, on one terminal. Pure: events in, pieces out.

While one answer is being written alone, its pieces come as they are. While several are, each gets a lane: its text comes a line at a
time, behind its own mark, so that two sentences never run into each other.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from client import ENDS, Event

COLOURS: Final = ("green", "yellow", "magenta", "blue", "cyan")
LINE_CHARACTERS: Final = 80


@dataclass(frozen=True)
class Part:
    """Something to write. ``lane`` None: a line about the chat itself."""

    text: str
    lane: int | None = None
    dim: bool = False


@dataclass
class Lane:
    number: int
    model: str
    kinds: dict[int, str] = field(default_factory=dict)
    waiting: str = ""  # of a line that is not full yet
    dim: bool = False


class Lanes:
    """``feed`` gives the parts of each event; every part but a running answer's is whole lines."""

    def __init__(self) -> None:
        self._open: dict[str, Lane] = {}
        self._names: dict[str, str] = {}
        self._count = 0
        self._running: str | None = None  # the answer whose pieces come as they are
        self._mid_line = False

    def feed(self, event: Event) -> Iterator[Part]:
        data = event.data if isinstance(event.data, dict) else {}
        message_id = event.message_id or ""
        match event.type:
            case "message_start":
                yield from self._break()
                lane = Lane(self._count, str(data.get("model", "?")))
                self._count += 1
                self._names[message_id] = f"{lane.model} {message_id[-4:]}"
                if self._open:
                    self._running = None
                self._open[message_id] = lane
                yield Part(f"── {self._names[message_id]} answers\n", lane.number)
                if len(self._open) == 1:
                    self._running = message_id
            case "content_block" if message_id in self._open:
                lane = self._open[message_id]
                lane.kinds[data["index"]] = data["type"]
                if data["type"] == "tool_call":
                    yield from self._write(message_id, f"→ {data.get('name') or 'tool'} ", dim=True)
            case "message_delta" if message_id in self._open:
                kind = self._open[message_id].kinds.get(data["index"], "text")
                yield from self._write(message_id, data["text"], dim=kind != "text")
            case ended if ended in ENDS and message_id in self._open:
                yield from self._end(message_id, event)
            case _:
                said = about(event, self._names)
                if said:
                    yield from self._break()
                    yield Part(f"── {said}\n", None, True)

    def rest(self) -> Iterator[Part]:
        """What was said and is not written yet, where the events end before the answers do."""
        for lane in self._open.values():
            if lane.waiting:
                waiting, lane.waiting = lane.waiting, ""
                yield from self._line(lane, waiting)
        yield from self._break()

    def _write(self, message_id: str, text: str, *, dim: bool) -> Iterator[Part]:
        lane = self._open[message_id]
        if self._running == message_id:
            if lane.dim != dim:
                yield from self._break()
            lane.dim = dim
            self._mid_line = not text.endswith("\n")
            yield Part(text, lane.number, dim)
            return
        lane.dim = dim
        lane.waiting += text
        while "\n" in lane.waiting or len(lane.waiting) > LINE_CHARACTERS:
            at = lane.waiting.find("\n")
            if at < 0 or at > LINE_CHARACTERS:
                at = lane.waiting.rfind(" ", 0, LINE_CHARACTERS)
                at = LINE_CHARACTERS if at <= 0 else at
            line, lane.waiting = lane.waiting[:at], lane.waiting[at:].removeprefix("\n").removeprefix(" ")
            yield from self._line(lane, line)

    def _line(self, lane: Lane, line: str) -> Iterator[Part]:
        yield from self._break()
        yield Part(f"{lane.number} │ {line}\n", lane.number, lane.dim)

    def _break(self) -> Iterator[Part]:
        """Whatever comes next begins a line; the answer that ran goes on behind its mark if others write beside it."""
        if self._mid_line:
            self._mid_line = False
            yield Part("\n")

    def _end(self, message_id: str, event: Event) -> Iterator[Part]:
        lane = self._open.pop(message_id)
        if lane.waiting:
            yield from self._line(lane, lane.waiting)
        yield from self._break()
        if self._running == message_id:
            self._running = None
        yield Part(f"── {self._names[message_id]} {ending(event)}\n", lane.number, True)


def ending(event: Event) -> str:
    data = event.data if isinstance(event.data, dict) else {}
    match event.type:
        case "message_end":
            total_ms = (data.get("timings") or {}).get("total_ms")
            took = f", {total_ms / 1000:.1f} s" if isinstance(total_ms, int | float) else ""
            return f"has ended ({data.get('finish_reason')}, {data.get('deltas')} tokens{took})"
        case "error":
            return f"failed ({data.get('code')}: {data.get('detail')})"
        case "cancelled":
            return "was stopped"
        case _:
            return "was interrupted: its server was lost"


def about(event: Event, names: dict[str, str]) -> str:
    """A line about what is no answer; "" for what a reader of the conversation need not see."""
    data = event.data if isinstance(event.data, dict) else {}
    who = event.user.name if event.user is not None else "the server"
    name = names.get(event.message_id or "", f"message {(event.message_id or '')[-4:]}")
    match event.type:
        case "chat_created":
            return f"{who} began “{data.get('title')}”"
        case "chat_renamed":
            return f"{who} named it “{data.get('title')}”"
        case "chat_deleted":
            return f"{who} deleted the chat"
        case "chat_branch_selected":
            return f"{who} turned to {name}"
        case "message_added" if data.get("role") != "user":
            model = data.get("model") or (data.get("fields") or {}).get("model") or data.get("role")
            names[event.message_id or ""] = f"{model} {(event.message_id or '')[-4:]}"
            return f"{model}, brought by {who}: {text_of(data.get('content'))}"
        case "message_added":
            names[event.message_id or ""] = f"{who}'s message {(event.message_id or '')[-4:]}"
            return f"{who}: {text_of(data.get('content'))}"
        case "message_edited":
            fields = data.get("fields", data)
            changed = text_of(fields["content"]) if "content" in fields else ", ".join(fields)
            return f"{who} edited {name}: {changed}"
        case "message_deleted":
            return f"{who} deleted {name}"
        case "message_rated":
            return f"{who} rated {name}: {data.get('rating')}"
        case "status" if data.get("description"):
            return f"{name}: {data['description']}"
        case _:
            return ""


def text_of(content: object) -> str:
    """The words of a message's content: text, or a list of parts as providers take them."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(str(part.get("text", f"[{part.get('type')}]")) for part in content if isinstance(part, dict))
    return "" if content is None else str(content)
