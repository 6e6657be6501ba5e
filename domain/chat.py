"""What can happen in a chat, and what is refused.

Read the facts first (they are what the log holds for ever), then ``decide``: one function a command. ``Chat`` keeps only
what decisions read. A token is one ``MessageDelta``; what it costs does not grow with the chat. The link to a snapshot, which a chat
may have, is ``domain/sharing.py``'s.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, assert_never
from uuid import UUID

import msgspec

from domain import sharing
from domain.errors import (
    BadRequest,
    BlockGap,
    ChatChanged,
    ChatExists,
    ChatNotFound,
    DeltaGap,
    GenerationNotOpen,
    GenerationOpen,
    MessageExists,
    MessageNotFound,
    ParentNotFound,
)
from domain.event import Emitted, Event
from domain.idmap import IdMap
from domain.sharing import (
    SHARING_TYPES,
    ChatSnapshotShared,
    ChatSnapshotUnshared,
    SetSnapshotAccess,
    Share,
    ShareSnapshot,
    SharingCommand,
    SharingFact,
    UnshareSnapshot,
)

TAG_CHARACTERS_MAX: Final = 100

Permission = Literal["read", "write"]
Role = Literal["user", "assistant", "system"]
BlockType = Literal["text", "reasoning", "tool_call"]

# ---------------------------------------------------------------------------------------------------------------- facts
# ``fields`` holds the keys that the class does not know: they are stored beside the known ones, flat, and kept.


class ChatCreated(msgspec.Struct, frozen=True):
    owner_id: UUID
    title: str
    folder_id: UUID | None = None
    client_id: str | None = None  # the id that a client asked for, where it was no uuid
    listed: bool = True  # false: made for one completion, logged like any other but in nobody's list
    fields: Mapping[str, Any] = {}


class ChatRenamed(msgspec.Struct, frozen=True):
    title: str


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
    """What stands before it came from elsewhere, and is whole now: the chat appears in its owner's list with this event."""

    source: str  # "open-webui", "chat" for a copy of one of ours …
    source_id: str  # what the source calls it
    created_at: datetime | None = None  # as the source says; None: when it was written here
    updated_at: datetime | None = None


class BranchSelected(msgspec.Struct, frozen=True):
    """The envelope's message is the one that is looked at now."""


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
    rating: int  # 1 or -1; 0 takes it back
    comment: str | None = None


class MessageStarted(msgspec.Struct, frozen=True):
    parent_id: UUID | None
    model: str  # who answers
    requested_model: str  # who was asked: an arena, or the same
    task_id: UUID
    node_id: UUID
    selected_model_id: str | None = None
    client_id: str | None = None
    fields: Mapping[str, Any] = {}


class BlockOpened(msgspec.Struct, frozen=True, omit_defaults=True):
    index: int  # from 0
    type: BlockType
    name: str | None = None  # of the tool
    id: str | None = None  # of the tool call, as the provider named it


class MessageDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """The next piece of one block of an answer."""

    index: int  # of the block, from 0
    text: str  # never empty; the provider's chunk as it came
    chunks: int = 1  # how many chunks were joined, under back-pressure only


class BlockSum(msgspec.Struct, frozen=True):
    index: int
    type: BlockType
    sha256: str  # hex, of the block's text as UTF-8


class Timings(msgspec.Struct, frozen=True):
    first_token_ms: float | None
    total_ms: float


class MessageEnded(msgspec.Struct, frozen=True):
    content: Any  # the text of all text blocks in order; a reference {"blob", "size_bytes"} where it is too large
    blocks: Sequence[BlockSum]
    sha256: str  # hex, of the content as UTF-8
    finish_reason: str
    usage: Mapping[str, Any] | None
    timings: Timings
    deltas: int  # how many ``MessageDelta`` there are


class GenerationFailed(msgspec.Struct, frozen=True):
    code: str
    detail: str
    content: Any = ""  # so far


class GenerationCancelled(msgspec.Struct, frozen=True):
    by: UUID | None
    content: Any = ""


