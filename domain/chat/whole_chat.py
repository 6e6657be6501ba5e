"""A chat from another system, with its tree of messages, as the events of a new stream.

The chat is created unlisted and ends with ``ChatImported``, which lists it. So a chat that takes several appends appears in its
owner's list only once it is complete.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid5

import msgspec

from domain.chat.decide import TAG_CHARACTERS_MAX
from domain.chat.facts import (
    PROVENANCE,
    BranchSelected,
    ChatArchived,
    ChatCreated,
    ChatEvent,
    ChatImported,
    ChatPinned,
    ChatTagged,
    MessageAdded,
    MessageRated,
    Role,
)
from domain.chat.state import tag_id
from domain.errors import ImportRefused
from domain.generation import BlockOpened, BlockSum, MessageDelta, MessageEnded, MessageStarted, Timings
from domain.log.event import Event

TITLE_CHARACTERS_MAX: Final = 1000
COMMENT_CHARACTERS_MAX: Final = 10_000
NO_NODE: Final = UUID(int=0)  # an imported generation_events ran on no node of this server


class Streamed(msgspec.Struct, frozen=True):
    """An generation_events with its chunks and its timings."""

    model: str
    pieces: Sequence[str]
    first_token_ms: float
    total_ms: float


COPY: Final = "chat"  # the source of a copy that this server makes of one of its own chats


class WholeMessage(msgspec.Struct, frozen=True):
    message_id: UUID
    parent_id: UUID | None
    role: Role
    content: Any
    client_id: str | None = None
    fields: Mapping[str, Any] = {}  # every key without a meaning here, such as ``timestamp`` and ``model``
    rating: int | None = None
    comment: str | None = None
    streamed: Streamed | None = None  # set if the chunks of an generation_events are known: its content is their text
    key: str = ""  # the path by which the source names it, for messages to people


class ImportSource(msgspec.Struct, frozen=True):
    source: str
    source_id: str
    created_at: datetime | None = None
    updated_at: datetime | None = None


class WholeChat(msgspec.Struct, frozen=True):
    """Siblings keep their order in ``messages``. A parent may follow its children."""

    chat_id: UUID
    owner_id: UUID
    title: str
    origin: ImportSource
    messages: Sequence[WholeMessage] = ()
    current_id: UUID | None = None  # None: the last message that is added
    folder_id: UUID | None = None
    client_id: str | None = None
    fields: Mapping[str, Any] = {}
    tags: Sequence[str] = ()
    pinned: bool = False
    archived: bool = False
    notes: Sequence[str] = ()  # what of the source could not be kept as it was, for people

    @property
    def name(self) -> str:
        """How an error message names the chat."""
        return f"{self.title[:80]!r} ({self.origin.source_id})" if self.title else self.origin.source_id


class Step(NamedTuple):
    """One event, and the key of the source that it comes from."""

    key: str
    event: ChatEvent


def imported_id(owner_id: UUID, source: str, source_id: str) -> UUID:
    """The id of an imported chat: the same each time one person imports it, another one for each other person."""
    return uuid5(owner_id, f"{source}:{source_id}")


def steps_of(chat: WholeChat) -> list[Step]:
    """The events of the new stream, in order; the same ones for the same chat. The last one lists it.

    Raises ``ImportRefused`` if the messages are not a tree (two with one id, a missing parent, a circle), if a title, tag or comment is
    too long, if a rating is not valid, or if the current message is missing.
    """
    if len(chat.title) > TITLE_CHARACTERS_MAX:
        raise refused(chat, "title", f"expected at most {TITLE_CHARACTERS_MAX} characters, found {len(chat.title)}")
    created = ChatCreated(chat.owner_id, chat.title, chat.folder_id, chat.client_id, False, chat.fields)
    steps = [Step("chat", Event(None, created))]
    last_id: UUID | None = None
    for message in parents_first(chat):
        last_id = message.message_id
        steps.extend(message_steps(chat, message))
    steps.extend(Step("tags", Event(None, ChatTagged(name))) for name in tags_of(chat))
    if chat.pinned:
        steps.append(Step("pinned", Event(None, ChatPinned())))
    if chat.archived:
        steps.append(Step("archived", Event(None, ChatArchived())))
    if chat.current_id is not None and chat.current_id != last_id:
        if all(message.message_id != chat.current_id for message in chat.messages):
            raise refused(chat, "history.currentId", "there is no such message in this chat")
        steps.append(Step("history.currentId", Event(chat.current_id, BranchSelected())))
    origin = chat.origin
    imported = ChatImported(origin.source, origin.source_id, origin.created_at, origin.updated_at)
    steps.append(Step("id", Event(None, imported)))
    return steps


def parents_first(chat: WholeChat) -> list[WholeMessage]:
    """Each message after its parent, siblings in their order. A chat that has no branches keeps its order."""
    known: dict[UUID, WholeMessage] = {}
    children: dict[UUID | None, list[WholeMessage]] = {}
    for message in chat.messages:
        if message.message_id in known:
            raise refused(chat, message.key, "there is another message with this id")
        known[message.message_id] = message
        children.setdefault(message.parent_id, []).append(message)
    for message in chat.messages:
        if message.parent_id is not None and message.parent_id not in known:
            raise refused(chat, f"{message.key}.parentId", "there is no such message in this chat")
    ordered: list[WholeMessage] = []
    waiting = children.get(None, [])[::-1]
    while waiting:
        message = waiting.pop()
        ordered.append(message)
        waiting.extend(reversed(children.get(message.message_id, ())))
    if len(ordered) < len(known):
        reached = {message.message_id for message in ordered}
        first = next(message for message in chat.messages if message.message_id not in reached)
        raise refused(chat, f"{first.key}.parentId", "its parents lead in a circle")
    return ordered


def message_steps(chat: WholeChat, message: WholeMessage) -> list[Step]:
    message_id, key = message.message_id, message.key
    if message.streamed is None:
        fields = message.fields
        if chat.origin.source != COPY and PROVENANCE & fields.keys():  # a file may claim anything
            fields = {name: value for name, value in fields.items() if name not in PROVENANCE}
        added = MessageAdded(message.parent_id, message.role, message.content, message.client_id, fields)
        steps = [Step(key, Event(message_id, added))]
    else:
        steps = [Step(key, event) for event in generation_events(message, message.streamed)]
    if message.rating is not None:
        if message.rating not in (-1, 0, 1):
            raise refused(chat, f"{key}.annotation.rating", f"expected -1, 0 or 1, found {message.rating}")
        if message.comment is not None and len(message.comment) > COMMENT_CHARACTERS_MAX:
            raise refused(chat, f"{key}.annotation.comment", f"expected at most {COMMENT_CHARACTERS_MAX} characters")
        steps.append(Step(f"{key}.annotation", Event(message_id, MessageRated(message.rating, message.comment))))
    return steps


def generation_events(message: WholeMessage, streamed: Streamed) -> list[ChatEvent]:
    """The events that a generation of this generation_events would have appended."""
    message_id = message.message_id
    content = "".join(streamed.pieces)
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    started = MessageStarted(
        message.parent_id,
        streamed.model,
        streamed.model,
        uuid5(message_id, "task"),
        NO_NODE,
        client_id=message.client_id,
        fields=message.fields,
    )
    timings = Timings(streamed.first_token_ms, streamed.total_ms)
    blocks = [BlockSum(0, "text", sha256)] if streamed.pieces else []
    events: list[ChatEvent] = [Event(message_id, started)]
    if streamed.pieces:
        events.append(Event(message_id, BlockOpened(0, "text")))
        events.extend(Event(message_id, MessageDelta(0, piece)) for piece in streamed.pieces)
    events.append(Event(message_id, MessageEnded(content, blocks, sha256, "stop", None, timings, len(streamed.pieces))))
    return events


def tags_of(chat: WholeChat) -> list[str]:
    """Each tag once, with the spelling that comes first."""
    names: dict[str, str] = {}
    for name in chat.tags:
        wanted = tag_id(name)
        if wanted in ("", "none"):  # the reference system's word for having none
            continue
        if len(name) > TAG_CHARACTERS_MAX:
            raise refused(chat, "tags", f"expected tags of at most {TAG_CHARACTERS_MAX} characters, found {name[:80]!r} …")
        names.setdefault(wanted, name.strip())
    return list(names.values())


def refused(chat: WholeChat, key: str, reason: str) -> ImportRefused:
    return ImportRefused(chat.name, key, reason)
