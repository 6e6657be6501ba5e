"""The state after an event, and after many.

In a partial state a message that is not loaded stays so: if it is needed, it is loaded later, with what the event changed. Only the
deletion of a message has to know the message, and raises ``NotLoaded`` otherwise.
"""

from collections.abc import Iterable
from typing import Any, assert_never
from uuid import UUID

import msgspec

from domain import generation
from domain.chat import sharing
from domain.chat.facts import (
    BranchSelected,
    ChatArchived,
    ChatConfigured,
    ChatCreated,
    ChatDeleted,
    ChatEvent,
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
from domain.chat.sharing import ChatVersionShared, ChatVersionUnshared
from domain.chat.state import Chat, Grant, MessageNode, Pick
from domain.generation import (
    ActionRan,
    BlockOpened,
    FilterApplied,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    MessageDelta,
    MessageEnded,
    MessageStarted,
)
from domain.log.event import Emitted
from domain.routing import call
from domain.routing.call import CallAnswered, CallLapsed, CallOpened


def evolve(chat: Chat, event: ChatEvent, version: int) -> Chat:
    """The next state. Total: history cannot be refused, so this never raises."""
    match event.data:
        case MessageDelta():
            assert event.message_id is not None
            return changed(chat, open_generations=generation.advanced(chat.open_generations, event.message_id, deltas=1))
        case BlockOpened():
            assert event.message_id is not None
            return changed(chat, open_generations=generation.advanced(chat.open_generations, event.message_id, blocks=1))
        case MessageStarted() as start:
            assert event.message_id is not None
            is_open = generation.started(chat.open_generations, event.message_id, start, version)
            if start.fills is True:
                begun = filled(chat, event.message_id, version, pick_of(start))
            else:
                begun = with_message(chat, event.message_id, start.parent_id, "assistant", version, pick=pick_of(start), generated=True)
            return changed(begun, open_generations=is_open)
        case MessageEnded() | GenerationFailed() | GenerationCancelled() | GenerationInterrupted():
            is_open = generation.ended(chat.open_generations, event.message_id)
            return changed(said(chat, event.message_id, version), open_generations=is_open)
        case MessageAdded(parent_id=parent_id, role=role):
            assert event.message_id is not None
            return with_message(chat, event.message_id, parent_id, role, version)
        case CallOpened() | CallAnswered() | CallLapsed() as fact:
            return changed(chat, open_calls=call.evolve(chat.open_calls, event.message_id, fact))
        case MessageDeleted():
            return without_message(chat, event.message_id, version)
        case BranchSelected():
            return changed(chat, current_id=event.message_id)
        case ChatCreated() as made:
            return changed(chat, owner_id=made.owner_id, title=made.title, listed=made.listed, folder_id=made.folder_id)
        case ChatRenamed(title=title):
            return changed(chat, title=title, renamed=True, settings_version=version)
        case ChatPinned():
            return changed(chat, pinned=True)
        case ChatUnpinned():
            return changed(chat, pinned=False)
        case ChatArchived():
            return changed(chat, archived=True)
        case ChatUnarchived():
            return changed(chat, archived=False)
        case ChatMoved(folder_id=folder_id):
            return changed(chat, folder_id=folder_id)
        case ChatTagged(name=name):
            return changed(chat, tags=chat.tags | {name})
        case ChatUntagged(name=name):
            return changed(chat, tags=chat.tags - {name})
        case ChatShared(user_id=user_id, permission=permission):
            known = chat.grants.get(user_id)
            grant = Grant(permission, known.since if known is not None else version)
            return changed(chat, grants={**chat.grants, user_id: grant})
        case ChatUnshared(user_id=user_id):
            return changed(chat, grants={one: grant for one, grant in chat.grants.items() if one != user_id})
        case ChatVersionShared() | ChatVersionUnshared():
            return changed(chat, share=sharing.evolve(event.data, version))
        case ChatDeleted():
            return changed(chat, deleted=True)
        case ChatImported():
            return changed(chat, listed=True)
        case MessageEdited() | MessageRated() | Emitted():
            return said(chat, event.message_id, version)
        case ChatConfigured():
            return changed(chat, settings_version=version)
        case FilterApplied() | ActionRan():
            return chat
        case _:
            assert_never(event.data)


def fold(chat: Chat, events: Iterable[tuple[int, ChatEvent]]) -> Chat:
    """``evolve`` for one ``(version, event)`` after the other. Quicker where there are many: nobody sees what lies between."""
    chat = changed(chat, messages=chat.messages.thawed())
    for version, event in events:
        chat = evolve(chat, event, version)
    return changed(chat, messages=chat.messages.frozen())


def changed(chat: Chat, **fields: Any) -> Chat:
    return msgspec.structs.replace(chat, **fields)


def said(chat: Chat, message_id: UUID | None, version: int) -> Chat:
    """With the version noted that changed what the message says."""
    node = chat.messages.get(message_id) if message_id is not None and chat.messages.is_loaded(message_id) else None
    if message_id is None or node is None:
        return chat
    return changed(chat, messages=chat.messages.with_(message_id, msgspec.structs.replace(node, changed_version=version)))


def pick_of(start: MessageStarted) -> Pick | None:
    return Pick(start.selected_model_id, start.requested_model) if start.selected_model_id is not None else None


def filled(chat: Chat, message_id: UUID, version: int, pick: Pick | None) -> Chat:
    """With a generation begun in a message that was there: it keeps its place in the tree."""
    node = chat.messages.get(message_id) if chat.messages.is_loaded(message_id) else None
    if node is None:
        return changed(chat, current_id=message_id)
    begun = msgspec.structs.replace(node, changed_version=version, generated=True, pick=pick)
    return changed(chat, messages=chat.messages.with_(message_id, begun), current_id=message_id)


def with_message(
    chat: Chat, message_id: UUID, parent_id: UUID | None, role: str, version: int, *, pick: Pick | None = None, generated: bool = False
) -> Chat:
    messages = chat.messages.with_(message_id, MessageNode(parent_id, role, changed_version=version, pick=pick, generated=generated))
    parent = messages.get(parent_id) if parent_id is not None and messages.is_loaded(parent_id) else None
    if parent_id is not None and parent is not None:
        messages = messages.with_(parent_id, msgspec.structs.replace(parent, children=(*parent.children, message_id)))
    return changed(chat, messages=messages, current_id=message_id)


def without_message(chat: Chat, message_id: UUID | None, version: int) -> Chat:
    """Without one message: what stood below it now stands below what it answered, in its place among its siblings."""
    node = chat.messages.get(message_id) if message_id is not None else None
    if message_id is None or node is None or node.deleted:
        return chat
    messages = chat.messages.with_(message_id, MessageNode(node.parent_id, node.role, deleted=True, changed_version=version))
    for child_id in node.children:
        if not messages.is_loaded(child_id):
            continue
        child = messages.get(child_id)
        assert child is not None  # a child is written down by the same event that adds it
        messages = messages.with_(child_id, msgspec.structs.replace(child, parent_id=node.parent_id))
    parent = messages.get(node.parent_id) if node.parent_id is not None and messages.is_loaded(node.parent_id) else None
    if node.parent_id is not None and parent is not None:
        siblings = tuple(one for child_id in parent.children for one in (node.children if child_id == message_id else (child_id,)))
        messages = messages.with_(node.parent_id, msgspec.structs.replace(parent, children=siblings))
    # Whoever looked at the deleted message looks at what it answered.
    current_id = node.parent_id if chat.current_id == message_id else chat.current_id
    return changed(chat, messages=messages, current_id=current_id)
