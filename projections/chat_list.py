"""The lists of chats: one row for each chat, with what lists are made and filtered from.

An event about a message moves the chat to the front of the list and changes nothing else of its row: for these nothing is read.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from domain.chat.state import tag_id
from domain.log.codec import decode_event
from domain.log.event import StoredEvent
from domain.log.stream import Kind
from projections.chat import ChatView, blob_of, chat_of_row
from projections.projection import Projecting, Recorded, Rows, Write

MESSAGES: Final[Mapping[str, int]] = {"message_added": 1, "message_start": 1, "message_deleted": -1}
BLOB_BYTES_MAX: Final = 64 * 1024 * 1024  # a client may write what looks like a reference


class ChatRow(NamedTuple):
    """One row of ``chats``."""

    chat_id: UUID
    version: int
    position: int
    updated_at: datetime | None
    owner_id: UUID | None
    listed: bool
    deleted: bool
    title: str
    folder_id: UUID | None
    pinned: bool
    archived: bool
    tags: list[str]
    tag_ids: list[str]
    readers: list[str]
    created_at: datetime | None
    share_id: str | None
    share_version: int | None
    shared_at: int | None
    share_updated_at: int | None
    messages: int  # that these events add, as ``Growth`` counts them
    bytes: int


class TouchedChat(NamedTuple):
    """What an event about a message changes in the row."""

    chat_id: UUID
    version: int
    position: int
    updated_at: datetime
    messages: int  # that these events add
    bytes: int


@dataclass(slots=True)
class Growth:
    """What events add to a chat: messages that are there, and bytes that the log and the blobs hold."""

    messages: int = 0
    bytes: int = 0

    def count(self, event: StoredEvent) -> None:
        self.messages += 0 if is_fill(event) else MESSAGES.get(event.type, 0)
        self.bytes += stored_bytes(event)


def is_fill(event: StoredEvent) -> bool:
    """Whether it begins a generation in a message that is counted already."""
    return event.type == "message_start" and b'"fills"' in event.data and decode_event(event).data.fills is True


def stored_bytes(event: StoredEvent) -> int:
    """What an event takes, with the content that it refers to."""
    if event.type == "message_delta" or b'"blob"' not in event.data:
        return len(event.data)
    keys = msgspec.json.decode(event.data)
    if event.type == "message_start" and isinstance(keys, dict):
        keys.pop("payload", None)  # kept because the operator wants it: the account does not pay for it
    return len(event.data) + referred_bytes(keys)


def referred_bytes(value: Any) -> int:
    """The size of all blobs that are referred to in a value."""
    if isinstance(value, list):
        return sum(map(referred_bytes, value))
    if not isinstance(value, dict):
        return 0
    if blob_of(value) is None:
        return sum(map(referred_bytes, value.values()))
    size = value.get("size_bytes")  # by ``get``: a client may write what only looks like a reference
    return size if isinstance(size, int) and 0 < size <= BLOB_BYTES_MAX else 0


class ChatList:
    """The projection."""

    name = "chat_list"
    kinds: frozenset[Kind] = frozenset({"chat"})
    by_stream = True

    def project(self, events: Sequence[Recorded]) -> Projecting:
        own: dict[UUID, list[Recorded]] = defaultdict(list)
        newest: dict[UUID, StoredEvent] = {}
        new: set[UUID] = set()
        growth: dict[UUID, Growth] = defaultdict(Growth)
        for event in events:
            stored = event.stored
            newest[stored.stream.id] = stored
            growth[stored.stream.id].count(stored)
            if stored.version == 1:
                new.add(stored.stream.id)
            if stored.message_id is None or stored.version == 1:
                own[stored.stream.id].append(event)
        known = [chat_id for chat_id in own if chat_id not in new]
        views: dict[UUID, ChatView] = {}
        if known:
            (rows,) = yield [Rows("list_chats", (known,))]
            views = {row["chat_id"]: view_of(row) for row in rows}
        added: list[ChatRow] = []
        put: list[ChatRow] = []
        for chat_id, its_events in own.items():
            view = views.get(chat_id) or ChatView()
            for event in its_events:
                view.apply(event.stored, event.fact)
            if newest[chat_id].version > view.version:
                view.pass_over(newest[chat_id])
            (added if chat_id in new else put).append(row_of(chat_id, view, growth[chat_id]))
        touched = [
            TouchedChat(chat_id, stored.version, stored.position, stored.at, growth[chat_id].messages, growth[chat_id].bytes)
            for chat_id, stored in newest.items()
            if chat_id not in own
        ]
        all_writes = [
            Write("list_add_chat", added, copy="list_copy_chats"),
            Write("list_put_chat", put),
            Write("list_touch_chat", touched),
        ]
        return [write for write in all_writes if write.rows]


def view_of(row: Mapping[str, Any]) -> ChatView:
    """What lists know of a chat."""
    chat = chat_of_row(row)
    chat.grants = {str(reader): "read" for reader in row["readers"]}
    if row["share_id"] is not None:
        chat.share = {
            "share_id": str(row["share_id"]),
            "version": row["share_version"],
            "created_at": row["shared_at"],
            "updated_at": row["share_updated_at"],
        }
    return chat


def row_of(chat_id: UUID, chat: ChatView, growth: Growth) -> ChatRow:
    share = chat.share or {}
    return ChatRow(
        chat_id=chat_id,
        version=chat.version,
        position=chat.position,
        updated_at=chat.updated_at,
        owner_id=chat.owner_id,
        listed=chat.listed,
        deleted=chat.deleted,
        title=chat.title,
        folder_id=chat.folder_id,
        pinned=chat.pinned,
        archived=chat.archived,
        tags=chat.tags,
        tag_ids=[tag_id(name) for name in chat.tags],
        readers=list(chat.grants),
        created_at=chat.created_at,
        share_id=share.get("share_id"),
        share_version=share.get("version"),
        shared_at=share.get("created_at"),
        share_updated_at=share.get("updated_at"),
        messages=growth.messages,
        bytes=growth.bytes,
    )
