"""A chat as its reader sees it: the tree of messages with their text, folded from the chat's events.

Total and pure: the same events give the same view, at every version. A message that is still being generated is complete to
its last token. The shape is the one that clients of the reference system know (``history.messages``, ``childrenIds`` …).

A view may hold all of a chat's messages, or only those that somebody asked for and those that the events to come touch
(``projections/history.py`` says which these are).
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from domain.chat.facts import (
    BranchSelected,
    ChatArchived,
    ChatConfigured,
    ChatCreated,
    ChatDeleted,
    ChatImported,
    ChatMoved,
    ChatPinned,
    ChatRenamed,
    ChatShared,
    ChatTagged,
    ChatUnarchived,
    ChatUnpinned,
    ChatUnshared,
    ChatUntagged,
    MessageAdded,
    MessageDeleted,
    MessageEdited,
    MessageRated,
)
from domain.codec import decode_actor, decode_event
from domain.event import Emitted, Stored
from domain.generation import (
    BlockOpened,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    MessageDelta,
    MessageEnded,
    MessageStarted,
)
from domain.sharing import ChatVersionShared, ChatVersionUnshared
from projections.messages import Message, Messages

# Shown under the message, newest first, as the reference system keeps them.
NEW_FIRST: Final = frozenset({"files", "embeds"})
# What the view itself keeps of a message: a client's key of that name is in the log, and does not stand in for it.
SHA256: Final = re.compile(r"[0-9a-f]{64}")
OWN_KEYS: Final = frozenset({"id", "parentId", "childrenIds", "blocks"})


class ChatView:
    """One chat as of ``version``. ``apply`` takes its events in order, and leaves the ids of the messages it changed in ``touched``."""

    def __init__(self) -> None:
        self.version = 0
        self.position = 0
        self.owner_id: UUID | None = None
        self.listed = True
        self.title = ""
        self.fields: dict[str, Any] = {}
        self.folder_id: UUID | None = None
        self.pinned = False
        self.archived = False
        self.deleted = False
        self.tags: list[str] = []
        self.grants: dict[str, str] = {}
        self.share: dict[str, Any] | None = None  # the link to a snapshot of it: share_id, version, created_at, updated_at
        self.created_at: datetime | None = None
        self.updated_at: datetime | None = None
        self.messages = Messages()
        self.messages_count = 0  # of all there are, also of those that this view does not hold
        self.ordinals: dict[str, int] = {}  # the version that added each message: siblings stand in this order
        self.open: dict[str, int] = {}  # the answers that are still being generated, with the same
        self.current_id: str | None = None
        self.touched: set[str] = set()

    def apply(self, stored: Stored) -> None:
        """The next event of the chat's stream."""
        self.version, self.position = stored.version, stored.position
        self.updated_at = stored.at
        event = decode_event(stored)
        message_id = str(event.message_id) if event.message_id is not None else None
        message = self.messages.get(message_id) if message_id is not None else None
        if message_id is not None:
            self.touched.add(message_id)
        match event.data:
            case MessageDelta(index=index, text=text):
                if message is not None and index < len(message["blocks"]):
                    message["blocks"][index]["text"].append(text)
            case BlockOpened() as opened:
                if message is not None:
                    message["blocks"].append({"index": opened.index, "type": opened.type, "name": opened.name, "id": opened.id, "text": []})
            case MessageAdded() as added:
                extra = others_keys(added.fields)
                blocks = blocks_of(added.fields)
                if blocks:
                    extra["blocks"] = blocks
                if added.client_id is not None:
                    extra["client_id"] = added.client_id
                extra["role"], extra["content"], extra["done"] = added.role, added.content, True
                actor = decode_actor(stored.actor)
                if actor is not None:
                    extra["user_id"] = str(actor.id)
                self._add(stored, added.parent_id, extra)
            case MessageStarted() as start:
                extra = dict(start.fields)
                if start.client_id is not None:
                    extra["client_id"] = start.client_id
                if start.selected_model_id is not None:
                    extra["selectedModelId"] = start.selected_model_id
                    extra["arena"] = True
                self._add(
                    stored,
                    start.parent_id,
                    {
                        **extra,
                        "role": "assistant",
                        "model": start.model,
                        "modelName": extra.get("modelName", start.model),
                        "done": False,
                        "state": "streaming",
                        "task_id": str(start.task_id),
                        "blocks": [],
                    },
                )
                self.open[str(message_id)] = stored.version
            case MessageEnded() as end:
                self.open.pop(str(message_id), None)
                if message is not None:
                    finish(message, "done", end.content)
                    message["finish_reason"], message["timings"] = end.finish_reason, end.timings
                    if end.usage is not None:
                        message["usage"] = end.usage
            case GenerationFailed(code=code, detail=detail, content=content):
                self.open.pop(str(message_id), None)
                if message is not None:
                    finish(message, "error", content)
                    message["error"] = {"content": detail, "code": code}
            case GenerationCancelled(content=content):
                self.open.pop(str(message_id), None)
                if message is not None:
                    finish(message, "cancelled", content)
            case GenerationInterrupted(content=content):
                self.open.pop(str(message_id), None)
                if message is not None:
                    finish(message, "interrupted", content)
            case MessageEdited(fields=fields):
                if message is not None:
                    message.update(others_keys(fields))
                    message["edited_at"] = int(stored.at.timestamp())
            case MessageDeleted():
                self._remove(str(message_id))
            case MessageRated(rating=rating, comment=comment):
                if message is not None:
                    known = message.get("annotation")  # an imported one says more
                    message["annotation"] = {**(known if isinstance(known, dict) else {}), "rating": rating, "comment": comment}
            case BranchSelected():
                self.current_id = message_id
            case Emitted(name=name, data=data):
                if message is not None:
                    emitted(message, name, data)
            case _:
                self._apply_to_chat(event.data, stored.at)

    def _apply_to_chat(self, fact: Any, at: datetime) -> None:
        match fact:
            case ChatCreated() as made:
                self.owner_id, self.title, self.folder_id, self.listed = made.owner_id, made.title, made.folder_id, made.listed
                self.fields = dict(made.fields)
                if made.client_id is not None:
                    self.fields["client_id"] = made.client_id
                self.created_at = at
            case ChatRenamed(title=title):
                self.title = title
            case ChatConfigured(fields=fields):
                self.fields.update(fields)
            case ChatPinned():
                self.pinned = True
            case ChatUnpinned():
                self.pinned = False
            case ChatArchived():
                self.archived = True
            case ChatUnarchived():
                self.archived = False
            case ChatMoved(folder_id=folder_id):
                self.folder_id = folder_id
            case ChatTagged(name=name):
                self.tags.append(name)
            case ChatUntagged(name=name):
                self.tags = [tag for tag in self.tags if tag != name]
            case ChatShared(user_id=user_id, permission=permission):
                self.grants[str(user_id)] = permission
            case ChatUnshared(user_id=user_id):
                self.grants.pop(str(user_id), None)
            case ChatVersionShared() as shared:
                made_at = self.share["created_at"] if self.share is not None else seconds(at)
                self.share = {"share_id": str(shared.share_id), "version": shared.version, "created_at": made_at, "updated_at": seconds(at)}
            case ChatVersionUnshared():
                self.share = None
            case ChatDeleted():
                self.deleted = True
            case ChatImported() as imported:
                self.listed = True
                self.created_at = imported.created_at or self.created_at
                self.updated_at = imported.updated_at or self.updated_at
            case _:
                pass  # nothing that a reader of the chat sees

    def _add(self, stored: Stored, parent_id: UUID | None, message: Message) -> None:
        message_id = message["id"] = str(stored.message_id)
        above = message["parentId"] = str(parent_id) if parent_id is not None else None
        message["childrenIds"] = []
        message["timestamp"] = timestamp_of(message) or int(stored.at.timestamp())
        self.messages[message_id] = message
        self.ordinals[message_id] = stored.version
        self.messages_count += 1
        parent = self.messages.get(above) if above is not None else None
        if parent is not None:
            parent["childrenIds"].append(message_id)
        self.current_id = message_id

    def _remove(self, message_id: str) -> None:
        """The message goes; what stood below it now stands below what it answered, in the order in which it was added."""
        message = self.messages.pop(message_id, None)
        if message is None:
            return
        for child in message["childrenIds"]:
            if child not in self.messages:
                continue
            self.messages[child]["parentId"] = message["parentId"]
            self.touched.add(child)
        parent = self.messages.get(message["parentId"]) if message["parentId"] is not None else None
        if parent is not None:
            siblings = [one for one in parent["childrenIds"] if one != message_id] + message["childrenIds"]
            parent["childrenIds"] = sorted(siblings, key=self.ordinals.__getitem__)
        del self.ordinals[message_id]
        self.messages_count -= 1
        if self.current_id == message_id:
            self.current_id = message["parentId"]

    def without(self, message_ids: Iterable[str]) -> None:
        """Leave these messages out, as if they had been deleted."""
        for message_id in message_ids:
            self._remove(message_id)

    def may_read(self, user_id: UUID) -> bool:
        return not self.deleted and (user_id == self.owner_id or str(user_id) in self.grants)

    def is_listed_for(self, user_id: UUID) -> bool:
        return self.may_read(user_id) and (self.listed or user_id != self.owner_id)

    def branch(self, message_id: str | None) -> list[str]:
        """The ids from the root to the message, as far as this view holds them."""
        ids: list[str] = []
        while message_id is not None and message_id in self.messages:
            ids.append(message_id)
            message_id = self.messages.parent_of(message_id)
        return ids[::-1]

    def shown(self) -> dict[str, Any]:
        """The chat as ``GET /api/v1/chats/{id}`` answers it, ready for JSON."""
        messages = {message_id: sent_message(self.messages, message_id) for message_id in self.messages}
        chat = {
            **self.fields,
            "title": self.title,
            "tags": list(self.tags),
            "history": {"messages": messages, "currentId": self.current_id},
            "messages": [messages[message_id] for message_id in self.branch(self.current_id)],
        }
        head = self.shown_head()
        return {"user_id": head.pop("user_id"), "title": head.pop("title"), "chat": chat, **head}

    def shown_head(self) -> dict[str, Any]:
        """The same without what is in it."""
        return {
            "user_id": str(self.owner_id),
            "title": self.title,
            "created_at": seconds(self.created_at),
            "updated_at": seconds(self.updated_at),
            "share_id": self.share["share_id"] if self.share is not None else None,
            "archived": self.archived,
            "pinned": self.pinned,
            "meta": {"tags": list(self.tags)},
            "folder_id": str(self.folder_id) if self.folder_id is not None else None,
            "access": dict(self.grants),
            "version": self.version,
        }


