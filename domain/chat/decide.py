"""The events that a command leads to, or the refusal: one function a command."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, assert_never
from uuid import UUID

import msgspec
from msgspec import UNSET

from domain import generation
from domain.chat import sharing
from domain.chat.commands import (
    AddMessage,
    AnswerCall,
    ArchiveChat,
    AskUser,
    ChatCommand,
    ConfigureChat,
    CreateChat,
    DeleteChat,
    DeleteMessage,
    EditMessage,
    Emit,
    ExpectUnchanged,
    ExpireCall,
    LeaveChat,
    MoveChat,
    NotePlugin,
    PinChat,
    RateMessage,
    RenameChat,
    SelectBranch,
    ShareChat,
    TagChat,
    chat_of,
)
from domain.chat.evolve import changed, evolve
from domain.chat.facts import (
    PROVENANCE,
    RESERVED,
    BranchSelected,
    ChatArchived,
    ChatConfigured,
    ChatCreated,
    ChatDeleted,
    ChatEvent,
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
from domain.chat.sharing import RemoveShareLink, SetShareLinkAccess, ShareVersion, SharingCommand
from domain.chat.state import Chat, MessageNode, tag_id
from domain.errors import (
    BadRequest,
    CallNotFound,
    ChatChanged,
    ChatExists,
    ChatNotFound,
    GenerationNotOpen,
    GenerationOpen,
    MessageExists,
    MessageNotFound,
    ParentNotFound,
)
from domain.generation import AppendParts, EndGeneration, GenerationInterrupted, StartGeneration
from domain.log.event import Emitted, Event
from domain.routing import call
from domain.routing.call import CallAnswered, CallLapsed, ExpiryReason
from domain.values.times import seconds_since_1970

TAG_CHARACTERS_MAX: Final = 100


def decide(chat: Chat, command: ChatCommand) -> list[ChatEvent]:
    """The events that the command leads to. An empty list means "already so", a ``Refusal`` means "no".

    Raises ``NotLoaded`` where the state is partial and the decision reads more of it.
    """
    match command:
        case AppendParts():
            if chat.deleted:
                raise GenerationNotOpen(command.message_id)
            if command.message_id not in chat.open_generations:
                chat.messages.require((command.message_id,))
            return [*generation.append_parts(chat.open_generations, command.message_id, command.seq, command.parts)]
        case CreateChat():
            return create_chat(chat, command)
        case _:
            pass
    require_access(chat, command)
    chat.messages.require(named_messages(command))
    match command:
        case RenameChat(title=title):
            if title == chat.title or (command.unless_renamed and chat.renamed):
                return []
            return [Event(None, ChatRenamed(title, command.task_chat_id or UNSET))]
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
        case LeaveChat(by=by):
            return [Event(None, ChatUnshared(by))]
        case ShareVersion() | SetShareLinkAccess() | RemoveShareLink():
            return [Event(None, fact) for fact in sharing.decide(chat.share, command)]
        case DeleteChat():
            chat.require_generations()
            if chat.open_generations:
                raise GenerationOpen(min(chat.open_generations))  # the same one, in whatever order they were loaded
            chat.require_calls()
            return [*call.expire_all(chat.open_calls, None, "cancelled"), Event(None, ChatDeleted())]
        case SelectBranch(message_id=message_id):
            existing(chat, message_id)
            return [] if message_id == chat.current_id else [Event(message_id, BranchSelected())]
        case AddMessage():
            return add_message(chat, command)
        case EditMessage():
            return edit_message(chat, command)
        case DeleteMessage(message_id=message_id, with_children=with_children):
            return delete_message(chat, message_id, with_children=with_children)
        case RateMessage(message_id=message_id, rating=rating, comment=comment):
            pick = existing(chat, message_id).pick
            if rating not in (-1, 0, 1):
                raise BadRequest(f"expected a rating of -1, 0 or 1, received {rating}")
            if pick is not None:
                return [Event(message_id, MessageRated(rating, comment, pick.model, pick.requested_model))]
            return [Event(message_id, MessageRated(rating, comment))]
        case Emit(message_id=message_id, name=name, data=data):
            existing(chat, message_id)
            if name in RESERVED:
                raise BadRequest(f"expected an emitted type that is not one of the log's own, received {name!r}")
            return [Event(message_id, Emitted(name, data))]
        case NotePlugin(message_id=message_id, trace=trace):
            if message_id is not None:
                existing(chat, message_id)
            return [Event(message_id, trace)]
        case ExpectUnchanged():
            require_unchanged(chat, command)
            return []
        case StartGeneration():
            return start_generation(chat, command)
        case EndGeneration(message_id=message_id, outcome=outcome):
            if message_id in chat.open_generations:
                chat.require_calls()
            reason: ExpiryReason = "server_gone" if isinstance(outcome, GenerationInterrupted) else "cancelled"
            return generation.end(chat.open_generations, command, call.expire_all(chat.open_calls, [message_id], reason))
        case AskUser(message_id=message_id, call=asked):
            existing(chat, message_id)
            chat.require_calls()
            return [*call.open_call(chat.open_calls, message_id, asked)]
        case AnswerCall():
            return answer_call(chat, command)
        case ExpireCall(call_id=call_id, reason=reason):
            chat.require_calls()
            expiring = chat.open_calls.get(call_id)
            return [Event(expiring.message_id, CallLapsed(call_id, reason))] if expiring is not None else []
        case _:
            assert_never(command)


MANY: Final = 100  # from this many commands on, one copy of the tree costs less than a partial copy for each


def decide_all(chat: Chat, commands: Sequence[ChatCommand], version: int) -> list[ChatEvent]:
    """The events of several commands, each decided on what the ones before it lead to. All or none."""
    events: list[ChatEvent] = []
    if type(commands[0]) not in (CreateChat, AppendParts):
        require_access(chat, commands[0])  # before anything is loaded
        chat.messages.require({one for command in commands for one in named_messages(command)})
    if len(commands) >= MANY:
        chat = changed(chat, messages=chat.messages.thawed())  # the intermediate states are not shared
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
        raise ChatNotFound(chat_of(command))
    by = getattr(command, "by", None)
    if by is None or isinstance(command, AnswerCall):  # the call says who may answer it
        return
    if isinstance(command, LeaveChat):
        if by == chat.owner_id:
            raise BadRequest("expected a chat that somebody else shares: the owner cannot leave their own")
        if by not in chat.grants:
            raise ChatNotFound(chat_of(command))
        return
    if by != chat.owner_id if isinstance(command, OWNERS_COMMANDS) else not chat.may_write(by):
        raise ChatNotFound(chat_of(command))


def named_messages(command: ChatCommand) -> tuple[UUID, ...]:
    """The messages that the command names: what a decision reads first, so that it is loaded together."""
    match command:
        case AddMessage(message_id=message_id, parent_id=parent_id):
            return (message_id,) if parent_id is None else (message_id, parent_id)
        case StartGeneration(message_id=message_id, parent_id=parent_id, continues=continues):
            return (message_id, *(one for one in (parent_id, continues) if one is not None))
        case ExpectUnchanged(message_ids=message_ids):
            return tuple(message_ids)
        case NotePlugin(message_id=message_id):
            return () if message_id is None else (message_id,)
        case (
            SelectBranch(message_id=message_id)
            | EditMessage(message_id=message_id)
            | DeleteMessage(message_id=message_id)
            | RateMessage(message_id=message_id)
            | Emit(message_id=message_id)
            | AppendParts(message_id=message_id)
            | EndGeneration(message_id=message_id)
            | AskUser(message_id=message_id)
        ):
            return (message_id,)
        case _:
            return ()


def existing(chat: Chat, message_id: UUID) -> MessageNode:
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


def tag_chat(chat: Chat, command: TagChat) -> list[ChatEvent]:
    wanted = tag_id(command.name)
    same = sorted(name for name in chat.tags if tag_id(name) == wanted)
    if not command.present:
        return [Event(None, ChatUntagged(name)) for name in same]
    if not wanted or wanted == "none" or len(command.name) > TAG_CHARACTERS_MAX:
        raise BadRequest(f"expected a tag of 1 to {TAG_CHARACTERS_MAX} characters other than none, received {command.name[:80]!r}")
    return [] if same else [Event(None, ChatTagged(command.name.strip(), command.task_chat_id or UNSET))]


def share_chat(chat: Chat, command: ShareChat) -> list[ChatEvent]:
    known = chat.grants.get(command.user_id)
    if command.user_id == chat.owner_id or command.permission == (known.permission if known is not None else None):
        return []
    if command.permission is None:
        return [Event(None, ChatUnshared(command.user_id))]
    return [Event(None, ChatShared(command.user_id, command.permission))]


def add_message(chat: Chat, command: AddMessage) -> list[ChatEvent]:
    require_place(chat, command.message_id, command.parent_id)
    fact = MessageAdded(command.parent_id, command.role, command.content, command.client_id, claimed(command.fields))
    return [Event(command.message_id, fact)]


def edit_message(chat: Chat, command: EditMessage) -> list[ChatEvent]:
    existing(chat, command.message_id)
    if command.message_id in chat.open_generations:
        raise GenerationOpen(command.message_id)
    fields = claimed(command.fields)
    return [Event(command.message_id, MessageEdited(fields))] if fields else []


def claimed(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The keys as a person may write them: who wrote a message is not for them to say. Raises ``BadRequest``."""
    return timed({key: value for key, value in fields.items() if key not in PROVENANCE} if PROVENANCE & fields.keys() else fields)


