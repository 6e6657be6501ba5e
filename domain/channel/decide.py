"""What a command leads to, or why it is refused."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, assert_never
from uuid import UUID

import msgspec

from domain import generation
from domain.accounts import access
from domain.accounts.name import require_description, trimmed_name
from domain.channel.commands import (
    AddMembers,
    AnswerMember,
    ArchiveChannel,
    AskMember,
    AskModel,
    CallCommand,
    ChangeChannel,
    ChangeMemberRole,
    ChangeMessage,
    ChangeWebhook,
    ChannelCommand,
    CreateChannel,
    CreateOutgoingWebhook,
    CreateWebhook,
    DeleteChannel,
    EmitByServer,
    ExpireMemberCall,
    LeaveChannel,
    MessageCommand,
    NoteFilters,
    PinMessage,
    PostMessage,
    React,
    RemoveMembers,
    RemoveMessage,
    RevokeOutgoingWebhook,
    RevokeWebhook,
)
from domain.channel.evolve import evolve
from domain.channel.facts import (
    CHANNEL_TYPES,
    ChannelArchived,
    ChannelChanged,
    ChannelCreated,
    ChannelDeleted,
    ChannelEvent,
    ChannelFact,
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
from domain.channel.rights import Asker, may_change_message, may_manage, may_post, may_read
from domain.channel.settings import require_settings
from domain.channel.state import Channel, MessageNode
from domain.errors import (
    BadRequest,
    CallNotFound,
    ChannelExists,
    ChannelNotFound,
    Forbidden,
    GenerationNotOpen,
    GenerationOpen,
    MessageExists,
    MessageNotFound,
    NotAThread,
    WebhookNotFound,
)
from domain.generation import AppendParts, EndGeneration, GenerationInterrupted
from domain.log.event import Emitted, Event
from domain.routing import call
from domain.routing.call import CallAnswered, CallLapsed, ExpiryReason
from domain.values.fields import replacing, without_nulls

NAME_CHARACTERS_MAX: Final = 128
DESCRIPTION_CHARACTERS_MAX: Final = 2_000
CHANNEL_BYTES_MAX: Final = 64 * 1024  # of the data and the meta of a channel, as JSON
MEMBERS_MAX: Final = 10_000  # of a group
MEMBERS_AT_ONCE_MAX: Final = 500
DM_MEMBERS_MAX: Final = 10
WEBHOOKS_MAX: Final = 50
OUTGOING_WEBHOOKS_MAX: Final = 10
NOT_SENT: Final = frozenset({"message_delta", "content_block"})  # the whole answer is in its end
REACTION_CHARACTERS_MAX: Final = 64
REACTIONS_MAX: Final = 100  # different ones on one message
TEMP_ID_CHARACTERS_MAX: Final = 200


def decide(channel: Channel, command: ChannelCommand) -> list[ChannelEvent]:
    """The events that the command leads to. An empty list means "already so", a ``Refusal`` means "no".

    Raises ``NotLoaded`` where the state is partial and the decision reads more of it.
    """
    match command:
        case CreateChannel():
            return create_channel(channel, command)
        case AppendParts(message_id=message_id):
            require_going(channel, message_id)
            return [*generation.append_parts(channel.open_generations, message_id, command.seq, command.parts)]
        case EndGeneration(message_id=message_id):
            require_going(channel, message_id)
            channel.require_calls()
            reason: ExpiryReason = "server_gone" if isinstance(command.outcome, GenerationInterrupted) else "cancelled"
            return generation.end(channel.open_generations, command, call.expire_all(channel.open_calls, [message_id], reason))
        case EmitByServer(message_id=message_id, name=name, data=data):
            if channel.deleted:
                raise ChannelNotFound(command.channel_id)
            channel.messages.require((message_id,))
            existing(channel, message_id)
            return [Event(message_id, Emitted(name, data))]
        case NoteFilters():
            return note_filters(channel, command)
        case AskMember() | AnswerMember() | ExpireMemberCall():
            return of_a_call(channel, command)
        case _:
            pass
    if channel.owner_id is None or channel.deleted:
        raise ChannelNotFound(command.channel_id)
    match command:
        case LeaveChannel():
            return leave(channel, command)
        case PostMessage() | ChangeMessage() | RemoveMessage() | React() | PinMessage() | AskModel():
            return of_a_message(channel, command)
        case _:
            pass
    if command.by is not None and not may_manage(channel, command.by):
        raise Forbidden("only who manages the channel may do that")
    match command:
        case ChangeChannel():
            return change_channel(channel, command)
        case ArchiveChannel(archived=archived):
            return [] if archived == channel.archived else events(ChannelArchived() if archived else ChannelUnarchived())
        case DeleteChannel():
            channel.require_generations()
            if channel.open_generations:
                raise GenerationOpen(min(channel.open_generations))
            channel.require_calls()
            return [*call.expire_all(channel.open_calls, None, "cancelled"), *events(ChannelDeleted())]
        case AddMembers(user_ids=user_ids):
            return add_members(channel, user_ids)
        case RemoveMembers(user_ids=user_ids):
            require_group(channel)
            return without_members(channel, [one for one in require_few(user_ids) if one in channel.members])
        case ChangeMemberRole():
            return change_role(channel, command)
        case CreateWebhook() | ChangeWebhook() | RevokeWebhook():
            return of_a_webhook(channel, command)
        case CreateOutgoingWebhook() | RevokeOutgoingWebhook():
            return of_an_outgoing_webhook(channel, command)
        case _:
            assert_never(command)


def decide_all(channel: Channel, commands: Sequence[ChannelCommand]) -> list[ChannelEvent]:
    """The events of several commands, each decided on what the ones before it lead to. All or none; each has an event or more."""
    channel.messages.require({one for command in commands for one in named_messages(command)})
    made: list[ChannelEvent] = []
    for command in commands:
        for event in decide(channel, command):
            channel = evolve(channel, event, 0)  # no decision on a message reads at which version it began
            made.append(event)
    return made


def events(*facts: ChannelFact) -> list[ChannelEvent]:
    return [Event(None, fact) for fact in facts]


# ---------------------------------------------------------------------------------------------------------- the channel


def create_channel(channel: Channel, command: CreateChannel) -> list[ChannelEvent]:
    if channel.owner_id is not None:
        raise ChannelExists(command.channel_id)
    by = command.by.id
    members = [one for one in require_few(command.member_ids) if one != by]
    made = ChannelCreated(
        command.type,
        by,
        "" if command.type == "dm" else trimmed_name(command.name, NAME_CHARACTERS_MAX),
        require_description(command.description, DESCRIPTION_CHARACTERS_MAX),
        command.is_private,
        without_nulls(command.data),
        without_nulls(command.meta),
    )
    require_room(made.data, made.meta)
    require_settings(made.data)
    if command.type == "standard":
        if members:
            raise BadRequest("expected no members: the grants of a standard channel say who is in it", param="user_ids")
        return [*events(made), *access.change_grants((), command.grants)]
    if command.grants:
        raise BadRequest("expected no grants: only a standard channel goes by them", param="access_grants")
    if command.type == "dm" and len(members) >= DM_MEMBERS_MAX:
        raise BadRequest(f"expected at most {DM_MEMBERS_MAX} people in a dm, received {len(members) + 1}", param="user_ids")
    joined = [MemberJoined(by, "manager" if command.type == "group" else "member"), *(MemberJoined(one) for one in members)]
    return events(made, *joined)


def change_channel(channel: Channel, command: ChangeChannel) -> list[ChannelEvent]:
    changes = ChannelChanged()
    if command.name is not None and (name := trimmed_name(command.name, NAME_CHARACTERS_MAX)) != channel.name:
        changes = msgspec.structs.replace(changes, name=name)
    if command.description is not None and require_description(command.description, DESCRIPTION_CHARACTERS_MAX) != channel.description:
        changes = msgspec.structs.replace(changes, description=command.description)
    if command.is_private is not None and command.is_private != channel.is_private:
        changes = msgspec.structs.replace(changes, is_private=command.is_private)
    data = replacing(channel.data, command.data) if command.data is not None else {}
    meta = replacing(channel.meta, command.meta) if command.meta is not None else {}
    changes = msgspec.structs.replace(changes, data=data, meta=meta)
    require_room({**channel.data, **data}, {**channel.meta, **meta})
    require_settings(data)
    made: list[ChannelEvent] = [] if changes == ChannelChanged() else events(changes)
    if command.grants is None:
        return made
    if channel.type != "standard":
        if command.grants:
            raise BadRequest("expected no grants: only a standard channel goes by them", param="access_grants")
        return made
    return [*made, *access.change_grants(channel.grants, command.grants)]


def require_room(*mappings: Mapping[str, Any]) -> None:
    size = len(msgspec.json.encode(mappings))
    if size > CHANNEL_BYTES_MAX:
        raise BadRequest(f"data and meta of a channel hold at most {CHANNEL_BYTES_MAX} bytes together, these have {size}")


# --------------------------------------------------------------------------------------------------------------- people


def require_group(channel: Channel) -> None:
    if channel.type != "group":
        raise BadRequest("expected a channel of type group: the grants of a standard channel say who is in it")


def require_few(user_ids: Sequence[UUID]) -> list[UUID]:
    """Each once. Raises ``BadRequest``."""
    if len(user_ids) > MEMBERS_AT_ONCE_MAX:
        raise BadRequest(f"expected at most {MEMBERS_AT_ONCE_MAX} accounts at once, received {len(user_ids)}", param="user_ids")
    return list(dict.fromkeys(user_ids))


def add_members(channel: Channel, user_ids: Sequence[UUID]) -> list[ChannelEvent]:
    require_group(channel)
    new = [one for one in require_few(user_ids) if one not in channel.members]
    if len(channel.members) + len(new) > MEMBERS_MAX:
        raise BadRequest(f"a channel has at most {MEMBERS_MAX} members, this one would have {len(channel.members) + len(new)}")
    return events(*(MemberJoined(one) for one in new))


def leave(channel: Channel, command: LeaveChannel) -> list[ChannelEvent]:
    if channel.type == "dm":
        raise Forbidden("a dm is of exactly its people: it can be hidden, not left")
    require_group(channel)
    return without_members(channel, [command.by.id]) if command.by.id in channel.members else []


def without_members(channel: Channel, going: Sequence[UUID]) -> list[ChannelEvent]:
    """They leave. Where no manager is left, the one who has been there longest becomes one: a channel can always be managed."""
    left: list[ChannelFact] = [MemberLeft(one) for one in going]
    staying = [one for one in channel.members if one not in going]
    if going and staying and not any(one in staying for one in channel.managers):
        left.append(MemberRoleChanged(staying[0], "manager"))
    return events(*left)


def change_role(channel: Channel, command: ChangeMemberRole) -> list[ChannelEvent]:
    require_group(channel)
    member = channel.members.get(command.user_id)
    if member is None:
        raise BadRequest(f"{command.user_id} is no member of this channel", param="user_id")
    if command.role == member.role:
        return []
    if command.role == "member" and channel.managers == [command.user_id]:
        raise Forbidden("the last manager of a channel stays one: make somebody else a manager first")
    return events(MemberRoleChanged(command.user_id, command.role))


def of_a_webhook(channel: Channel, command: CreateWebhook | ChangeWebhook | RevokeWebhook) -> list[ChannelEvent]:
    webhook_id, known = command.webhook_id, channel.webhooks
    match command:
        case CreateWebhook(name=name, profile_image_url=picture):
            if webhook_id in known:
                return []
            if len(known) >= WEBHOOKS_MAX:
                raise BadRequest(f"a channel has at most {WEBHOOKS_MAX} webhooks")
            return events(WebhookCreated(webhook_id, trimmed_name(name, NAME_CHARACTERS_MAX), picture))
        case _ if webhook_id not in known:
            raise WebhookNotFound(webhook_id)
        case ChangeWebhook(name=name, profile_image_url=picture):
            if (known[webhook_id].name, known[webhook_id].profile_image_url) == (trimmed_name(name, NAME_CHARACTERS_MAX), picture):
                return []
            return events(WebhookChanged(webhook_id, trimmed_name(name, NAME_CHARACTERS_MAX), picture))
        case RevokeWebhook():
            return events(WebhookRevoked(webhook_id))
        case _:
            assert_never(command)


def of_an_outgoing_webhook(channel: Channel, command: CreateOutgoingWebhook | RevokeOutgoingWebhook) -> list[ChannelEvent]:
    webhook_id = command.webhook_id
    match command:
        case RevokeOutgoingWebhook(reason=reason):
            if webhook_id not in channel.outgoing:
                raise WebhookNotFound(webhook_id)
            return events(OutgoingWebhookRevoked(webhook_id, reason))
        case CreateOutgoingWebhook(origin=origin, types=types):
            wanted = list(dict.fromkeys(types))
            unknown = [one for one in wanted if one not in CHANNEL_TYPES or one in NOT_SENT]
            if not wanted or unknown:
                said = f"expected types of events in a channel, none of {sorted(NOT_SENT)}; these are none: {unknown}"
                raise BadRequest(said[:500], param="types")
            if webhook_id in channel.outgoing:
                return []
            if len(channel.outgoing) >= OUTGOING_WEBHOOKS_MAX:
                raise BadRequest(f"a channel has at most {OUTGOING_WEBHOOKS_MAX} outgoing webhooks")
            return events(OutgoingWebhookCreated(webhook_id, origin, wanted))


# ------------------------------------------------------------------------------------------------------------- messages


def of_a_message(channel: Channel, command: MessageCommand) -> list[ChannelEvent]:
    require_posting(channel, command)
    channel.messages.require(named_messages(command))
    message_id = command.message_id
    match command:
        case PostMessage(parent_id=parent_id, reply_to_id=reply_to_id):
            require_place(channel, message_id, parent_id)
            if reply_to_id is not None:
                existing(channel, reply_to_id)
            return [Event(message_id, posted(command))]
        case AskModel(start=start):
            require_place(channel, message_id, start.parent_id)
            # Whose message it is: of the one who asked.
            fields = {**start.fields, "user_id": str(command.by.id)}
            return [Event(message_id, msgspec.structs.replace(generation.start(start), fields=fields))]
        case ChangeMessage(by=by, fields=fields):
            require_author(channel, by, existing(channel, message_id))
            if message_id in channel.open_generations:
                raise GenerationOpen(message_id)
            return [Event(message_id, MessageChanged(fields))] if fields else []
        case RemoveMessage(by=by):
            node = channel.messages.get(message_id)
            if node is None:
                raise MessageNotFound(message_id)
            require_author(channel, by, node)
            if message_id in channel.open_generations:
                raise GenerationOpen(message_id)
            if node.deleted:
                return []
            channel.require_calls()
            return [*call.expire_all(channel.open_calls, [message_id], "cancelled"), Event(message_id, MessageRemoved(node.parent_id))]
        case React():
            return react(existing(channel, message_id), command)
        case PinMessage(pinned=pinned):
            node = existing(channel, message_id)
            return [] if pinned == node.pinned else [Event(message_id, MessagePinned() if pinned else MessageUnpinned())]
        case _:
            assert_never(command)


def require_posting(channel: Channel, command: MessageCommand) -> None:
    if isinstance(command, PostMessage) and command.by is None:
        if command.webhook_id not in channel.webhooks or channel.archived:
            raise Forbidden("the webhook was revoked, or its channel is archived")
        return
    by = command.by
    assert by is not None
    if not may_post(channel, by):
        archived = channel.archived and may_read(channel, by)
        raise Forbidden("the channel is archived" if archived else "you may not write in this channel")


def named_messages(command: ChannelCommand) -> tuple[UUID, ...]:
    """The messages that a decision on the command reads."""
    match command:
        case PostMessage(message_id=message_id, parent_id=parent_id, reply_to_id=reply_to_id):
            return tuple(one for one in (message_id, parent_id, reply_to_id) if one is not None)
        case AskModel(start=start):
            return (start.message_id,) if start.parent_id is None else (start.message_id, start.parent_id)
        case (
            ChangeMessage(message_id=message_id)
            | RemoveMessage(message_id=message_id)
            | React(message_id=message_id)
            | PinMessage(message_id=message_id)
            | EmitByServer(message_id=message_id)
            | NoteFilters(message_id=message_id)
            | AskMember(message_id=message_id)
            | AppendParts(message_id=message_id)
            | EndGeneration(message_id=message_id)
        ):
            return (message_id,)
        case _:
            return ()


def existing(channel: Channel, message_id: UUID) -> MessageNode:
    node = channel.messages.get(message_id)
    if node is None or node.deleted:
        raise MessageNotFound(message_id)
    return node


def require_place(channel: Channel, message_id: UUID, parent_id: UUID | None) -> None:
    if message_id in channel.messages:
        raise MessageExists(message_id)
    if parent_id is not None and existing(channel, parent_id).parent_id is not None:
        raise NotAThread(parent_id)


def posted(command: PostMessage) -> MessagePosted:
    if command.temp_id is not None and len(command.temp_id) > TEMP_ID_CHARACTERS_MAX:
        raise BadRequest(f"expected temp_id of at most {TEMP_ID_CHARACTERS_MAX} characters", param="temp_id")
    return MessagePosted(
        command.by.id if command.by is not None else None,
        command.content,
        command.parent_id,
        command.reply_to_id,
        command.webhook_id,
        command.temp_id,
        command.client_id,
        command.fields,
    )


def require_author(channel: Channel, by: Asker, node: MessageNode) -> None:
    if not may_change_message(channel, by, node):
        raise Forbidden("only its author or an admin may change a message")


def react(node: MessageNode, command: React) -> list[ChannelEvent]:
    name, by = command.name, command.by.id
    if not 1 <= len(name) <= REACTION_CHARACTERS_MAX or not name.isprintable():
        raise BadRequest(f"expected the name of a reaction, of 1 to {REACTION_CHARACTERS_MAX} visible characters", param="name")
    if (by in node.reactions.get(name, ())) == command.present:
        return []
    if not command.present:
        return [Event(command.message_id, ReactionRemoved(name, by))]
    if name not in node.reactions and len(node.reactions) >= REACTIONS_MAX:
        raise BadRequest(f"a message has at most {REACTIONS_MAX} different reactions", param="name")
    return [Event(command.message_id, ReactionAdded(name, by))]


def of_a_call(channel: Channel, command: CallCommand) -> list[ChannelEvent]:
    if channel.deleted:
        raise ChannelNotFound(command.channel_id)
    channel.require_calls()
    match command:
        case AskMember(message_id=message_id, call=asked):
            channel.messages.require((message_id,))
            existing(channel, message_id)
            return [*call.open_call(channel.open_calls, message_id, asked)]
        case AnswerMember(user_id=user_id, call_id=call_id, data=data, session_id=session_id):
            open_call = channel.open_calls.get(call_id)
            if open_call is None or open_call.user_id != user_id:
                raise CallNotFound(call_id)
            return [Event(open_call.message_id, CallAnswered(call_id, user_id, session_id, data))]
        case ExpireMemberCall(call_id=call_id, reason=reason):
            expiring = channel.open_calls.get(call_id)
            return [Event(expiring.message_id, CallLapsed(call_id, reason))] if expiring is not None else []
        case _:
            assert_never(command)


def note_filters(channel: Channel, command: NoteFilters) -> list[ChannelEvent]:
    """Where a person has edited the answer meanwhile, their words stand."""
    if channel.deleted:
        raise ChannelNotFound(command.channel_id)
    message_id = command.message_id
    channel.messages.require((message_id,))
    node = existing(channel, message_id)
    made: list[ChannelEvent] = [Event(message_id, trace) for trace in command.traces]
    if command.fields and node.changed_version == command.since:
        made.append(Event(message_id, MessageChanged(command.fields)))
    return made


def require_going(channel: Channel, message_id: UUID) -> None:
    """Raises ``GenerationNotOpen``."""
    if channel.deleted:
        raise GenerationNotOpen(message_id)
    if message_id not in channel.open_generations:
        channel.messages.require((message_id,))
        raise GenerationNotOpen(message_id)
