"""A chat as its reader sees it: the tree of messages with their text, folded from the chat's events.

Total and pure: the same events give the same view, at every version. A message that is still being generated is complete to
its last token. The shape is the one that clients of the reference system know (``history.messages``, ``childrenIds`` …).

A view may hold all of a chat's messages, or only those that somebody asked for and those that the events to come touch
(``projections/chat_tree.py`` says which these are).
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, assert_never
from uuid import UUID

import msgspec
from msgspec import UNSET

from domain.chat.facts import (
    PROVENANCE,
    BranchSelected,
    ChatArchived,
    ChatConfigured,
    ChatCreated,
    ChatDeleted,
    ChatFact,
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
from domain.chat.merge import GENERATED_KEYS
from domain.chat.sharing import ChatVersionShared, ChatVersionUnshared
from domain.generation import (
    ActionRan,
    BlockOpened,
    FilterApplied,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    GenerationOver,
    MessageDelta,
    MessageEnded,
    MessageStarted,
)
from domain.log.codec import decode_actor, decode_event
from domain.log.event import Actor, Emitted, StoredEvent, emitters_name
from domain.routing.call import CallAnswered, CallLapsed, CallOpened
from projections.messages import PLACE, Message, Messages

MessageChange = MessageEdited | MessageRated | Emitted
# What happens to the chat itself: all facts but those about one of its messages.
FactOfChat = (
    ChatCreated
    | ChatRenamed
    | ChatConfigured
    | ChatPinned
    | ChatUnpinned
    | ChatArchived
    | ChatUnarchived
    | ChatMoved
    | ChatTagged
    | ChatUntagged
    | ChatShared
    | ChatUnshared
    | ChatVersionShared
    | ChatVersionUnshared
    | ChatDeleted
    | ChatImported
)
END_STATES: Final[Mapping[type[Any], str]] = {
    MessageEnded: "done",
    GenerationFailed: "error",
    GenerationCancelled: "cancelled",
    GenerationInterrupted: "interrupted",
}
# The names of emitted events that may change their message.
FOLDED_NAMES: Final = frozenset(
    {"status", "message", "delta", "replace", "chat:message", "files", "embeds", "source", "citation", "follow_ups"}
)
TEXT_NAMES: Final = frozenset({"message", "delta", "replace", "chat:message"})  # … its text
# Of each list of a message that grows with every event: statusHistory, sources, files, embeds. A message that shows all of a list
# without end could be read by nobody.
LISTED_MAX: Final = 1000
LISTED_BYTES_MAX: Final = 1024 * 1024  # of its JSON
# What the view itself keeps of a message: a client's key of that name is in the log, and does not stand in for it.
SHA256: Final = re.compile(r"[0-9a-f]{64}")
# What a message that a person has added may say of itself, and a generation in it says anew.
OF_A_GENERATION: Final = GENERATED_KEYS - {*PLACE, "client_id"} | {"content"}
OWN_KEYS: Final = frozenset({"id", "parentId", "childrenIds", "blocks", *PROVENANCE})

_encoder: Final = msgspec.json.Encoder()


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

    def apply(self, stored: StoredEvent, fact: ChatFact | None = None) -> None:
        """The next event of the chat's stream. ``fact`` is what it holds, for a caller that has decoded it already."""
        self.pass_over(stored)
        known: ChatFact = fact if fact is not None else decode_event(stored).data
        message_id = str(stored.message_id)
        if stored.message_id is not None:
            self.touched.add(message_id)
        match known:
            case MessageDelta(index=index, text=text):
                message = self.messages.get(message_id)
                if message is not None and index < len(message["blocks"]):
                    message["blocks"][index]["text"].append(text)
            case BlockOpened() as opened:
                message = self.messages.get(message_id)
                if message is not None:
                    message["blocks"].append({"index": opened.index, "type": opened.type, "name": opened.name, "id": opened.id, "text": []})
            case MessageAdded() as added:
                self._add(stored, added.parent_id, message_added(added, stored.actor))
            case MessageStarted() as start:
                if start.fills is True:
                    self._fill(stored, start)
                else:
                    self._add(stored, start.parent_id, answer_started(start))
                self.open[message_id] = self.ordinals.get(message_id, stored.version)
            case MessageEnded() | GenerationFailed() | GenerationCancelled() | GenerationInterrupted() as over:
                self.open.pop(message_id, None)
                message = self.messages.get(message_id)
                if message is not None:
                    end(message, over)
            case MessageEdited() | MessageRated() | Emitted() as change:
                message = self.messages.get(message_id) if stored.message_id is not None else None
                if message is not None:
                    change_message(message, change, stored.at, stored.actor)
            case MessageDeleted():
                self._remove(message_id)
            case BranchSelected():
                self.current_id = message_id
            case FilterApplied() | ActionRan():
                pass  # the log alone tells of them
            case CallOpened() | CallAnswered() | CallLapsed():
                pass  # a conversation beside the message: it changes nothing of what that says
            case _:
                self._apply_to_chat(known, stored.at)

    def pass_over(self, stored: StoredEvent) -> None:
        """Note that the chat has come to this event's version, and nothing else of it."""
        self.version, self.position, self.updated_at = stored.version, stored.position, stored.at

    def _apply_to_chat(self, fact: FactOfChat, at: datetime) -> None:
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
                assert_never(fact)

    def _add(self, stored: StoredEvent, parent_id: UUID | None, message: Message) -> None:
        message_id = message["id"] = str(stored.message_id)
        above = message["parentId"] = str(parent_id) if parent_id is not None else None
        message["childrenIds"] = []
        message["timestamp"] = timestamp_of(message) or int(stored.at.timestamp())
        self.messages[message_id] = message
        self.ordinals[message_id] = stored.version
        self.messages_count += 1
        if above is not None and above in self.messages:
            self.messages.children_of(above).append(message_id)
        self.current_id = message_id

    def _fill(self, stored: StoredEvent, start: MessageStarted) -> None:
        """A generation begins in a message that was there, without text. Keys that a client has made up stay with it."""
        message_id = self.current_id = str(stored.message_id)
        message = self.messages.get(message_id)
        if message is None:
            return
        for key in OF_A_GENERATION:
            message.pop(key, None)
        begun = answer_started(start)
        message.update(begun)
        message["timestamp"] = timestamp_of(begun) or int(stored.at.timestamp())

    def _remove(self, message_id: str) -> None:
        """The message goes; what stood below it now stands below what it answered, in the order in which it was added."""
        if message_id not in self.messages:
            return
        above, children = self.messages.parent_of(message_id), self.messages.children_of(message_id)
        del self.messages[message_id]
        for child in children:
            if child in self.messages:
                self.messages.move(child, above)
                self.touched.add(child)
        if above is not None and above in self.messages:
            siblings = self.messages.children_of(above)
            siblings[:] = sorted([one for one in siblings if one != message_id] + children, key=self.ordinals.__getitem__)
        del self.ordinals[message_id]
        self.messages_count -= 1
        if self.current_id == message_id:
            self.current_id = above

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

    def to_json(self) -> dict[str, Any]:
        """The chat as ``GET /api/v1/chats/{id}`` answers it, ready for JSON."""
        messages = {message_id: message_for_wire(self.messages, message_id) for message_id in self.messages}
        chat = {
            **self.fields,
            "title": self.title,
            "tags": list(self.tags),
            "history": {"messages": messages, "currentId": self.current_id},
            "messages": [messages[message_id] for message_id in self.branch(self.current_id)],
        }
        head = self.head_to_json()
        return {"user_id": head.pop("user_id"), "title": head.pop("title"), "chat": chat, **head}

    def head_to_json(self) -> dict[str, Any]:
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


