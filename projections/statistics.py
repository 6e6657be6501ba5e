"""What a chat's messages add up to: models, lengths, times. From a few columns of each message, never from its text."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from projections.chat import ChatView, message_to_json
from projections.messages import Message


class CountedMessage(msgspec.Struct, frozen=True):
    message_id: UUID
    parent_id: UUID | None
    role: str
    model: str | None
    timestamp: float | None  # seconds since 1970
    length: int  # of its content: characters, or bytes where it is kept by reference
    rating: int | None
    tags: Sequence[str] | None  # of its rating


class CountedChat(msgspec.Struct, frozen=True):
    chat_id: UUID
    owner_id: UUID
    tags: Sequence[str]
    current_id: UUID | None
    created_at: datetime
    updated_at: datetime
    messages: Sequence[CountedMessage]  # in the order in which they were added


class Statistics(msgspec.Struct, frozen=True):
    """``history_…`` is the whole tree, the others are the branch that is looked at. Times in seconds, lengths in characters."""

    average_response_time: float
    average_user_message_content_length: float
    average_assistant_message_content_length: float
    models: Mapping[str, int]
    message_count: int
    history_models: Mapping[str, int]
    history_message_count: int
    history_user_message_count: int
    history_assistant_message_count: int
    last_message_at: float | None


def statistics(chat: CountedChat) -> Statistics:
    by_id = {message.message_id: message for message in chat.messages}
    users = [message for message in chat.messages if message.role == "user"]
    assistants = [message for message in chat.messages if message.role == "assistant"]
    branch = list(branch_of(by_id, chat.current_id))
    waits = [
        message.timestamp - asked.timestamp
        for message in assistants
        if message.parent_id is not None
        and (asked := by_id.get(message.parent_id)) is not None
        and message.timestamp is not None
        and asked.timestamp is not None
    ]
    return Statistics(
        average(waits),
        average([message.length for message in users]),
        average([message.length for message in assistants]),
        models_of(branch),
        len(branch),
        models_of(chat.messages),
        len(chat.messages),
        len(users),
        len(assistants),
        branch[0].timestamp if branch else None,
    )


def branch_of(by_id: Mapping[UUID, CountedMessage], leaf: UUID | None) -> Iterable[CountedMessage]:
    while leaf is not None and leaf in by_id:
        yield by_id[leaf]
        leaf = by_id[leaf].parent_id


def models_of(messages: Iterable[CountedMessage]) -> dict[str, int]:
    return dict(Counter(message.model for message in messages if message.role == "assistant" and message.model))


def average(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0


def counted_view(chat_id: UUID, chat: ChatView) -> CountedChat:
    """The same of a chat that was folded as a whole."""
    ids = sorted(chat.messages, key=chat.ordinals.__getitem__)
    return counted_chat(chat_id, chat, [counted_message(message_to_json(chat.messages[one]), one in chat.open) for one in ids])


def counted_chat(chat_id: UUID, chat: ChatView, messages: Sequence[CountedMessage]) -> CountedChat:
    """``messages`` are all of the chat, in the order in which they were added."""
    assert chat.owner_id is not None
    assert chat.created_at is not None
    assert chat.updated_at is not None
    current_id = UUID(chat.current_id) if chat.current_id is not None else None
    return CountedChat(chat_id, chat.owner_id, list(chat.tags), current_id, chat.created_at, chat.updated_at, messages)


def counted_message(message: Message, is_open: bool) -> CountedMessage:
    annotation = message.get("annotation")
    known = annotation if isinstance(annotation, dict) else {}
    rating, timestamp, model = known.get("rating"), message.get("timestamp"), message.get("model")
    return CountedMessage(
        UUID(message["id"]),
        UUID(message["parentId"]) if message["parentId"] is not None else None,
        message["role"],
        model if isinstance(model, str) else None,
        timestamp if isinstance(timestamp, int | float) and not isinstance(timestamp, bool) else None,
        0 if is_open else length_of(message.get("content")),  # counted when it has ended
        rating if type(rating) is int else None,
        tags_of(known.get("tags")),
    )


def length_of(content: Any) -> int:
    match content:
        case str():
            return len(content)
        case list():
            return sum(len(part["text"]) for part in content if isinstance(part, dict) and is_text(part))
        case {"size_bytes": int(size)}:
            return size
        case _:
            return 0


def is_text(part: Mapping[str, Any]) -> bool:
    return part.get("type") == "text" and isinstance(part.get("text"), str)


def tags_of(tags: Any) -> list[str] | None:
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else None
