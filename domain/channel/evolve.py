"""The state after an event.

In a partial state a message that is not loaded stays so: if it is needed, it is loaded later, with what the event changed.
"""

from typing import Any, assert_never
from uuid import UUID

import msgspec

from domain import generation
from domain.accounts import access
from domain.accounts.access import AccessFact, AccessGranted, AccessRevoked
from domain.channel.facts import (
    ChannelArchived,
    ChannelChanged,
    ChannelCreated,
    ChannelDeleted,
    ChannelEvent,
    ChannelUnarchived,
    MemberJoined,
    MemberLeft,
    MemberRoleChanged,
    MessageChanged,
    MessagePinned,
    MessagePosted,
    MessageRemoved,
    MessageUnpinned,
    OutgoingWebhookCreated,
    OutgoingWebhookRevoked,
    ReactionAdded,
    ReactionRemoved,
    WebhookChanged,
    WebhookCreated,
    WebhookRevoked,
)
from domain.channel.state import Channel, Member, MessageNode, OutgoingWebhook, Webhook
from domain.generation import (
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
from domain.values.fields import without_nulls

changed = msgspec.structs.replace


def evolve(channel: Channel, event: ChannelEvent, version: int) -> Channel:
    """The next state. Total: history cannot be refused, so this never raises."""
    message_id = event.message_id
    match event.data:
        case MessageDelta():
            assert message_id is not None
            return changed(channel, open_generations=generation.advanced(channel.open_generations, message_id, deltas=1))
        case BlockOpened():
            assert message_id is not None
            return changed(channel, open_generations=generation.advanced(channel.open_generations, message_id, blocks=1))
        case MessagePosted(user_id=user_id, parent_id=parent_id):
            return with_node(channel, message_id, MessageNode(user_id, parent_id, changed_version=version))
        case MessageStarted() as start:
            assert message_id is not None
            is_open = generation.started(channel.open_generations, message_id, start, version)
            node = MessageNode(asker_of(start), start.parent_id, changed_version=version)
            return changed(with_node(channel, message_id, node), open_generations=is_open)
        case MessageEnded() | GenerationFailed() | GenerationCancelled() | GenerationInterrupted():
            is_open = generation.ended(channel.open_generations, message_id)
            return changed(said(channel, message_id, version), open_generations=is_open)
        case MessageChanged() | Emitted():
            return said(channel, message_id, version)
        case FilterApplied():
            return channel  # what it did to the answer is in the answer
        case CallOpened() | CallAnswered() | CallLapsed() as fact:
            return changed(channel, open_calls=call.evolve(channel.open_calls, message_id, fact))
        case MessageRemoved():
            return with_changes(channel, message_id, deleted=True, changed_version=version)
        case MessagePinned():
            return with_changes(channel, message_id, pinned=True)
        case MessageUnpinned():
            return with_changes(channel, message_id, pinned=False)
        case ReactionAdded(name=name, user_id=user_id):
            return reacted(channel, message_id, name, user_id, present=True)
        case ReactionRemoved(name=name, user_id=user_id):
            return reacted(channel, message_id, name, user_id, present=False)
        case ChannelCreated() as made:
            own: dict[str, Any] = {name: getattr(made, name) for name in made.__struct_fields__}
            return changed(channel, **own)
        case ChannelChanged() as changes:
            return configured(channel, changes)
        case ChannelArchived():
            return changed(channel, archived=True)
        case ChannelUnarchived():
            return changed(channel, archived=False)
        case ChannelDeleted():
            return changed(channel, deleted=True)
        case AccessGranted() | AccessRevoked() as access_fact:
            return admitting(channel, access_fact, version)
        case MemberJoined(user_id=user_id, role=role):
            return changed(channel, members={**channel.members, user_id: Member(role, version)})
        case MemberLeft(user_id=user_id):
            return changed(channel, members={one: member for one, member in channel.members.items() if one != user_id})
        case MemberRoleChanged(user_id=user_id, role=role):
            member = channel.members.get(user_id)
            return channel if member is None else changed(channel, members={**channel.members, user_id: changed(member, role=role)})
        case WebhookCreated(webhook_id=webhook_id, name=name, profile_image_url=picture):
            return changed(channel, webhooks={**channel.webhooks, webhook_id: Webhook(name, picture, version)})
        case WebhookRevoked(webhook_id=webhook_id):
            return changed(channel, webhooks={one: hook for one, hook in channel.webhooks.items() if one != webhook_id})
        case WebhookChanged(webhook_id=webhook_id, name=name, profile_image_url=picture):
            hook = channel.webhooks.get(webhook_id)
            since = hook.since if hook is not None else version
            return changed(channel, webhooks={**channel.webhooks, webhook_id: Webhook(name, picture, since)})
        case OutgoingWebhookCreated(webhook_id=webhook_id, origin=origin, types=types):
            return changed(channel, outgoing={**channel.outgoing, webhook_id: OutgoingWebhook(origin, tuple(types), version)})
        case OutgoingWebhookRevoked(webhook_id=webhook_id):
            return changed(channel, outgoing={one: hook for one, hook in channel.outgoing.items() if one != webhook_id})
        case _:
            assert_never(event.data)


def configured(channel: Channel, changes: ChannelChanged) -> Channel:
    own = {name: value for name in ("name", "description", "is_private") if (value := getattr(changes, name)) is not msgspec.UNSET}
    data, meta = without_nulls({**channel.data, **changes.data}), without_nulls({**channel.meta, **changes.meta})
    return changed(channel, **own, data=data, meta=meta)


def admitting(channel: Channel, fact: AccessFact, version: int) -> Channel:
    """A principal that keeps a grant stays admitted: a change of its permission does not begin its access anew."""
    grants = access.evolve_grants(channel.grants, fact)
    named = {(grant.principal_type, grant.principal_id) for grant in grants}
    principal = (fact.principal_type, fact.principal_id)
    admitted = {**channel.admitted, principal: channel.admitted.get(principal, version)}
    return changed(channel, grants=grants, admitted={one: since for one, since in admitted.items() if one in named})


def asker_of(start: MessageStarted) -> UUID | None:
    try:
        return UUID(str(start.fields.get("user_id")))
    except ValueError:
        return None


def with_node(channel: Channel, message_id: UUID | None, node: MessageNode) -> Channel:
    assert message_id is not None
    return changed(channel, messages=channel.messages.with_(message_id, node))


def with_changes(channel: Channel, message_id: UUID | None, **changes: Any) -> Channel:
    if message_id is None or not channel.messages.is_loaded(message_id):
        return channel
    node = channel.messages.get(message_id)
    return channel if node is None else with_node(channel, message_id, changed(node, **changes))


def said(channel: Channel, message_id: UUID | None, version: int) -> Channel:
    return with_changes(channel, message_id, changed_version=version)


def reacted(channel: Channel, message_id: UUID | None, name: str, user_id: UUID, *, present: bool) -> Channel:
    if message_id is None or not channel.messages.is_loaded(message_id) or (node := channel.messages.get(message_id)) is None:
        return channel
    who = node.reactions.get(name, frozenset())
    who = who | {user_id} if present else who - {user_id}
    reactions = {**node.reactions, name: who} if who else {one: others for one, others in node.reactions.items() if one != name}
    return with_node(channel, message_id, changed(node, reactions=reactions))
