"""``/api/v1/groups``: accounts that something is shared with at once. In the reference's paths, bodies and forms."""

from typing import Annotated, Any, Final
from uuid import UUID, uuid4

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from api.request.bodies import FIELDS_BYTES
from api.request.caller import Caller
from commands.accounts.accounts import Accounts
from commands.accounts.principal import require_admin
from commands.ids import new_id
from commands.ports import Appended
from commands.routing.entry import Known
from commands.routing.groups import Groups
from domain.accounts.group import MEMBERS_AT_ONCE_MAX, AddGroupMembers, ChangeGroup, CreateGroup, DeleteGroup, Group, RemoveGroupMembers

Text = Annotated[str, msgspec.Meta(max_length=10_000)]
Fields = dict[str, Any] | None
CONFIG: Final = "config"  # of ``data``: with ``share`` false members cannot choose the group when they share


class GroupIn(msgspec.Struct):
    name: Text
    description: Text = ""
    permissions: Fields = None
    data: Fields = None
    meta: Fields = None


class ChangedGroupIn(msgspec.Struct):
    """What is absent or null stays as it is; ``permissions``, ``data`` and ``meta`` are all there is of them."""

    name: Text | None = None
    description: Text | None = None
    permissions: Fields = None
    data: Fields = None
    meta: Fields = None


class UserIdsIn(msgspec.Struct):
    user_ids: Annotated[list[UUID], msgspec.Meta(max_length=MEMBERS_AT_ONCE_MAX)] | None = None


class GroupsController(Controller):
    path = "/api/v1/groups"
    tags = ("groups",)

    @get("/")
    async def list_groups(
        self, caller: NamedDependency[Caller], groups: NamedDependency[Groups], share: FromQuery[bool | None] = None
    ) -> list[dict[str, Any]]:
        """All groups for an admin, the caller's own for everybody else. ``share``: those that may be chosen for sharing, or not."""
        await groups.refresh()
        if caller.principal.role == "admin":
            return [group_json(one) for one in groups.all()]
        own = groups.groups_of(caller.user_id)
        known = [one for one in groups.all() if one.id in own and (share is None or may_be_chosen(one.state) == share)]
        return [group_json(one) for one in known]

    @post("/create", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def create(self, data: JSONBody[GroupIn], caller: NamedDependency[Caller], groups: NamedDependency[Groups]) -> dict[str, Any]:
        """Make a group (admin)."""
        require_admin(caller.principal)
        command = CreateGroup(
            group_id=uuid4() if caller.key is None else new_id(caller.user_id, caller.key, "group"),
            owner_id=caller.user_id,
            name=data.name,
            description=data.description,
            permissions=data.permissions or {},
            data=data.data or {},
            meta=data.meta or {},
        )
        return changed(*await groups.handle(command, caller.actor, caller.key))

    @get("/id/{group_id:uuid}")
    async def group(self, group_id: FromPath[UUID], caller: NamedDependency[Caller], groups: NamedDependency[Groups]) -> dict[str, Any]:
        """One group (admin)."""
        require_admin(caller.principal)
        return group_json(await groups.existing(group_id))

    @get("/id/{group_id:uuid}/info")
    async def info(self, group_id: FromPath[UUID], caller: NamedDependency[Caller], groups: NamedDependency[Groups]) -> dict[str, Any]:
        """What everybody may know of a group."""
        known = await groups.existing(group_id)
        group = known.state
        return {"id": str(known.id), "name": group.name, "description": group.description, "member_count": len(group.member_ids)}

    @get("/id/{group_id:uuid}/export")
    async def export(self, group_id: FromPath[UUID], caller: NamedDependency[Caller], groups: NamedDependency[Groups]) -> dict[str, Any]:
        """A group with the ids of its members (admin)."""
        require_admin(caller.principal)
        known = await groups.existing(group_id)
        return {**group_json(known), "user_ids": sorted(str(user_id) for user_id in known.state.member_ids)}

    @post("/id/{group_id:uuid}/users", status_code=200)
    async def members(
        self,
        group_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        groups: NamedDependency[Groups],
        accounts: NamedDependency[Accounts],
    ) -> list[dict[str, Any]]:
        """The members of a group, by name (admin)."""
        require_admin(caller.principal)
        found = []
        for user_id in (await groups.existing(group_id)).state.member_ids:
            account = await accounts.account(user_id)
            found.append({"id": str(user_id), "name": account.name, "email": account.email, "role": account.role})
        return sorted(found, key=lambda one: (one["name"].casefold(), one["id"]))

    @post("/id/{group_id:uuid}/update", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def update(
        self,
        group_id: FromPath[UUID],
        data: JSONBody[ChangedGroupIn],
        caller: NamedDependency[Caller],
        groups: NamedDependency[Groups],
    ) -> dict[str, Any]:
        """Change a group (admin)."""
        require_admin(caller.principal)
        command = ChangeGroup(
            group_id=group_id,
            name=data.name,
            description=data.description,
            permissions=data.permissions,
            data=data.data,
            meta=data.meta,
        )
        return changed(*await groups.handle(command, caller.actor, caller.key))

    @post("/id/{group_id:uuid}/users/add", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def add(
        self,
        group_id: FromPath[UUID],
        data: JSONBody[UserIdsIn],
        caller: NamedDependency[Caller],
        groups: NamedDependency[Groups],
        accounts: NamedDependency[Accounts],
    ) -> dict[str, Any]:
        """Put accounts into a group (admin); ids of no account are left out. What was granted to the group is theirs at once."""
        require_admin(caller.principal)
        known = [user_id for user_id in data.user_ids or () if (await accounts.account(user_id)).email]
        return changed(*await groups.handle(AddGroupMembers(group_id=group_id, user_ids=known), caller.actor, caller.key))

    @post("/id/{group_id:uuid}/users/remove", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def remove(
        self, group_id: FromPath[UUID], data: JSONBody[UserIdsIn], caller: NamedDependency[Caller], groups: NamedDependency[Groups]
    ) -> dict[str, Any]:
        """Take accounts out of a group (admin). What was granted to the group is theirs no longer, on every process."""
        require_admin(caller.principal)
        command = RemoveGroupMembers(group_id=group_id, user_ids=data.user_ids or [])
        return changed(*await groups.handle(command, caller.actor, caller.key))

    @delete("/id/{group_id:uuid}/delete", status_code=200)
    async def delete_group(self, group_id: FromPath[UUID], caller: NamedDependency[Caller], groups: NamedDependency[Groups]) -> bool:
        """Delete a group (admin). What was granted to it gives nobody anything any more."""
        require_admin(caller.principal)
        await groups.handle(DeleteGroup(group_id=group_id), caller.actor, caller.key)
        return True


def group_json(known: Known[Group]) -> dict[str, Any]:
    group = known.state
    return {
        "id": str(known.id),
        "user_id": str(group.owner_id),
        "name": group.name,
        "description": group.description,
        "permissions": dict(group.permissions),
        "data": dict(group.data),
        "meta": dict(group.meta),
        "member_count": len(group.member_ids),
        "created_at": int(known.created_at.timestamp()),
        "updated_at": int(known.changed_at.timestamp()),
        "version": known.version,
    }


def changed(known: Known[Group], appended: Appended) -> dict[str, Any]:
    return {**group_json(known), "position": appended.position}


def may_be_chosen(group: Group) -> bool:
    config = group.data.get(CONFIG)
    return not isinstance(config, dict) or config.get("share", True) is not False
