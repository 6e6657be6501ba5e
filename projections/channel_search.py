"""What searches in channels look through: the words of each message that is whole, as it is now (``projections/channel_search_words.py``).

A message of which an event changes the words is folded anew from its own events, which are few.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from domain.channel.facts import MessageChanged, MessagePosted, MessageRemoved
from domain.generation import GenerationCancelled, GenerationFailed, GenerationInterrupted, MessageEnded, MessageStarted
from domain.log.event import Emitted, emitters_name
from domain.log.stream import Kind
from projections.channel_message import ChannelMessage, apply
from projections.channel_search_words import vector_of
from projections.chat import blob_of
from projections.chat_search import TEXT_CHARACTERS_MAX, plain_text
from projections.projection import Events, Projecting, Recorded, Rows, Write

ENDS: Final[frozenset[type[Any]]] = frozenset({MessageEnded, GenerationFailed, GenerationCancelled, GenerationInterrupted})
BEGINS: Final[frozenset[type[Any]]] = frozenset({MessagePosted, MessageStarted})
CHANGES: Final[frozenset[type[Any]]] = BEGINS | ENDS | {MessageChanged, MessageRemoved}

Key = tuple[UUID, str]  # channel and message


class MessageRow(NamedTuple):
    """One row of ``channel_texts``, its columns in their order."""

    channel_id: UUID
    ordinal: int
    message_id: UUID
    position: int
    words: str


class DroppedMessage(NamedTuple):
    channel_id: UUID
    ordinal: int


class ChannelSearchRows:
    """The projection."""

    name = "channel_search"
    kinds: frozenset[Kind] = frozenset({"channel"})
    by_stream = True

    def project(self, events: Sequence[Recorded]) -> Projecting:
        changed: dict[Key, list[Recorded]] = {}
        for event in events:
            if event.message_id is not None and changes(event.fact):
                changed.setdefault((event.stored.stream.id, event.message_id), []).append(event)
        known = [key for key, own in changed.items() if type(own[0].fact) not in BEGINS]
        if known:
            asked = (
                [channel_id for channel_id, _ in known],
                [message_id for _, message_id in known],
                [changed[key][0].stored.version for key in known],
            )
            (before,) = yield [Events("channel_search_before", asked)]
            earlier: dict[Key, list[Recorded]] = {}
            for event in before:
                earlier.setdefault((event.stored.stream.id, str(event.message_id)), []).append(event)
            changed |= {key: [*earlier.get(key, ()), *changed[key]] for key in known}
        messages = {key: folded_message(key, own) for key, own in changed.items()}
        blobs = {key: blob for key, message in messages.items() if (blob := blob_of(message.content)) is not None}
        contents: dict[tuple[str, str], str] = {}
        if blobs:
            (rows,) = yield [
                Rows("search_blobs", ([str(channel_id) for channel_id, _ in blobs], list(blobs.values()), TEXT_CHARACTERS_MAX))
            ]
            contents = {(row["chat_id"], row["sha256"]): row["content"] for row in rows}
        is_new = set(changed) - set(known)
        added: list[MessageRow] = []
        put: list[MessageRow] = []
        dropped: list[DroppedMessage] = []
        for key, message in messages.items():
            channel_id, _ = key
            if not message.created_version:
                continue
            if message.deleted or message.is_generated_now:
                if key not in is_new:
                    dropped.append(DroppedMessage(channel_id, message.created_version))
                continue
            text = contents.get((str(channel_id), blobs.get(key, "")), "") or plain_text(message.content)
            position = changed[key][0].stored.position
            row = MessageRow(channel_id, message.created_version, message.id, position, vector_of(channel_id, message, text))
            (added if key in is_new else put).append(row)
        writes = [
            Write("channel_search_add", added, copy="channel_search_copy"),
            Write("channel_search_put", put),
            Write("channel_search_drop", dropped),
        ]
        return [write for write in writes if write.rows]


def changes(fact: Any) -> bool:
    return type(fact) in CHANGES or (type(fact) is Emitted and emitters_name(fact) == "files")


def folded_message(key: Key, events: Sequence[Recorded]) -> ChannelMessage:
    message = ChannelMessage(id=UUID(key[1]))
    for event in events:
        apply(message, event.stored)
    return message
