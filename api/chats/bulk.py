"""Many whole chats in one answer, written chat by chat: however many there are, one of them is in memory."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final
from uuid import UUID

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation
from litestar.response import Stream

from api.chats.list_scope import CHATS_MAX, ChatListOut, Lists, Page, require_position
from api.chats.past import READS_EVERYTHING
from api.chats.references import resolve_blobs, sent
from commands.accounts import Accounts, Principal
from commands.folders import FolderTrees
from commands.ports import Blobs, EventLog, UserList
from domain.errors import Forbidden
from projections.ports import ALL, ChatFilter, History

PAGE_USERS: Final = 1000


class AllChatsController(Controller):
    path = "/api/v1/chats"
    tags = ("chats",)

    @get("/all")
    async def all_chats(
        self,
        principal: NamedDependency[Principal],
        history: NamedDependency[SkipValidation[History]],
        log: NamedDependency[SkipValidation[EventLog]],
        blobs: NamedDependency[SkipValidation[Blobs]],
    ) -> Stream:
        """All of one's own chats, with everything that stands in them."""
        await require_position(history, await log.head())
        return array(history, blobs, own(history, principal.user_id, ALL))

    @get("/all/archived")
    async def all_archived(
        self,
        principal: NamedDependency[Principal],
        history: NamedDependency[SkipValidation[History]],
        log: NamedDependency[SkipValidation[EventLog]],
        blobs: NamedDependency[SkipValidation[Blobs]],
    ) -> Stream:
        """Those in the archive."""
        await require_position(history, await log.head())
        return array(history, blobs, own(history, principal.user_id, ChatFilter(archived=True)))

    @get("/all/db")
    async def everybodys(
        self,
        principal: NamedDependency[Principal],
        history: NamedDependency[SkipValidation[History]],
        log: NamedDependency[SkipValidation[EventLog]],
        blobs: NamedDependency[SkipValidation[Blobs]],
        user_list: NamedDependency[SkipValidation[UserList]],
    ) -> Stream:
        """Everybody's chats, for admins and auditors. They stand together by their owner."""
        require_reader_of_everything(principal)
        await require_position(history, await log.head())
        return array(history, blobs, everybody(history, user_list))

    @get("/list/user/{user_id:uuid}")
    async def list_of_user(
        self,
        user_id: FromPath[UUID],
        principal: NamedDependency[Principal],
        history: NamedDependency[SkipValidation[History]],
        accounts: NamedDependency[Accounts],
        folders: NamedDependency[FolderTrees],
        page: Page = None,
    ) -> list[ChatListOut]:
        """The list of one person, those in the archive too, for admins and auditors."""
        require_reader_of_everything(principal)
        _, known = await folders.of(user_id)
        return await Lists(history, accounts, user_id, known).page(ALL, page or 1, None)


def require_reader_of_everything(principal: Principal) -> None:
    if principal.role not in READS_EVERYTHING:
        raise Forbidden("other people's chats are for admins and auditors")


async def own(history: History, user_id: UUID, chosen: ChatFilter) -> AsyncIterator[tuple[UUID, UUID]]:
    """``(owner, chat)`` of one person's list."""
    offset = 0
    while True:
        page = await history.listed(user_id, chosen, offset=offset, limit=CHATS_MAX)
        for one in page:
            yield user_id, one.chat_id
        if len(page) < CHATS_MAX:
            return
        offset += CHATS_MAX


async def everybody(history: History, user_list: UserList) -> AsyncIterator[tuple[UUID, UUID]]:
    offset = 0
    while True:
        user_ids, _ = await user_list.users(offset=offset, limit=PAGE_USERS)
        for user_id in user_ids:
            async for one in own(history, user_id, ALL):
                yield one
        if len(user_ids) < PAGE_USERS:
            return
        offset += PAGE_USERS


def array(history: History, blobs: Blobs, chats: AsyncIterator[tuple[UUID, UUID]]) -> Stream:
    async def pieces() -> AsyncGenerator[bytes, None]:
        before = b"["
        async for owner_id, chat_id in chats:
            view = await history.chat(chat_id)
            if view.owner_id != owner_id or view.deleted:
                continue  # shared with them, or deleted meanwhile
            await resolve_blobs(blobs, chat_id, view)
            yield before + msgspec.json.encode(await sent(chat_id, view))
            before = b",\n"
        yield b"[]" if before == b"[" else b"]"

    return Stream(pieces(), media_type="application/json")
