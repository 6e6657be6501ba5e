"""The projection ``figures``: reads the rows that a batch of events concerns, folds the events over them, writes those that changed."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from domain.accounts.group import GROUP_TYPES
from domain.channel.facts import (
    MemberJoined,
    MemberLeft,
    MemberRoleChanged,
    MessageChanged,
    MessagePosted,
    MessageRemoved,
    ReactionAdded,
    ReactionRemoved,
)
from domain.chat.facts import ChatImported, MessageAdded, MessageDeleted, MessageEdited, MessageRated
from domain.generation import GenerationCancelled, GenerationFailed, GenerationInterrupted, MessageEnded, MessageStarted
from domain.log.stream import Kind
from projections.figures.fold import apply
from projections.figures.rows import Conversation, Duel, Generation, Membership, Message, Person, Rating, Streamed
from projections.figures.tables import Tables
from projections.projection import Projecting, Recorded, Rows, Write

ADDS: Final = frozenset({MessageAdded, MessagePosted, MessageStarted})
ENDS: Final = frozenset({MessageEnded, GenerationFailed, GenerationCancelled, GenerationInterrupted})
CHANGES: Final = frozenset({MessageEdited, MessageDeleted, MessageRated, MessageChanged, MessageRemoved, ReactionAdded, ReactionRemoved})
RATES: Final = frozenset({MessageAdded, MessageEdited, MessageRated})
OF_MEMBERS: Final = frozenset({MemberJoined, MemberLeft, MemberRoleChanged, *GROUP_TYPES.values()})
# In this order: as a reader of several tables takes them.
PUTS: Final[Mapping[type[Any], str]] = {
    Conversation: "figures_put_conversation",
    Duel: "figures_put_duel",
    Generation: "figures_put_generation",
    Membership: "figures_put_membership",
    Message: "figures_put_message",
    Person: "figures_put_person",
    Rating: "figures_put_rating",
}


class Figures:
    """The projection."""

    name = "figures"
    kinds: frozenset[Kind] = frozenset({"chat", "channel", "user", "group"})
    by_stream = True

    def project(self, events: Sequence[Recorded]) -> Projecting:
        tables, keys = Tables(), Keys(events)
        ends = (*pairs([end[:2] for end in keys.ends]), [end[2] for end in keys.ends])
        asks = [
            Rows("figures_conversations", (keys.conversations,)),
            Rows("figures_messages", pairs(keys.messages)),
            Rows("figures_generations", pairs(keys.generations)),
            Rows("figures_ratings", pairs(keys.rated)),
            Rows("figures_members", (keys.member_streams,)),
            Rows("figures_people", (keys.people,)),
            Rows("figures_streamed", ends),
            Rows("figures_messages_of_streams", (keys.imported,)),
            Rows("figures_generations_of_streams", (keys.imported,)),
        ]
        needed = [ask for ask in asks if ask.arguments[0]]
        found = dict(zip((ask.query for ask in needed), (yield needed), strict=True)) if needed else {}
        conversations, messages, generations, ratings, members, people, streamed, all_messages, all_generations = (
            found.get(ask.query, []) for ask in asks
        )
        tables.conversations = {row["stream_id"]: Conversation(**row) for row in conversations}
        tables.generations = {(row["stream_id"], row["message_id"]): Generation(**row) for row in (*generations, *all_generations)}
        tables.people = {row["user_id"]: Person(**row) for row in people}
        for row in (*messages, *all_messages):
            tables.load_message(Message(**row))
        for row in ratings:
            tables.load_rating(Rating(**row))
        for row in members:
            tables.load_membership(Membership(**row))
        parents = {
            (stream_id, row.parent_id) for (stream_id, message_id), row in tables.messages.items() if (stream_id, message_id) in keys.rated
        }
        parents |= {(stream_id, keys.parents[stream_id, one]) for stream_id, one in keys.rated if (stream_id, one) in keys.parents}
        asked = [(stream_id, parent_id) for stream_id, parent_id in parents if parent_id is not None]
        if asked:
            (answers,) = yield [Rows("figures_answers", pairs(asked))]
            for row in answers:
                if (row["stream_id"], row["message_id"]) not in tables.messages:
                    tables.load_message(Message(**row))
        sums = {(row.pop("stream_id"), row.pop("version")): Streamed(**row) for row in streamed}
        for event in events:
            apply(tables, event, sums)
        return [
            Write(statement, [msgspec.structs.astuple(row) for row in rows])
            for table, statement in PUTS.items()
            if (rows := tables.changed[table].values())
        ]


class Keys:
    """Which rows a batch of events concerns, but for those that it makes itself."""

    def __init__(self, events: Sequence[Recorded]) -> None:
        conversations: set[UUID] = set()
        messages: set[tuple[UUID, UUID]] = set()
        generations: set[tuple[UUID, UUID]] = set()
        members: set[UUID] = set()
        people: set[UUID] = set()
        added: set[tuple[UUID, UUID]] = set()
        self.parents: dict[tuple[UUID, UUID], UUID | None] = {}  # of messages that the batch adds
        self.rated: set[tuple[UUID, UUID]] = set()
        imported: set[UUID] = set()  # chats whose import or copy is complete: all of their rows change
        self.ends: list[tuple[UUID, UUID, int]] = []  # of answers: stream, message, version
        for event in events:
            stored, kind = event.stored, type(event.fact)
            stream_id = stored.stream.id
            if stored.stream.kind == "user":
                people.add(stream_id)
            elif stored.stream.kind != "group":
                conversations.add(stream_id)
            if kind is ChatImported:
                imported.add(stream_id)
            if kind in OF_MEMBERS:
                members.add(stream_id)
            if stored.message_id is None:
                continue
            key = (stream_id, stored.message_id)
            if kind in ADDS:
                added.add(key)
                self.parents[key] = event.fact.parent_id
            elif (kind in CHANGES or kind in ENDS) and key not in added:
                messages.add(key)
            if kind in ENDS:
                self.ends.append((*key, stored.version))
            if kind in RATES and (kind is MessageRated or "annotation" in event.fact.fields):
                self.rated.add(key)
            if (kind in ENDS or key in self.rated) and key not in added:
                generations.add(key)
        self.conversations, self.member_streams, self.people = list(conversations), list(members), list(people)
        self.messages, self.generations, self.imported = messages, generations, list(imported)


def pairs(keys: "Sequence[tuple[UUID, UUID]] | set[tuple[UUID, UUID]]") -> tuple[list[UUID], list[UUID]]:
    ordered = list(keys)
    return [one for one, _ in ordered], [other for _, other in ordered]
