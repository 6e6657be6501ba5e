"""The list of one's chats, and what sorts it: pins, the archive, folders, tags."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, SkipValidation

from api.chats.chat import CommandOut, actor_of, answered, delete_chat
from api.chats.list_scope import CHATS_MAX, ChatListOut, Lists, Page, require_position
from api.chats.past import readable
from api.request.ids import bound_id
from commands.accounts import Principal
from commands.chats import Chats
from commands.folders import FolderTrees
from commands.generation.runs import Runs
from commands.ports import Appended, CommandKey, EventLog
from domain.chat.commands import ArchiveChat, ChatCommand, MoveChat, PinChat, TagChat
from domain.chat.state import tag_id
from domain.errors import ChatNotFound
from projections.ports import ALL, ChatFilter, History

OWN_CHATS_PAGE: Final = 1000  # of all of somebody's chats, while each of them is changed
OWN_CHATS_AT_ONCE: Final = 16  # their appends share a commit


class TagOut(msgspec.Struct):
    id: str
    name: str
    user_id: UUID
    meta: None = None


class TagIn(msgspec.Struct):
    name: str


class TaggedIn(msgspec.Struct):
    name: str
    skip: Annotated[int, msgspec.Meta(ge=0)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=CHATS_MAX)] = 50


class FolderIn(msgspec.Struct):
    folder_id: str | None = None  # null: out of any


class ChatListController(Controller):
    """Lists are as old as their projection, some milliseconds. ``at_least``, a position such as every command answers with:
    not before the list holds what happened until then.
    """

    path = "/api/v1/chats"
    tags = ("chats",)

    @get(["/", "/list"])
    async def list_chats(
        self,
        my_lists: NamedDependency[SkipValidation[Lists]],
        page: Page = None,
        include_pinned: FromQuery[bool] = False,
        include_folders: FromQuery[bool] = False,
        at_least: FromQuery[int | None] = None,
    ) -> list[ChatListOut]:
        """The caller's chats, the one that changed last first, without those in the archive. ``page`` counts from 1 and holds 60."""
        chosen = ChatFilter(archived=False, pinned=None if include_pinned else False, in_folder=None if include_folders else False)
        return await my_lists.page(chosen, page, at_least)

    @get("/pinned")
    async def pinned(
        self,
        my_lists: NamedDependency[SkipValidation[Lists]],
        page: Page = None,
        at_least: FromQuery[int | None] = None,
    ) -> list[ChatListOut]:
        """Those that are pinned."""
        return await my_lists.page(ChatFilter(archived=False, pinned=True), page, at_least)

    @get("/archived")
    async def archived(
        self,
        my_lists: NamedDependency[SkipValidation[Lists]],
        page: Page = None,
        at_least: FromQuery[int | None] = None,
    ) -> list[ChatListOut]:
        """Those in the archive."""
        return await my_lists.page(ChatFilter(archived=True), page, at_least)

    @get("/archived/count")
    async def archived_count(
        self,
        principal: NamedDependency[Principal],
        history: NamedDependency[SkipValidation[History]],
        at_least: FromQuery[int | None] = None,
    ) -> int:
        """How many those are."""
        await require_position(history, at_least)
        return await history.archived_count(principal.user_id)

    @get("/folder/{folder_id:str}")
    async def in_folder(
        self,
        folder_id: FromPath[str],
        my_lists: NamedDependency[SkipValidation[Lists]],
        page: Page = None,
        at_least: FromQuery[int | None] = None,
    ) -> list[ChatListOut]:
        """Those in one folder and in all below it."""
        known_id, _ = bound_id(my_lists.user_id, folder_id)
        chosen = ChatFilter(archived=False, in_folder=True, folder_ids=frozenset(my_lists.folders.subtree(known_id)))
        return await my_lists.page(chosen, page, at_least)

    @get("/folder/{folder_id:str}/list")
    async def directly_in_folder(
        self,
        folder_id: FromPath[str],
        my_lists: NamedDependency[SkipValidation[Lists]],
        page: Page = 1,
        at_least: FromQuery[int | None] = None,
    ) -> list[ChatListOut]:
        """Those in one folder, without those in the folders below it; always in pages."""
        known_id, _ = bound_id(my_lists.user_id, folder_id)
        chosen = ChatFilter(archived=False, in_folder=True, folder_ids=frozenset({known_id} & my_lists.folders.by_id.keys()))
        return await my_lists.page(chosen, page, at_least)

    @post("/tags", status_code=200)
    async def tagged(
        self,
        data: JSONBody[TaggedIn],
        my_lists: NamedDependency[SkipValidation[Lists]],
    ) -> list[ChatListOut]:
        """Those with one tag."""
        chosen = ChatFilter(archived=False, tags=(tag_id(data.name),))
        return await my_lists.part(chosen, data.skip, data.limit)

    @get("/all/tags")
    async def all_tags(
        self,
        principal: NamedDependency[Principal],
        history: NamedDependency[SkipValidation[History]],
        at_least: FromQuery[int | None] = None,
    ) -> list[TagOut]:
        """Every tag on a chat of the caller's."""
        await require_position(history, at_least)
        return tags_out(await history.tags(principal.user_id), principal)

    @delete("/", status_code=200)
    async def delete_all(
        self,
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        runs: NamedDependency[Runs],
        log: NamedDependency[SkipValidation[EventLog]],
        history: NamedDependency[SkipValidation[History]],
    ) -> bool:
        """Delete all chats of one's own. The log keeps what they said."""

        async def delete_one(chat_id: UUID) -> None:
            await delete_chat(chats, runs, principal, chat_id)

        await for_own_chats(history, principal, ALL, await log.head(), delete_one)
        return True

    @post("/archive/all", status_code=200)
    async def archive_all(
        self,
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        log: NamedDependency[SkipValidation[EventLog]],
        history: NamedDependency[SkipValidation[History]],
    ) -> bool:
        """Put all chats of one's own into the archive."""
        await archive_all(chats, history, principal, await log.head(), archived=True)
        return True

    @post("/unarchive/all", status_code=200)
    async def unarchive_all(
        self,
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        log: NamedDependency[SkipValidation[EventLog]],
        history: NamedDependency[SkipValidation[History]],
    ) -> bool:
        """Take all chats of one's own out of it."""
        await archive_all(chats, history, principal, await log.head(), archived=False)
        return True

    @get("/{chat_id:str}/pinned")
    async def is_pinned(
        self, chat_id: FromPath[str], principal: NamedDependency[Principal], history: NamedDependency[SkipValidation[History]]
    ) -> bool:
        """Whether this one is pinned."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        return (await readable(history, principal, known_id)).pinned

    @post("/{chat_id:str}/pin", status_code=200)
    async def pin(
        self,
        chat_id: FromPath[str],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        key: NamedDependency[CommandKey | None],
    ) -> CommandOut:
        """Pin it, or unpin it if it is."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        return answered(known_id, await handled(chats, PinChat(chat_id=known_id, by=principal.user_id, pinned=None), principal, key))

    @post("/{chat_id:str}/archive", status_code=200)
    async def archive(
        self,
        chat_id: FromPath[str],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        key: NamedDependency[CommandKey | None],
    ) -> CommandOut:
        """Put it into the archive, and out of its folder; or take it out of the archive if it is there."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        return answered(known_id, await handled(chats, ArchiveChat(chat_id=known_id, by=principal.user_id, archived=None), principal, key))

    @post("/{chat_id:str}/folder", status_code=200)
    async def move(
        self,
        chat_id: FromPath[str],
        data: JSONBody[FolderIn],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        folders: NamedDependency[FolderTrees],
        key: NamedDependency[CommandKey | None],
    ) -> CommandOut:
        """Put it into a folder of one's own, or with null out of any."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        folder_id = bound_id(principal.user_id, data.folder_id)[0] if data.folder_id else None
        await folders.require(principal.user_id, folder_id, key)
        command = MoveChat(chat_id=known_id, by=principal.user_id, folder_id=folder_id)
        return answered(known_id, await handled(chats, command, principal, key))

    @get("/{chat_id:str}/tags")
    async def tags_of(
        self, chat_id: FromPath[str], principal: NamedDependency[Principal], history: NamedDependency[SkipValidation[History]]
    ) -> list[TagOut]:
        """The tags of one chat."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        return tags_out((await readable(history, principal, known_id)).tags, principal)

    @post("/{chat_id:str}/tags", status_code=200)
    async def tag(
        self,
        chat_id: FromPath[str],
        data: JSONBody[TagIn],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        history: NamedDependency[SkipValidation[History]],
        key: NamedDependency[CommandKey | None],
    ) -> list[TagOut]:
        """Add a tag. Answers with all of the chat."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        await handled(chats, TagChat(chat_id=known_id, by=principal.user_id, name=data.name, present=True), principal, key)
        return tags_out((await readable(history, principal, known_id)).tags, principal)

    @delete("/{chat_id:str}/tags", status_code=200)
    async def untag(
        self,
        chat_id: FromPath[str],
        data: JSONBody[TagIn],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        history: NamedDependency[SkipValidation[History]],
    ) -> list[TagOut]:
        """Take a tag off. Answers with those that are left."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        await handled(chats, TagChat(chat_id=known_id, by=principal.user_id, name=data.name, present=False), principal, None)
        return tags_out((await readable(history, principal, known_id)).tags, principal)

    @delete("/{chat_id:str}/tags/all", status_code=200)
    async def untag_all(
        self,
        chat_id: FromPath[str],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        history: NamedDependency[SkipValidation[History]],
    ) -> bool:
        """Take all of them off."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        names = (await readable(history, principal, known_id)).tags
        commands = [TagChat(chat_id=known_id, by=principal.user_id, name=name, present=False) for name in names]
        if commands:
            await chats.handle_all(commands, actor=actor_of(principal))
        return True


