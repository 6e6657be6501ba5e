"""What has happened can always be folded, and several commands lead to what they lead to one by one."""

from typing import Any
from uuid import UUID

from hypothesis import given as for_all
from hypothesis import strategies

from domain.chat.commands import (
    AddMessage,
    ExpectUnchanged,
)
from domain.chat.decide import decide_all
from domain.chat.facts import (
    ChatConfigured,
    MessageEdited,
)
from domain.errors import (
    ChatChanged,
    MessageNotFound,
)
from domain.generation import (
    BlockOpened,
    MessageDelta,
    MessageStarted,
)
from domain.log.event import Event
from tests.domain.chat.given import CREATED, STREAMING, A, Q, asked, fold, given
from tests.domain.histories import CHAT, FEW, OWNER, History, histories


@FEW
@for_all(histories())
def test_whatever_has_happened_can_be_folded(history: History) -> None:
    assert fold(history.events) == history.state


@FEW
@for_all(histories(), strategies.randoms(use_true_random=False))
def test_folding_never_raises_also_where_the_past_makes_no_sense(history: History, random: Any) -> None:
    shuffled = list(history.events)
    random.shuffle(shuffled)
    fold(shuffled)
    fold([*history.events, *shuffled])


@FEW
@for_all(histories())
def test_the_tree_holds_together(history: History) -> None:
    chat = history.state
    for message_id in chat.messages:
        node = chat.messages.get(message_id)
        assert node is not None
        if node.deleted:
            assert node.children == ()
            continue
        if node.parent_id is not None:
            parent = chat.messages.get(node.parent_id)
            assert parent is not None
            assert not parent.deleted
            assert parent.children.count(message_id) == 1
        for child_id in node.children:
            child = chat.messages.get(child_id)
            assert child is not None
            assert not child.deleted
            assert child.parent_id == message_id
    if chat.current_id is not None:
        current = chat.messages.get(chat.current_id)
        assert current is not None
        assert not current.deleted


@FEW
@for_all(histories())
def test_the_open_generations_are_those_that_began_and_did_not_end(history: History) -> None:
    counted: dict[UUID, list[int]] = {}
    for version, event in enumerate(history.events, 1):
        match event.data:
            case MessageStarted():
                assert event.message_id is not None
                counted[event.message_id] = [version, 0, 0]
            case MessageDelta() if event.message_id in counted:
                counted[event.message_id][1] += 1
            case BlockOpened() if event.message_id in counted:
                counted[event.message_id][2] += 1
            case fact if type(fact).__name__ in ("MessageEnded", "GenerationFailed", "GenerationCancelled", "GenerationInterrupted"):
                assert event.message_id is not None
                del counted[event.message_id]
    known = {one: [g.started_version, g.deltas, g.blocks] for one, g in history.state.open_generations.items()}
    assert known == counted


# -------------------------------------------------------------------------------- several at once, and what they expect


def expect(since: int, *message_ids: UUID, settings: bool = False) -> ExpectUnchanged:
    return ExpectUnchanged(chat_id=CHAT, by=OWNER, since=since, message_ids=message_ids, settings=settings)


def test_what_is_expected_to_be_unchanged_is_refused_if_it_is_not() -> None:
    edited: Any = Event(Q, MessageEdited({"content": "x"}))
    given(CREATED, asked(Q)).when(expect(2, Q)).then()
    given(CREATED, asked(Q), edited).when(expect(2, Q)).then_raises(ChatChanged)
    given(CREATED, asked(Q), edited).when(expect(3, Q)).then()
    given(CREATED, asked(Q)).when(expect(2, A)).then_raises(MessageNotFound)
    given(CREATED, Event(None, ChatConfigured({"a": 1}))).when(expect(1, settings=True)).then_raises(ChatChanged)
    given(CREATED, Event(None, ChatConfigured({"a": 1}))).when(expect(1)).then()


def test_tokens_change_nothing_that_anybody_expected() -> None:
    more: Any = [Event(A, BlockOpened(1, "text")), Event(A, MessageDelta(1, "more"))]
    given(*STREAMING, *more).when(expect(3, Q, A)).then()


def test_many_commands_lead_to_what_they_lead_to_one_by_one() -> None:
    chat = fold([CREATED])
    ids = [UUID(int=1000 + number) for number in range(150)]
    adds = [
        AddMessage(chat_id=CHAT, by=OWNER, message_id=one, parent_id=above, role="user", content="x")
        for one, above in zip(ids, [None, *ids], strict=False)
    ]
    many = decide_all(chat, adds, 1)
    assert [event.message_id for event in many] == ids
    assert many[:50] == decide_all(chat, adds[:50], 1)
    assert len(chat.messages) == 0, "the state that they were decided on is as it was"
