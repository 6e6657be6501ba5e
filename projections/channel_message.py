"""One message of a channel as its readers see it, folded from the message's own events. Pure: the same events give the same message."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, assert_never
from uuid import UUID

import msgspec

from domain.channel.facts import (
    MessageChanged,
    MessageFact,
    MessagePinned,
    MessagePosted,
    MessageRemoved,
    MessageUnpinned,
    ReactionAdded,
    ReactionRemoved,
)
from domain.generation import (
    BlockOpened,
    FilterApplied,
    GenerationCancelled,
    GenerationFact,
    GenerationFailed,
    GenerationInterrupted,
    GenerationOver,
    MessageDelta,
    MessageEnded,
    MessageStarted,
)
from domain.log.codec import decode_actor, decode_event
from domain.log.event import Actor, Emitted, StoredEvent, emitters_name
from domain.routing.call import CallAnswered, CallFact, CallLapsed, CallOpened
from domain.values.fields import without_nulls

END_STATES: Final[Mapping[type[Any], str]] = {
    MessageEnded: "done",
    GenerationFailed: "error",
    GenerationCancelled: "cancelled",
    GenerationInterrupted: "interrupted",
}
MERGED: Final = ("data", "meta")  # keys of a message that are changed key by key


class Person(msgspec.Struct, frozen=True):
    """As they were when they did it."""

    id: str
    name: str
    role: str = "user"


class ChannelMessage(msgspec.Struct, kw_only=True):
    """One message as of ``version``. ``content`` is text, or a reference {"blob", "size_bytes"} where it is too large."""

    id: UUID
    version: int = 0  # of its newest event
    created_version: int = 0  # 0: there is no such message
    created_at: datetime | None = None
    updated_at: datetime | None = None
    user_id: UUID | None = None
    user: Person | None = None
    webhook_id: UUID | None = None
    parent_id: UUID | None = None
    reply_to_id: UUID | None = None
    temp_id: str | None = None
    client_id: str | None = None
    content: Any = ""
    data: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    fields: dict[str, Any] = {}  # other keys of the client's own
    is_generated: bool = False  # a model said it
    deleted: bool = False
    edited: bool = False
    pinned_at: datetime | None = None
    pinned_by: UUID | None = None
    reactions: dict[str, dict[str, str]] = {}  # by name, in the order in which each came first: the names of people by their ids
    blocks: dict[int, list[str]] = {}  # of an answer that is being generated: the texts of its text blocks

    @property
    def exists(self) -> bool:
        return self.created_version > 0 and not self.deleted

    @property
    def is_generated_now(self) -> bool:
        return self.meta.get("done") is False

    @property
    def text(self) -> Any:
        return "".join("".join(self.blocks[index]) for index in sorted(self.blocks)) if self.blocks else self.content


def channel_message(message_id: UUID, events: Iterable[StoredEvent]) -> ChannelMessage:
    """The message after these events, which are all of it, in order."""
    message = ChannelMessage(id=message_id)
    for stored in events:
        apply(message, stored)
    return message


def apply(message: ChannelMessage, stored: StoredEvent) -> None:
    fact: MessageFact | GenerationFact | FilterApplied | CallFact | Emitted = decode_event(stored).data
    message.version = stored.version
    match fact:
        case MessagePosted() | MessageStarted():
            begin(message, fact, stored)
        case MessageChanged(fields=fields):
            change(message, fields)
            message.updated_at, message.edited = stored.at, True
        case MessageRemoved():
            message.deleted, message.updated_at = True, stored.at
        case MessagePinned():
            by = decode_actor(stored.actor)
            message.pinned_at, message.pinned_by = stored.at, by.id if by is not None else None
        case MessageUnpinned():
            message.pinned_at = message.pinned_by = None
        case ReactionAdded(name=name, user_id=user_id):
            actor = decode_actor(stored.actor)
            who = actor.name if actor is not None and actor.id == user_id else ""
            message.reactions = {**message.reactions, name: {**message.reactions.get(name, {}), str(user_id): who}}
        case ReactionRemoved(name=name, user_id=user_id):
            left = {one: who for one, who in message.reactions.get(name, {}).items() if one != str(user_id)}
            others = {one: people for one, people in message.reactions.items() if one != name or left}
            message.reactions = {**others, name: left} if left else others
        case BlockOpened(index=index, type=kind):
            if kind == "text":
                message.blocks = {**message.blocks, index: []}
        case MessageDelta(index=index, text=text):
            if index in message.blocks:
                message.blocks[index].append(text)
        case MessageEnded() | GenerationFailed() | GenerationCancelled() | GenerationInterrupted():
            end(message, fact)
            message.updated_at = stored.at
        case FilterApplied() | CallOpened() | CallAnswered() | CallLapsed():
            pass  # what a filter did is in the answer; a question stands beside it
        case Emitted():
            emitted(message, fact)
        case _:
            assert_never(fact)


def begin(message: ChannelMessage, fact: MessagePosted | MessageStarted, stored: StoredEvent) -> None:
    message.created_version, message.created_at, message.updated_at = stored.version, stored.at, stored.at
    message.parent_id, message.client_id = fact.parent_id, fact.client_id
    message.user = person(decode_actor(stored.actor))
    match fact:
        case MessagePosted():
            message.user_id, message.webhook_id, message.reply_to_id = fact.user_id, fact.webhook_id, fact.reply_to_id
            message.content, message.temp_id = fact.content, fact.temp_id
            change(message, fact.fields)
            webhook = message.meta.get("webhook")
            if fact.webhook_id is not None and isinstance(webhook, Mapping):
                message.user = Person(str(fact.webhook_id), str(webhook.get("name")), "webhook")
        case MessageStarted():
            asker = fact.fields.get("user_id")
            message.user_id = UUID(asker) if isinstance(asker, str) else None
            quoted = fact.fields.get("reply_to_id")
            message.reply_to_id = UUID(quoted) if isinstance(quoted, str) else None
            message.is_generated = True
            message.meta = {"model_id": fact.model, "model_name": fact.model, "done": False, "task_id": str(fact.task_id)}
            if fact.selected_model_id is not None:
                message.meta["selected_model_id"] = fact.selected_model_id


def change(message: ChannelMessage, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        if name in MERGED:
            if isinstance(value, Mapping):
                setattr(message, name, without_nulls({**getattr(message, name), **value}))
        elif name == "content":
            message.content, message.blocks = value, {}
        else:
            message.fields = {**message.fields, name: value}


def end(message: ChannelMessage, over: GenerationOver) -> None:
    message.content, message.blocks = over.content, {}
    message.meta = {**message.meta, "done": True, "state": END_STATES[type(over)]}
    if isinstance(over, MessageEnded) and over.usage is not None:
        message.meta["usage"] = over.usage
    if isinstance(over, GenerationFailed):
        message.meta["error"] = {"content": over.detail, "code": over.code}


def emitted(message: ChannelMessage, fact: Emitted) -> None:
    """Of what an emitter says in a channel, files are kept with the message; anything else is in the log alone."""
    data = fact.data if isinstance(fact.data, dict) else {}
    if emitters_name(fact) == "files" and isinstance(data.get("files"), list):
        known = message.data.get("files")
        message.data = {**message.data, "files": [*data["files"], *(known if isinstance(known, list) else [])]}


def person(actor: Actor | None) -> Person | None:
    return Person(str(actor.id), actor.name, actor.role) if actor is not None else None


def nanoseconds(at: datetime | None) -> int | None:
    """As the reference system counts the times of channels."""
    return int(at.timestamp() * 1_000_000) * 1_000 if at is not None else None


def message_json(message: ChannelMessage, channel_id: UUID) -> dict[str, Any]:
    """The message as routes answer it, but for what other messages say of it: its replies, and the one that it quotes."""
    return {
        **message.fields,
        "id": str(message.id),
        "channel_id": str(channel_id),
        "user_id": text_or_none(message.user_id),
        "user": msgspec.to_builtins(message.user) if message.user is not None else None,
        "webhook_id": text_or_none(message.webhook_id),
        "parent_id": text_or_none(message.parent_id),
        "reply_to_id": text_or_none(message.reply_to_id),
        "temp_id": message.temp_id,
        "content": message.text,
        "data": message.data,
        "meta": message.meta,
        "is_pinned": message.pinned_at is not None,
        "pinned_at": nanoseconds(message.pinned_at),
        "pinned_by": text_or_none(message.pinned_by),
        "edited": message.edited,
        "reactions": [
            {"name": name, "count": len(people), "users": [{"id": one, "name": who} for one, who in people.items()]}
            for name, people in message.reactions.items()
        ],
        "created_at": nanoseconds(message.created_at),
        "updated_at": nanoseconds(message.updated_at),
        "version": message.version,
        "created_version": message.created_version,
        **({"client_id": message.client_id} if message.client_id is not None else {}),
    }


def text_or_none(value: UUID | None) -> str | None:
    return str(value) if value is not None else None
