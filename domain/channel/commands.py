"""What can be asked of a channel. ``by`` is who asks; None is the server itself, which the rules of access do not bind."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from domain.accounts.access import Grant
from domain.channel.facts import ChannelType, MemberRole
from domain.channel.rights import Asker
from domain.generation import AppendParts, EndGeneration, FilterApplied, StartGeneration
from domain.routing.call import CallOpened, ExpiryReason


class CreateChannel(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the caller may make channels of this type at all was decided before."""

    channel_id: UUID
    by: Asker
    type: ChannelType
    name: str = ""
    description: str = ""
    is_private: bool = False
    data: Mapping[str, Any] = {}
    meta: Mapping[str, Any] = {}
    grants: Sequence[Grant] = ()
    member_ids: Sequence[UUID] = ()  # besides the caller


class ChangeChannel(msgspec.Struct, frozen=True, kw_only=True):
    """What it is from now on. None: as it is."""

    channel_id: UUID
    by: Asker
    name: str | None = None
    description: str | None = None
    is_private: bool | None = None
    data: Mapping[str, Any] | None = None  # all of it
    meta: Mapping[str, Any] | None = None
    grants: Sequence[Grant] | None = None


class ArchiveChannel(msgspec.Struct, frozen=True, kw_only=True):
    channel_id: UUID
    by: Asker
    archived: bool


class DeleteChannel(msgspec.Struct, frozen=True, kw_only=True):
    channel_id: UUID
    by: Asker


class AddMembers(msgspec.Struct, frozen=True, kw_only=True):
    channel_id: UUID
    by: Asker
    user_ids: Sequence[UUID]


class RemoveMembers(msgspec.Struct, frozen=True, kw_only=True):
    channel_id: UUID
    by: Asker
    user_ids: Sequence[UUID]


class LeaveChannel(msgspec.Struct, frozen=True, kw_only=True):
    channel_id: UUID
    by: Asker


class ChangeMemberRole(msgspec.Struct, frozen=True, kw_only=True):
    channel_id: UUID
    by: Asker
    user_id: UUID
    role: MemberRole


class CreateWebhook(msgspec.Struct, frozen=True, kw_only=True):
    channel_id: UUID
    by: Asker
    webhook_id: UUID
    name: str
    profile_image_url: str | None = None


class ChangeWebhook(msgspec.Struct, frozen=True, kw_only=True):
    channel_id: UUID
    by: Asker
    webhook_id: UUID
    name: str
    profile_image_url: str | None = None


class RevokeWebhook(msgspec.Struct, frozen=True, kw_only=True):
    channel_id: UUID
    by: Asker
    webhook_id: UUID


class CreateOutgoingWebhook(msgspec.Struct, frozen=True, kw_only=True):
    channel_id: UUID
    by: Asker
    webhook_id: UUID
    origin: str
    types: Sequence[str]


class RevokeOutgoingWebhook(msgspec.Struct, frozen=True, kw_only=True):
    channel_id: UUID
    by: Asker | None  # None: the server, for ``reason``
    webhook_id: UUID
    reason: str | None = None


class PostMessage(msgspec.Struct, frozen=True, kw_only=True):
    channel_id: UUID
    by: Asker | None  # None: the webhook, whose token was checked
    message_id: UUID
    content: Any
    parent_id: UUID | None = None
    reply_to_id: UUID | None = None
    webhook_id: UUID | None = None
    temp_id: str | None = None
    client_id: str | None = None
    fields: Mapping[str, Any] = {}


class ChangeMessage(msgspec.Struct, frozen=True, kw_only=True):
    channel_id: UUID
    by: Asker
    message_id: UUID
    fields: Mapping[str, Any]  # changed keys only


class RemoveMessage(msgspec.Struct, frozen=True, kw_only=True):
    channel_id: UUID
    by: Asker
    message_id: UUID


class React(msgspec.Struct, frozen=True, kw_only=True):
    channel_id: UUID
    by: Asker
    message_id: UUID
    name: str
    present: bool


class PinMessage(msgspec.Struct, frozen=True, kw_only=True):
    channel_id: UUID
    by: Asker
    message_id: UUID
    pinned: bool


class AskModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model answers: ``start.by`` is the one who asks."""

    channel_id: UUID
    by: Asker
    start: StartGeneration

    @property
    def message_id(self) -> UUID:
        return self.start.message_id


class EmitByServer(msgspec.Struct, frozen=True, kw_only=True):
    """What a run has to say about its message beside the answer."""

    channel_id: UUID
    message_id: UUID
    name: str
    data: Any
    by: None = None


class NoteFilters(msgspec.Struct, frozen=True, kw_only=True):
    """What filters have done with an answer. ``fields``: what they made of it, to be written unless it has changed since ``since``."""

    channel_id: UUID
    message_id: UUID
    traces: Sequence[FilterApplied]
    fields: Mapping[str, Any] = {}
    since: int = 0  # the version of the newest event that changed what the message says, as the filters saw it
    by: None = None


class AskMember(msgspec.Struct, frozen=True, kw_only=True):
    """A function asks the one for whom a model answers."""

    channel_id: UUID
    message_id: UUID
    call: CallOpened
    by: None = None


class AnswerMember(msgspec.Struct, frozen=True, kw_only=True):
    """Who was asked has answered. Whether they may was decided before."""

    channel_id: UUID
    user_id: UUID
    call_id: UUID
    data: Any
    session_id: str | None = None
    by: None = None


class ExpireMemberCall(msgspec.Struct, frozen=True, kw_only=True):
    channel_id: UUID
    call_id: UUID
    reason: ExpiryReason
    by: None = None


ManagingCommand = (
    ChangeChannel
    | DeleteChannel
    | ArchiveChannel
    | AddMembers
    | RemoveMembers
    | ChangeMemberRole
    | CreateWebhook
    | ChangeWebhook
    | RevokeWebhook
    | CreateOutgoingWebhook
    | RevokeOutgoingWebhook
)
MessageCommand = PostMessage | ChangeMessage | RemoveMessage | React | PinMessage | AskModel
CallCommand = AskMember | AnswerMember | ExpireMemberCall
ServerCommand = EmitByServer | NoteFilters | CallCommand | AppendParts | EndGeneration
ChannelCommand = CreateChannel | ManagingCommand | LeaveChannel | MessageCommand | ServerCommand


def channel_of(command: ChannelCommand) -> UUID:
    """The id of the channel that the command is about."""
    return command.stream_id if isinstance(command, (AppendParts, EndGeneration)) else command.channel_id
