"""How one event changes the rows. Pure, and total: whatever a log holds, an event finds its row or changes nothing."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from domain.accounts.group import GroupDeleted, GroupMembersAdded, GroupMembersRemoved
from domain.accounts.user.facts import RoleChanged, UserCreated, UserDeactivated
from domain.channel.facts import (
    ChannelCreated,
    ChannelDeleted,
    MemberJoined,
    MemberLeft,
    MemberRoleChanged,
    MessageChanged,
    MessagePosted,
    MessageRemoved,
    ReactionAdded,
    ReactionRemoved,
)
from domain.chat.facts import ChatCreated, ChatDeleted, ChatImported, MessageAdded, MessageDeleted, MessageEdited, MessageRated
from domain.generation import GenerationCancelled, GenerationFailed, GenerationInterrupted, GenerationOver, MessageEnded, MessageStarted
from projections.figures.rows import Conversation, Duel, Generation, Membership, Message, Origin, Person, Rating, Streamed
from projections.figures.tables import Tables
from projections.figures.usage import tokens_of
from projections.projection import Recorded
from projections.statistics import length_of

OUTCOMES: Final[Mapping[type[Any], str]] = {
    MessageEnded: "completed",
    GenerationFailed: "failed",
    GenerationCancelled: "cancelled",
    GenerationInterrupted: "interrupted",
}
MODEL_CHARACTERS_MAX: Final = 512
AHEAD: Final = timedelta(days=1)  # a message's own time that is further ahead than this is no time at which it was sent
NOTHING_STREAMED: Final = Streamed()


class ActorId(msgspec.Struct):
    id: UUID


actor_of: Final = msgspec.json.Decoder(ActorId).decode


def apply(tables: Tables, event: Recorded, streamed: Mapping[tuple[UUID, int], Streamed]) -> None:
    """``streamed`` has an entry for each end of an answer, by its stream and version."""
    stored, fact = event.stored, event.fact
    stream_id, at = stored.stream.id, stored.at
    match fact:
        case ChatCreated():
            tables.put_conversation(Conversation(stream_id, "chat", None, fact.owner_id, fact.listed, at))
        case ChannelCreated():
            tables.put_conversation(Conversation(stream_id, "channel", fact.type, fact.owner_id, True, at))
        case ChatImported():
            conversation = tables.conversations.get(stream_id)
            if conversation is not None:
                conversation.listed, conversation.source, conversation.imported_version = True, fact.source, stored.version
                conversation.created_at = fact.created_at or conversation.created_at
                tables.put_conversation(conversation)
                came_from_elsewhere(tables, conversation, stored.version)
        case ChatDeleted() | ChannelDeleted():
            conversation = tables.conversations.get(stream_id)
            if conversation is not None:
                conversation.deleted_at = at
                tables.put_conversation(conversation)
        case MessageAdded() | MessagePosted():
            tables.put_message(written(tables, event))
            rate_as_annotated(tables, event)
        case MessageEdited(fields=fields) | MessageChanged(fields=fields):
            message = message_of(tables, event)
            if message is not None:
                message.edits += "content" in fields
                message.characters = length_of(fields["content"]) if "content" in fields else message.characters
                tables.put_message(message)
                rate_as_annotated(tables, event)
        case MessageDeleted() | MessageRemoved():
            message = message_of(tables, event)
            if message is not None:
                message.deleted_at = at
                tables.put_message(message)
        case ReactionAdded() | ReactionRemoved():
            message = message_of(tables, event)
            if message is not None:
                message.reactions = max(0, message.reactions + (1 if isinstance(fact, ReactionAdded) else -1))
                tables.put_message(message)
        case MessageRated():
            rate(tables, event, fact.rating, fact)
        case MessageStarted():
            begin(tables, event, fact)
        case MessageEnded() | GenerationFailed() | GenerationCancelled() | GenerationInterrupted():
            end(tables, event, fact, streamed.get((stream_id, stored.version), NOTHING_STREAMED))
        case MemberJoined():
            tables.put_membership(Membership(stream_id, fact.user_id, stored.version, "channel", fact.role, at))
        case GroupMembersAdded():
            for user_id in fact.user_ids:
                if not tables.members(stream_id, user_id):
                    tables.put_membership(Membership(stream_id, user_id, stored.version, "group", "member", at))
        case MemberRoleChanged():
            for member in tables.members(stream_id, fact.user_id):
                member.role = fact.role
                tables.change_membership(member)
        case MemberLeft():
            leave(tables, stream_id, [fact.user_id], at)
        case GroupMembersRemoved():
            leave(tables, stream_id, fact.user_ids, at)
        case GroupDeleted():
            leave(tables, stream_id, [member.user_id for member in tables.members(stream_id)], at)
        case UserCreated():
            tables.put_person(Person(stream_id, fact.role, at))
        case RoleChanged() | UserDeactivated():
            person = tables.people.get(stream_id)
            if person is not None:
                person.role = fact.role if isinstance(fact, RoleChanged) else person.role
                person.deactivated_at = at if isinstance(fact, UserDeactivated) else person.deactivated_at
                tables.put_person(person)
        case _:
            pass  # nothing of it is counted


def came_from_elsewhere(tables: Tables, conversation: Conversation, version: int) -> None:
    """What stands below ``version`` in it was imported or copied. Its rows say so, since questions are about rows by the ten thousand."""
    origin: Origin = "copied" if conversation.source == "chat" else "imported"
    for message in tables.messages_of(conversation.stream_id):
        if message.version < version:
            message.origin, message.listed = origin, conversation.listed
            tables.put_message(message)
    for generation in tables.generations_of(conversation.stream_id):
        if generation.version < version:
            generation.origin, generation.listed = origin, conversation.listed
            tables.put_generation(generation)


def written(tables: Tables, event: Recorded) -> Message:
    """A message that no run wrote."""
    stored, fact = event.stored, event.fact
    by = person_of(tables, event)
    role = fact.role if isinstance(fact, MessageAdded) else "webhook" if fact.webhook_id is not None else "user"
    if isinstance(fact, MessagePosted):
        by = fact.user_id
    usage = tokens_of(fact.fields.get("usage"))
    conversation = tables.conversations.get(stored.stream.id)
    return Message(
        stream_id=stored.stream.id,
        message_id=known(stored.message_id),
        version=stored.version,
        position=stored.position,
        user_id=by,
        role=role,
        model_id=model_of(fact.fields),
        base_model_id=None,
        parent_id=fact.parent_id,
        kind=stored.stream.kind,
        listed=conversation is None or conversation.listed,
        origin="here",
        is_generated=False,
        sent_at=sent_at(fact.fields, stored.at),
        recorded_at=stored.at,
        characters=length_of(fact.content),
        input_tokens=usage.input,
        output_tokens=usage.output,
    )


def begin(tables: Tables, event: Recorded, start: MessageStarted) -> None:
    stored, message_id = event.stored, known(event.stored.message_id)
    base_model_id = start.base_model_id if start.base_model_id is not msgspec.UNSET else None
    by = asked_by(start.fields) or person_of(tables, event)
    conversation = tables.conversations.get(stored.stream.id)
    listed = conversation is None or conversation.listed
    tables.put_message(
        Message(
            stream_id=stored.stream.id,
            message_id=message_id,
            version=stored.version,
            position=stored.position,
            user_id=by,
            role="assistant",
            model_id=start.model,
            base_model_id=base_model_id,
            parent_id=start.parent_id,
            kind=stored.stream.kind,
            listed=listed,
            origin="here",
            is_generated=True,
            sent_at=sent_at(start.fields, stored.at),
            recorded_at=stored.at,
        )
    )
    tables.put_generation(
        Generation(
            stream_id=stored.stream.id,
            message_id=message_id,
            version=stored.version,
            position=stored.position,
            user_id=by,
            requested_model_id=start.requested_model,
            model_id=start.model,
            base_model_id=base_model_id,
            provider_name=start.provider_name if start.provider_name is not msgspec.UNSET else None,
            kind=stored.stream.kind,
            listed=listed,
            origin="here",
            is_arena=start.selected_model_id is not None,
            is_continued=start.continues is not msgspec.UNSET,
            started_at=stored.at,
        )
    )


def end(tables: Tables, event: Recorded, over: GenerationOver, streamed: Streamed) -> None:
    """An answer that has ended already keeps its first end."""
    stored = event.stored
    generation = tables.generations.get((stored.stream.id, known(stored.message_id)))
    if generation is None or generation.ended_at is not None:
        return
    tokens = tokens_of(over.usage if isinstance(over, MessageEnded) else None)
    generation.ended_at = stored.at
    generation.outcome = OUTCOMES[type(over)]
    generation.finish_reason = over.finish_reason if isinstance(over, MessageEnded) else None
    if isinstance(over, GenerationFailed):
        generation.error_code = over.code
        said = over.provider if over.provider is not msgspec.UNSET else {}
        status = said.get("status")
        generation.provider_status = status if type(status) is int and 0 < status < 1000 else None
    generation.input_tokens, generation.output_tokens = tokens.input, tokens.output
    generation.cached_tokens, generation.reasoning_tokens = tokens.cached, tokens.reasoning
    generation.deltas, generation.characters = streamed.deltas, streamed.characters
    generation.tool_calls, generation.retries = streamed.tool_calls, streamed.retries
    generation.first_token_at = streamed.first_token_at
    generation.first_token_ms = ms(streamed.first_token_at - generation.started_at) if streamed.first_token_at is not None else None
    generation.duration_ms = ms(stored.at - generation.started_at)
    generation.gap_p50_ms, generation.gap_p95_ms = streamed.gap_p50_ms, streamed.gap_p95_ms
    generation.gap_p99_ms, generation.gap_max_ms = streamed.gap_p99_ms, streamed.gap_max_ms
    tables.put_generation(generation)
    message = message_of(tables, event)
    if message is not None:
        message.characters = length_of(over.content)
        message.input_tokens, message.output_tokens = tokens.input, tokens.output
        tables.put_message(message)


def rate_as_annotated(tables: Tables, event: Recorded) -> None:
    """A client that saves whole messages rates by a key of the message, and repeats it each time."""
    annotation = event.fact.fields.get("annotation")
    rating = annotation.get("rating") if isinstance(annotation, Mapping) else None
    if type(rating) is not int or rating not in (-1, 0, 1):
        return
    message_id = known(event.stored.message_id)
    current = tables.current_rating(event.stored.stream.id, message_id, person_of(tables, event))
    if rating != (current.rating if current is not None else 0):
        rate(tables, event, rating, None)


def rate(tables: Tables, event: Recorded, given: int, fact: MessageRated | None) -> None:
    """A rating, and a duel with every answer beside it. The same person's earlier rating of the same message counts no more."""
    stored, message = event.stored, message_of(tables, event)
    by = person_of(tables, event)
    stream_id, message_id = stored.stream.id, known(stored.message_id)
    before = tables.current_rating(stream_id, message_id, by)
    if before is not None:
        before.superseded_at = stored.at
        tables.supersede(before)
    if given not in (-1, 1):
        return
    generation = tables.generations.get((stream_id, message_id))
    model_id = message.model_id if message is not None else None
    arena_id = generation.requested_model_id if generation is not None and generation.is_arena else None
    if fact is not None and isinstance(fact.model, str):
        model_id = fact.model
    if fact is not None and isinstance(fact.requested_model, str):
        arena_id = fact.requested_model
    tables.put_rating(Rating(stream_id, stored.version, stored.position, message_id, by, model_id, arena_id, given, stored.at))
    if message is None or message.role != "assistant" or model_id is None:
        return
    for other in tables.answers_beside(message):
        if other.model_id in (None, model_id) or other.deleted_at is not None:
            continue
        assert other.model_id is not None
        winner, loser = (model_id, other.model_id) if given > 0 else (other.model_id, model_id)
        tables.put_duel(Duel(stream_id, stored.version, other.message_id, stored.position, by, winner, loser, arena_id, stored.at))


