"""Conversations of the Chit Chat data set as whole chats: the first speaker asks, the second answers.

A conversation is ``{"messages": [turn…], …}``, a turn the consecutive utterances of one speaker: ``[{text, timestamp, sender}…]``. Each
utterance becomes a message below the one before it.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid5

import msgspec

from domain.chat.facts import Role
from domain.chat.whole_chat import ImportSource, Streamed, WholeChat, WholeMessage, imported_id
from domain.errors import ImportRefused
from domain.log.codec import UNREADABLE

SOURCE: Final = "chitchat"
MODEL: Final = "chitchat"
TITLE_CHARACTERS: Final = 60
TOKEN_MS: Final = 20.0  # the pace of a streamed answer: fifty words a second
WORD: Final = re.compile(r"\s*\S+\s*$|\s*\S+")


class Utterance(msgspec.Struct):
    text: str
    timestamp: datetime
    sender: str


class Conversation(msgspec.Struct):
    messages: list[list[Utterance]]
    prompt: str | None = None
    ratings: Any = None
    start: Any = None


_decoder = msgspec.json.Decoder(Conversation)


def whole_chat(source_id: str, raw: bytes, owner_id: UUID, *, streams: bool) -> WholeChat:
    """``streams``: answers become deltas word by word, as a generation would append them. Raises ``ImportRefused``."""
    try:
        conversation = _decoder.decode(raw)
    except UNREADABLE as error:
        reason, _, path = str(error).partition(" - at `$.")
        raise ImportRefused(source_id, path.rstrip("`") or "messages", reason) from None
    chat_id = imported_id(owner_id, SOURCE, source_id)
    messages = list(messages_of_turns(chat_id, conversation.messages, streams=streams))
    known = [utterance.timestamp for turn in conversation.messages for utterance in turn]
    others = {"prompt": conversation.prompt, "ratings": conversation.ratings, "start": conversation.start}
    return WholeChat(
        chat_id=chat_id,
        owner_id=owner_id,
        title=title_of(messages) or "Chit chat",
        origin=ImportSource(SOURCE, source_id, min(known, default=None), max(known, default=None)),
        messages=messages,
        fields={"models": [MODEL]} | {key: value for key, value in others.items() if value is not None},
    )


def messages_of_turns(chat_id: UUID, turns: Sequence[Sequence[Utterance]], *, streams: bool) -> Iterator[WholeMessage]:
    asking = next((utterance.sender for turn in turns for utterance in turn), None)
    parent_id: UUID | None = None
    for number, turn in enumerate(turns):
        for place, utterance in enumerate(turn):
            key = f"messages.{number}.{place}"
            message_id = uuid5(chat_id, key)
            fields: dict[str, Any] = {"timestamp": int(utterance.timestamp.timestamp()), "sender": utterance.sender}
            streamed: Streamed | None = None
            if utterance.sender == asking:
                fields["models"] = [MODEL]
            elif streams:
                pieces = words(utterance.text)
                streamed = Streamed(MODEL, pieces, TOKEN_MS, TOKEN_MS * max(1, len(pieces)))
            else:
                fields["model"] = MODEL
            role: Role = "user" if utterance.sender == asking else "assistant"
            yield WholeMessage(message_id, parent_id, role, utterance.text, fields=fields, streamed=streamed, key=key)
            parent_id = message_id


def words(text: str) -> list[str]:
    """Pieces that join to the text: each word with the space before it, the last one also with the space after it."""
    pieces = WORD.findall(text)
    return pieces if pieces or not text else [text]


def title_of(messages: Sequence[WholeMessage]) -> str:
    text = " ".join(str(messages[0].content).split()) if messages else ""
    return text if len(text) <= TITLE_CHARACTERS else f"{text[: TITLE_CHARACTERS - 1].rstrip()}…"