def chat_of_row(row: Mapping[str, Any]) -> ChatView:
    """What the rows of every projection say of the chat itself."""
    chat = ChatView()
    chat.version, chat.position, chat.updated_at = row["version"], row["position"], row["updated_at"]
    chat.owner_id, chat.listed, chat.deleted, chat.title = row["owner_id"], row["listed"], row["deleted"], row["title"]
    chat.folder_id, chat.pinned, chat.archived, chat.tags = row["folder_id"], row["pinned"], row["archived"], list(row["tags"])
    chat.created_at = row["created_at"]
    return chat


def timestamp_of(message: Message) -> int | float | None:
    """When the message was said, where whoever added it knew that: an import, or a client with a clock of its own."""
    timestamp = message.get("timestamp")
    return timestamp if isinstance(timestamp, int | float) and not isinstance(timestamp, bool) else None


def view(events: Iterable[StoredEvent]) -> ChatView:
    """All of a chat's events, folded."""
    made = ChatView()
    for event in events:
        made.apply(event)
    return made


def message_added(added: MessageAdded, actor: bytes | None) -> Message:
    """The message, but for its place and time."""
    message = others_keys(added.fields)
    blocks = blocks_of(added.fields)
    if blocks:
        message["blocks"] = blocks
    if added.client_id is not None:
        message["client_id"] = added.client_id
    message["role"], message["content"], message["done"] = added.role, added.content, True
    known = decode_actor(actor)
    if known is not None:
        message["user_id"] = str(known.id)
    if "added_by" in added.fields:
        # A copy: the server says who had added the original.
        put_person(message, "added_by", added.fields["added_by"])
    elif added.role == "assistant" and known is not None:
        message["added_by"] = person(known)
    put_person(message, "edited_by", added.fields.get("edited_by"))
    return message