async def handled(chats: Chats, command: ChatCommand, principal: Principal, key: CommandKey | None) -> Appended:
    return await chats.handle(command, actor=actor_of(principal), key=key)


async def archive_all(chats: Chats, history: History, principal: Principal, head: int, *, archived: bool) -> None:
    async def archive_one(chat_id: UUID) -> None:
        await chats.handle(ArchiveChat(chat_id=chat_id, by=principal.user_id, archived=archived), actor=actor_of(principal))

    await for_own_chats(history, principal, ChatFilter(archived=not archived), head, archive_one)


async def for_own_chats(
    history: History, principal: Principal, chosen: ChatFilter, head: int, act: Callable[[UUID], Awaitable[None]]
) -> None:
    """``act`` on each of the caller's own chats as of ``head`` or later, however many, the one that changed last last.

    One that is gone meanwhile is passed over.

    Raises ``ProjectionBehind``, before anything is done, and what ``act`` raises, after some of it: to be repeated.
    """
    await require_position(history, head)
    after = 0
    while True:
        page = await history.own(principal.user_id, chosen, after=after, limit=OWN_CHATS_PAGE)
        for start in range(0, len(page), OWN_CHATS_AT_ONCE):
            some = page[start : start + OWN_CHATS_AT_ONCE]
            done = await asyncio.gather(*(act(chat_id) for _, chat_id in some), return_exceptions=True)
            for failure in done:
                if isinstance(failure, BaseException) and not isinstance(failure, ChatNotFound):
                    raise failure
        if len(page) < OWN_CHATS_PAGE:
            return
        after, _ = page[-1]


def tags_out(names: Sequence[str], principal: Principal) -> list[TagOut]:
    return [TagOut(tag_id(name), name, principal.user_id) for name in names]