class GenerationInterrupted(msgspec.Struct, frozen=True):
    """The server that ran it died; written by whoever found out."""

    node_id: UUID
    content: Any = ""


GenerationOver = MessageEnded | GenerationFailed | GenerationCancelled | GenerationInterrupted
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
    | MessageStarted
    | BlockOpened
    | MessageDelta
    | MessageEnded
    | GenerationFailed
    | GenerationCancelled
    | GenerationInterrupted
    | Emitted
)
ChatEvent = Event[ChatFact]

# The names on the wire and in the log, for ever. Whatever else stands in a chat was emitted, and keeps its own name.
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
    "message_start": MessageStarted,
    "content_block": BlockOpened,
    "message_delta": MessageDelta,
    "message_end": MessageEnded,
    "error": GenerationFailed,
    "cancelled": GenerationCancelled,
    "interrupted": GenerationInterrupted,
}
# What is about a message, and nothing without one.
OF_A_MESSAGE: Final = frozenset(
    {
        BlockOpened,
        BranchSelected,
        GenerationCancelled,
        GenerationFailed,
        GenerationInterrupted,
        MessageAdded,
        MessageDeleted,
        MessageDelta,
        MessageEdited,
        MessageEnded,
        MessageRated,
        MessageStarted,
    }
)
# Names that the protocol keeps for itself, also where no class writes them yet.
RESERVED: Final = frozenset(CHAT_TYPES) | {"call", "call_answered", "call_expired", "filter_applied", "action_ran"}

# ------------------------------------------------------------------------------------------------------------- commands
# ``by`` is the user who asks; None is the server itself, which the rules of access do not bind.