def person(actor: Actor) -> dict[str, str]:
    return {"id": str(actor.id), "name": actor.name}


def put_person(message: Message, key: str, value: Any) -> None:
    """The key, unless the value is no person."""
    if isinstance(value, dict) and isinstance(value.get("id"), str) and isinstance(value.get("name"), str):
        message[key] = {"id": value["id"], "name": value["name"]}


def answer_started(start: MessageStarted) -> Message:
    """An answer that says nothing yet, but for its place and time."""
    message = dict(start.fields)
    if start.client_id is not None:
        message["client_id"] = start.client_id
    if start.selected_model_id is not None:
        message["selectedModelId"] = start.selected_model_id
        message["arena"] = True
    if start.continues is not UNSET:
        message["continues"] = str(start.continues)
    return {
        **message,
        "role": "assistant",
        "model": start.model,
        "modelName": message.get("modelName", start.model),
        "done": False,
        "state": "streaming",
        "task_id": str(start.task_id),
        "blocks": [],
    }


def end(message: Message, over: GenerationOver) -> None:
    """The end of an answer. Its blocks say more than its content only where there is more than one block of text."""
    message["state"] = END_STATES[type(over)]
    message["done"] = True
    message["content"] = over.content
    for key in ("edited_by", "edited_at"):
        message.pop(key, None)  # what a person had put in its place while it was written
    if [block["type"] for block in message.get("blocks", ())] in ([], ["text"]):
        message.pop("blocks", None)
    match over:
        case MessageEnded():
            message["finish_reason"], message["timings"] = over.finish_reason, over.timings
            if over.usage is not None:
                message["usage"] = over.usage
        case GenerationFailed():
            message["error"] = {"content": over.detail, "code": over.code}
        case GenerationCancelled() | GenerationInterrupted():
            pass
        case _:
            assert_never(over)


def changes_message(change: MessageChange) -> bool:
    """Whether ``change_message`` may change anything. Emitters make up names as they like: most say nothing about the message."""
    return not isinstance(change, Emitted) or emitters_name(change) in FOLDED_NAMES


def change_message(message: Message, change: MessageChange, at: datetime, actor: bytes | None) -> None:
    if changes_text(change):
        by = decode_actor(actor)
        if by is not None:
            message["edited_by"], message["edited_at"] = person(by), int(at.timestamp())
    match change:
        case MessageEdited(fields=fields):
            message.update(others_keys(fields))
            if "content" in fields:
                forget_text(message)
            message["edited_at"] = int(at.timestamp())
        case MessageRated(rating=rating, comment=comment):
            known = message.get("annotation")  # an imported one says more
            message["annotation"] = {**(known if isinstance(known, dict) else {}), "rating": rating, "comment": comment}
        case Emitted():
            emitted(message, change)
        case _:
            assert_never(change)


