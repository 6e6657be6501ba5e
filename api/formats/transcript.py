"""A chat as somebody reads it: which messages, in what order, and what is to be said about each. What the formats have in common.

Messages come one by one, each with the content that is kept beside the log, so that a transcript takes no more memory than the chat's
outline and its largest message.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from commands.chats.chat_pages import ChatPages
from commands.ports import Blobs, EventLog
from domain.generation import CONTINUED
from domain.log.codec import decode_actor
from domain.log.stream import chat_stream
from domain.values.times import seconds_since_1970
from projections.chat import blob_of
from projections.messages import Message

# What became of an answer that has no end of its own.
UNFINISHED: Final[Mapping[str, str]] = {
    "streaming": "still being written when this was exported",
    "cancelled": "stopped before its end",
    "interrupted": "interrupted: its server was lost; this is what it had said",
    "error": "failed",
}
UNTITLED: Final = "Untitled chat"
EPOCH: Final = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Entry:
    """One message. Times are UTC."""

    id: str
    role: str
    author: str  # a person's name, or a model's
    at: datetime
    pieces: list[tuple[str, str, str]]  # (kind, text, name), see pieces_of
    added_by: str = ""  # of a message under the role of an assistant that no model generated here: the person who added it
    edited_at: datetime | None = None
    edited_by: str = ""  # the person who replaced its text last
    unfinished: str = ""  # "" for what is whole
    error: str = ""
    files: list[str] = field(default_factory=list)  # names
    sources: list[tuple[str, str]] = field(default_factory=list)  # name, address or ""
    rating: tuple[int, str] | None = None
    version: tuple[int, int] = (1, 1)  # which of how many siblings
    answers: str | None = None  # the message above it, where that is not the one before it in the transcript
    message: Message = field(default_factory=dict)  # all of it, with its content


class Transcript:
    """A chat in an order to be read: the current branch, the one that ends in ``leaf``, or ``whole``: all branches, each after the message
    that it begins below. ``read_models`` is to be called before the first message is asked for.
    """

    def __init__(self, pages: ChatPages, log: EventLog, blobs: Blobs, *, leaf: int | None = None, whole: bool = False) -> None:
        self.chat_id = pages.chat_id
        self.view = pages.view  # the chat itself; it need not hold messages
        self.whole = whole
        self.tree = pages.tree()
        self.indexes = self.tree.depth_first() if whole else self.tree.branch(leaf)
        self.models: list[str] = []  # that answered, in order
        self._pages = pages
        self._stream = chat_stream(pages.chat_id)
        self._log, self._blobs = log, blobs
        self._names: dict[str, str] = {}

    @property
    def title(self) -> str:
        return self.view.title.strip() or UNTITLED

    @property
    def left_out(self) -> int:
        """How many messages stand on other branches."""
        return len(self.tree) - len(self.indexes)

    async def read_models(self) -> None:
        async for _, _, message in self._pages.messages(self.tree, self.indexes):
            model = message.get("model")
            if isinstance(model, str) and model not in self.models:
                self.models.append(model)

    async def entries(self) -> AsyncIterator[Entry]:
        before: str | None = None
        async for index, ordinal, message in self._pages.messages(self.tree, self.indexes):
            siblings = self.tree.siblings(index)
            parent_id = self.tree.parent_id(index)
            version = (siblings.index(index) + 1, len(siblings))
            yield await self._entry(await self._resolved(message), ordinal, parent_id if parent_id != before else None, version)
            before = message["id"]

    async def messages(self, indexes: Iterable[int]) -> AsyncIterator[Message]:
        """As they are shown, with their content."""
        async for _, _, message in self._pages.messages(self.tree, indexes):
            yield await self._resolved(message)

    async def _resolved(self, message: Message) -> Message:
        blob = blob_of(message.get("content"))
        kept = await self._blobs.get(self._stream, blob) if blob is not None else None
        return message if kept is None else {**message, "content": kept.decode(errors="replace")}

    async def _entry(self, message: Message, ordinal: int, answers: str | None, version: tuple[int, int]) -> Entry:
        state = message.get("state", "done")
        annotation = message.get("annotation")
        failure = message.get("error")
        rated = annotation if isinstance(annotation, dict) else {}
        rating = rated.get("rating")
        return Entry(
            message["id"],
            str(message.get("role")),
            await self._author(message, ordinal),
            time_of(message, "timestamp") or self.view.created_at or EPOCH,
            pieces_of(message),
            name_of(message.get("added_by")),
            time_of(message, "edited_at"),
            name_of(message.get("edited_by")),
            UNFINISHED.get(state, "") if isinstance(state, str) and "task_id" in message else "",
            str(failure.get("content", "")) if isinstance(failure, dict) else str(failure) if isinstance(failure, str) else "",
            names_of(message.get("files")),
            sources_of(message.get("sources")),
            (rating, str(rated.get("comment") or "")) if isinstance(rating, int) and rating else None,
            version,
            answers,
            message,
        )

    async def _author(self, message: Message, ordinal: int) -> str:
        role = message.get("role")
        if role == "assistant":
            return str(message.get("modelName") or message.get("model") or "Assistant")
        user_id = message.get("user_id")
        if role != "user" or not isinstance(user_id, str):
            return str(role).capitalize()
        if user_id not in self._names:
            events = await self._log.read(self._stream, after=ordinal - 1, until=ordinal, limit=1)
            actor = decode_actor(events[0].actor) if events else None
            self._names[user_id] = actor.name if actor is not None and actor.name.strip() else "User"
        return self._names[user_id]


def time_of(message: Message, key: str) -> datetime | None:
    """A time as the message says it. None where it says none that is one: an old log holds whatever clients once sent."""
    seconds = seconds_since_1970(message.get(key))
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None else None


def name_of(person: Any) -> str:
    return str(person.get("name") or "a person without a name") if isinstance(person, dict) else ""


def names_of(files: Any) -> list[str]:
    """What attached files are called, whatever a client has put there."""
    named = []
    for one in files if isinstance(files, list) else []:
        inner = one.get("file") if isinstance(one, dict) else None
        known = [one.get("name"), one.get("filename"), one.get("type")] if isinstance(one, dict) else [one]
        known += [inner.get("filename"), inner.get("name")] if isinstance(inner, dict) else []
        named.append(next((name for name in known if isinstance(name, str) and name), "a file without a name"))
    return named


def sources_of(sources: Any) -> list[tuple[str, str]]:
    found = []
    for one in sources if isinstance(sources, list) else []:
        source = one.get("source", one) if isinstance(one, dict) else {}
        if isinstance(source, dict):
            name, address = source.get("name"), source.get("url")
            known = address if isinstance(address, str) else ""
            found.append((str(name or known or "a source without a name"), known))
    return found


def pieces_of(message: Message) -> list[tuple[str, str, str]]:
    """What the message says, in order, as ``(kind, text, name)``: ``text``, ``reasoning``, ``tool_call`` with the tool's name and its
    arguments, ``image`` with an address, ``other`` with what it is.
    """
    content = message.get("content")
    blocks = message.get("blocks", ())
    said = "".join(block["text"] for block in blocks if block["type"] == "text")
    is_same = content == said  # or else somebody has edited it since: then its text is no longer what the blocks say
    pieces = [
        piece_of(block) for block in blocks if (block["type"] != "text" or is_same) and (block["text"] or block["type"] == "tool_call")
    ]
    if not (blocks and is_same):
        pieces += [(kind, text, "") for kind, text in words(content)]
    return without_seam(pieces)


def without_seam(pieces: Iterable[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """The same, with the text of a continued answer and what follows it as one: the answer was cut off within a sentence."""
    joined: list[tuple[str, str, str]] = []
    for kind, text, name in pieces:
        if kind == "text" and joined and joined[-1][0] == "text" and joined[-1][2] == CONTINUED:
            joined[-1] = ("text", joined[-1][1] + text, name)
        else:
            joined.append((kind, text, name))
    return joined


def piece_of(block: Message) -> tuple[str, str, str]:
    match block["type"]:
        case "audio":
            return "other", "audio", ""  # its transcript is text beside it
        case kind:
            return str(kind), str(block["text"]), str(block.get("name") or "")


def words(content: Any) -> list[tuple[str, str]]:
    """Content as pieces: ``("text", …)``, ``("image", address)``, ``("other", what it is)``."""
    if isinstance(content, str):
        return [("text", content)]
    pieces: list[tuple[str, str]] = []
    for part in content if isinstance(content, list) else [] if content is None else [content]:
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            pieces.append(("text", part["text"]))
        elif isinstance(part, dict) and part.get("type") == "image_url":
            image = part.get("image_url")
            address = image.get("url") if isinstance(image, dict) else image
            pieces.append(("image", address if isinstance(address, str) else ""))
        elif isinstance(part, str):
            pieces.append(("text", part))
        else:
            pieces.append(("other", str(part.get("type", "content")) if isinstance(part, dict) else "content"))
    return pieces


def moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")
