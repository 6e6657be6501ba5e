"""Answers of models in a chat: they start, grow token by token, and end once."""

from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from domain.chat.facts import (
    ChatEvent,
    MessageAdded,
    MessageDeleted,
)
from domain.errors import (
    BadRequest,
    BlockGap,
    DeltaGap,
    GenerationNotOpen,
    GenerationOpen,
    MessageExists,
    MessageNotFound,
    ParentNotFound,
)
from domain.generation import (
    BlockOpened,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    MessageDelta,
    MessageStarted,
)
from domain.log.event import Event
from tests.domain.chat.given import (
    ANSWERED,
    CREATED,
    OTHER,
    Q2,
    STREAMING,
    TASK,
    A,
    B,
    Q,
    add,
    asked,
    create,
    delta,
    end,
    fold,
    given,
    gone,
    opened,
    over,
    parts,
    said,
    start,
    started,
)
from tests.domain.histories import NODE, OWNER, ended


def test_a_generation_is_started() -> None:
    given(CREATED, asked(Q)).when(start(A, Q)).then(started(A, Q))


def test_a_generation_is_not_started_on_a_message_that_is_there() -> None:
    given(*STREAMING).when(start(A, Q)).then_raises(MessageExists)
    given(*ANSWERED).when(start(A, Q)).then_raises(MessageExists)


def test_a_generation_below_nothing_that_is_there_is_refused() -> None:
    given(CREATED).when(start(A, Q)).then_raises(ParentNotFound)


EMPTY_ANSWER = Event(A, MessageAdded(Q, "assistant", ""))
FILLED = Event(A, MessageStarted(Q, "demo", "demo", TASK, NODE, fills=True))


def test_a_generation_fills_an_answer_that_a_person_has_added_and_keeps_its_place() -> None:
    now = given(CREATED, asked(Q), EMPTY_ANSWER, asked(Q2, A)).when(start(A, None, fills=True)).then(FILLED)
    chat = fold(now.events)
    before = fold(now.events[:-1])
    assert (chat.messages.get(Q), chat.messages.get(Q2)) == (before.messages.get(Q), before.messages.get(Q2))
    node = chat.messages.get(A)
    assert node is not None
    assert (node.parent_id, node.children, node.changed_version, node.generated) == (Q, (Q2,), 5, True)
    assert (chat.current_id, [*chat.open_generations]) == (A, [A])


def test_a_message_is_filled_once_and_only_if_an_answer() -> None:
    begun = (CREATED, asked(Q), EMPTY_ANSWER, FILLED)
    given(*begun).when(start(A, Q, fills=True)).then_raises(MessageExists)
    given(*begun, Event(A, GenerationFailed("x", "y"))).when(start(A, Q, fills=True)).then_raises(MessageExists)
    given(*ANSWERED).when(start(A, Q, fills=True)).then_raises(MessageExists)
    given(CREATED, asked(Q)).when(start(Q, None, fills=True)).then_raises(MessageExists)
    given(CREATED, asked(Q)).when(start(A, Q, fills=True)).then_raises(MessageNotFound)
    given(CREATED, asked(Q), EMPTY_ANSWER, *gone(A)).when(start(A, Q, fills=True)).then_raises(MessageNotFound)
    given(CREATED, asked(Q), EMPTY_ANSWER).when(start(A, Q)).then_raises(MessageExists)


def test_a_question_and_its_answers_are_begun_at_once() -> None:
    given().when(create(), add(Q), start(A, Q), start(B, Q)).then(CREATED, asked(Q), started(A, Q), started(B, Q))


def test_of_a_turn_that_is_refused_in_part_nothing_happens() -> None:
    given(CREATED, asked(A)).when(add(Q), start(A, Q)).then_raises(MessageExists)


def test_the_next_parts_are_appended() -> None:
    given(CREATED, started(A)).when(parts(A, 0, BlockOpened(0, "text"), delta("Hel"), delta("lo"))).then(
        opened(A), said(A, "Hel"), said(A, "lo")
    )


def test_a_repeated_delta_changes_nothing() -> None:
    given(*STREAMING).when(parts(A, 0, BlockOpened(0, "text"), delta("Hel"))).then()