def timed(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """``fields`` with a ``timestamp`` in seconds, whatever unit it came in. Raises ``BadRequest`` where it is no time."""
    given = fields.get("timestamp")
    if given is None:
        return fields
    seconds = seconds_since_1970(given)
    if seconds is None:
        raise BadRequest(f"expected timestamp as a time in seconds since 1970, received {str(given)[:80]!r}", param="timestamp")
    return fields if seconds is given else {**fields, "timestamp": seconds}


def delete_message(chat: Chat, message_id: UUID, *, with_children: bool) -> list[ChatEvent]:
    node = chat.messages.get(message_id)
    if node is None:
        raise MessageNotFound(message_id)
    if node.deleted:
        return []
    going = [message_id, *(node.children if with_children else ())]
    chat.messages.require(going)
    for one in going:
        if one in chat.open_generations:
            raise GenerationOpen(one)
    chat.require_calls()
    return [*call.expire_all(chat.open_calls, going, "cancelled"), *(Event(one, MessageDeleted()) for one in going)]


def answer_call(chat: Chat, command: AnswerCall) -> list[ChatEvent]:
    """Only who was asked may answer, and only while they may write in the chat. Raises ``CallNotFound`` also where it has ended."""
    chat.require_calls()
    asked = chat.open_calls.get(command.call_id)
    if asked is None or asked.user_id != command.by or not (command.by_role or chat.may_write(command.by)):
        raise CallNotFound(command.call_id)
    return [Event(asked.message_id, CallAnswered(command.call_id, command.by, command.session_id, command.data))]


def start_generation(chat: Chat, command: StartGeneration) -> list[ChatEvent]:
    parent_id = command.parent_id
    if command.fills:
        parent_id = require_fillable(chat, command.message_id).parent_id
    else:
        require_place(chat, command.message_id, parent_id)
    if command.continues is not None:
        require_continuable(chat, command.continues, parent_id)
    return [Event(command.message_id, msgspec.structs.replace(generation.start(command), parent_id=parent_id))]


def require_fillable(chat: Chat, message_id: UUID) -> MessageNode:
    """Raises ``MessageExists`` unless a generation may begin in this message: once, and only below the role of an assistant."""
    node = existing(chat, message_id)
    if node.role != "assistant" or node.generated:
        raise MessageExists(message_id)
    return node


def require_continuable(chat: Chat, message_id: UUID, parent_id: UUID | None) -> None:
    """An answer that has ended, to the same question."""
    node = existing(chat, message_id)
    if node.role != "assistant" or node.parent_id != parent_id:
        raise BadRequest(f"expected an answer to the same message to continue, received message {message_id}", param="continues")
    if message_id in chat.open_generations:
        raise GenerationOpen(message_id)
