"""What can happen to a group: given these events, when this command, then those events."""

from typing import Any
from uuid import UUID

import pytest

from domain.accounts.group import (
    GROUP_BYTES_MAX,
    MEMBERS_AT_ONCE_MAX,
    MEMBERS_MAX,
    NO_GROUP,
    AddGroupMembers,
    ChangeGroup,
    CreateGroup,
    DeleteGroup,
    Group,
    GroupChanged,
    GroupCommand,
    GroupCreated,
    GroupDeleted,
    GroupMembersAdded,
    GroupMembersRemoved,
    RemoveGroupMembers,
    decide,
    evolve,
)
from domain.errors import BadRequest, GroupNotFound
from tests.domain.given import Decider

ADMIN, A, B, C = (UUID(int=number) for number in range(1, 5))
GROUP = UUID(int=0xB0)
CREATED = GroupCreated(ADMIN, "Writers", "They write", {"workspace": {"models": True}})


given = Decider(NO_GROUP, evolve, decide)


def folded(*facts: Any) -> Group:
    state: Group = given(*facts).state()
    return state


def create(**more: Any) -> CreateGroup:
    return CreateGroup(**{"group_id": GROUP, "owner_id": ADMIN, "name": "Writers"} | more)


def change(**more: Any) -> ChangeGroup:
    return ChangeGroup(group_id=GROUP, **more)


def add(*user_ids: UUID) -> AddGroupMembers:
    return AddGroupMembers(group_id=GROUP, user_ids=user_ids)


def remove(*user_ids: UUID) -> RemoveGroupMembers:
    return RemoveGroupMembers(group_id=GROUP, user_ids=user_ids)


def test_a_group_is_created_once() -> None:
    given().when(create(description="They write", permissions={"workspace": {"models": True}, "chat": None})).then(CREATED)
    given(CREATED).when(create()).then_raises(BadRequest)
    given(CREATED, GroupDeleted()).when(create()).then_raises(BadRequest)


@pytest.mark.parametrize("command", [change(name="New"), add(A), remove(A), DeleteGroup(group_id=GROUP)])
def test_what_is_not_there_does_not_change(command: GroupCommand) -> None:
    given().when(command).then_raises(GroupNotFound)
    given(CREATED, GroupDeleted()).when(command).then_raises(GroupNotFound)


def test_only_changed_keys_are_in_the_event() -> None:
    given(CREATED).when(change(name="Writers", description="They wrote", permissions={"chat": {"delete": False}})).then(
        GroupChanged(description="They wrote", permissions={"chat": {"delete": False}, "workspace": None})
    )
    given(CREATED).when(change(name=" Writers ", description="They write", permissions=CREATED.permissions)).then()
    given(CREATED).when(change(data={"config": {"share": True}}, meta={})).then(GroupChanged(data={"config": {"share": True}}))


@pytest.mark.parametrize("more", [{"name": ""}, {"description": "x" * 4_001}, {"permissions": {"a": "x" * GROUP_BYTES_MAX}}])
def test_what_cannot_be_kept_is_refused_in_a_new_and_in_a_known_one(more: dict[str, Any]) -> None:
    given().when(create(**more)).then_raises(BadRequest)
    given(CREATED).when(change(**more)).then_raises(BadRequest)


def test_members_come_and_go() -> None:
    given(CREATED, GroupMembersAdded([A])).when(add(A, B, B)).then(GroupMembersAdded([B]))
    given(CREATED, GroupMembersAdded([A])).when(add(A)).then()
    given(CREATED, GroupMembersAdded([A, B])).when(remove(B, C)).then(GroupMembersRemoved([B]))
    given(CREATED).when(remove(C)).then()
    assert folded(CREATED, GroupMembersAdded([A, B]), GroupMembersRemoved([A])).member_ids == {B}
    assert folded(CREATED, GroupMembersAdded([A]), GroupDeleted()).member_ids == frozenset()


def test_there_is_an_end_to_members() -> None:
    many = [UUID(int=number) for number in range(MEMBERS_MAX)]
    given(CREATED, GroupMembersAdded(many)).when(add(many[0])).then()
    given(CREATED, GroupMembersAdded(many)).when(add(UUID(int=MEMBERS_MAX))).then_raises(BadRequest)
    given(CREATED).when(add(*many[: MEMBERS_AT_ONCE_MAX + 1])).then_raises(BadRequest)


def test_it_is_deleted_once() -> None:
    given(CREATED).when(DeleteGroup(group_id=GROUP)).then(GroupDeleted())


@pytest.mark.parametrize(
    ("permission", "permits"),
    [("workspace.models", True), ("workspace", False), ("workspace.tools", False), ("workspace.models.x", False), ("chat.delete", False)],
)
def test_a_permission_is_named_by_its_way(permission: str, permits: bool) -> None:
    assert folded(CREATED).permits(permission) is permits
