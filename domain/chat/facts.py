"""What can happen in a chat: one class for each type of event. The log holds these for ever.

``fields`` holds the keys that a class does not know: they are stored beside the known ones, flat, and kept.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from domain.chat.sharing import SHARING_TYPES, SharingFact
from domain.generation import (
    GENERATION_TYPES,
    TRACE_TYPES,
    FilterApplied,
    GenerationFact,
    PluginTrace,
)
from domain.log.event import Emitted, Event
from domain.routing.call import CALL_TYPES, CallFact

Permission = Literal["read", "write"]
Role = Literal["user", "assistant", "system"]


class ChatCreated(msgspec.Struct, frozen=True):
    owner_id: UUID
    title: str
    folder_id: UUID | None = None
    client_id: str | None = None  # the id that a client asked for, where it was no uuid
    listed: bool = True  # false: made for one completion; logged like any other chat, but in no list
    fields: Mapping[str, Any] = {}


class ChatRenamed(msgspec.Struct, frozen=True):
    title: str
    task_chat_id: UUID | msgspec.UnsetType = msgspec.UNSET  # the chat in which a model was asked for the title


class ChatConfigured(msgspec.Struct, frozen=True):
    """Changed keys of the chat itself: models, params, files … Shallow merge."""

    fields: Mapping[str, Any] = {}


class ChatPinned(msgspec.Struct, frozen=True):
    pass


class ChatUnpinned(msgspec.Struct, frozen=True):
    pass


class ChatArchived(msgspec.Struct, frozen=True):
    pass


class ChatUnarchived(msgspec.Struct, frozen=True):
    pass


class ChatMoved(msgspec.Struct, frozen=True):
    folder_id: UUID | None


class ChatTagged(msgspec.Struct, frozen=True):
    name: str
    task_chat_id: UUID | msgspec.UnsetType = msgspec.UNSET  # the chat in which a model was asked for tags


class ChatUntagged(msgspec.Struct, frozen=True):
    name: str


class ChatShared(msgspec.Struct, frozen=True):
    user_id: UUID
    permission: Permission


class ChatUnshared(msgspec.Struct, frozen=True):
    user_id: UUID


class ChatDeleted(msgspec.Struct, frozen=True):
    pass


class ChatImported(msgspec.Struct, frozen=True):
    """The events before it were imported and are complete now: with this event the chat appears in its owner's list."""

    source: str  # "open-webui", "chat" for a copy of one of ours …
    source_id: str  # the source's id of it
    created_at: datetime | None = None  # as the source says; None: when it was written here
    updated_at: datetime | None = None


class BranchSelected(msgspec.Struct, frozen=True):
    """The envelope's message is the current one now: its branch is shown."""


class MessageAdded(msgspec.Struct, frozen=True):
    parent_id: UUID | None
    role: Role
    content: Any  # text, or a list of parts as providers take them
    client_id: str | None = None
    fields: Mapping[str, Any] = {}


class MessageEdited(msgspec.Struct, frozen=True):
    """The changed keys only."""

    fields: Mapping[str, Any] = {}


class MessageDeleted(msgspec.Struct, frozen=True):
    pass


class MessageRated(msgspec.Struct, frozen=True):
    rating: int  # 1 or -1; 0 removes the rating
    comment: str | None = None
    # Of an answer whose model was picked by an arena: that model, and the arena that was asked.
    model: str | msgspec.UnsetType = msgspec.UNSET
    requested_model: str | msgspec.UnsetType = msgspec.UNSET


ChatFact = (
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
    | SharingFact
    | ChatDeleted
    | ChatImported
    | BranchSelected
    | MessageAdded
    | MessageEdited
    | MessageDeleted
    | MessageRated
    | GenerationFact
    | PluginTrace
    | CallFact
    | Emitted
)


ChatEvent = Event[ChatFact]


# The names on the wire and in the log, for ever. Any other type in a chat's stream was emitted and keeps its own name.
CHAT_TYPES: Final[Mapping[str, type[Any]]] = {
    "chat_created": ChatCreated,
    "chat_renamed": ChatRenamed,
    "chat_configured": ChatConfigured,
    "chat_pinned": ChatPinned,
    "chat_unpinned": ChatUnpinned,
    "chat_archived": ChatArchived,
    "chat_unarchived": ChatUnarchived,
    "chat_moved": ChatMoved,
    "chat_tagged": ChatTagged,
    "chat_untagged": ChatUntagged,
    "chat_shared": ChatShared,
    "chat_unshared": ChatUnshared,
    **SHARING_TYPES,
    "chat_deleted": ChatDeleted,
    "chat_imported": ChatImported,
    "chat_branch_selected": BranchSelected,
    "message_added": MessageAdded,
    "message_edited": MessageEdited,
    "message_deleted": MessageDeleted,
    "message_rated": MessageRated,
    **GENERATION_TYPES,
    **TRACE_TYPES,
    **CALL_TYPES,
}


# Keys of a message by which a reader tells typed text from generated text, ``{id, name}`` of a person each: who added a message under the
# role of an assistant, and who replaced the text of a message last. Readers derive them from the actors of events. Only the server writes
# them into ``fields``, for the copy of a message: null says that no person has added the original.
PROVENANCE: Final = frozenset({"added_by", "edited_by"})

# Facts about a message: their event names one.
OF_A_MESSAGE: Final = frozenset(
    {
        *(BranchSelected, MessageAdded, MessageDeleted, MessageEdited, MessageRated, FilterApplied),
        *GENERATION_TYPES.values(),
        *CALL_TYPES.values(),
    }
)


# Types that an emitter may not use: the protocol's own.
RESERVED: Final = frozenset(CHAT_TYPES)
