"""Messages of a chat: added, edited, rated, noted on by functions, deleted."""

from uuid import UUID

import pytest

from domain.chat.commands import (
    DeleteMessage,
    EditMessage,
    Emit,
    NotePlugin,
    RateMessage,
)
from domain.chat.facts import (
    RESERVED,
    BranchSelected,
    MessageAdded,
    MessageDeleted,
    MessageEdited,
    MessageRated,
)
from domain.chat.state import Chat
from domain.errors import (
    BadRequest,
    GenerationOpen,
    MessageExists,
    MessageNotFound,
    ParentNotFound,
)
from domain.generation import (
    ActionRan,
    EndGeneration,
    FilterApplied,
    GenerationCancelled,
    MessageStarted,
)
from domain.log.event import Emitted, Event
from tests.domain.chat.given import (
    A2,
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
    delete,
    edit,
    fold,
    given,
    gone,
    opened,
    over,
    said,
    select,
    started,
)
from tests.domain.histories import CHAT, NODE, OWNER


def test_a_message_is_added() -> None:
    given(CREATED).when(add(Q)).then(asked(Q))


def test_a_message_is_not_added_twice() -> None:
    given(CREATED, asked(Q)).when(add(Q)).then_raises(MessageExists)


def test_a_deleted_message_is_not_added_again() -> None:
    given(CREATED, asked(Q), Event(Q, MessageDeleted())).when(add(Q)).then_raises(MessageExists)


def test_a_message_below_nothing_that_is_there_is_refused() -> None:
    given(CREATED).when(add(Q2, Q)).then_raises(ParentNotFound)


def test_a_message_below_a_deleted_one_is_refused() -> None:
    given(CREATED, asked(Q), Event(Q, MessageDeleted())).when(add(Q2, Q)).then_raises(ParentNotFound)


def test_unknown_keys_of_a_message_are_kept() -> None:
    given(CREATED).when(add(Q, files=[{"id": 1}], foo=None)).then(
        Event(Q, MessageAdded(None, "user", "hello", None, {"files": [{"id": 1}], "foo": None}))
    )


def test_siblings_stand_below_one_parent_in_the_order_they_came() -> None:
    chat = fold([CREATED, asked(Q), started(A, Q), started(B, Q), asked(Q2, A)])
    node = chat.messages.get(Q)
    assert node is not None
    assert node.children == (A, B)
    assert chat.current_id == Q2
    assert set(chat.open_generations) == {A, B}


def test_a_branch_is_selected() -> None:
    given(CREATED, asked(Q), asked(Q2)).when(select(Q)).then(Event(Q, BranchSelected()))


def test_a_branch_that_is_not_there_is_not_selected() -> None:
    given(CREATED, asked(Q), asked(Q2)).when(select(A)).then_raises(MessageNotFound)
    given(CREATED, asked(Q), asked(Q2), Event(Q, MessageDeleted())).when(select(Q)).then_raises(MessageNotFound)


def test_the_branch_that_is_looked_at_is_not_selected_again() -> None:
    given(CREATED, asked(Q), asked(Q2)).when(select(Q2)).then()


def test_a_message_is_edited() -> None:
    given(CREATED, asked(Q)).when(edit(Q, content="new", foo=1)).then(Event(Q, MessageEdited({"content": "new", "foo": 1})))


def test_a_message_that_is_not_there_is_not_edited() -> None:
    given(CREATED).when(edit(Q, content="new")).then_raises(MessageNotFound)


def test_a_message_that_is_still_being_said_is_not_edited() -> None:
    given(*STREAMING).when(edit(A, content="new")).then_raises(GenerationOpen)


def test_an_edit_that_changes_no_key_is_none() -> None:
    given(CREATED, asked(Q)).when(edit(Q)).then()


def test_an_answer_may_be_edited_once_it_is_whole() -> None:
    given(*ANSWERED).when(edit(A, content="better")).then(Event(A, MessageEdited({"content": "better"})))


def test_a_message_is_rated() -> None:
    command = RateMessage(chat_id=CHAT, by=OWNER, message_id=A, rating=-1, comment="no")
    given(*ANSWERED).when(command).then(Event(A, MessageRated(-1, "no")))


def test_a_rating_of_an_arenas_answer_keeps_what_it_picked_and_what_was_asked() -> None:
    picked = Event(A, MessageStarted(Q, "gpt", "arena", TASK, NODE, "gpt"))
    given(CREATED, asked(Q), picked, opened(A), said(A, "Hello"), over(A)).when(
        RateMessage(chat_id=CHAT, by=OWNER, message_id=A, rating=1, comment=None)
    ).then(Event(A, MessageRated(1, None, "gpt", "arena")))


@pytest.mark.parametrize("rating", [-2, 2, 5])
def test_a_rating_is_one_up_one_down_or_none(rating: int) -> None:
    given(*ANSWERED).when(RateMessage(chat_id=CHAT, by=OWNER, message_id=A, rating=rating)).then_raises(BadRequest)


def test_a_message_that_is_not_there_is_not_rated() -> None:
    given(CREATED).when(RateMessage(chat_id=CHAT, by=OWNER, message_id=A, rating=1)).then_raises(MessageNotFound)


def test_an_emitted_event_is_kept_under_its_own_name() -> None:
    command = Emit(chat_id=CHAT, by=None, message_id=A, name="log", data={"x": 1})
    given(*STREAMING).when(command).then(Event(A, Emitted("log", {"x": 1})))


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_the_logs_own_types_are_not_for_emitters(name: str) -> None:
    given(*ANSWERED).when(Emit(chat_id=CHAT, by=OWNER, message_id=A, name=name, data={})).then_raises(BadRequest)


