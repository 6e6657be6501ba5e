"""What is hidden of a channel's past from who joined later: words that were gone by then, and nothing else."""

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from domain.channel.evolve import evolve
from domain.channel.facts import (
    ChannelChanged,
    ChannelCreated,
    MemberJoined,
    MessageChanged,
    MessagePosted,
    MessageRemoved,
    ReactionAdded,
    ReactionRemoved,
)
from domain.channel.redaction import CHANGING_TYPES, ChannelRedaction
from domain.channel.state import NO_CHANNEL
from domain.generation import BlockOpened, MessageDelta, MessageEnded, MessageStarted, Timings
from domain.log.codec import decode_event, encode
from domain.log.event import Event, StoredEvent
from domain.log.stream import channel_stream
from projections.channel_message import channel_message, message_json

ANN, BEN = UUID(int=1), UUID(int=2)
CHANNEL = UUID(int=0xC0)
IDS = [UUID(int=0x100 + number) for number in range(8)]
AT = datetime(2026, 1, 1, tzinfo=UTC)


def stored(events: Sequence[Event[Any]]) -> list[StoredEvent]:
    made = []
    for version, event in enumerate(events, 1):
        name, data = encode(event.data)
        made.append(StoredEvent(version, channel_stream(CHANNEL), version, name, event.message_id, None, data, AT))
    return made


def seen_by(events: Sequence[StoredEvent], since: int) -> list[StoredEvent]:
    redaction = ChannelRedaction(since)
    for one in events:
        if one.version <= since and one.type in CHANGING_TYPES:
            redaction.observe(one)
    return [redaction.of(one) for one in events]


def facts(events: Sequence[StoredEvent]) -> list[Any]:
    return [decode_event(one).data for one in events]


def test_what_was_replaced_or_deleted_by_then_is_hidden_and_what_stood_is_not() -> None:
    first, second = IDS[:2]
    history = stored(
        [
            Event(None, ChannelCreated("group", ANN, "old name", description="still so")),
            Event(first, MessagePosted(ANN, "old", fields={"data": {"files": ["old.png"], "kept": 1}})),
            Event(first, MessageChanged({"content": "new", "data": {"files": ["new.png"]}})),
            Event(second, MessagePosted(ANN, "deleted", first, temp_id="words")),
            Event(second, MessageRemoved()),
            Event(first, ReactionAdded("insult", ANN)),
            Event(first, ReactionAdded("smile", ANN)),
            Event(first, ReactionRemoved("insult", ANN)),
            Event(None, ChannelChanged(name="new name")),
            Event(None, MemberJoined(BEN)),
            Event(first, MessageChanged({"content": "newest"})),
        ]
    )
    assert facts(seen_by(history, since=10)) == [
        ChannelCreated("group", ANN, "", description="still so"),
        MessagePosted(ANN, "", fields={"data": {"kept": 1}}),
        MessageChanged({"content": "new", "data": {"files": ["new.png"]}}),
        MessagePosted(ANN, "", first),
        MessageRemoved(),
        ReactionAdded("", ANN),
        ReactionAdded("smile", ANN),
        ReactionRemoved("", ANN),
        ChannelChanged(name="new name"),
        MemberJoined(BEN),
        MessageChanged({"content": "newest"}),
    ]
    assert seen_by(history, since=0) == history


def test_a_deleted_answer_keeps_its_shape_and_loses_its_words() -> None:
    message_id = IDS[0]
    start = MessageStarted(None, "m", "m", ANN, ANN, fields={"user_id": str(ANN), "payload": {"words": 1}})
    end = MessageEnded("words", [], "0" * 64, "stop", None, Timings(1, 2), 1)
    parts = [start, BlockOpened(0, "text"), MessageDelta(0, "words"), end, MessageRemoved()]
    seen = seen_by(stored([Event(message_id, fact) for fact in parts]), since=5)
    assert [one.type for one in seen] == ["message_start", "content_block", "message_delta", "message_end", "message:delete"]
    assert not any(b"words" in one.data for one in seen)


def random_history(choose: random.Random) -> list[Event[Any]]:
    """Every word of it is said once only, so that it is seen whether it is there."""
    events: list[Event[Any]] = [Event(None, ChannelCreated("group", ANN, "word0"))]
    there: list[UUID] = []
    free = list(IDS)
    while len(events) < 40:
        word = f"word{len(events)}"
        match choose.randrange(6):
            case 0 if free:
                there.append(free.pop())
                events.append(Event(there[-1], MessagePosted(ANN, word, fields={"data": {choose.choice("ab"): f"{word}x"}})))
            case 1 if there:
                fields = choose.choice(({"content": word}, {"data": {choose.choice("ab"): word}}, {"meta": {"c": word}}))
                events.append(Event(choose.choice(there), MessageChanged(fields)))
            case 2 if there and choose.random() < 0.3:
                events.append(Event(there.pop(choose.randrange(len(there))), MessageRemoved()))
            case 3 if there:
                events.append(Event(choose.choice(there), ReactionAdded(choose.choice(("left", "right")), ANN)))
            case 4 if there:
                events.append(Event(choose.choice(there), ReactionRemoved(choose.choice(("left", "right")), ANN)))
            case 5:
                events.append(Event(None, ChannelChanged(name=word) if choose.random() < 0.5 else ChannelChanged(data={"k": word})))
            case _:
                continue
    return events


def shown(events: Sequence[StoredEvent]) -> str:
    """The channel and its messages as they stand after these events."""
    channel = NO_CHANNEL
    by_message: dict[UUID, list[StoredEvent]] = {}
    for one in events:
        channel = evolve(channel, decode_event(one), one.version)
        if one.message_id is not None:
            by_message.setdefault(one.message_id, []).append(one)
    messages = [channel_message(message_id, its) for message_id, its in by_message.items()]
    return json.dumps([channel.name, dict(channel.data), [message_json(one, CHANNEL) for one in messages if one.exists]], sort_keys=True)


@pytest.mark.parametrize("seed", range(20))
def test_a_fold_of_what_is_left_is_the_channel_as_it_stood_and_no_other_word_is_in_it(seed: int) -> None:
    choose = random.Random(seed)
    history = stored(random_history(choose))
    for since in range(1, len(history) + 1, 3):
        seen = seen_by(history, since)[:since]
        standing = shown(history[:since])
        assert shown(seen) == standing
        words = {f"word{number}" for number in range(len(history))}
        told = " ".join(one.data.decode() for one in seen)
        assert {word for word in words if f'"{word}"' in told or f'"{word}x"' in told} == {
            word for word in words if f'"{word}"' in standing or f'"{word}x"' in standing
        }
        assert [(one.version, one.type, one.message_id) for one in seen] == [
            (one.version, one.type, one.message_id) for one in history[:since]
        ]
