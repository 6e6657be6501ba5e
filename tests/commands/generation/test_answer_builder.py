"""What a provider's parts become: facts of the log, joined where there are many."""

import hashlib
from collections.abc import Sequence
from typing import Any

from hypothesis import given, strategies

from commands.generation.answer_builder import DELTA_CHARACTERS_MAX, AnswerBuilder, joined
from commands.providers.provider import (
    Finish,
    Part,
    Reasoning,
    RefusalText,
    Skipped,
    Text,
    ToolCall,
    Usage,
)
from domain.generation import (
    BlockOpened,
    MessageDelta,
)
from domain.log.codec import encode
from tests.domain.histories import UNHURRIED

TEXTS = strategies.text(strategies.characters(exclude_categories=[]) | strategies.sampled_from("\0\ud83d\ude00"), max_size=12)
PARTS: strategies.SearchStrategy[Part] = strategies.one_of(
    strategies.builds(Text, TEXTS),
    strategies.builds(Text, TEXTS),
    strategies.builds(Reasoning, TEXTS),
    strategies.builds(RefusalText, TEXTS),
    strategies.builds(ToolCall, index=strategies.integers(0, 2), arguments=TEXTS, id=strategies.just("id"), name=strategies.just("f")),
    strategies.builds(Finish, strategies.just("length")),
    strategies.builds(Usage, strategies.just({"total_tokens": 1})),
    strategies.builds(Skipped, strategies.just("garbage")),
)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def cleaned(text: str) -> str:
    return text.replace("\0", "").encode(errors="ignore").decode()


def texts(facts: Sequence[Any]) -> dict[int, str]:
    """What each block says, in the order the blocks were opened."""
    said: dict[int, str] = {}
    for fact in facts:
        if isinstance(fact, BlockOpened):
            assert fact.index == len(said)
            said[fact.index] = ""
        elif isinstance(fact, MessageDelta):
            assert fact.text
            said[fact.index] += fact.text
    return said


@UNHURRIED
@given(strategies.lists(strategies.lists(PARTS, max_size=6), max_size=6))
def test_an_answer_is_what_its_parts_said(reads: Sequence[Sequence[Part]]) -> None:
    answer, facts = AnswerBuilder(), list[BlockOpened | MessageDelta]()
    for parts in reads:
        facts += answer.add(parts)
    parts = [part for read in reads for part in read]
    said, types = texts(facts), [fact.type for fact in facts if isinstance(fact, BlockOpened)]
    assert "".join(said[index] for index, type_ in enumerate(types) if type_ == "text") == answer.content
    assert answer.content == cleaned("".join(part.text for part in parts if isinstance(part, Text | RefusalText)))
    reasoned = "".join(said[index] for index, type_ in enumerate(types) if type_ == "reasoning")
    assert reasoned == cleaned("".join(part.text for part in parts if isinstance(part, Reasoning)))
    calls = {part.index for part in parts if isinstance(part, ToolCall)}
    assert types.count("tool_call") == len(calls)
    arguments = sorted(cleaned("".join(p.arguments for p in parts if isinstance(p, ToolCall) and p.index == call)) for call in calls)
    assert sorted(said[index] for index, type_ in enumerate(types) if type_ == "tool_call") == arguments
    assert [(one.index, one.type, one.sha256) for one in answer.sums()] == [(i, types[i], sha256(said[i])) for i in said]
    for fact in facts:
        encode(fact)  # whatever a provider says can be stored


def test_a_refusal_is_a_text_block_of_its_own() -> None:
    facts = AnswerBuilder().add([Text("Well, "), RefusalText("I would "), RefusalText("rather not."), Text("Sorry.")])
    blocks = [(fact.type, fact.name) for fact in facts if isinstance(fact, BlockOpened)]
    assert blocks == [("text", None), ("text", "refusal"), ("text", None)]
    assert texts(facts) == {0: "Well, ", 1: "I would rather not.", 2: "Sorry."}


@UNHURRIED
@given(strategies.lists(PARTS, max_size=60), strategies.integers(1, 20))
def test_joining_changes_no_text_and_no_order(parts: Sequence[Part], deltas_max: int) -> None:
    facts = AnswerBuilder().add(parts)
    made = joined(facts, deltas_max)
    assert texts(made) == texts(facts)
    assert [fact for fact in made if isinstance(fact, BlockOpened)] == [fact for fact in facts if isinstance(fact, BlockOpened)]
    assert sum(fact.chunks for fact in made if isinstance(fact, MessageDelta)) == sum(isinstance(fact, MessageDelta) for fact in facts)
    # What was said before a block was opened is said before it still.
    seen: dict[int, int] = {}
    for fact in made:
        if isinstance(fact, BlockOpened):
            seen[fact.index] = sum(one.chunks for one in made[: made.index(fact)] if isinstance(one, MessageDelta))
    assert seen == {
        fact.index: sum(isinstance(one, MessageDelta) for one in facts[: facts.index(fact)])
        for fact in facts
        if isinstance(fact, BlockOpened)
    }


@UNHURRIED
@given(strategies.lists(strategies.text(min_size=1, max_size=5), max_size=100), strategies.integers(1, 20))
def test_of_one_block_there_are_at_most_so_many_deltas(pieces: Sequence[str], deltas_max: int) -> None:
    facts: list[BlockOpened | MessageDelta] = [MessageDelta(0, piece) for piece in pieces]
    made = joined(facts, deltas_max)
    assert len(made) <= deltas_max
    assert made == facts or len(facts) > deltas_max


def test_what_is_joined_still_fits_into_an_event() -> None:
    facts: list[BlockOpened | MessageDelta] = [MessageDelta(0, "\x01" * (DELTA_CHARACTERS_MAX // 2 + 1)) for _ in range(10)]
    made = joined(facts, 2)
    assert len(made) == 10
    for fact in (*made, *AnswerBuilder().add([Text("\x01" * (DELTA_CHARACTERS_MAX * 3 + 1))])):
        assert len(encode(fact)[1]) <= 256 * 1024
