"""Events of an answer in the forms of Responses and Messages, for whatever a provider may say."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import given, strategies

from api.completions.anthropic.events import MessageFrames
from api.completions.responses.events import Event, ResponseEvents
from commands.generation.answer_builder import AnswerBuilder
from commands.providers.provider import Part, Reasoning, RefusalText, Text, ToolCall
from domain.generation import (
    BlockOpened,
    BlockSum,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    MessageDelta,
    MessageEnded,
    MessageStarted,
    Timings,
)
from domain.log.codec import encode
from domain.log.event import StoredEvent
from domain.log.stream import chat_stream
from tests.domain.histories import UNHURRIED

CHAT, ANSWER, OTHER, NODE = (UUID(int=number) for number in range(1, 5))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TEXTS = strategies.text('abc{}":1 ä', min_size=1, max_size=6)
PARTS: strategies.SearchStrategy[Part] = strategies.one_of(
    strategies.builds(Text, TEXTS),
    strategies.builds(Reasoning, TEXTS),
    strategies.builds(RefusalText, TEXTS),
    # The pieces of up to three calls, side by side; some come to whole JSON and some do not.
    strategies.builds(
        ToolCall,
        index=strategies.integers(0, 2),
        arguments=strategies.sampled_from(["{", "}", "{}", '"a"', ": 1", "x", ""]),
        id=strategies.just("call"),
        name=strategies.just("f"),
    ),
)
ENDS: strategies.SearchStrategy[Any] = strategies.one_of(
    strategies.sampled_from(["stop", "length", "tool_calls", "content_filter"]).map(
        lambda reason: MessageEnded("", list[BlockSum](), "", reason, {"input_tokens": 3, "output_tokens": 4}, Timings(None, 1.0), 0)
    ),
    strategies.just(GenerationFailed("provider_idle", "silent")),
    strategies.just(GenerationCancelled(None)),
    strategies.just(GenerationInterrupted(NODE)),
)


def log_of(parts: Sequence[Part], end: Any) -> list[StoredEvent]:
    """The chat's events: this answer, and another that is written at the same time."""
    facts = [MessageStarted(None, "m", "m", UUID(int=9), NODE), *AnswerBuilder().add(parts), end]
    stored: list[StoredEvent] = []
    for fact in facts:
        for message_id in (ANSWER, OTHER):
            name, data = encode(fact)
            version = len(stored) + 1
            stored.append(
                StoredEvent(
                    position=version,
                    stream=chat_stream(CHAT),
                    version=version,
                    type=name,
                    message_id=message_id,
                    actor=None,
                    data=data,
                    at=NOW,
                )
            )
    return stored


def blocks_of(parts: Sequence[Part]) -> list[tuple[BlockOpened, str]]:
    """What each block of the answer says."""
    facts = AnswerBuilder().add(parts)
    opened = [fact for fact in facts if isinstance(fact, BlockOpened)]
    said = [fact for fact in facts if isinstance(fact, MessageDelta)]
    return [(block, "".join(one.text for one in said if one.index == block.index)) for block in opened]


def response_events(log: Sequence[StoredEvent]) -> tuple[ResponseEvents, list[Event]]:
    events = ResponseEvents(CHAT, ANSWER, {})
    return events, [event for stored in log for event in events.of(stored)]


def text_of(item: dict[str, Any]) -> str:
    if item["type"] == "function_call":
        return str(item["arguments"])
    (part,) = item["content"]
    return str(part.get("text", part.get("refusal")))


@UNHURRIED
@given(strategies.lists(PARTS, max_size=20), ENDS)
def test_a_response_says_what_its_blocks_say_and_numbers_its_events_without_a_gap(parts: Sequence[Part], end: Any) -> None:
    log, said = log_of(parts, end), [text for _, text in blocks_of(parts)]
    events, made = response_events(log)
    assert [event["sequence_number"] for event in made] == list(range(len(made)))
    output = made[-1]["response"]["output"]
    assert [text_of(item) for item in output] == said
    assert events.response() == made[-1]["response"]
    for index, text in enumerate(said):
        of_item = [event for event in made if event.get("output_index") == index]
        assert [event["type"] for event in of_item][:1] == ["response.output_item.added"]
        assert [event["type"] for event in of_item][-1:] == ["response.output_item.done"]
        assert "".join(event["delta"] for event in of_item if event["type"].endswith(".delta")) == text
    is_whole = made[-1]["response"]["status"] == "completed"
    assert is_whole == (isinstance(end, MessageEnded) and end.finish_reason in ("stop", "tool_calls"))


@UNHURRIED
@given(strategies.lists(PARTS, max_size=12), ENDS, strategies.data())
def test_a_response_that_is_read_again_from_any_number_goes_on_as_it_did(parts: Sequence[Part], end: Any, data: Any) -> None:
    """A reader that was cut has seen the beginning by one fold; the rest comes from another, of a longer log."""
    log = log_of(parts, end)
    cut = data.draw(strategies.integers(2, len(log)))
    _, seen = response_events(log[:cut])
    _, whole = response_events(log)
    assert seen == whole[: len(seen)]


def frames_of(data: bytes) -> list[dict[str, Any]]:
    frames = [frame.split(b"\ndata: ") for frame in data.split(b"\n\n") if frame]
    decoded = [json.loads(payload) for _, payload in frames]
    assert [name for name, _ in frames] == [b"event: " + one["type"].encode() for one in decoded]
    return decoded


@UNHURRIED
@given(strategies.lists(PARTS, max_size=20), ENDS, strategies.booleans())
def test_a_message_says_what_its_blocks_say_and_opens_one_after_the_other(parts: Sequence[Part], end: Any, with_thinking: bool) -> None:
    message = MessageFrames(ANSWER, with_thinking=with_thinking)
    first, *made = frames_of(b"".join(message.of(stored) for stored in log_of(parts, end)))
    assert first["type"] == "message_start"
    shown = [(block, text) for block, text in blocks_of(parts) if with_thinking or block.type != "reasoning"]
    is_over = isinstance(end, MessageEnded | GenerationCancelled)
    assert [one["type"] for one in made[-2 if is_over else -1 :]] == (["message_delta", "message_stop"] if is_over else ["error"])
    of_blocks = [one for one in made if one["type"].startswith("content_block")]
    bounds = [(one["type"], one["index"]) for one in of_blocks if one["type"] != "content_block_delta"]
    assert bounds == [(kind, index) for index in range(len(shown)) for kind in ("content_block_start", "content_block_stop")]
    assert [one["content_block"]["type"] for one in of_blocks if one["type"] == "content_block_start"] == [
        {"text": "text", "reasoning": "thinking", "tool_call": "tool_use"}[block.type] for block, _ in shown
    ]
    for index, (block, text) in enumerate(shown):
        key = {"text": "text", "reasoning": "thinking", "tool_call": "partial_json"}[block.type]
        pieces = [one["delta"][key] for one in of_blocks if one["type"] == "content_block_delta" and one["index"] == index]
        assert "".join(pieces) == text
    assert len(message.message()["content"]) == len(shown)
