"""Snapshots of a chat behind a link: a chat, a version, and who may see it. Reading one is time travel; nothing is copied."""

from typing import Any, Final, Literal
from uuid import UUID, uuid4

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, SkipValidation

from api.chats.chat import CommandOut, actor_of, answered
from api.chats.list_scope import PAGE_CHATS, Page, require_position
from api.chats.past import READS_EVERYTHING
from api.chats.references import resolve_blobs, sent
from api.request.ids import bound_id
from commands.accounts import Principal
from commands.chats import Chats
from commands.ports import Blobs, Claim, CommandKey, EventLog
from domain.chat.state import Chat
from domain.errors import BadRequest, ChatNotFound
from domain.sharing import RemoveShareLink, SetShareLinkAccess, ShareVersion
from domain.stream import chat_stream
from projections.chat import ChatView
from projections.ports import History

CLAIM: Final = "share"
EVERYONE: Final = "*"
PEOPLE_MAX: Final = 1000
SHARES_MAX: Final = 10_000  # of a list without pages


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
    async def share(
        self,
        chat_id: FromPath[str],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        key: NamedDependency[CommandKey | None],
    ) -> ShareOut:
        """Share the chat as it is now. Once more: the same link shows it as it is then."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        version, chat = await chats.state(known_id)
        # Not made from the request, as other ids are: nobody may be able to guess it.
        share_id = uuid4()
        claims = [] if chat.share is not None else [Claim(CLAIM, str(share_id), chat_stream(known_id))]
        command = ShareVersion(chat_id=known_id, by=principal.user_id, share_id=share_id, version=version)
        appended = await chats.handle(command, actor=actor_of(principal), key=key, claims=claims)
        _, chat = await chats.state(known_id)
        if chat.share is None:
            raise ChatNotFound(known_id)  # ended again in this very moment
        return ShareOut(known_id, chat.share.share_id, chat.share.version, appended.versions[0], appended.position)

    @delete("/{chat_id:str}/share", status_code=200)
    async def unshare(self, chat_id: FromPath[str], principal: NamedDependency[Principal], chats: NamedDependency[Chats]) -> bool:
        """End the link, for everyone and at once. False: there was none."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        _, before = await chats.state(known_id)
        await chats.handle(RemoveShareLink(chat_id=known_id, by=principal.user_id), actor=actor_of(principal))
        return before.share is not None

    @delete("/share/all", status_code=200)
    async def unshare_all(
        self,
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        log: NamedDependency[SkipValidation[EventLog]],
        history: NamedDependency[SkipValidation[History]],
    ) -> bool:
        """End all links to one's own chats."""
        await require_position(history, await log.head())
        for one in await history.shared(principal.user_id, offset=0, limit=SHARES_MAX):
            try:
                await chats.handle(RemoveShareLink(chat_id=one.chat_id, by=principal.user_id), actor=actor_of(principal))
            except ChatNotFound:
                continue  # deleted meanwhile, and its link with it
        return True

    @get("/share/{share_id:str}")
    async def shared_chat(
        self,
        share_id: FromPath[str],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        log: NamedDependency[SkipValidation[EventLog]],
        history: NamedDependency[SkipValidation[History]],
        blobs: NamedDependency[SkipValidation[Blobs]],
    ) -> dict[str, Any]:
        """The chat as it was shared, without what was deleted since. A link that is not there, has ended or is for others: 401."""
        chat_id, chat = await shared_for(chats, log, principal, share_id)
        view = await snapshot(chats, history, blobs, chat_id, chat)
        return {**await sent(UUID(share_id), view), "share_id": UUID(share_id)}

    @get("/shared")
    async def shares(
        self,
        principal: NamedDependency[Principal],
        history: NamedDependency[SkipValidation[History]],
        page: Page = None,
        at_least: FromQuery[int | None] = None,
    ) -> list[SharedChatOut]:
        """The caller's chats of which a snapshot is shared, the one shared last first. ``page`` counts from 1 and holds 60."""
        await require_position(history, at_least)
        offset, limit = ((page - 1) * PAGE_CHATS, PAGE_CHATS) if page is not None else (0, SHARES_MAX)
        return [
            SharedChatOut(one.share_id, one.chat_id, one.share_id, one.title, one.version, one.updated_at, one.created_at)
            for one in await history.shared(principal.user_id, offset=offset, limit=limit)
        ]

    @get("/shared/{chat_id:str}/access")
    async def access(self, chat_id: FromPath[str], principal: NamedDependency[Principal], chats: NamedDependency[Chats]) -> list[GrantOut]:
        """Who may see the snapshot of this chat; of one that is not shared, nobody."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        _, chat = await chats.state(known_id)
        if chat.owner_id != principal.user_id or chat.deleted:
            raise ChatNotFound(known_id)
        share = chat.share
        if share is None:
            return []
        named = ([EVERYONE] if share.everyone else []) + sorted(map(str, share.user_ids))
        return [GrantOut(f"{share.share_id}:{one}", "user", one, "read") for one in named]

    @post("/shared/{chat_id:str}/access/update", status_code=200)
    async def set_access(
        self,
        chat_id: FromPath[str],
        data: JSONBody[GrantsIn],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        key: NamedDependency[CommandKey | None],
    ) -> CommandOut:
        """Who may see the snapshot: everyone who is signed in (``*``), or the people named, and nobody else from now on."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        everyone, user_ids = people_of(data.access_grants)
        command = SetShareLinkAccess(chat_id=known_id, by=principal.user_id, everyone=everyone, user_ids=user_ids)
        return answered(known_id, await chats.handle(command, actor=actor_of(principal), key=key))


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


async def shared_for(chats: Chats, log: EventLog, principal: Principal, share_id: str) -> tuple[UUID, Chat]:
    """The chat behind a link that the caller may see, as of now, on whichever process. Raises ``ChatNotFound`` for any other."""
    try:
        known_id = UUID(share_id)
    except ValueError:
        raise ChatNotFound(share_id[:80]) from None
    stream = await log.find_claim(CLAIM, str(known_id))
    if stream is None:
        raise ChatNotFound(known_id)
    _, chat = await chats.state(stream.id)
    share = chat.share
    reads_everything = principal.role in READS_EVERYTHING and share is not None and share.share_id == known_id and not chat.deleted
    if not (reads_everything or chat.may_see_snapshot(known_id, principal.user_id)):
        raise ChatNotFound(known_id)
    return stream.id, chat


async def snapshot(chats: Chats, history: History, blobs: Blobs, chat_id: UUID, chat: Chat) -> ChatView:
    """What the link shows: the chat as of its version, without what was deleted since, and without what is its owner's own affair."""
    assert chat.share is not None
    view = await history.chat(chat_id, at=chat.share.version)
    view.without(view.messages.keys() & {str(one) for one in await chats.deleted_since(chat_id, chat.share.version)})
    await resolve_blobs(blobs, chat_id, view)
    view.folder_id, view.pinned, view.archived, view.tags, view.grants, view.share = None, False, False, [], {}, None
    return view
