"""The list of one's chats, and what sorts it: pins, the archive, folders, tags."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from api.chats.chat import CommandOut, command_out
from api.chats.list_items import CHATS_MAX, ChatListOut, PageNumber, list_out, page_bounds
from api.request.caller import Caller
from commands.chats.chat_lists import ChatLists
from commands.chats.chat_reader import ChatReader
from commands.chats.chats import Chats
from commands.chats.folders import FolderTrees
from commands.own_chats.own_chats import OwnChats
from domain.chat.commands import ArchiveChat, MoveChat, PinChat, TagChat
from domain.chat.state import tag_id
from projections.ports import ChatFilter


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
        caller: NamedDependency[Caller],
        chat_lists: NamedDependency[ChatLists],
        page: PageNumber = None,
        include_pinned: FromQuery[bool] = False,
        include_folders: FromQuery[bool] = False,
        at_least: FromQuery[int | None] = None,
    ) -> list[ChatListOut]:
        """The caller's chats, the one that changed last first, without those in the archive. ``page`` counts from 1 and holds 60."""
        chosen = ChatFilter(archived=False, pinned=None if include_pinned else False, in_folder=None if include_folders else False)
        return list_out(await chat_lists.list_chats(caller.user_id, chosen, **page_bounds(page), at_least=at_least))

    @get("/pinned")
    async def pinned(
        self,
        caller: NamedDependency[Caller],
        chat_lists: NamedDependency[ChatLists],
        page: PageNumber = None,
        at_least: FromQuery[int | None] = None,
    ) -> list[ChatListOut]:
        """Those that are pinned."""
        chosen = ChatFilter(archived=False, pinned=True)
        return list_out(await chat_lists.list_chats(caller.user_id, chosen, **page_bounds(page), at_least=at_least))

    @get("/archived")
    async def archived(
        self,
        caller: NamedDependency[Caller],
        chat_lists: NamedDependency[ChatLists],
        page: PageNumber = None,
        at_least: FromQuery[int | None] = None,
    ) -> list[ChatListOut]:
        """Those in the archive."""
        chosen = ChatFilter(archived=True)
        return list_out(await chat_lists.list_chats(caller.user_id, chosen, **page_bounds(page), at_least=at_least))

    @get("/archived/count")
    async def archived_count(
        self, caller: NamedDependency[Caller], chat_lists: NamedDependency[ChatLists], at_least: FromQuery[int | None] = None
    ) -> int:
        """How many those are."""
        return await chat_lists.archived_count(caller.user_id, at_least)

    @get("/folder/{folder_id:str}")
    async def in_folder(
        self,
        folder_id: FromPath[str],
        caller: NamedDependency[Caller],
        chat_lists: NamedDependency[ChatLists],
        page: PageNumber = None,
        at_least: FromQuery[int | None] = None,
    ) -> list[ChatListOut]:
        """Those in one folder and in all below it."""
        known_id, bounds = caller.bound(folder_id), page_bounds(page)
        return list_out(await chat_lists.list_folder(caller.user_id, known_id, with_subfolders=True, **bounds, at_least=at_least))

    @get("/folder/{folder_id:str}/list")
    async def directly_in_folder(
        self,
        folder_id: FromPath[str],
        caller: NamedDependency[Caller],
        chat_lists: NamedDependency[ChatLists],
        page: PageNumber = 1,
        at_least: FromQuery[int | None] = None,
    ) -> list[ChatListOut]:
        """Those in one folder, without those in the folders below it; always in pages."""
        known_id, bounds = caller.bound(folder_id), page_bounds(page)
        return list_out(await chat_lists.list_folder(caller.user_id, known_id, with_subfolders=False, **bounds, at_least=at_least))

    @post("/tags", status_code=200)
    async def tagged(
        self, data: JSONBody[TaggedIn], caller: NamedDependency[Caller], chat_lists: NamedDependency[ChatLists]
    ) -> list[ChatListOut]:
        """Those with one tag."""
        chosen = ChatFilter(archived=False, tags=(tag_id(data.name),))
        return list_out(await chat_lists.list_chats(caller.user_id, chosen, offset=data.skip, limit=data.limit))

    @get("/all/tags")
    async def all_tags(
        self, caller: NamedDependency[Caller], chat_lists: NamedDependency[ChatLists], at_least: FromQuery[int | None] = None
    ) -> list[TagOut]:
        """Every tag on a chat of the caller's."""
        return tags_out(await chat_lists.tags(caller.user_id, at_least), caller.user_id)

    @delete("/", status_code=200)
    async def delete_all(self, caller: NamedDependency[Caller], own_chats: NamedDependency[OwnChats]) -> bool:
        """Delete all chats of one's own. The log keeps what they said."""
        await own_chats.delete_all(caller.actor)
        return True

    @post("/archive/all", status_code=200)
    async def archive_all(self, caller: NamedDependency[Caller], own_chats: NamedDependency[OwnChats]) -> bool:
        """Put all chats of one's own into the archive."""
        await own_chats.archive_all(caller.actor, archived=True)
        return True

    @post("/unarchive/all", status_code=200)
    async def unarchive_all(self, caller: NamedDependency[Caller], own_chats: NamedDependency[OwnChats]) -> bool:
        """Take all chats of one's own out of it."""
        await own_chats.archive_all(caller.actor, archived=False)
        return True

    @get("/{chat_id:str}/pinned")
    async def is_pinned(self, chat_id: FromPath[str], caller: NamedDependency[Caller], chat_reader: NamedDependency[ChatReader]) -> bool:
        """Whether this one is pinned."""
        return (await chat_reader.head(caller.principal, caller.bound(chat_id))).pinned

    @post("/{chat_id:str}/pin", status_code=200)
    async def pin(self, chat_id: FromPath[str], caller: NamedDependency[Caller], chats: NamedDependency[Chats]) -> CommandOut:
        """Pin it, or unpin it if it is."""
        command = PinChat(chat_id=caller.bound(chat_id), by=caller.user_id, pinned=None)
        return command_out(command.chat_id, await chats.handle(command, actor=caller.actor, key=caller.key))

    @post("/{chat_id:str}/archive", status_code=200)
    async def archive(self, chat_id: FromPath[str], caller: NamedDependency[Caller], chats: NamedDependency[Chats]) -> CommandOut:
        """Put it into the archive, and out of its folder; or take it out of the archive if it is there."""
        command = ArchiveChat(chat_id=caller.bound(chat_id), by=caller.user_id, archived=None)
        return command_out(command.chat_id, await chats.handle(command, actor=caller.actor, key=caller.key))

    @post("/{chat_id:str}/folder", status_code=200)
    async def move(
        self,
        chat_id: FromPath[str],
        data: JSONBody[FolderIn],
        caller: NamedDependency[Caller],
        chats: NamedDependency[Chats],
        folders: NamedDependency[FolderTrees],
    ) -> CommandOut:
        """Put it into a folder of one's own, or with null out of any."""
        command = MoveChat(chat_id=caller.bound(chat_id), by=caller.user_id, folder_id=caller.bound_or_none(data.folder_id))
        await folders.require(caller.user_id, command.folder_id, caller.key)
        return command_out(command.chat_id, await chats.handle(command, actor=caller.actor, key=caller.key))

    @get("/{chat_id:str}/tags")
    async def tags_of(
        self, chat_id: FromPath[str], caller: NamedDependency[Caller], chat_reader: NamedDependency[ChatReader]
    ) -> list[TagOut]:
        """The tags of one chat."""
        return tags_out((await chat_reader.head(caller.principal, caller.bound(chat_id))).tags, caller.user_id)

    @post("/{chat_id:str}/tags", status_code=200)
    async def tag(
        self,
        chat_id: FromPath[str],
        data: JSONBody[TagIn],
        caller: NamedDependency[Caller],
        chats: NamedDependency[Chats],
        chat_reader: NamedDependency[ChatReader],
    ) -> list[TagOut]:
        """Add a tag. Answers with all of the chat."""
        return await set_tag(caller, chats, chat_reader, chat_id, data.name, present=True)

    @delete("/{chat_id:str}/tags", status_code=200)
    async def untag(
        self,
        chat_id: FromPath[str],
        data: JSONBody[TagIn],
        caller: NamedDependency[Caller],
        chats: NamedDependency[Chats],
        chat_reader: NamedDependency[ChatReader],
    ) -> list[TagOut]:
        """Take a tag off. Answers with those that are left."""
        return await set_tag(caller, chats, chat_reader, chat_id, data.name, present=False)

    @delete("/{chat_id:str}/tags/all", status_code=200)
    async def untag_all(
        self,
        chat_id: FromPath[str],
        caller: NamedDependency[Caller],
        chats: NamedDependency[Chats],
        chat_reader: NamedDependency[ChatReader],
    ) -> bool:
        """Take all of them off."""
        known_id = caller.bound(chat_id)
        names = (await chat_reader.head(caller.principal, known_id)).tags
        if names:
            commands = [TagChat(chat_id=known_id, by=caller.user_id, name=name, present=False) for name in names]
            await chats.handle_all(commands, actor=caller.actor)
        return True


async def set_tag(caller: Caller, chats: Chats, reader: ChatReader, chat_id: str, name: str, *, present: bool) -> list[TagOut]:
    command = TagChat(chat_id=caller.bound(chat_id), by=caller.user_id, name=name, present=present)
    await chats.handle(command, actor=caller.actor, key=caller.key if present else None)
    return tags_out((await reader.head(caller.principal, command.chat_id)).tags, caller.user_id)


def tags_out(names: Sequence[str], user_id: UUID) -> list[TagOut]:
    return [TagOut(tag_id(name), name, user_id) for name in names]
