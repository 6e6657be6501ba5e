"""``/api/v1/channels``: channels, their members, and what each person has set for theirs. In the reference's paths, bodies and forms."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal
from uuid import UUID, uuid4

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from api.channels.callers_channel import CallersChannel, ReadIn, provide_channel
from api.formats.channel_json import channel_json, past_channel_json, person_json
from api.request.bodies import FIELDS_BYTES
from api.request.caller import Caller
from api.streams.presence import Presence
from commands.accounts.accounts import Accounts
from commands.accounts.principal import require_admin
from commands.channels.channel_past import ChannelPast
from commands.channels.channel_reader import ChannelReader
from commands.channels.channels import Channels
from commands.ids import new_id
from commands.routing.groups import Groups
from domain.accounts.access import Grant
from domain.accounts.user.commands import MarkRead
from domain.channel.commands import (
    AddMembers,
    ArchiveChannel,
    ChangeChannel,
    ChangeMemberRole,
    CreateChannel,
    DeleteChannel,
    LeaveChannel,
    RemoveMembers,
)
from domain.channel.facts import ChannelType
from domain.channel.own import SetOwnChannel
from domain.errors import BadRequest
from domain.log.stream import channel_stream

MEMBERS_PAGE: Final = 30
USER_IDS_MAX: Final = 500
PAGE_MAX: Final = 10_000
Text = Annotated[str, msgspec.Meta(max_length=10_000)]
Fields = dict[str, Any] | None
Ids = Annotated[list[UUID], msgspec.Meta(max_length=USER_IDS_MAX)] | None


class GrantIn(msgspec.Struct):
    principal_type: Literal["user", "group"]
    principal_id: Annotated[str, msgspec.Meta(max_length=100)]
    permission: Literal["read", "write"]


Grants = Annotated[list[GrantIn], msgspec.Meta(max_length=1_000)] | None


class ChannelIn(msgspec.Struct):
    name: Text = ""
    description: Text | None = None
    type: Literal["", "standard", "group", "dm"] | None = None  # empty or null: standard
    is_private: bool | None = None
    data: Fields = None
    meta: Fields = None
    access_grants: Grants = None
    user_ids: Ids = None
    group_ids: Ids = None


class ChangedChannelIn(msgspec.Struct):
    """What is absent or null stays as it is; ``data``, ``meta`` and ``access_grants`` are all there is of them."""

    name: Text | None = None
    description: Text | None = None
    is_private: bool | None = None
    data: Fields = None
    meta: Fields = None
    access_grants: Grants = None


class PeopleIn(msgspec.Struct):
    user_ids: Ids = None
    group_ids: Ids = None


class ActiveIn(msgspec.Struct):
    is_active: bool


class MutedIn(msgspec.Struct):
    is_channel_muted: bool


class ArchivedIn(msgspec.Struct):
    archived: bool


class PinnedIn(msgspec.Struct):
    is_channel_pinned: bool


class RoleIn(msgspec.Struct):
    user_id: UUID
    role: Literal["member", "manager"]


class AccessIn(msgspec.Struct):
    access_grants: Grants = None


class ChannelsController(Controller):
    path = "/api/v1/channels"
    tags = ("channels",)

    @get("/")
    async def list_channels(
        self, caller: NamedDependency[Caller], channel_reader: NamedDependency[ChannelReader], accounts: NamedDependency[Accounts]
    ) -> list[dict[str, Any]]:
        """The caller's channels with unread counts, the one with the newest message first."""
        listed = []
        for one in await channel_reader.listed(caller.actor):
            channel = one.known.channel
            shown = channel_json(one.known, one.summary, one.own)
            shown["users"] = await people_json(accounts, list(channel.members)) if channel.type == "dm" else []
            listed.append(shown)
        return listed

    @post("/create", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def create(
        self,
        data: JSONBody[ChannelIn],
        caller: NamedDependency[Caller],
        channels: NamedDependency[Channels],
        channel_reader: NamedDependency[ChannelReader],
        groups: NamedDependency[Groups],
    ) -> dict[str, Any]:
        """Make a channel: of type standard (admin), group or dm. A dm of people who have one is that one."""
        kind: ChannelType = "standard" if not data.type or data.type == "standard" else data.type
        if kind == "standard":
            require_admin(caller.principal)
        command = CreateChannel(
            channel_id=uuid4() if caller.key is None else new_id(caller.user_id, caller.key, "channel"),
            by=channel_reader.asker(caller.actor),
            type=kind,
            name=data.name,
            description=data.description or "",
            is_private=bool(data.is_private),
            data=data.data or {},
            meta=data.meta or {},
            grants=grants_of(data.access_grants),
            member_ids=await people_of(groups, data.user_ids, data.group_ids) if kind != "standard" else (),
        )
        if kind == "dm":
            return await opened_dm(command, caller, channels, channel_reader)
        await channels.handle(command, actor=caller.actor, key=caller.key)
        return await (await provide_channel(command.channel_id, caller, channels, channel_reader)).json()

    @get("/users/{user_id:uuid}")
    async def dm_with(
        self,
        user_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        channels: NamedDependency[Channels],
        channel_reader: NamedDependency[ChannelReader],
        accounts: NamedDependency[Accounts],
    ) -> dict[str, Any]:
        """The dm with this person, made where there is none."""
        await accounts.existing(user_id)
        command = CreateChannel(channel_id=uuid4(), by=channel_reader.asker(caller.actor), type="dm", member_ids=[user_id])
        return await opened_dm(command, caller, channels, channel_reader)


class ChannelController(Controller):
    """One channel. Every handler gets it once the caller's access was checked."""

    path = "/api/v1/channels/{channel_id:uuid}"
    tags = ("channels",)
    dependencies = {"channel": Provide(provide_channel)}  # noqa: RUF012  # Litestar reads it once

    @get("/")
    async def channel(
        self,
        channel: NamedDependency[CallersChannel],
        accounts: NamedDependency[Accounts],
        channel_past: NamedDependency[ChannelPast],
        at: FromQuery[str | None] = None,
    ) -> dict[str, Any]:
        """One channel, with what the caller may do in it and has read of it. ``at``: as it was at a version, a cursor or a time."""
        if at is not None:
            moment = await channel.reader.moment_of(channel.known, at)
            return past_channel_json(await channel_past.channel(channel.known, moment))
        members = await channel.reader.members(channel.known)
        account = await accounts.account(channel.caller.user_id, fresh=True)
        return {
            **await channel.json(),
            "user_count": len(members),
            "users": await people_json(accounts, members) if channel.known.channel.type == "dm" else None,
            "last_read_version": account.read_version(channel.id),
        }

    @post("/update", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def update(self, data: JSONBody[ChangedChannelIn], channel: NamedDependency[CallersChannel]) -> dict[str, Any]:
        """Change a channel (who manages it). Who loses access by it gets nothing more, on every process."""
        grants = grants_of(data.access_grants) if data.access_grants is not None else None
        await channel.handle(
            ChangeChannel(
                channel_id=channel.id,
                by=channel.by,
                name=data.name,
                description=data.description,
                is_private=data.is_private,
                data=data.data,
                meta=data.meta,
                grants=grants,
            )
        )
        return await channel.json()

    @post("/access/update", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def update_access(self, data: JSONBody[AccessIn], channel: NamedDependency[CallersChannel]) -> dict[str, Any]:
        """Who may read and write a standard channel: all grants at once (who manages it)."""
        await channel.handle(ChangeChannel(channel_id=channel.id, by=channel.by, grants=grants_of(data.access_grants)))
        return await channel.json()

    @post("/archive", status_code=200)
    async def archive(self, data: JSONBody[ArchivedIn], channel: NamedDependency[CallersChannel]) -> dict[str, Any]:
        """Make a channel read only, or bring it back (who manages it)."""
        await channel.handle(ArchiveChannel(channel_id=channel.id, by=channel.by, archived=data.archived))
        return await channel.json()

    @delete("/delete", status_code=200)
    async def remove(self, channel: NamedDependency[CallersChannel]) -> bool:
        """Delete a channel (who manages it). The log keeps it."""
        await channel.handle(DeleteChannel(channel_id=channel.id, by=channel.by))
        return True

    @get("/members")
    async def members(
        self,
        channel: NamedDependency[CallersChannel],
        accounts: NamedDependency[Accounts],
        presence: NamedDependency[Presence],
        part: Annotated[str, QueryParameter(name="query", max_length=200, required=False)] = "",
        order_by: FromQuery[str] = "name",
        direction: FromQuery[str] = "asc",
        page: FromQuery[int] = 1,
    ) -> dict[str, Any]:
        """Who is in a channel, 30 a page, by name, and whether they are connected now. ``query``: a part of the name."""
        if not 1 <= page <= PAGE_MAX:
            raise BadRequest(f"expected a page from 1 to {PAGE_MAX}, received {page}")
        people = await people_json(accounts, await channel.reader.members(channel.known))
        found = [one for one in people if part.casefold() in one["name"].casefold()]
        field = "role" if order_by == "role" else "name"
        found.sort(key=lambda one: (str(one[field]).casefold(), one["id"]), reverse=direction == "desc")
        start = (page - 1) * MEMBERS_PAGE
        users = [{**one, "is_active": presence.is_present(UUID(one["id"]))} for one in found[start : start + MEMBERS_PAGE]]
        return {"users": users, "total": len(found)}

    @post("/update/members/add", status_code=200)
    async def add_members(
        self, data: JSONBody[PeopleIn], channel: NamedDependency[CallersChannel], groups: NamedDependency[Groups]
    ) -> dict[str, Any]:
        """Add people, and those who are in these groups now (who manages the channel)."""
        user_ids = await people_of(groups, data.user_ids, data.group_ids)
        await channel.handle(AddMembers(channel_id=channel.id, by=channel.by, user_ids=user_ids))
        return await channel.json()

    @post("/update/members/remove", status_code=200)
    async def remove_members(
        self, data: JSONBody[PeopleIn], channel: NamedDependency[CallersChannel], groups: NamedDependency[Groups]
    ) -> bool:
        """Remove people (who manages the channel). They get nothing more, on every process."""
        user_ids = await people_of(groups, data.user_ids, data.group_ids)
        await channel.handle(RemoveMembers(channel_id=channel.id, by=channel.by, user_ids=user_ids))
        return True

    @post("/members/role", status_code=200)
    async def change_role(self, data: JSONBody[RoleIn], channel: NamedDependency[CallersChannel]) -> dict[str, Any]:
        """Make a member a manager, or a manager a plain member (who manages the channel)."""
        await channel.handle(ChangeMemberRole(channel_id=channel.id, by=channel.by, user_id=data.user_id, role=data.role))
        return await channel.json()

    @post("/leave", status_code=200)
    async def leave(self, channel: NamedDependency[CallersChannel]) -> bool:
        """Leave a group. Where its last manager leaves, the member who has been there longest becomes one."""
        await channel.handle(LeaveChannel(channel_id=channel.id, by=channel.by))
        return True

    @post("/members/active", status_code=200)
    async def set_active(self, data: JSONBody[ActiveIn], channel: NamedDependency[CallersChannel]) -> bool:
        """Take a channel out of one's own list until somebody writes in it, or into it again."""
        await channel.set_own(hidden=not data.is_active)
        return True

    @post("/members/mute", status_code=200)
    async def set_muted(self, data: JSONBody[MutedIn], channel: NamedDependency[CallersChannel]) -> bool:
        """Mute a channel for oneself, or not any more."""
        await channel.set_own(muted=data.is_channel_muted)
        return True

    @post("/members/pin", status_code=200)
    async def set_pinned(self, data: JSONBody[PinnedIn], channel: NamedDependency[CallersChannel]) -> bool:
        """Pin a channel in one's own list, or not any more."""
        await channel.set_own(pinned=data.is_channel_pinned)
        return True

    @post("/read", status_code=200)
    async def read(
        self, channel: NamedDependency[CallersChannel], accounts: NamedDependency[Accounts], data: JSONBody[ReadIn | None] = None
    ) -> dict[str, Any]:
        """Mark a channel as read up to ``version``, or all of it. It only moves forward, and shows in all of one's tabs."""
        version, caller = channel.read_version(data), channel.caller
        command = MarkRead(user_id=caller.user_id, stream=str(channel_stream(channel.id)), version=version)
        appended = await accounts.handle(command, actor=caller.actor, key=caller.key)
        return {"id": str(channel.id), "version": version, "position": appended.position}


async def opened_dm(command: CreateChannel, caller: Caller, channels: Channels, channel_reader: ChannelReader) -> dict[str, Any]:
    """The dm of these people, made where there is none, and in the caller's list again where they had hidden it."""
    channel_id = await channels.get_or_create_dm(command, actor=caller.actor, key=caller.key)
    channel = await provide_channel(channel_id, caller, channels, channel_reader)
    await channels.set_own(SetOwnChannel(user_id=caller.user_id, channel_id=channel_id, hidden=False), actor=caller.actor)
    return await channel.json()


async def people_of(groups: Groups, user_ids: Sequence[UUID] | None, group_ids: Sequence[UUID] | None) -> list[UUID]:
    """The people named, and those who are in these groups now. Raises ``GroupNotFound``."""
    found = list(user_ids or ())
    for group_id in group_ids or ():
        found += sorted((await groups.existing(group_id)).state.member_ids)
    return list(dict.fromkeys(found))


async def people_json(accounts: Accounts, user_ids: Sequence[UUID]) -> list[dict[str, Any]]:
    found = [(user_id, await accounts.account(user_id)) for user_id in user_ids]
    return [person_json(user_id, account.name, account.role) for user_id, account in found]


def grants_of(given: Sequence[GrantIn] | None) -> list[Grant]:
    return [Grant(one.principal_type, one.principal_id, one.permission) for one in given or ()]
