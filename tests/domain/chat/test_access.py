"""Who may do what in a chat, by the grants of its owner."""

from typing import Any

import pytest

from domain.chat.commands import (
    ArchiveChat,
    ConfigureChat,
    DeleteChat,
    Emit,
    MoveChat,
    NotePlugin,
    PinChat,
    RateMessage,
    SelectBranch,
    TagChat,
)
from domain.chat.decide import decide
from domain.chat.evolve import evolve
from domain.chat.facts import (
    ChatShared,
    ChatUnshared,
)
from domain.errors import (
    ChatNotFound,
)
from domain.generation import (
    ActionRan,
    GenerationCancelled,
)
from domain.log.event import Event
from tests.domain.chat.given import (
    A2,
    CREATED,
    DELETED,
    FOLDER,
    OTHER,
    Q2,
    READ_SHARED,
    WRITE_SHARED,
    B,
    Q,
    add,
    asked,
    delete,
    edit,
    end,
    fold,
    given,
    rename,
    share,
    start,
    started,
)
from tests.domain.histories import CHAT, OWNER, READER, STRANGER, WRITER


def test_a_chat_is_shared() -> None:
    given(CREATED).when(share(READER, "read")).then(READ_SHARED)


def test_a_grant_is_changed() -> None:
    given(CREATED, READ_SHARED).when(share(READER, "write")).then(Event(None, ChatShared(READER, "write")))


def test_a_grant_is_taken_back() -> None:
    given(CREATED, READ_SHARED).when(share(READER, None)).then(Event(None, ChatUnshared(READER))).when(share(READER, None)).then()


def test_a_grant_that_is_given_already_changes_nothing() -> None:
    given(CREATED, READ_SHARED).when(share(READER, "read")).then()


def test_the_owner_needs_no_grant() -> None:
    given(CREATED).when(share(OWNER, "read")).then()
    given(CREATED).when(share(OWNER, None)).then()


OWNERS_ONLY: list[Any] = [
    lambda by: share(STRANGER, "write", by),
    lambda by: DeleteChat(chat_id=CHAT, by=by),
    lambda by: PinChat(chat_id=CHAT, by=by, pinned=True),
    lambda by: ArchiveChat(chat_id=CHAT, by=by, archived=True),
    lambda by: MoveChat(chat_id=CHAT, by=by, folder_id=FOLDER),
    lambda by: TagChat(chat_id=CHAT, by=by, name="x", present=True),
]
WRITERS: list[Any] = [
    lambda by: rename("new", by),
    lambda by: ConfigureChat(chat_id=CHAT, by=by, fields={"a": 1}),
    lambda by: SelectBranch(chat_id=CHAT, by=by, message_id=Q),
    lambda by: add(Q2, Q, by),
    lambda by: edit(Q, by, content="new"),
    lambda by: delete(Q, by),
    lambda by: RateMessage(chat_id=CHAT, by=by, message_id=Q, rating=1),
    lambda by: Emit(chat_id=CHAT, by=by, message_id=Q, name="log", data=1),
    lambda by: NotePlugin(chat_id=CHAT, by=by, message_id=Q, trace=ActionRan("a", "0" * 64, 0)),
    lambda by: start(A2, Q, by),
    lambda by: end(B, GenerationCancelled(by), by),
]
SHARED = (CREATED, READ_SHARED, WRITE_SHARED, asked(Q), started(B, None), asked(OTHER))


@pytest.mark.parametrize("command", [*OWNERS_ONLY, *WRITERS])
def test_a_stranger_and_a_reader_change_nothing_and_are_told_nothing(command: Any) -> None:
    for by in (STRANGER, READER):
        given(*SHARED).when(command(by)).then_raises(ChatNotFound)


@pytest.mark.parametrize("command", WRITERS)
def test_who_may_write_may_do_what_concerns_messages(command: Any) -> None:
    for by in (OWNER, WRITER):
        assert decide(fold(SHARED), command(by))


@pytest.mark.parametrize("command", OWNERS_ONLY)
def test_what_concerns_the_chat_as_a_whole_is_the_owners(command: Any) -> None:
    given(*SHARED).when(command(WRITER)).then_raises(ChatNotFound)
    assert decide(fold([CREATED, READ_SHARED]), command(OWNER))


def test_who_lost_the_grant_lost_the_access() -> None:
    given(*SHARED, Event(None, ChatUnshared(WRITER))).when(add(Q2, Q, WRITER)).then_raises(ChatNotFound)
    given(*SHARED, Event(None, ChatShared(WRITER, "read"))).when(add(Q2, Q, WRITER)).then_raises(ChatNotFound)


def test_reading_is_the_owners_and_of_those_it_is_shared_with() -> None:
    chat = fold(SHARED)
    assert [chat.may_read(one) for one in (OWNER, WRITER, READER, STRANGER)] == [True, True, True, False]
    assert [chat.may_write(one) for one in (OWNER, WRITER, READER, STRANGER)] == [True, True, False, False]
    gone = evolve(chat, DELETED, 99)
    assert not any(gone.may_read(one) or gone.may_write(one) for one in (OWNER, WRITER, READER, STRANGER))
