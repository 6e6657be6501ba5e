"""Several answers that are written at the same time, on one terminal. Pure: events in, pieces out.

While one answer is being written alone, its pieces come as they are. While several are, each gets a mark: its text comes a line at a
time, behind that mark, so that two sentences never run into each other.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from api.cli.chat.channel_events import about_channel
from domain.generation import CONTINUED
from stenograph_client import ENDS, Event

COLOURS: Final = ("green", "yellow", "magenta", "blue", "cyan")
LINE_CHARACTERS: Final = 80
EXCERPT_CHARACTERS: Final = 40
ANSWER_CHARACTERS: Final = 200


@dataclass(frozen=True)
class OutputPart:
    """Something to write. ``answer`` None: a line about the chat itself."""

    text: str
    answer: int | None = None
    dim: bool = False


@dataclass
class ParallelAnswer:
    number: int
    model: str
    kinds: dict[int, str] = field(default_factory=dict)
    waiting: str = ""  # of a line that is not full yet
    dim: bool = False


class ParallelAnswers:
    """``feed`` gives the parts of each event; every part but a running answer's is whole lines."""

    def __init__(self) -> None:
        self._open: dict[str, ParallelAnswer] = {}
        self._tree = Tree()
        self._names = self._tree.names
        self._count = 0
        self._running: str | None = None  # the answer whose pieces come as they are
        self._mid_line = False

    def feed(self, event: Event) -> Iterator[OutputPart]:
        data = event.data if isinstance(event.data, dict) else {}
        message_id = event.message_id or ""
        match event.type:
            case "message_start":
                yield from self._break()
                answer = ParallelAnswer(self._count, str(data.get("model", "?")))
                self._count += 1
                self._names[message_id] = f"{answer.model} {message_id[-4:]}"
                if self._open:
                    self._running = None
                self._open[message_id] = answer
                parent_id = data.get("parent_id")
                if event.stream.startswith("channel/"):
                    placed = f" {self._tree.named(parent_id)}" if parent_id else ""
                else:
                    placed = self._tree.placed(message_id, parent_id)
                continued = data.get("continues")
                goes_on = f", going on from {self._tree.named(str(continued))}" if continued else ""
                yield OutputPart(f"── {self._names[message_id]} answers{placed}{goes_on}\n", answer.number)
                if len(self._open) == 1:
                    self._running = message_id
            case "content_block" if message_id in self._open:
                answer = self._open[message_id]
                is_continued = data["type"] == "text" and data.get("name") == CONTINUED
                answer.kinds[data["index"]] = CONTINUED if is_continued else data["type"]
                if data["type"] == "tool_call":
                    yield from self._write(message_id, f"→ {data.get('name') or 'tool'} ", dim=True)
                elif data["type"] == "audio":
                    yield from self._write(message_id, "[audio]", dim=True)
            case "message_delta" if message_id in self._open:
                kind = self._open[message_id].kinds.get(data["index"], "text")
                if kind == "audio":
                    return  # for ears: its transcript is text
                if kind in ("text", CONTINUED):
                    self._tree.add_text(message_id, data["text"])
                yield from self._write(message_id, data["text"], dim=kind != "text")
            case ended if ended in ENDS and message_id in self._open:
                yield from self._end(message_id, event)
            case _:
                is_channel = event.stream.startswith("channel/")
                said = about_channel(event, self._names) if is_channel else about(event, self._tree)
                if said:
                    yield from self._break()
                    yield OutputPart(f"── {said}\n", None, True)

    def so_far(self) -> Iterator[OutputPart]:
        """Who is writing, for somebody who begins to look now."""
        self._mid_line = False
        for message_id, answer in self._open.items():
            answer.waiting = ""
            yield OutputPart(f"── {self._names[message_id]} is answering …\n", answer.number)

    def rest(self) -> Iterator[OutputPart]:
        """What was said and is not written yet, where the events end before the answers do."""
        for answer in self._open.values():
            if answer.waiting:
                waiting, answer.waiting = answer.waiting, ""
                yield from self._line(answer, waiting)
        yield from self._break()

    def _write(self, message_id: str, text: str, *, dim: bool) -> Iterator[OutputPart]:
        answer = self._open[message_id]
        if self._running == message_id:
            if answer.dim != dim:
                yield from self._break()
            answer.dim = dim
            self._mid_line = not text.endswith("\n")
            yield OutputPart(text, answer.number, dim)
            return
        answer.dim = dim
        answer.waiting += text
        while "\n" in answer.waiting or len(answer.waiting) > LINE_CHARACTERS:
            at = answer.waiting.find("\n")
            if at < 0 or at > LINE_CHARACTERS:
                at = answer.waiting.rfind(" ", 0, LINE_CHARACTERS)
                at = LINE_CHARACTERS if at <= 0 else at
            line, answer.waiting = answer.waiting[:at], answer.waiting[at:].removeprefix("\n").removeprefix(" ")
            yield from self._line(answer, line)

    def _line(self, answer: ParallelAnswer, line: str) -> Iterator[OutputPart]:
        yield from self._break()
        yield OutputPart(f"{answer.number} │ {line}\n", answer.number, answer.dim)

    def _break(self) -> Iterator[OutputPart]:
        """Whatever comes next begins a line; the answer that ran goes on behind its mark if others write beside it."""
        if self._mid_line:
            self._mid_line = False
            yield OutputPart("\n")

    def _end(self, message_id: str, event: Event) -> Iterator[OutputPart]:
        answer = self._open.pop(message_id)
        if answer.waiting:
            yield from self._line(answer, answer.waiting)
        yield from self._break()
        if self._running == message_id:
            self._running = None
        yield OutputPart(f"── {self._names[message_id]} {ending(event)}\n", answer.number, True)


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


