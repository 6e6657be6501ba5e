"""Searches in one's chats, by what was said in them and by how they are sorted."""

from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from api.chats.list_items import PAGE_MAX, ChatListOut, list_out, page_bounds
from api.request.caller import Caller
from commands.chats.chat_lists import ChatLists

Page = Annotated[int, QueryParameter(ge=1, le=PAGE_MAX, required=False)]


class FoundChatOut(ChatListOut, kw_only=True):
    snippet: str | None = None  # around what was found, as plain text; null where nothing was looked for but by tokens
    message_id: UUID | None = None  # the newest message that has it; null: the title has


class SearchController(Controller):
    path = "/api/v1/chats/search"
    tags = ("chats",)

    @get("/")
    async def search(
        self,
        caller: NamedDependency[Caller],
        chat_lists: NamedDependency[ChatLists],
        text: FromQuery[str] = "",
        page: Page = 1,
        at_least: FromQuery[int | None] = None,
    ) -> list[FoundChatOut]:
        """The caller's chats whose title, or one of whose messages, has all words of ``text``; the one that changed last first, 60 a page.

        Case and accents do not count. "Words in quotes" stand one after the other; of the last word the beginning will do. `tag:NAME`
        (`tag:none`: without any), `folder:NAME` (with the folders below it; or its id), `pinned:true`, `archived:true`, `shared:true`, or
        `false`, say which chats; those in the archive are left out unless they are asked for. An empty text lists all.
        """
        items = await chat_lists.search(caller.user_id, text, **page_bounds(page), at_least=at_least)
        return [
            FoundChatOut(**msgspec.structs.asdict(chat), snippet=item.snippet, message_id=item.message_id)
            for chat, item in zip(list_out(items), items, strict=True)
        ]