def test_nothing_is_emitted_about_a_message_that_is_not_there() -> None:
    given(CREATED).when(Emit(chat_id=CHAT, by=OWNER, message_id=A, name="log", data={})).then_raises(MessageNotFound)


# ------------------------------------------------------------------------------------------------- filters and actions

APPLIED = FilterApplied("f", "outlet", "function", 1, 1, "1" * 64, "2" * 64)
RAN = ActionRan("foo.bar", "3" * 64, 2)


def test_what_a_filter_and_an_action_did_is_noted_on_their_message() -> None:
    given(*ANSWERED).when(NotePlugin(chat_id=CHAT, message_id=A, trace=APPLIED)).then(Event(A, APPLIED))
    given(*STREAMING).when(NotePlugin(chat_id=CHAT, message_id=A, trace=APPLIED)).then(Event(A, APPLIED))
    given(*ANSWERED).when(NotePlugin(chat_id=CHAT, message_id=None, trace=RAN, by=OWNER)).then(Event(None, RAN))


def test_nothing_is_noted_of_a_message_that_is_not_there() -> None:
    given(*ANSWERED).when(NotePlugin(chat_id=CHAT, message_id=B, trace=APPLIED)).then_raises(MessageNotFound)
    given(*ANSWERED, Event(A, MessageDeleted())).when(NotePlugin(chat_id=CHAT, message_id=A, trace=APPLIED)).then_raises(MessageNotFound)


def test_what_was_noted_changes_nothing_that_a_message_says() -> None:
    before, after = fold(ANSWERED), fold([*ANSWERED, Event(A, APPLIED), Event(A, RAN)])
    assert after == before


def test_filters_are_noted_just_before_the_end_of_their_answer() -> None:
    command = EndGeneration(stream_id=CHAT, message_id=A, outcome=GenerationCancelled(OWNER), emitted=[Emitted("files", {}), APPLIED])
    events = [Event(A, Emitted("files", {})), Event(A, APPLIED), Event(A, GenerationCancelled(OWNER))]
    given(*STREAMING).when(command).then(*events)


def test_the_server_itself_edits_an_answer() -> None:
    changed = {"content": "checked", "originalContent": "Hello"}
    command = EditMessage(chat_id=CHAT, by=None, message_id=A, fields=changed)
    given(*ANSWERED).when(command).then(Event(A, MessageEdited(changed)))
    given(*STREAMING).when(command).then_raises(GenerationOpen)


# --------------------------------------------------------------------------------------------------- deleting a message
#
#   Q ─ A ─ Q2 ─ A2          A and B are two answers to Q
#     └ B

TREE = (CREATED, asked(Q), asked(A, Q, "assistant"), asked(B, Q, "assistant"), asked(Q2, A), asked(A2, Q2, "assistant"))


def children(chat: Chat, message_id: UUID) -> tuple[UUID, ...]:
    node = chat.messages.get(message_id)
    assert node is not None
    return node.children


def test_a_message_goes_with_its_direct_children() -> None:
    given(*TREE).when(delete(A)).then(*gone(A, Q2))


def test_what_stood_below_them_stands_below_what_the_message_answered_in_its_place() -> None:
    chat = fold([*TREE, *gone(A, Q2)])
    node = chat.messages.get(A2)
    assert node is not None
    assert node.parent_id == Q
    assert children(chat, Q) == (A2, B)


def test_a_message_goes_alone_where_that_is_asked() -> None:
    alone = DeleteMessage(chat_id=CHAT, by=OWNER, message_id=A, with_children=False)
    given(*TREE).when(alone).then(*gone(A)).when(alone).then()
    given(*STREAMING).when(DeleteMessage(chat_id=CHAT, by=OWNER, message_id=Q, with_children=False)).then(*gone(Q))


def test_what_was_hung_up_again_is_a_child_like_any_other() -> None:
    given(*TREE, *gone(A, Q2)).when(delete(Q)).then(*gone(Q, A2, B))


def test_a_message_that_is_deleted_already_is_left_alone() -> None:
    given(*TREE, *gone(A, Q2)).when(delete(A)).then()
    given(*TREE, *gone(A, Q2)).when(delete(Q2)).then()


def test_a_message_that_never_was_is_not_deleted() -> None:
    given(*TREE).when(delete(OTHER)).then_raises(MessageNotFound)


def test_a_message_that_is_still_being_said_is_not_deleted_nor_is_its_question() -> None:
    given(*STREAMING).when(delete(A)).then_raises(GenerationOpen)
    given(*STREAMING).when(delete(Q)).then_raises(GenerationOpen)


def test_whoever_looked_at_a_deleted_message_looks_at_what_is_left_above_it() -> None:
    looked_at = fold([*TREE, Event(Q2, BranchSelected()), *gone(A, Q2)])
    assert looked_at.current_id == Q
    assert fold([CREATED, asked(Q), asked(A, Q, "assistant"), *gone(Q, A)]).current_id is None


def test_a_conversation_goes_on_after_its_last_question_and_answer_were_deleted() -> None:
    chat = fold([*TREE, *gone(Q2, A2)])
    assert chat.current_id == A
    given(*TREE, *gone(Q2, A2)).when(add(OTHER, chat.current_id)).then(asked(OTHER, A))