class Tree:
    """What is known of the messages so far: what to call them, how they begin, and what stands below what."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self._words: dict[str, str] = {}
        self._children: dict[str | None, list[str]] = {}
        self._newest: str | None = None

    def named(self, message_id: str | None, *, quoted: bool = False) -> str:
        name = self.names.get(message_id or "", f"message {(message_id or '')[-4:]}")
        words = " ".join(self._words.get(message_id or "", "").split())
        short = f"{words[:EXCERPT_CHARACTERS]}…" if len(words) > EXCERPT_CHARACTERS else words
        return f"{name} (“{short}”)" if quoted and short else name

    def add_text(self, message_id: str, text: str) -> None:
        """The beginning is enough."""
        known = self._words.get(message_id, "")
        if len(known) <= EXCERPT_CHARACTERS:
            self._words[message_id] = known + text[: EXCERPT_CHARACTERS + 1]

    def changed(self, message_id: str, text: str) -> None:
        self._words[message_id] = text[: 2 * EXCERPT_CHARACTERS]

    def placed(self, message_id: str, parent_id: str | None) -> str:
        """Where a new message stands, where that is not simply below the newest one; "" where it is."""
        beside = self._children.setdefault(parent_id, [])
        is_branch = bool(beside)
        is_next = parent_id == self._newest
        beside.append(message_id)
        self._newest = message_id
        if is_branch:
            return f", {ordinal(len(beside))} " + (f"below {self.named(parent_id, quoted=True)}" if parent_id else "beginning of the chat")
        return "" if is_next or parent_id not in self.names else f", below {self.named(parent_id, quoted=True)}"

    def deleted(self, message_id: str) -> int:
        """How many messages stood directly below it: they now stand below what it answered."""
        below = self._children.pop(message_id, [])
        for siblings in self._children.values():
            if message_id in siblings:
                siblings.remove(message_id)
                siblings.extend(below)
                break
        return len(below)

    def turned(self, message_id: str) -> None:
        self._newest = message_id


def ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"the {number}{ending}"


def about(event: Event, tree: Tree) -> str:
    """A line about what is no answer; "" for what a reader of the conversation need not see."""
    data = event.data if isinstance(event.data, dict) else {}
    who = event.user.name if event.user is not None else "the server"
    message_id = event.message_id or ""
    match event.type:
        case "chat_created":
            return f"{who} began “{data.get('title')}”"
        case "chat_renamed":
            return f"{who} named it “{data.get('title')}”"
        case "chat_deleted":
            return f"{who} deleted the chat"
        case "chat_archived" | "chat_unarchived" | "chat_pinned" | "chat_unpinned":
            return f"{who} {event.type.removeprefix('chat_')} the chat"
        case "chat_tagged" | "chat_untagged":
            return f"{who} {event.type.removeprefix('chat_')} it “{data.get('name')}”"
        case "chat_branch_selected":
            tree.turned(message_id)
            return f"{who} turned to {tree.named(message_id, quoted=True)}"
        case "message_added":
            is_own = data.get("role") == "user"
            model = data.get("model") or (data.get("fields") or {}).get("model") or data.get("role")
            name = f"{who}'s message {message_id[-4:]}" if is_own else f"{model} {message_id[-4:]}"
            text = content_as_text(data.get("content"))
            place = tree.placed(message_id, data.get("parent_id"))
            tree.names[message_id] = name
            tree.changed(message_id, text)
            said = f"{who}{place}" if is_own else f"{model}, added by {who} and not generated here{place}"
            return f"{said}: {text}"
        case "message_edited":
            fields = data.get("fields", data)
            edited = f"{who} edited {tree.named(message_id, quoted=True)}"
            if "content" not in fields:
                return f"{edited}: {', '.join(fields)}"
            text = content_as_text(fields["content"])
            tree.changed(message_id, text)
            return f"{edited}: {text}"
        case "message_deleted":
            below = tree.deleted(message_id)
            moved = f"; {below} below it moved up" if below else ""
            return f"{who} deleted {tree.named(message_id, quoted=True)}{moved}"
        case "message_rated":
            comment = f" (“{data['comment']}”)" if data.get("comment") else ""
            return f"{who} rated {tree.named(message_id)}: {data.get('rating')}{comment}"
        case "call":
            return f"{tree.named(message_id)} asks the user ({data.get('kind')}){question_words(data.get('data'))}"
        case "call_answered":
            return f"{who} answered{'' if data.get('data') is None else ': ' + str(data['data'])[:ANSWER_CHARACTERS]}"
        case "call_expired":
            return f"a question to the user has expired: {data.get('reason')}"
        case "follow_ups":
            questions = data.get("follow_ups")
            return f"{who} suggested: {' / '.join(map(str, questions))}" if isinstance(questions, list) else ""
        case "status" if data.get("description"):
            return f"{tree.named(message_id)}: {data['description']}"
        case _:
            return ""


def question_words(question: object) -> str:
    """What was asked, where the question says so in words."""
    said = question.get("title") or question.get("message") if isinstance(question, dict) else None
    return f": {said}" if said else ""


def content_as_text(content: object) -> str:
    """The words of a message's content: text, or a list of parts as providers take them."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(str(part.get("text", f"[{part.get('type')}]")) for part in content if isinstance(part, dict))
    return "" if content is None else str(content)