def timestamp_of(message: Message) -> int | float | None:
    """When the message was said, where whoever added it knew that: an import, or a client with a clock of its own."""
    timestamp = message.get("timestamp")
    return timestamp if isinstance(timestamp, int | float) and not isinstance(timestamp, bool) else None


def view(events: Iterable[Stored]) -> ChatView:
    """All of a chat's events, folded."""
    made = ChatView()
    for event in events:
        made.apply(event)
    return made


def finish(message: Message, state: str, content: Any) -> None:
    """The end of an answer. Its blocks say more than its content only where there is more than one block of text."""
    message["state"] = state
    message["done"] = True
    message["content"] = content
    if [block["type"] for block in message.get("blocks", ())] in ([], ["text"]):
        message.pop("blocks", None)


def emitted(message: Message, name: str, data: Any) -> None:
    """What an emitter's event changes in its message (docs/protocol.md §2). Anything else is kept in the log and changes nothing."""
    known = data if isinstance(data, dict) else {}
    match name.removeprefix("chat:message:") if name.startswith("chat:message:") else name:
        case "status":
            message["statusHistory"] = [*listed(message.get("statusHistory")), data]
        case "message" | "delta":
            message["content"] = with_text(text_of(message), str(known.get("content", "")))
        case "replace" | "chat:message":
            message["content"] = known.get("content", "")
        case "files" | "embeds" as key:
            new = listed(known.get(key))
            message[key] = new if known.get("replace") else [*new, *listed(message.get(key))]
        case "source" | "citation" if known.get("type") is None:
            message["sources"] = [*listed(message.get("sources")), data]
        case "follow_ups":
            message["followUps"] = known.get("follow_ups", [])
        case _:
            pass