def changes_text(change: MessageChange) -> bool:
    """Whether it changes what the message says, and not what stands beside that."""
    match change:
        case MessageEdited(fields=fields):
            return "content" in fields
        case Emitted():
            return emitters_name(change) in TEXT_NAMES
        case MessageRated():
            return False
        case _:
            assert_never(change)


def emitted(message: Message, fact: Emitted) -> None:
    """What an emitter's event changes in its message (docs/protocol.md §2). Anything else is kept in the log and changes nothing."""
    data = fact.data
    known = data if isinstance(data, dict) else {}
    match emitters_name(fact):
        case "status":
            message["statusHistory"] = newest_last([*listed(message.get("statusHistory")), data])
        case "message" | "delta":
            message["content"] = with_text(text_of(message), str(known.get("content", "")))
        case "replace" | "chat:message":
            message["content"] = known.get("content", "")
            forget_text(message)
        case "files" | "embeds" as key:
            new = listed(known.get(key))
            message[key] = newest_first(new if known.get("replace") else [*new, *listed(message.get(key))])
        case "source" | "citation" if known.get("type") is None:
            message["sources"] = newest_last([*listed(message.get("sources")), data])
        case "follow_ups":
            message["followUps"] = known.get("follow_ups", [])
        case _:
            pass


def forget_text(message: Message) -> None:
    """Its content was replaced: what the blocks of text of a whole answer said is gone with it. What it thought and called stays."""
    if message.get("done"):
        for block in message.get("blocks", ()):
            if block["type"] == "text":
                block["text"] = []


def newest_first(entries: list[Any]) -> list[Any]:
    """The newest of them, as many as a message shows: ``LISTED_MAX`` and ``LISTED_BYTES_MAX`` of JSON. The log keeps all."""
    entries = entries[:LISTED_MAX]
    if len(_encoder.encode(entries)) <= LISTED_BYTES_MAX:
        return entries
    size_bytes = 2  # the brackets
    for index, entry in enumerate(entries):
        size_bytes += len(_encoder.encode(entry)) + 1
        if size_bytes > LISTED_BYTES_MAX:
            return entries[:index]
    return entries


def newest_last(entries: list[Any]) -> list[Any]:
    """The same of a list whose newest entry comes last."""
    return newest_first(entries[::-1])[::-1]


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


def message_for_wire(messages: Messages, message_id: str) -> Message | msgspec.Raw:
    """One of a view's, ready for JSON. What is stored of an answer that has ended, or of any other message, is what is sent."""
    kept = messages.kept(message_id)
    return kept if kept is not None else message_to_json(messages[message_id])


def placed_first(message: Message) -> Message:
    """The same message with its place before everything else, as ``Messages.kept`` has it: the same bytes, however it was read."""
    place = {key: message[key] for key in PLACE}
    return place | {key: value for key, value in message.items() if key not in PLACE}


def message_to_json(message: Message) -> Message:
    shown = {key: value for key, value in message.items() if key != "blocks"}
    shown["content"] = text_of(message)
    if "blocks" in message:
        shown["blocks"] = [{**block, "text": "".join(block["text"])} for block in message["blocks"]]
    return shown


def blob_of(content: Any) -> str | None:
    """The sha256, in hex, of content that is kept by reference. A client may write what looks like one, and is not."""
    blob = content.get("blob") if isinstance(content, dict) else None
    return blob if isinstance(blob, str) and SHA256.fullmatch(blob) else None


def names_blob(value: Any) -> bool:
    """Whether there is such a reference in it, at any depth."""
    if isinstance(value, dict):
        return blob_of(value) is not None or any(map(names_blob, value.values()))
    return isinstance(value, list) and any(map(names_blob, value))


def seconds(at: datetime | None) -> int:
    return int(at.timestamp()) if at is not None else 0