def test_of_parts_that_came_in_part_only_the_rest_is_appended() -> None:
    given(*STREAMING).when(parts(A, 0, BlockOpened(0, "text"), delta("Hel"), delta("lo"), BlockOpened(1, "tool_call"), delta("{", 1))).then(
        said(A, "lo"), opened_as(A, 1, "tool_call"), said(A, "{", 1)
    )


def opened_as(message_id: UUID, index: int, type_: Any) -> ChatEvent:
    return Event(message_id, BlockOpened(index, type_))


def test_a_delta_ahead_of_its_turn_is_refused() -> None:
    refused = given(*STREAMING).when(parts(A, 5, delta("!"))).then_raises(DeltaGap)
    assert isinstance(refused, DeltaGap)
    assert (refused.expected_seq, refused.received_seq) == (1, 5)


@pytest.mark.parametrize("ahead", [[delta("!", 1)], [BlockOpened(2, "text")], [BlockOpened(1, "text"), delta("!", 2)]])
def test_a_delta_goes_into_an_open_block_and_blocks_open_in_order(ahead: list[BlockOpened | MessageDelta]) -> None:
    refused = given(*STREAMING).when(parts(A, 1, *ahead)).then_raises(BlockGap)
    assert isinstance(refused, BlockGap)
    assert refused.code == "block_gap"


def test_deltas_are_counted_for_each_generation_by_itself() -> None:
    events = (CREATED, started(A), started(B), opened(A), said(A, "a"), said(A, "b"), opened(B), said(B, "c"))
    given(*events).when(parts(A, 2, delta("d"))).then(said(A, "d"))
    given(*events).when(parts(B, 1, delta("d"))).then(said(B, "d"))
    given(*events).when(parts(B, 2, delta("d"))).then_raises(DeltaGap)


@pytest.mark.parametrize(
    "outcome", [ended("Hello"), GenerationFailed("x", "y", "Hel"), GenerationCancelled(OWNER, "Hel"), GenerationInterrupted(NODE, "Hel")]
)
def test_a_generation_ends_once_however_it_ends(outcome: Any) -> None:
    over_now = given(*STREAMING).when(end(A, outcome)).then(Event(A, outcome))
    over_now.when(end(A)).then_raises(GenerationNotOpen)
    over_now.when(parts(A, 1, delta("lo"))).then_raises(GenerationNotOpen)


def test_a_generation_that_never_began_has_no_tokens_and_no_end() -> None:
    given(CREATED, asked(Q)).when(parts(Q, 0, delta("x"))).then_raises(GenerationNotOpen)
    given(CREATED, asked(Q)).when(end(Q)).then_raises(GenerationNotOpen)


def test_the_end_of_one_answer_is_not_the_end_of_its_neighbour() -> None:
    given(CREATED, started(A), started(B), opened(B), over(A)).when(parts(B, 0, delta("x"))).then(said(B, "x"))


def test_an_answer_that_has_ended_is_continued_beside_it() -> None:
    given(*ANSWERED).when(replace(start(B, Q), continues=A)).then(
        Event(B, MessageStarted(Q, "demo", "demo", TASK, NODE, continues=A)),
    )


def test_only_an_answer_to_the_same_message_that_has_ended_is_continued() -> None:
    given(*STREAMING).when(replace(start(B, Q), continues=A)).then_raises(GenerationOpen)
    given(*ANSWERED).when(replace(start(B, A), continues=A)).then_raises(BadRequest)
    given(*ANSWERED).when(replace(start(B), continues=Q)).then_raises(BadRequest)
    given(*ANSWERED).when(replace(start(B, Q), continues=OTHER)).then_raises(MessageNotFound)
    given(*ANSWERED, Event(A, MessageDeleted())).when(replace(start(B, Q), continues=A)).then_raises(MessageNotFound)


def test_the_payloads_sum_stands_where_the_answer_begins() -> None:
    given(*ANSWERED).when(replace(start(B, Q), payload_sha256="ab", payload={"blob": "ab", "size_bytes": 2})).then(
        Event(B, MessageStarted(Q, "demo", "demo", TASK, NODE, payload_sha256="ab", payload={"blob": "ab", "size_bytes": 2})),
    )