class CreateChat(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID
    title: str
    folder_id: UUID | None = None
    client_id: str | None = None
    listed: bool = True
    fields: Mapping[str, Any] = {}


class RenameChat(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID | None
    title: str


class ConfigureChat(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID
    fields: Mapping[str, Any]


class PinChat(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID
    pinned: bool | None  # None: the other way round


class ArchiveChat(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID
    archived: bool | None  # None: the other way round


class MoveChat(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID
    folder_id: UUID | None
    only_from: Collection[UUID] | None = None  # only if it is in one of these folders; None: wherever it is


class TagChat(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID
    name: str
    present: bool


class ShareChat(msgspec.Struct, frozen=True, kw_only=True):
    """Give ``user_id`` access, or with ``permission`` None take it."""

    chat_id: UUID
    by: UUID
    user_id: UUID
    permission: Permission | None


class DeleteChat(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID
    only_from: Collection[UUID] | None = None  # as of ``MoveChat``: who deletes a folder deletes nothing that was taken out of it meanwhile


class SelectBranch(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID
    message_id: UUID


class AddMessage(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID | None
    message_id: UUID
    parent_id: UUID | None
    role: Role
    content: Any
    client_id: str | None = None
    fields: Mapping[str, Any] = {}


class EditMessage(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID
    message_id: UUID
    fields: Mapping[str, Any]


class DeleteMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The message and its direct children go; what stood below those is read as standing below the message's parent."""

    chat_id: UUID
    by: UUID
    message_id: UUID


class RateMessage(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID
    message_id: UUID
    rating: int
    comment: str | None = None


class Emit(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID | None
    message_id: UUID
    name: str
    data: Any


class ExpectUnchanged(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing by itself: what is decided with it holds only if these messages are as they were at version ``since``."""

    chat_id: UUID
    by: UUID
    since: int
    message_ids: Sequence[UUID] = ()
    settings: bool = False  # the title and the chat's other keys, too


class StartGeneration(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID
    message_id: UUID
    parent_id: UUID | None
    model: str
    requested_model: str
    task_id: UUID
    node_id: UUID
    selected_model_id: str | None = None
    client_id: str | None = None
    fields: Mapping[str, Any] = {}


class AppendParts(msgspec.Struct, frozen=True, kw_only=True):
    """What arrived together of one answer. ``seq`` counts the deltas before it, from 0."""

    chat_id: UUID
    message_id: UUID
    seq: int
    parts: Sequence[BlockOpened | MessageDelta]


class EndGeneration(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    message_id: UUID
    outcome: GenerationOver
    by: UUID | None = None  # who stops it; None: the run itself, or whoever found its server dead


ChatCommand = (
    CreateChat
    | RenameChat
    | ConfigureChat
    | PinChat
    | ArchiveChat
    | MoveChat
    | TagChat
    | ShareChat
    | SharingCommand
    | DeleteChat
    | SelectBranch
    | AddMessage
    | EditMessage
    | DeleteMessage
    | RateMessage
    | Emit
    | ExpectUnchanged
    | StartGeneration
    | AppendParts
    | EndGeneration
)

# ---------------------------------------------------------------------------------------------------------------- state


class Node(msgspec.Struct, frozen=True):
    """One message of the tree, without its text."""

    parent_id: UUID | None
    role: str
    children: tuple[UUID, ...] = ()
    deleted: bool = False
    changed_version: int = 0  # of the newest event that changed what it says; the deltas of an open answer do not count


class Generation(msgspec.Struct, frozen=True):
    task_id: UUID
    node_id: UUID
    started_version: int  # of its message_start: its deltas stand above
    deltas: int = 0
    blocks: int = 0


class Chat(msgspec.Struct, frozen=True):
    """Holds only what a decision reads."""

    owner_id: UUID | None = None  # None: there is no such chat yet
    title: str = ""
    listed: bool = True
    deleted: bool = False
    pinned: bool = False
    archived: bool = False
    folder_id: UUID | None = None
    settings_version: int = 0  # of the newest event that changed the title or the chat's other keys
    tags: frozenset[str] = frozenset()
    grants: Mapping[UUID, Permission] = {}
    share: Share | None = None
    messages: IdMap[Node] = IdMap()
    current_id: UUID | None = None
    open_generations: Mapping[UUID, Generation] = {}  # a handful; closed ones are not kept here

    def may_read(self, user_id: UUID) -> bool:
        return not self.deleted and (user_id == self.owner_id or user_id in self.grants)

    def may_write(self, user_id: UUID) -> bool:
        return not self.deleted and (user_id == self.owner_id or self.grants.get(user_id) == "write")

    def may_see_snapshot(self, share_id: UUID, user_id: UUID) -> bool:
        """Whether this link is there, and for them. Whoever may read the chat may see what was shared of it."""
        if self.share is None or self.share.share_id != share_id or self.deleted:
            return False
        return self.share.shows(user_id) or self.may_read(user_id)


EMPTY: Final = Chat()


# --------------------------------------------------------------------------------------------------------------- decide


def decide(chat: Chat, command: ChatCommand) -> list[ChatEvent]:
    """The events that the command leads to. An empty list means "already so", a ``Refusal`` means "no"."""
    match command:
        case AppendParts():
            return append_parts(chat, command)
        case CreateChat():
            return create_chat(chat, command)
        case _:
            pass
    require_access(chat, command)
    match command:
        case RenameChat(title=title):
            return [] if title == chat.title else [Event(None, ChatRenamed(title))]
        case ConfigureChat(fields=fields):
            return [Event(None, ChatConfigured(fields))] if fields else []
        case PinChat(pinned=pinned):
            return [] if pinned == chat.pinned else [Event(None, ChatUnpinned() if chat.pinned else ChatPinned())]
        case ArchiveChat():
            return archive_chat(chat, command)
        case MoveChat(only_from=folders) | DeleteChat(only_from=folders) if folders is not None and chat.folder_id not in folders:
            return []
        case MoveChat(folder_id=folder_id):
            return [] if folder_id == chat.folder_id else [Event(None, ChatMoved(folder_id))]
        case TagChat():
            return tag_chat(chat, command)
        case ShareChat():
            return share_chat(chat, command)
        case ShareSnapshot() | SetSnapshotAccess() | UnshareSnapshot():
            return [Event(None, fact) for fact in sharing.decide(chat.share, command)]
        case DeleteChat():
            for message_id in chat.open_generations:
                raise GenerationOpen(message_id)
            return [Event(None, ChatDeleted())]
        case SelectBranch(message_id=message_id):
            existing(chat, message_id)
            return [] if message_id == chat.current_id else [Event(message_id, BranchSelected())]
        case AddMessage():
            return add_message(chat, command)
        case EditMessage():
            return edit_message(chat, command)
        case DeleteMessage(message_id=message_id):
            return delete_message(chat, message_id)
        case RateMessage(message_id=message_id, rating=rating, comment=comment):
            existing(chat, message_id)
            if rating not in (-1, 0, 1):
                raise BadRequest(f"expected a rating of -1, 0 or 1, received {rating}")
            return [Event(message_id, MessageRated(rating, comment))]
        case Emit(message_id=message_id, name=name, data=data):
            existing(chat, message_id)
            if name in RESERVED:
                raise BadRequest(f"expected an emitted type that is not one of the log's own, received {name!r}")
            return [Event(message_id, Emitted(name, data))]
        case ExpectUnchanged():
            require_unchanged(chat, command)
            return []
        case StartGeneration():
            return start_generation(chat, command)
        case EndGeneration(message_id=message_id, outcome=outcome):
            if message_id not in chat.open_generations:
                raise GenerationNotOpen(message_id)
            return [Event(message_id, outcome)]
        case _:
            assert_never(command)


MANY: Final = 100  # from so many commands on, copying the tree once costs less than a part of it for each


def decide_all(chat: Chat, commands: Sequence[ChatCommand], version: int) -> list[ChatEvent]:
    """The events of several commands, each decided on what the ones before it lead to. All or none."""
    events: list[ChatEvent] = []
    if len(commands) >= MANY:
        chat = changed(chat, messages=chat.messages.thawed())  # nobody sees what lies between
    for command in commands:
        for event in decide(chat, command):
            version += 1
            chat = evolve(chat, event, version)
            events.append(event)
    return events


OWNERS_COMMANDS: Final = ShareChat | SharingCommand | DeleteChat | PinChat | ArchiveChat | MoveChat | TagChat


def require_access(chat: Chat, command: ChatCommand) -> None:
    """Raises ``ChatNotFound`` also where the chat exists but is not the caller's: ids must not be probed."""
    if chat.owner_id is None or chat.deleted:
        raise ChatNotFound(command.chat_id)
    by = getattr(command, "by", None)
    if by is None:
        return
    if by != chat.owner_id if isinstance(command, OWNERS_COMMANDS) else not chat.may_write(by):
        raise ChatNotFound(command.chat_id)


def existing(chat: Chat, message_id: UUID) -> Node:
    node = chat.messages.get(message_id)
    if node is None or node.deleted:
        raise MessageNotFound(message_id)
    return node


def require_unchanged(chat: Chat, command: ExpectUnchanged) -> None:
    if command.settings and chat.settings_version > command.since:
        raise ChatChanged(None, seen=command.since, current=chat.settings_version)
    for message_id in command.message_ids:
        node = existing(chat, message_id)
        if node.changed_version > command.since:
            raise ChatChanged(message_id, seen=command.since, current=node.changed_version)


def require_place(chat: Chat, message_id: UUID, parent_id: UUID | None) -> None:
    if message_id in chat.messages:
        raise MessageExists(message_id)
    if parent_id is not None:
        parent = chat.messages.get(parent_id)
        if parent is None or parent.deleted:
            raise ParentNotFound(parent_id)


def create_chat(chat: Chat, command: CreateChat) -> list[ChatEvent]:
    if chat.owner_id is not None:
        raise ChatExists(command.chat_id)
    return [Event(None, ChatCreated(command.by, command.title, command.folder_id, command.client_id, command.listed, command.fields))]


def archive_chat(chat: Chat, command: ArchiveChat) -> list[ChatEvent]:
    if command.archived == chat.archived:
        return []
    if chat.archived:
        return [Event(None, ChatUnarchived())]
    leaves_folder: list[ChatEvent] = [Event(None, ChatMoved(None))] if chat.folder_id is not None else []
    return [Event(None, ChatArchived()), *leaves_folder]


def tag_id(name: str) -> str:
    """What makes two tags the same one, as in the reference system."""
    return name.strip().lower().replace(" ", "_")


def tag_chat(chat: Chat, command: TagChat) -> list[ChatEvent]:
    wanted = tag_id(command.name)
    same = sorted(name for name in chat.tags if tag_id(name) == wanted)
    if not command.present:
        return [Event(None, ChatUntagged(name)) for name in same]
    if not wanted or wanted == "none" or len(command.name) > TAG_CHARACTERS_MAX:
        raise BadRequest(f"expected a tag of 1 to {TAG_CHARACTERS_MAX} characters other than none, received {command.name[:80]!r}")
    return [] if same else [Event(None, ChatTagged(command.name.strip()))]


def share_chat(chat: Chat, command: ShareChat) -> list[ChatEvent]:
    if command.user_id == chat.owner_id or chat.grants.get(command.user_id) == command.permission:
        return []
    if command.permission is None:
        return [Event(None, ChatUnshared(command.user_id))]
    return [Event(None, ChatShared(command.user_id, command.permission))]


def add_message(chat: Chat, command: AddMessage) -> list[ChatEvent]:
    require_place(chat, command.message_id, command.parent_id)
    fact = MessageAdded(command.parent_id, command.role, command.content, command.client_id, command.fields)
    return [Event(command.message_id, fact)]


def edit_message(chat: Chat, command: EditMessage) -> list[ChatEvent]:
    existing(chat, command.message_id)
    if command.message_id in chat.open_generations:
        raise GenerationOpen(command.message_id)
    return [Event(command.message_id, MessageEdited(command.fields))] if command.fields else []


def delete_message(chat: Chat, message_id: UUID) -> list[ChatEvent]:
    node = chat.messages.get(message_id)
    if node is None:
        raise MessageNotFound(message_id)
    if node.deleted:
        return []
    going = [message_id, *node.children]
    for one in going:
        if one in chat.open_generations:
            raise GenerationOpen(one)
    return [Event(one, MessageDeleted()) for one in going]


def start_generation(chat: Chat, command: StartGeneration) -> list[ChatEvent]:
    require_place(chat, command.message_id, command.parent_id)
    fact = MessageStarted(
        command.parent_id,
        command.model,
        command.requested_model,
        command.task_id,
        command.node_id,
        command.selected_model_id,
        command.client_id,
        command.fields,
    )
    return [Event(command.message_id, fact)]


def append_parts(chat: Chat, command: AppendParts) -> list[ChatEvent]:
    generation = chat.open_generations.get(command.message_id)
    if generation is None or chat.deleted:
        raise GenerationNotOpen(command.message_id)  # also how a server that was thought dead learns that it must stop
    if command.seq > generation.deltas:
        raise DeltaGap(command.message_id, expected_seq=generation.deltas, received_seq=command.seq)
    seq, blocks, events = command.seq, generation.blocks, list[ChatEvent]()
    for part in command.parts:
        if isinstance(part, MessageDelta):
            if part.index >= blocks:
                raise BlockGap(command.message_id, open_blocks=blocks, received_index=part.index)
            if seq >= generation.deltas:  # below: a run that asks again resends its last deltas; that is no failure
                events.append(Event(command.message_id, part))
            seq += 1
        elif part.index >= blocks:
            if part.index > blocks:
                raise BlockGap(command.message_id, open_blocks=blocks, received_index=part.index)
            events.append(Event(command.message_id, part))
            blocks += 1
    return events


# --------------------------------------------------------------------------------------------------------------- evolve


def evolve(chat: Chat, event: ChatEvent, version: int) -> Chat:
    """The next state. Total: history cannot be refused, so this never raises."""
    match event.data:
        case MessageDelta():
            return advanced(chat, event.message_id, 1, 0)
        case BlockOpened():
            return advanced(chat, event.message_id, 0, 1)
        case MessageStarted() as start:
            assert event.message_id is not None
            opened = {**chat.open_generations, event.message_id: Generation(start.task_id, start.node_id, version)}
            return changed(with_message(chat, event.message_id, start.parent_id, "assistant", version), open_generations=opened)
        case MessageEnded() | GenerationFailed() | GenerationCancelled() | GenerationInterrupted():
            still_open = {one: generation for one, generation in chat.open_generations.items() if one != event.message_id}
            return changed(said(chat, event.message_id, version), open_generations=still_open)
        case MessageAdded(parent_id=parent_id, role=role):
            assert event.message_id is not None
            return with_message(chat, event.message_id, parent_id, role, version)
        case MessageDeleted():
            return without_message(chat, event.message_id, version)
        case BranchSelected():
            return changed(chat, current_id=event.message_id)
        case ChatCreated() as made:
            return changed(chat, owner_id=made.owner_id, title=made.title, listed=made.listed, folder_id=made.folder_id)
        case ChatRenamed(title=title):
            return changed(chat, title=title, settings_version=version)
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
            return changed(chat, grants={**chat.grants, user_id: permission})
        case ChatUnshared(user_id=user_id):
            return changed(chat, grants={one: permission for one, permission in chat.grants.items() if one != user_id})
        case ChatSnapshotShared() | ChatSnapshotUnshared():
            return changed(chat, share=sharing.evolve(event.data, version))
        case ChatDeleted():
            return changed(chat, deleted=True)
        case ChatImported():
            return changed(chat, listed=True)
        case MessageEdited() | MessageRated() | Emitted():
            return said(chat, event.message_id, version)
        case ChatConfigured():
            return changed(chat, settings_version=version)
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


def advanced(chat: Chat, message_id: UUID | None, deltas: int, blocks: int) -> Chat:
    assert message_id is not None
    known = chat.open_generations.get(message_id)
    if known is None:
        return chat
    ahead = Generation(known.task_id, known.node_id, known.started_version, known.deltas + deltas, known.blocks + blocks)
    return msgspec.structs.replace(chat, open_generations={**chat.open_generations, message_id: ahead})


def said(chat: Chat, message_id: UUID | None, version: int) -> Chat:
    """With the version noted that changed what the message says."""
    node = chat.messages.get(message_id) if message_id is not None else None
    if message_id is None or node is None:
        return chat
    return changed(chat, messages=chat.messages.with_(message_id, msgspec.structs.replace(node, changed_version=version)))


def with_message(chat: Chat, message_id: UUID, parent_id: UUID | None, role: str, version: int) -> Chat:
    messages = chat.messages.with_(message_id, Node(parent_id, role, changed_version=version))
    parent = messages.get(parent_id) if parent_id is not None else None
    if parent_id is not None and parent is not None:
        messages = messages.with_(parent_id, msgspec.structs.replace(parent, children=(*parent.children, message_id)))
    return changed(chat, messages=messages, current_id=message_id)


def without_message(chat: Chat, message_id: UUID | None, version: int) -> Chat:
    """Without one message: what stood below it now stands below what it answered, in its place among its siblings."""
    node = chat.messages.get(message_id) if message_id is not None else None
    if message_id is None or node is None or node.deleted:
        return chat
    messages = chat.messages.with_(message_id, Node(node.parent_id, node.role, deleted=True, changed_version=version))
    for child_id in node.children:
        child = messages.get(child_id)
        assert child is not None  # a child is written down by the same event that adds it
        messages = messages.with_(child_id, msgspec.structs.replace(child, parent_id=node.parent_id))
    parent = messages.get(node.parent_id) if node.parent_id is not None else None
    if node.parent_id is not None and parent is not None:
        siblings = tuple(one for child_id in parent.children for one in (node.children if child_id == message_id else (child_id,)))
        messages = messages.with_(node.parent_id, msgspec.structs.replace(parent, children=siblings))
    # Whoever looked at the deleted message looks at what it answered.
    current_id = node.parent_id if chat.current_id == message_id else chat.current_id
    return changed(chat, messages=messages, current_id=current_id)