def leave(tables: Tables, stream_id: UUID, user_ids: Any, at: datetime) -> None:
    for user_id in user_ids:
        for member in tables.members(stream_id, user_id):
            member.left_at = at
            tables.end_membership(member)


def message_of(tables: Tables, event: Recorded) -> Message | None:
    return tables.messages.get((event.stored.stream.id, known(event.stored.message_id)))


def person_of(tables: Tables, event: Recorded) -> UUID | None:
    """Who caused it; of what the server did itself, the owner of the conversation: an import, for one."""
    if event.stored.actor is not None:
        return actor_of(event.stored.actor).id
    conversation = tables.conversations.get(event.stored.stream.id)
    return conversation.owner_id if conversation is not None else None


def asked_by(fields: Mapping[str, Any]) -> UUID | None:
    """In a channel an answer says who asked."""
    try:
        return UUID(fields["user_id"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def model_of(fields: Mapping[str, Any]) -> str | None:
    """That a message names: the one that answered, or the first of those that were asked."""
    models = fields.get("models")
    for model in (fields.get("model"), *(models[:1] if isinstance(models, list) else ())):
        if isinstance(model, str) and 0 < len(model) <= MODEL_CHARACTERS_MAX:
            return model
    return None


def sent_at(fields: Mapping[str, Any], at: datetime) -> datetime:
    """When the message says that it was sent, if it says a time that can be."""
    given = fields.get("timestamp")
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= (at + AHEAD).timestamp():
        return at
    return datetime.fromtimestamp(given, UTC)


def ms(duration: timedelta) -> float:
    return duration / timedelta(milliseconds=1)


def known(message_id: UUID | None) -> UUID:
    assert message_id is not None  # every fact about a message names one: the log refuses others
    return message_id
