"""What can be asked of a chat. ``by`` is the user who asks; None is the server itself, which the rules of access do not bind."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from domain.chat.facts import Permission, Role
from domain.chat.sharing import SharingCommand
from domain.generation import GENERATION_COMMANDS, AppendParts, EndGeneration, PluginTrace, StartGeneration
from domain.routing.call import CallOpened, ExpiryReason


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
    unless_renamed: bool = False  # only if the chat has the title that it was made with: a title by the server replaces nobody's choice
    task_chat_id: UUID | None = None  # where a model was asked for it


class ConfigureChat(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID
    fields: Mapping[str, Any]


class PinChat(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID
    pinned: bool | None  # None: toggle


class ArchiveChat(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID
    archived: bool | None  # None: toggle


class MoveChat(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID
    folder_id: UUID | None
    only_from: Collection[UUID] | None = None  # only if it is in one of these folders; None: wherever it is


class TagChat(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID | None
    name: str
    present: bool
    task_chat_id: UUID | None = None  # where a model was asked for it


class ShareChat(msgspec.Struct, frozen=True, kw_only=True):
    """Give ``user_id`` access, or with ``permission`` None take it."""

    chat_id: UUID
    by: UUID
    user_id: UUID
    permission: Permission | None


class LeaveChat(msgspec.Struct, frozen=True, kw_only=True):
    """Give up the access that somebody gave."""

    chat_id: UUID
    by: UUID


class DeleteChat(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID
    only_from: Collection[UUID] | None = None  # as of ``MoveChat``: deleting a folder spares a chat that was moved out of it meanwhile


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
    by: UUID | None
    message_id: UUID
    fields: Mapping[str, Any]


class DeleteMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The message and its direct children go; what stood below those is read as standing below the message's parent.

    Without ``with_children`` the message alone goes, and its children are read as standing below its parent.
    """

    chat_id: UUID
    by: UUID
    message_id: UUID
    with_children: bool = True


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


class NotePlugin(msgspec.Struct, frozen=True, kw_only=True):
    """What a filter or an action has done. The server notes it; ``message_id`` None: it concerns no message of the chat."""

    chat_id: UUID
    message_id: UUID | None
    trace: PluginTrace
    by: UUID | None = None


class ExpectUnchanged(msgspec.Struct, frozen=True, kw_only=True):
    """A precondition for the other commands of the same request: these messages have not changed since version ``since``."""

    chat_id: UUID
    by: UUID
    since: int
    message_ids: Sequence[UUID] = ()
    settings: bool = False  # the title and the chat's other keys, too


class AskUser(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    message_id: UUID
    call: CallOpened


class AnswerCall(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID
    call_id: UUID
    data: Any
    session_id: str | None = None
    by_role: bool = False  # an admin may work in the chats of others, and is asked there


class ExpireCall(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    call_id: UUID
    reason: ExpiryReason


ChatCommand = (
    CreateChat
    | RenameChat
    | ConfigureChat
    | PinChat
    | ArchiveChat
    | MoveChat
    | TagChat
    | ShareChat
    | LeaveChat
    | SharingCommand
    | DeleteChat
    | SelectBranch
    | AddMessage
    | EditMessage
    | DeleteMessage
    | RateMessage
    | Emit
    | NotePlugin
    | ExpectUnchanged
    | StartGeneration
    | AppendParts
    | EndGeneration
    | AskUser
    | AnswerCall
    | ExpireCall
)


def chat_of(command: ChatCommand) -> UUID:
    """The id of the chat that the command is about."""
    return command.stream_id if isinstance(command, GENERATION_COMMANDS) else command.chat_id