def others_keys(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key not in OWN_KEYS}


def blocks_of(fields: Mapping[str, Any]) -> list[Message]:
    """What an answer was made of, where a copy of it says so; nothing for what is none of ours."""
    blocks = fields.get("blocks")
    made: list[Message] = []
    for index, block in enumerate(blocks if isinstance(blocks, list) else ()):
        if not isinstance(block, dict) or block.get("index") != index or not isinstance(block.get("text"), str):
            return []
        made.append({**block, "text": [block["text"]] if block["text"] else []})
    return made


def listed(value: Any) -> list[Any]:
    """A list, whatever an emitter or a client has put there."""
    return list(value) if isinstance(value, list) else []


def with_text(content: Any, text: str) -> Any:
    """Content with more text at its end: a string, or a list of parts. A reference to a blob stays what it is."""
    if content is None or isinstance(content, str):
        return (content or "") + text
    return [*content, {"type": "text", "text": text}] if isinstance(content, list) else content


def text_of(message: Message) -> Any:
    """The message's content: as it was said, or what its text blocks hold so far."""
    if "content" in message:
        return message["content"]
    return "".join("".join(block["text"]) for block in message.get("blocks", ()) if block["type"] == "text")


def sent_message(messages: Messages, message_id: str) -> Message | msgspec.Raw:
    """One of a view's, ready for JSON. What is stored of an answer that has ended, or of any other message, is what is sent."""
    kept = messages.kept(message_id)
    return kept if kept is not None else shown_message(messages[message_id])


def shown_message(message: Message) -> Message:
    shown = {key: value for key, value in message.items() if key != "blocks"}
    shown["content"] = text_of(message)
    if "blocks" in message:
        shown["blocks"] = [{**block, "text": "".join(block["text"])} for block in message["blocks"]]
    return shown


def blob_of(content: Any) -> str | None:
    """The sha256, in hex, of content that is kept by reference. A client may write what looks like one, and is not."""
    blob = content.get("blob") if isinstance(content, dict) else None
    return blob if isinstance(blob, str) and SHA256.fullmatch(blob) else None


def seconds(at: datetime | None) -> int:
    return int(at.timestamp()) if at is not None else 0
