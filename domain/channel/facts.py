"""What can happen in a channel: one class for each type of event. The log holds these for ever.

``fields`` holds the keys that a class does not know: they are stored beside the known ones, flat, and kept. A message says whose it is,
and a reaction who reacted: the state is folded without the envelopes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from domain.accounts.access import ACCESS_TYPES, AccessFact
from domain.generation import GENERATION_TYPES, FilterApplied, GenerationFact
from domain.log.event import Emitted, Event
from domain.routing.call import CALL_TYPES, CallFact

ChannelType = Literal["standard", "group", "dm"]  # by grants; by membership; by membership of exactly these people
MemberRole = Literal["member", "manager"]


class ChannelCreated(msgspec.Struct, frozen=True):
    type: ChannelType
    owner_id: UUID
    name: str  # empty for a dm
    description: str = ""
    is_private: bool = False
    data: Mapping[str, Any] = {}
    meta: Mapping[str, Any] = {}


class ChannelChanged(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is not there has not changed; of ``data`` and ``meta`` every key that is not there. Null takes a key out."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET
    is_private: bool | msgspec.UnsetType = msgspec.UNSET
    data: Mapping[str, Any] = {}
    meta: Mapping[str, Any] = {}


class ChannelArchived(msgspec.Struct, frozen=True):
    """It can be read, and nothing in it can be changed."""


class ChannelUnarchived(msgspec.Struct, frozen=True):
    pass


class ChannelDeleted(msgspec.Struct, frozen=True):
    pass


class MemberJoined(msgspec.Struct, frozen=True):
    user_id: UUID
    role: MemberRole = "member"


class MemberLeft(msgspec.Struct, frozen=True):
    """They left, or were removed: the envelope says by whom."""

    user_id: UUID


class MemberRoleChanged(msgspec.Struct, frozen=True):
    user_id: UUID
    role: MemberRole


class WebhookCreated(msgspec.Struct, frozen=True):
    """Somebody else's service may post under this name. Its token is no part of the log."""

    webhook_id: UUID
    name: str
    profile_image_url: str | None = None


class WebhookChanged(msgspec.Struct, frozen=True):
    webhook_id: UUID
    name: str
    profile_image_url: str | None = None


class WebhookRevoked(msgspec.Struct, frozen=True):
    webhook_id: UUID


class OutgoingWebhookCreated(msgspec.Struct, frozen=True):
    """Events of the channel are sent to somebody else's service from here on. Its whole address and the secret are no part of the log."""

    webhook_id: UUID
    origin: str  # scheme, host and port of its address
    types: Sequence[str]  # of the events that it wants


class OutgoingWebhookRevoked(msgspec.Struct, frozen=True):
    webhook_id: UUID
    reason: str | None = None  # where the server has ended it: "gone", its service said that it wants no more


class MessagePosted(msgspec.Struct, frozen=True):
    user_id: UUID | None  # whose it is; None: a webhook's
    content: Any  # text, or a reference {"blob", "size_bytes"} where it is too large
    parent_id: UUID | None = None  # the first message of the thread that it replies in
    reply_to_id: UUID | None = None  # the message that it quotes
    webhook_id: UUID | None = None
    temp_id: str | None = None  # what the sender's page calls it until it has an id
    client_id: str | None = None  # the id that a client asked for, where it was no uuid
    fields: Mapping[str, Any] = {}  # ``data`` (files …), ``meta`` and others


class MessageChanged(msgspec.Struct, frozen=True):
    """The changed keys only: ``content``, and ``data`` and ``meta`` merged key by key."""

    fields: Mapping[str, Any] = {}


class MessageRemoved(msgspec.Struct, frozen=True, omit_defaults=True):
    """The tombstone. The replies in its thread stay."""

    parent_id: UUID | None = None  # as the message had it: who has not read the message still counts one reply less


class ReactionAdded(msgspec.Struct, frozen=True):
    name: str
    user_id: UUID


class ReactionRemoved(msgspec.Struct, frozen=True):
    name: str
    user_id: UUID


class MessagePinned(msgspec.Struct, frozen=True):
    pass


class MessageUnpinned(msgspec.Struct, frozen=True):
    pass


MemberFact = MemberJoined | MemberLeft | MemberRoleChanged
WebhookFact = WebhookCreated | WebhookChanged | WebhookRevoked | OutgoingWebhookCreated | OutgoingWebhookRevoked
MessageFact = MessagePosted | MessageChanged | MessageRemoved | ReactionAdded | ReactionRemoved | MessagePinned | MessageUnpinned
ChannelFact = (
    ChannelCreated
    | ChannelChanged
    | ChannelArchived
    | ChannelUnarchived
    | ChannelDeleted
    | AccessFact
    | MemberFact
    | WebhookFact
    | MessageFact
    | GenerationFact
    | FilterApplied
    | CallFact
    | Emitted
)
ChannelEvent = Event[ChannelFact]

# Facts about a message: their event names one.
OF_A_CHANNEL_MESSAGE: Final = frozenset(
    {
        *(MessagePosted, MessageChanged, MessageRemoved, ReactionAdded, ReactionRemoved, MessagePinned, MessageUnpinned),
        *GENERATION_TYPES.values(),
        FilterApplied,
        *CALL_TYPES.values(),
    }
)

# The names on the wire and in the log, for ever. Any other type in a channel's stream was emitted and keeps its own name.
CHANNEL_TYPES: Final[Mapping[str, type[Any]]] = {
    "channel:created": ChannelCreated,
    "channel:update": ChannelChanged,
    "channel:archived": ChannelArchived,
    "channel:unarchived": ChannelUnarchived,
    "channel:delete": ChannelDeleted,
    **ACCESS_TYPES,
    "member:joined": MemberJoined,
    "member:left": MemberLeft,
    "member:role": MemberRoleChanged,
    "webhook:created": WebhookCreated,
    "webhook:changed": WebhookChanged,
    "webhook:revoked": WebhookRevoked,
    "webhook:outgoing:created": OutgoingWebhookCreated,
    "webhook:outgoing:revoked": OutgoingWebhookRevoked,
    "message": MessagePosted,
    "message:update": MessageChanged,
    "message:delete": MessageRemoved,
    "message:reaction:add": ReactionAdded,
    "message:reaction:remove": ReactionRemoved,
    "message:pin": MessagePinned,
    "message:unpin": MessageUnpinned,
    **GENERATION_TYPES,
    "filter_applied": FilterApplied,
    **CALL_TYPES,
}
