"""A group of accounts as an aggregate: things are shared with all of its members at once, and its permissions hold for them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, assert_never
from uuid import UUID

import msgspec

from domain.accounts.name import require_description, trimmed_name
from domain.errors import BadRequest, GroupNotFound
from domain.log.event import Event
from domain.values.fields import replacing, without_nulls

NAME_CHARACTERS_MAX: Final = 200
DESCRIPTION_CHARACTERS_MAX: Final = 4_000
GROUP_BYTES_MAX: Final = 64 * 1024  # of permissions, data and meta, as JSON
MEMBERS_MAX: Final = 10_000
MEMBERS_AT_ONCE_MAX: Final = 5_000  # of one command: an event holds 256 KiB

# ---------------------------------------------------------------------------------------------------------------- facts
# ``permissions``, ``data`` and ``meta`` have the names of the reference system; unknown keys are kept.


class GroupCreated(msgspec.Struct, frozen=True):
    owner_id: UUID
    name: str
    description: str = ""
    permissions: Mapping[str, Any] = {}
    data: Mapping[str, Any] = {}
    meta: Mapping[str, Any] = {}


class GroupChanged(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is not there has not changed; of the three mappings every key that is not there. Null takes a key out."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET
    permissions: Mapping[str, Any] = {}
    data: Mapping[str, Any] = {}
    meta: Mapping[str, Any] = {}


class GroupMembersAdded(msgspec.Struct, frozen=True):
    user_ids: Sequence[UUID]


class GroupMembersRemoved(msgspec.Struct, frozen=True):
    user_ids: Sequence[UUID]


class GroupDeleted(msgspec.Struct, frozen=True):
    """What was granted to it gives nobody anything any more."""


GroupFact = GroupCreated | GroupChanged | GroupMembersAdded | GroupMembersRemoved | GroupDeleted
GroupEvent = Event[GroupFact]

GROUP_TYPES: Final[Mapping[str, type[Any]]] = {
    "group_created": GroupCreated,
    "group_changed": GroupChanged,
    "group_members_added": GroupMembersAdded,
    "group_members_removed": GroupMembersRemoved,
    "group_deleted": GroupDeleted,
}

# ------------------------------------------------------------------------------------------------------------- commands
# Only admins command groups: who asks was checked before.


class CreateGroup(msgspec.Struct, frozen=True, kw_only=True):
    group_id: UUID
    owner_id: UUID
    name: str
    description: str = ""
    permissions: Mapping[str, Any] = {}
    data: Mapping[str, Any] = {}
    meta: Mapping[str, Any] = {}


class ChangeGroup(msgspec.Struct, frozen=True, kw_only=True):
    """What it is from now on. None: as it is."""

    group_id: UUID
    name: str | None = None
    description: str | None = None
    permissions: Mapping[str, Any] | None = None  # all of them
    data: Mapping[str, Any] | None = None
    meta: Mapping[str, Any] | None = None


class AddGroupMembers(msgspec.Struct, frozen=True, kw_only=True):
    group_id: UUID
    user_ids: Sequence[UUID]


class RemoveGroupMembers(msgspec.Struct, frozen=True, kw_only=True):
    group_id: UUID
    user_ids: Sequence[UUID]


class DeleteGroup(msgspec.Struct, frozen=True, kw_only=True):
    group_id: UUID


GroupCommand = CreateGroup | ChangeGroup | AddGroupMembers | RemoveGroupMembers | DeleteGroup

# ---------------------------------------------------------------------------------------------------------------- state


class Group(msgspec.Struct, frozen=True):
    exists: bool = False
    owner_id: UUID | None = None
    name: str = ""
    description: str = ""
    permissions: Mapping[str, Any] = {}
    data: Mapping[str, Any] = {}
    meta: Mapping[str, Any] = {}
    member_ids: frozenset[UUID] = frozenset()

    def permits(self, permission: str) -> bool:
        """Whether the group has this permission, named as in the reference system: ``workspace.models``."""
        value: Any = self.permissions
        for name in permission.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        return value is True


NO_GROUP: Final = Group()

# --------------------------------------------------------------------------------------------------------------- decide


def decide(group: Group, command: GroupCommand) -> list[GroupEvent]:
    """The events that the command leads to. An empty list means "already so", a ``Refusal`` means "no"."""
    if isinstance(command, CreateGroup):
        return create_group(group, command)
    if not group.exists:
        raise GroupNotFound(command.group_id)
    match command:
        case ChangeGroup():
            return change_group(group, command)
        case AddGroupMembers(user_ids=user_ids):
            new = [one for one in require_few(user_ids) if one not in group.member_ids]
            if len(group.member_ids) + len(new) > MEMBERS_MAX:
                raise BadRequest(f"a group has at most {MEMBERS_MAX} members, this one would have {len(group.member_ids) + len(new)}")
            return [Event(None, GroupMembersAdded(new))] if new else []
        case RemoveGroupMembers(user_ids=user_ids):
            gone = [one for one in require_few(user_ids) if one in group.member_ids]
            return [Event(None, GroupMembersRemoved(gone))] if gone else []
        case DeleteGroup():
            return [Event(None, GroupDeleted())]
        case _:
            assert_never(command)


def create_group(group: Group, command: CreateGroup) -> list[GroupEvent]:
    if group.owner_id is not None:
        raise BadRequest(f"there is a group {command.group_id} already")
    made = GroupCreated(
        command.owner_id,
        trimmed_name(command.name, NAME_CHARACTERS_MAX),
        require_description(command.description, DESCRIPTION_CHARACTERS_MAX),
        without_nulls(command.permissions),
        without_nulls(command.data),
        without_nulls(command.meta),
    )
    require_room(made.permissions, made.data, made.meta)
    return [Event(None, made)]


def change_group(group: Group, command: ChangeGroup) -> list[GroupEvent]:
    changes = GroupChanged()
    if command.name is not None and (name := trimmed_name(command.name, NAME_CHARACTERS_MAX)) != group.name:
        changes = msgspec.structs.replace(changes, name=name)
    if command.description is not None and require_description(command.description, DESCRIPTION_CHARACTERS_MAX) != group.description:
        changes = msgspec.structs.replace(changes, description=command.description)
    for field in ("permissions", "data", "meta"):
        sent = getattr(command, field)
        if sent is not None:
            changes = msgspec.structs.replace(changes, **{field: replacing(getattr(group, field), sent)})
    if changes == GroupChanged():
        return []
    event: GroupEvent = Event(None, changes)
    changed = evolve(group, event, 1)
    require_room(changed.permissions, changed.data, changed.meta)
    return [event]


def require_few(user_ids: Sequence[UUID]) -> list[UUID]:
    """Each once. Raises ``BadRequest``."""
    if len(user_ids) > MEMBERS_AT_ONCE_MAX:
        raise BadRequest(f"expected at most {MEMBERS_AT_ONCE_MAX} accounts at once, received {len(user_ids)}", param="user_ids")
    return list(dict.fromkeys(user_ids))


def require_room(*mappings: Mapping[str, Any]) -> None:
    size = len(msgspec.json.encode(mappings))
    if size > GROUP_BYTES_MAX:
        raise BadRequest(f"permissions, data and meta of a group hold at most {GROUP_BYTES_MAX} bytes together, these have {size}")


# --------------------------------------------------------------------------------------------------------------- evolve


def evolve(group: Group, event: Event[Any], version: int) -> Group:
    """The next state. Total: history cannot be refused, so this never raises."""
    fact = event.data
    match fact:
        case GroupCreated():
            return Group(True, fact.owner_id, fact.name, fact.description, fact.permissions, fact.data, fact.meta)
        case GroupChanged():
            changed: dict[str, Any] = {
                field: without_nulls({**getattr(group, field), **getattr(fact, field)}) for field in ("permissions", "data", "meta")
            }
            if fact.name is not msgspec.UNSET:
                changed["name"] = fact.name
            if fact.description is not msgspec.UNSET:
                changed["description"] = fact.description
            return msgspec.structs.replace(group, **changed)
        case GroupMembersAdded(user_ids=user_ids):
            return msgspec.structs.replace(group, member_ids=group.member_ids | set(user_ids))
        case GroupMembersRemoved(user_ids=user_ids):
            return msgspec.structs.replace(group, member_ids=group.member_ids - set(user_ids))
        case GroupDeleted():
            return msgspec.structs.replace(group, exists=False, member_ids=frozenset())
        case _:
            return group
