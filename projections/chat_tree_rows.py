"""The rows of the projection ``chat_tree``: as they are written, and as a chat is made of them again."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from projections.chat import ChatView, chat_of_row
from projections.messages import PLACE, Message

encoder: Final = msgspec.json.Encoder()


class MessageRow(msgspec.Struct):
    """One row of ``messages``, its columns in their order. Ids are texts, as in a view: making objects of them costs more."""

    chat_id: str
    message_id: str
    since: int  # the version that led to it
    until: int | None  # the version that ended it; None: it holds
    ordinal: int  # the version that added the message
    parent_id: str | None
    is_open: bool
    body_since: int | None  # which row of the same message holds the body; None: this one
    body_bytes: int
    changed_since: int | None  # the first of the changes that are noted upon the body
    body: str | None  # JSON: the message, but for its place in the tree


class ChangeRow(NamedTuple):
    """One row of ``noted_changes``: an event that changes a message and that no body holds yet."""

    chat_id: str
    message_id: str
    version: int
    weight: int  # bytes of all changes since the body, this one among them


class CurrentRow(NamedTuple):
    chat_id: str
    version: int
    message_id: str | None


class HeadRow(NamedTuple):
    """One row of ``chat_heads``."""

    chat_id: UUID
    version: int
    position: int
    updated_at: datetime | None
    current_id: str | None
    messages_count: int
    open: str  # JSON: the answers that are being generated, with the versions that began them
    owner_id: UUID | None
    listed: bool
    deleted: bool
    title: str
    folder_id: UUID | None
    pinned: bool
    archived: bool
    tags: list[str]
    created_at: datetime | None
    grants: str  # JSON
    share: str | None  # JSON
    fields_weight: int  # bytes of what changed the keys of the chat after ``fields_version``


class TouchedHead(NamedTuple):
    """What an event about a message changes in the row of its chat."""

    chat_id: UUID
    version: int
    position: int
    updated_at: datetime | None
    current_id: str | None
    messages_count: int
    open: str


class FieldsRow(NamedTuple):
    """The keys of a chat that this server does not know by name, as of ``fields_version``: they may be large, and change seldom."""

    chat_id: UUID
    fields_version: int
    fields_bytes: int
    fields: str  # JSON


class ClosedRow(NamedTuple):
    chat_id: str
    message_id: str
    since: int
    until: int


class MarkedRow(NamedTuple):
    chat_id: str
    message_id: str
    since: int
    changed_since: int


def view_of(head: Mapping[str, Any]) -> ChatView:
    """The chat of one row of ``heads``, without messages and without the changes of its keys after ``fields_version``."""
    chat = chat_of_row(head)
    chat.messages_count = head["messages_count"]
    chat.current_id = str(head["current_id"]) if head["current_id"] is not None else None
    chat.open, chat.grants = msgspec.json.decode(head["open"]), msgspec.json.decode(head["grants"])
    chat.share = msgspec.json.decode(head["share"]) if head["share"] is not None else None
    chat.fields = msgspec.json.decode(head["fields"]) if head["fields"] is not None else {}
    return chat


def load(chat: ChatView, rows: Iterable[Mapping[str, Any]]) -> None:
    """Put messages into a view, in the order in which they were added, each below its parent where that is among them.

    A row has ``message_id``, ``parent_id``, ``ordinal``, ``body``, and ``is_whole``: whether the body is all that is known of the
    message, or more is to be folded into it. What the view holds already stays as it is.
    """
    own: dict[str, list[str]] = {}
    parents: list[tuple[str, str | None]] = []
    for row in sorted(rows, key=ordinal_of):
        message_id, parent_id = row["message_id"], row["parent_id"]
        if message_id in chat.messages:
            continue
        own[message_id] = chat.messages.keep(message_id, parent_id, row["body"])
        if not row["is_whole"]:
            chat.messages[message_id]  # decoded: it will not be sent as it is stored
        chat.ordinals[message_id] = row["ordinal"]
        parents.append((message_id, parent_id))
    for message_id, parent_id in parents:
        if parent_id in own:
            own[parent_id].append(message_id)


def ordinal_of(row: Mapping[str, Any]) -> int:
    ordinal: int = row["ordinal"]
    return ordinal


def load_children(chat: ChatView, parents: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """All children of these messages, in order, also of those that the view does not hold."""
    for parent_id in parents:
        chat.messages.children_of(parent_id).clear()
    for row in rows:
        chat.messages.children_of(row["parent_id"]).append(row["message_id"])
        chat.ordinals.setdefault(row["message_id"], row["ordinal"])


def body_of(message: Message) -> bytes:
    """JSON of a message without its place in the tree."""
    body = message.copy()
    for key in PLACE:
        del body[key]
    if "blocks" in body:
        body["blocks"] = [{**block, "text": "".join(block["text"])} for block in body["blocks"]]
    return encoder.encode(body)
