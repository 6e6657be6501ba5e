"""Shared versions of a chat behind a link: a chat, a version, and who may see it. Reading one is time travel; nothing is copied."""

from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, SkipValidation

from api.chats.chat import CommandOut, command_out
from api.chats.chat_json import chat_response
from api.chats.list_items import PageNumber, page_bounds
from api.request.bodies import FIELDS_BYTES
from api.request.caller import Caller
from api.settings import Settings
from commands.chats.chats import Chats
from commands.chats.share_links import SHARES_MAX, ShareLinks
from domain.chat.sharing import SetShareLinkAccess
from domain.errors import BadRequest

EVERYONE: Final = "*"
PEOPLE_MAX: Final = 1000


class ShareOut(msgspec.Struct):
    """``snapshot_version`` is what the link shows, ``version`` where the chat is now."""

    id: UUID
    share_id: UUID
    snapshot_version: int
    version: int
    position: int


class SharedChatOut(msgspec.Struct):
    id: UUID  # of the link
    chat_id: UUID
    share_id: UUID
    title: str
    version: int
    updated_at: int  # seconds since 1970
    created_at: int


class GrantIn(msgspec.Struct):
    principal_id: str  # a person, or * for everyone who is signed in
    principal_type: Literal["user", "group"] = "user"
    permission: Literal["read", "write"] = "read"


class GrantsIn(msgspec.Struct):
    access_grants: list[GrantIn]


class GrantOut(msgspec.Struct):
    id: str
    principal_type: str
    principal_id: str
    permission: str


class SharingController(Controller):
    path = "/api/v1/chats"
    tags = ("chats",)

    @post("/{chat_id:str}/share", status_code=200)
    async def share(self, chat_id: FromPath[str], caller: NamedDependency[Caller], share_links: NamedDependency[ShareLinks]) -> ShareOut:
        """Share the chat as it is now. Sharing again updates the same link."""
        known_id = caller.bound(chat_id)
        link, appended = await share_links.share(caller.actor, known_id, caller.key)
        return ShareOut(known_id, link.share_id, link.version, appended.versions[0], appended.position)

    @delete("/{chat_id:str}/share", status_code=200)
    async def unshare(self, chat_id: FromPath[str], caller: NamedDependency[Caller], share_links: NamedDependency[ShareLinks]) -> bool:
        """End the link, for everyone and at once. False: there was none."""
        return await share_links.unshare(caller.actor, caller.bound(chat_id))

    @delete("/share/all", status_code=200)
    async def unshare_all(self, caller: NamedDependency[Caller], share_links: NamedDependency[ShareLinks]) -> bool:
        """End all links to one's own chats."""
        await share_links.unshare_all(caller.actor)
        return True

    @get("/share/{share_id:str}")
    async def shared_chat(
        self,
        share_id: FromPath[str],
        caller: NamedDependency[Caller],
        share_links: NamedDependency[ShareLinks],
        settings: NamedDependency[SkipValidation[Settings]],
    ) -> Response[dict[str, Any]]:
        """The chat as it was shared, without what was deleted since. A link that is not there, has ended or is for others: 401."""
        link_id, pages = await share_links.shared_pages(caller.principal, share_id)
        return await chat_response(pages, link_id, for_page=settings.front_end is not None, share_id=link_id)

    @get("/shared")
    async def shares(
        self,
        caller: NamedDependency[Caller],
        share_links: NamedDependency[ShareLinks],
        page: PageNumber = None,
        at_least: FromQuery[int | None] = None,
    ) -> list[SharedChatOut]:
        """The caller's chats that have a share link, the one shared last first. ``page`` counts from 1 and holds 60."""
        return [
            SharedChatOut(one.share_id, one.chat_id, one.share_id, one.title, one.version, one.updated_at, one.created_at)
            for one in await share_links.list_links(caller.user_id, **page_bounds(page, SHARES_MAX), at_least=at_least)
        ]

    @get("/shared/{chat_id:str}/access")
    async def access(
        self, chat_id: FromPath[str], caller: NamedDependency[Caller], share_links: NamedDependency[ShareLinks]
    ) -> list[GrantOut]:
        """Who may open the link to this chat; an empty list if it is not shared."""
        link = await share_links.link_of(caller.user_id, caller.bound(chat_id))
        if link is None:
            return []
        named = ([EVERYONE] if link.everyone else []) + sorted(map(str, link.user_ids))
        return [GrantOut(f"{link.share_id}:{one}", "user", one, "read") for one in named]

    @post("/shared/{chat_id:str}/access/update", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def set_access(
        self, chat_id: FromPath[str], data: JSONBody[GrantsIn], caller: NamedDependency[Caller], chats: NamedDependency[Chats]
    ) -> CommandOut:
        """Who may open the link from now on: everyone who is signed in (``*``), or only the people named."""
        everyone, user_ids = people_of(data.access_grants)
        command = SetShareLinkAccess(chat_id=caller.bound(chat_id), by=caller.user_id, everyone=everyone, user_ids=user_ids)
        return command_out(command.chat_id, await chats.handle(command, actor=caller.actor, key=caller.key))


def people_of(grants: list[GrantIn]) -> tuple[bool, list[UUID]]:
    """``(everyone, people)``. Raises ``BadRequest``."""
    if len(grants) > PEOPLE_MAX:
        raise BadRequest(f"expected at most {PEOPLE_MAX} grants, received {len(grants)}")
    everyone, people = False, list[UUID]()
    for grant in grants:
        if grant.principal_type != "user" or grant.permission != "read":
            raise BadRequest(f"expected grants of read to users, received {grant.permission} to a {grant.principal_type}")
        if grant.principal_id == EVERYONE:
            everyone = True
            continue
        try:
            people.append(UUID(grant.principal_id))
        except ValueError:
            raise BadRequest(f"expected a user's id or {EVERYONE}, received {grant.principal_id[:80]!r}") from None
    return everyone, people
