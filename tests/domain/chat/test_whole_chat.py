"""A whole chat becomes the events of a new stream, or is refused with the name of the chat and of the key."""

import hashlib
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given

from domain.chat.evolve import fold
from domain.chat.facts import BranchSelected, ChatArchived, ChatCreated, ChatImported, ChatPinned, ChatTagged, MessageAdded, MessageRated
from domain.chat.state import EMPTY
from domain.chat.whole_chat import ImportSource, Streamed, WholeChat, WholeMessage, imported_id, steps_of
from domain.errors import ImportRefused
from domain.generation import BlockOpened, BlockSum, MessageDelta, MessageEnded
from tests.domain.histories import CHAT, FEW, OWNER, READER, whole_chats

Q, A, B, C = (UUID(int=number) for number in range(1, 5))


def message(message_id: UUID, parent_id: UUID | None = None, **more: Any) -> WholeMessage:
    return WholeMessage(message_id, parent_id, "user", f"text {message_id.int}", key=f"messages.{message_id.int}", **more)


def chat(*messages: WholeMessage, **more: Any) -> WholeChat:
    return WholeChat(chat_id=CHAT, owner_id=OWNER, title="a title", origin=ImportSource("test", "original"), messages=messages, **more)


def facts(whole: WholeChat) -> list[Any]:
    return [step.event.data for step in steps_of(whole)]


def order(whole: WholeChat) -> list[UUID | None]:
    return [step.event.message_id for step in steps_of(whole) if isinstance(step.event.data, MessageAdded)]


def test_it_begins_unlisted_and_ends_listed() -> None:
    origin = ImportSource("test", "original", datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))
    made = facts(msgspec.structs.replace(chat(message(Q), fields={"models": ["m"]}, folder_id=B, client_id="c"), origin=origin))
    assert made == [
        ChatCreated(OWNER, "a title", B, "c", False, {"models": ["m"]}),
        MessageAdded(None, "user", "text 1"),
        ChatImported("test", "original", origin.created_at, origin.updated_at),
    ]
    assert not fold(EMPTY, enumerate([step.event for step in steps_of(chat(message(Q)))[:-1]], 1)).listed
    assert fold(EMPTY, enumerate([step.event for step in steps_of(chat(message(Q)))], 1)).listed


def test_a_parent_stands_before_its_children_and_siblings_in_their_order() -> None:
    assert order(chat(message(C, Q), message(A, Q), message(Q), message(B, C))) == [Q, C, B, A]


def test_a_long_chat_without_branches_keeps_its_order() -> None:
    ids = [UUID(int=number) for number in range(1, 20_001)]
    messages = [message(one, ids[number - 1] if number else None) for number, one in enumerate(ids)]
    assert order(chat(*messages)) == ids


def test_what_is_known_of_a_chat_is_said_once() -> None:
    made = facts(chat(message(Q), message(A, Q), tags=["X y", "x_y", "none", " z "], pinned=True, archived=True, current_id=Q))
    assert made[3:-1] == [ChatTagged("X y"), ChatTagged("z"), ChatPinned(), ChatArchived(), BranchSelected()]


def test_the_current_message_is_said_only_where_it_is_not_the_last_one() -> None:
    assert BranchSelected() not in facts(chat(message(Q), message(A, Q), current_id=A))


def test_a_rating_follows_its_message() -> None:
    made = facts(chat(message(Q, rating=1, comment="good"), message(A, Q)))
    assert made[2] == MessageRated(1, "good")


def test_an_answer_with_its_chunks_is_what_a_generation_would_have_left() -> None:
    made = facts(chat(message(Q), msgspec.structs.replace(message(A, Q), streamed=Streamed("bot", ["Hel", "lo"], 5.0, 10.0))))
    sha256 = hashlib.sha256(b"Hello").hexdigest()
    assert made[3:6] == [BlockOpened(0, "text"), MessageDelta(0, "Hel"), MessageDelta(0, "lo")]
    end = made[6]
    assert isinstance(end, MessageEnded)
    assert (end.content, end.sha256, end.blocks, end.deltas) == ("Hello", sha256, [BlockSum(0, "text", sha256)], 2)


@pytest.mark.parametrize(
    ("whole", "key"),
    [
        (chat(message(Q), message(Q)), "messages.1"),
        (chat(message(A, Q)), "messages.2.parentId"),
        (chat(message(Q), message(A, B), message(B, A)), "messages.2.parentId"),
        (chat(message(Q, Q)), "messages.1.parentId"),
        (chat(message(Q), current_id=A), "history.currentId"),
        (chat(message(Q, rating=7)), "messages.1.annotation.rating"),
        (chat(message(Q, rating=1, comment="x" * 10_001)), "messages.1.annotation.comment"),
        (chat(tags=["x" * 101]), "tags"),
        (msgspec.structs.replace(chat(), title="x" * 1001), "title"),
    ],
)
def test_what_is_no_chat_is_refused_by_the_name_of_its_key(whole: WholeChat, key: str) -> None:
    with pytest.raises(ImportRefused) as refused:
        steps_of(whole)
    assert refused.value.key == key
    assert "original" in str(refused.value)


def test_the_id_is_the_same_for_the_same_person_and_another_for_everybody_else() -> None:
    assert imported_id(OWNER, "s", "x") == imported_id(OWNER, "s", "x")
    assert len({imported_id(*what) for what in [(OWNER, "s", "x"), (READER, "s", "x"), (OWNER, "t", "x"), (OWNER, "s", "y")]}) == 4


@FEW
@given(whole_chats())
def test_every_tree_is_added_with_each_message_once_below_its_parent(whole: WholeChat) -> None:
    steps = steps_of(whole)
    state = fold(EMPTY, ((version, step.event) for version, step in enumerate(steps, 1)))
    assert len(state.messages) == len(whole.messages)
    assert not state.open_generations
    for one in whole.messages:
        node = state.messages.get(one.message_id)
        assert node is not None and node.parent_id == one.parent_id
        assert list(node.children) == [child.message_id for child in whole.messages if child.parent_id == one.message_id]
    assert (state.title, state.pinned, state.archived, state.listed) == (whole.title, whole.pinned, whole.archived, True)
    assert whole.current_id is None or state.current_id == whole.current_id
    assert steps == steps_of(whole)
