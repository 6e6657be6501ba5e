"""Links to snapshots, and what is decided only as long as nobody has changed something since."""

from typing import Any
from uuid import UUID

from domain.chat import (
    EMPTY,
    AddMessage,
    BlockOpened,
    ChatConfigured,
    ChatDeleted,
    ChatShared,
    ChatSnapshotShared,
    ChatSnapshotUnshared,
    ExpectUnchanged,
    MessageDelta,
    MessageEdited,
    SetSnapshotAccess,
    ShareSnapshot,
    UnshareSnapshot,
    decide_all,
    fold,
)
from domain.errors import BadRequest, ChatChanged, ChatNotFound, MessageNotFound
from domain.event import Event
from tests.domain.histories import CHAT, OWNER, READER, STRANGER, WRITER
from tests.domain.test_chat import CREATED, STREAMING, A, Q, asked, given

LINK, OTHER = UUID(int=0x5A), UUID(int=0x5B)
SHARED: Any = Event(None, ChatSnapshotShared(LINK, 1))


def share(version: int, by: UUID = OWNER) -> ShareSnapshot:
    return ShareSnapshot(chat_id=CHAT, by=by, share_id=OTHER, version=version)


def allow(*user_ids: UUID, everyone: bool = False, by: UUID = OWNER) -> SetSnapshotAccess:
    return SetSnapshotAccess(chat_id=CHAT, by=by, everyone=everyone, user_ids=user_ids)


def expect(since: int, *message_ids: UUID, settings: bool = False) -> ExpectUnchanged:
    return ExpectUnchanged(chat_id=CHAT, by=OWNER, since=since, message_ids=message_ids, settings=settings)


def test_a_snapshot_is_shared_with_everyone_who_has_the_link() -> None:
    given(CREATED).when(share(1)).then(Event(None, ChatSnapshotShared(OTHER, 1)))


def test_a_link_is_kept_with_its_people_when_it_is_to_show_something_newer() -> None:
    named: Any = Event(None, ChatSnapshotShared(LINK, 1, False, [READER]))
    given(CREATED, named, asked(Q)).when(share(3)).then(Event(None, ChatSnapshotShared(LINK, 3, False, [READER])))


def test_sharing_again_what_is_shared_changes_nothing() -> None:
    given(CREATED, SHARED).when(share(1)).then()
    given(CREATED, SHARED).when(share(2)).then()


def test_only_the_owner_shares() -> None:
    for command in (share(1, WRITER), allow(by=WRITER), UnshareSnapshot(chat_id=CHAT, by=WRITER)):
        given(CREATED, Event(None, ChatShared(WRITER, "write")), SHARED).when(command).then_raises(ChatNotFound)


def test_access_is_given_to_exactly_those_who_are_named() -> None:
    given(CREATED, SHARED).when(allow(WRITER, READER, WRITER)).then(
        Event(None, ChatSnapshotShared(LINK, 1, False, sorted([READER, WRITER])))
    )
    given(CREATED, SHARED).when(allow(everyone=True)).then()
    given(CREATED).when(allow(READER)).then_raises(BadRequest)


def test_a_link_is_ended_once() -> None:
    end = UnshareSnapshot(chat_id=CHAT, by=OWNER)
    given(CREATED, SHARED).when(end).then(Event(None, ChatSnapshotUnshared(LINK)))
    given(CREATED, SHARED, Event(None, ChatSnapshotUnshared(LINK))).when(end).then()
    given(CREATED).when(end).then()


def test_who_may_see_a_snapshot() -> None:
    named: Any = Event(None, ChatSnapshotShared(LINK, 1, False, [READER]))
    chat = fold(EMPTY, enumerate([CREATED, named], 1))
    assert [chat.may_see_snapshot(LINK, who) for who in (OWNER, READER, STRANGER)] == [True, True, False]
    assert not chat.may_see_snapshot(OTHER, OWNER)
    open_to_all = fold(chat, [(3, SHARED)])
    assert open_to_all.may_see_snapshot(LINK, STRANGER)
    assert not fold(open_to_all, [(4, Event(None, ChatDeleted()))]).may_see_snapshot(LINK, OWNER)


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
    chat = fold(EMPTY, [(1, CREATED)])
    ids = [UUID(int=1000 + number) for number in range(150)]
    adds = [
        AddMessage(chat_id=CHAT, by=OWNER, message_id=one, parent_id=above, role="user", content="x")
        for one, above in zip(ids, [None, *ids], strict=False)
    ]
    many = decide_all(chat, adds, 1)
    assert [event.message_id for event in many] == ids
    assert many[:50] == decide_all(chat, adds[:50], 1)
    assert len(chat.messages) == 0, "the state that they were decided on is as it was"
