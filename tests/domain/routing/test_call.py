"""Calls to the user: given these events, when this command, then those events."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from domain.chat.commands import AnswerCall, AskUser, DeleteChat, DeleteMessage, ExpireCall
from domain.chat.facts import RESERVED, ChatDeleted, ChatEvent, ChatUnshared, MessageDeleted
from domain.errors import CallNotFound, ChatNotFound, MessageNotFound, TooManyCalls
from domain.generation import EndGeneration, GenerationCancelled, GenerationFailed, GenerationInterrupted
from domain.log.codec import decode_event, encode
from domain.log.event import Event, StoredEvent
from domain.log.redaction import Redaction
from domain.log.stream import chat_stream
from domain.routing.call import CALLS_OF_MESSAGE_MAX, CallAnswered, CallLapsed, CallOpened
from tests.domain.chat.given import ANSWERED, CREATED, READ_SHARED, STREAMING, WRITE_SHARED, A, B, Q, asked, given
from tests.domain.histories import CHAT, NODE, OWNER, READER, STRANGER, WRITER, ended

CALL, OTHER_CALL = UUID(int=0xCA11), UUID(int=0xCA12)


def call(call_id: UUID = CALL, user_id: UUID = OWNER) -> CallOpened:
    return CallOpened(call_id, "confirmation", user_id, NODE, "tab", {"title": "Sure?"})


def opened(message_id: UUID = A, call_id: UUID = CALL, user_id: UUID = OWNER) -> ChatEvent:
    return Event(message_id, call(call_id, user_id))


def ask(message_id: UUID = A, call_id: UUID = CALL) -> AskUser:
    return AskUser(chat_id=CHAT, message_id=message_id, call=call(call_id))


def answer(by: UUID = OWNER, *, by_role: bool = False) -> AnswerCall:
    return AnswerCall(chat_id=CHAT, by=by, call_id=CALL, data=True, session_id="tab", by_role=by_role)


def expire(reason: str = "timeout") -> ExpireCall:
    return ExpireCall(chat_id=CHAT, call_id=CALL, reason=reason)  # type: ignore[arg-type]


def expired(message_id: UUID = A, call_id: UUID = CALL, reason: str = "cancelled") -> ChatEvent:
    return Event(message_id, CallLapsed(call_id, reason))  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------ the question


def test_a_question_stands_below_its_message_while_it_is_written_and_afterwards() -> None:
    given(*STREAMING).when(ask()).then(opened())
    given(*ANSWERED).when(ask()).then(opened())


def test_a_question_below_a_message_that_is_not_there_is_refused() -> None:
    given(*ANSWERED).when(ask(B)).then_raises(MessageNotFound)
    given(*ANSWERED, Event(A, MessageDeleted())).when(ask()).then_raises(MessageNotFound)


def test_a_question_that_is_asked_already_is_not_asked_again() -> None:
    given(*ANSWERED, opened()).when(ask()).then()


def test_a_message_has_a_bounded_number_of_open_questions() -> None:
    many = [opened(A, UUID(int=number)) for number in range(CALLS_OF_MESSAGE_MAX)]
    given(*ANSWERED, *many).when(ask()).then_raises(TooManyCalls)
    given(*ANSWERED, *many).when(ask(Q)).then(opened(Q))
    given(*ANSWERED, *many, expired(call_id=UUID(int=0))).when(ask()).then(opened())


# --------------------------------------------------------------------------------------------------------------- the answer


def test_who_was_asked_answers() -> None:
    given(*ANSWERED, opened()).when(answer()).then(Event(A, CallAnswered(CALL, OWNER, "tab", True)))


def test_the_second_answer_is_refused() -> None:
    given(*ANSWERED, opened(), Event(A, CallAnswered(CALL, OWNER, "tab", True))).when(answer()).then_raises(CallNotFound)


def test_an_answer_after_the_end_of_the_question_is_refused() -> None:
    given(*ANSWERED, opened(), expired()).when(answer()).then_raises(CallNotFound)
    given(*ANSWERED).when(answer()).then_raises(CallNotFound)


@pytest.mark.parametrize("by", [READER, WRITER, STRANGER])
@pytest.mark.parametrize("by_role", [False, True])
def test_nobody_else_answers_whatever_they_may_do_in_the_chat(by: UUID, by_role: bool) -> None:
    shared = (*ANSWERED, READ_SHARED, WRITE_SHARED, opened())
    given(*shared).when(answer(by, by_role=by_role)).then_raises(CallNotFound)


def test_the_owner_does_not_answer_what_a_guest_was_asked() -> None:
    given(*ANSWERED, WRITE_SHARED, opened(user_id=WRITER)).when(answer(OWNER)).then_raises(CallNotFound)


def test_a_guest_who_was_asked_answers_for_as_long_as_they_may_write() -> None:
    asked_writer = (*ANSWERED, WRITE_SHARED, opened(user_id=WRITER))
    given(*asked_writer).when(answer(WRITER)).then(Event(A, CallAnswered(CALL, WRITER, "tab", True)))
    given(*asked_writer, Event(None, ChatUnshared(WRITER))).when(answer(WRITER)).then_raises(CallNotFound)


def test_an_admin_who_was_asked_in_the_chat_of_another_answers_by_role() -> None:
    asked_admin = (*ANSWERED, opened(user_id=STRANGER))
    given(*asked_admin).when(answer(STRANGER)).then_raises(CallNotFound)
    given(*asked_admin).when(answer(STRANGER, by_role=True)).then(Event(A, CallAnswered(CALL, STRANGER, "tab", True)))


def test_nothing_is_answered_in_a_chat_that_is_gone() -> None:
    given(CREATED, Event(None, ChatDeleted())).when(answer()).then_raises(ChatNotFound)


# ------------------------------------------------------------------------------------------------------------------ the end


def test_a_question_expires_once() -> None:
    given(*ANSWERED, opened()).when(expire()).then(expired(reason="timeout"))
    given(*ANSWERED, opened(), expired(reason="timeout")).when(expire()).then()
    given(*ANSWERED, opened(), Event(A, CallAnswered(CALL, OWNER, None, 1))).when(expire()).then()


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (ended("Hel"), "cancelled"),
        (GenerationCancelled(OWNER, "Hel"), "cancelled"),
        (GenerationFailed("x", "y", "Hel"), "cancelled"),
        (GenerationInterrupted(NODE, "Hel"), "server_gone"),
    ],
)
def test_the_end_of_an_answer_ends_its_questions_first(outcome: object, reason: str) -> None:
    end = EndGeneration(stream_id=CHAT, message_id=A, outcome=outcome)  # type: ignore[arg-type]
    other = opened(Q, OTHER_CALL)
    given(*STREAMING, opened(), other).when(end).then(expired(reason=reason), Event(A, outcome))  # type: ignore[arg-type]


def test_a_question_goes_with_its_message_and_with_its_chat() -> None:
    stands = (*ANSWERED, opened())
    delete = DeleteMessage(chat_id=CHAT, by=OWNER, message_id=Q)
    given(*stands).when(delete).then(expired(), Event(Q, MessageDeleted()), Event(A, MessageDeleted()))
    given(*stands).when(DeleteChat(chat_id=CHAT, by=OWNER)).then(expired(), Event(None, ChatDeleted()))


def test_deleting_another_message_leaves_the_question() -> None:
    delete = DeleteMessage(chat_id=CHAT, by=OWNER, message_id=B)
    given(*ANSWERED, asked(B, A), opened()).when(delete).then(Event(B, MessageDeleted()))


# ---------------------------------------------------------------------------------------------------- what readers see of it


def stored(version: int, event: ChatEvent) -> StoredEvent:
    name, data = encode(event.data)
    return StoredEvent(version, chat_stream(CHAT), version, name, event.message_id, None, data, datetime.now(UTC))


def test_of_a_deleted_message_neither_question_nor_answer_is_shown_to_later_readers() -> None:
    said = [stored(1, opened()), stored(2, Event(A, CallAnswered(CALL, OWNER, "tab", "my secret"))), stored(3, expired())]
    redaction = Redaction(4)
    redaction.observe(stored(4, Event(A, MessageDeleted())))
    left = [decode_event(redaction.of(one)).data for one in said]
    assert [getattr(one, "data", None) for one in left] == [None, None, None]
    assert [one.call_id for one in left] == [CALL] * 3


def test_an_emitter_cannot_forge_a_call() -> None:
    assert {"call", "call_answered", "call_expired"} <= RESERVED
