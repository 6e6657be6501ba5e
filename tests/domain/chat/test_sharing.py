"""Links to snapshots."""

from typing import Any
from uuid import UUID

from domain.chat.evolve import fold
from domain.chat.facts import ChatDeleted, ChatShared
from domain.chat.sharing import ChatVersionShared, ChatVersionUnshared, RemoveShareLink, SetShareLinkAccess, ShareVersion
from domain.chat.state import EMPTY
from domain.errors import BadRequest, ChatNotFound
from domain.log.event import Event
from tests.domain.chat.given import CREATED, Q, asked, given
from tests.domain.histories import CHAT, OWNER, READER, STRANGER, WRITER

LINK, OTHER = UUID(int=0x5A), UUID(int=0x5B)
SHARED: Any = Event(None, ChatVersionShared(LINK, 1))


def share(version: int, by: UUID = OWNER) -> ShareVersion:
    return ShareVersion(chat_id=CHAT, by=by, share_id=OTHER, version=version)


def allow(*user_ids: UUID, everyone: bool = False, by: UUID = OWNER) -> SetShareLinkAccess:
    return SetShareLinkAccess(chat_id=CHAT, by=by, everyone=everyone, user_ids=user_ids)


def test_a_snapshot_is_shared_with_everyone_who_has_the_link() -> None:
    given(CREATED).when(share(1)).then(Event(None, ChatVersionShared(OTHER, 1)))


def test_a_link_is_kept_with_its_people_when_it_is_to_show_something_newer() -> None:
    named: Any = Event(None, ChatVersionShared(LINK, 1, False, [READER]))
    given(CREATED, named, asked(Q)).when(share(3)).then(Event(None, ChatVersionShared(LINK, 3, False, [READER])))


def test_sharing_again_what_is_shared_changes_nothing() -> None:
    given(CREATED, SHARED).when(share(1)).then()
    given(CREATED, SHARED).when(share(2)).then()


def test_only_the_owner_shares() -> None:
    for command in (share(1, WRITER), allow(by=WRITER), RemoveShareLink(chat_id=CHAT, by=WRITER)):
        given(CREATED, Event(None, ChatShared(WRITER, "write")), SHARED).when(command).then_raises(ChatNotFound)


def test_access_is_given_to_exactly_those_who_are_named() -> None:
    given(CREATED, SHARED).when(allow(WRITER, READER, WRITER)).then(
        Event(None, ChatVersionShared(LINK, 1, False, sorted([READER, WRITER])))
    )
    given(CREATED, SHARED).when(allow(everyone=True)).then()
    given(CREATED).when(allow(READER)).then_raises(BadRequest)


def test_a_link_is_ended_once() -> None:
    end = RemoveShareLink(chat_id=CHAT, by=OWNER)
    given(CREATED, SHARED).when(end).then(Event(None, ChatVersionUnshared(LINK)))
    given(CREATED, SHARED, Event(None, ChatVersionUnshared(LINK))).when(end).then()
    given(CREATED).when(end).then()


def test_who_may_see_a_snapshot() -> None:
    named: Any = Event(None, ChatVersionShared(LINK, 1, False, [READER]))
    chat = fold(EMPTY, enumerate([CREATED, named], 1))
    assert [chat.may_see_snapshot(LINK, who) for who in (OWNER, READER, STRANGER)] == [True, True, False]
    assert not chat.may_see_snapshot(OTHER, OWNER)
    open_to_all = fold(chat, [(3, SHARED)])
    assert open_to_all.may_see_snapshot(LINK, STRANGER)
    assert not fold(open_to_all, [(4, Event(None, ChatDeleted()))]).may_see_snapshot(LINK, OWNER)
