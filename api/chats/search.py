"""Searches in one's chats, by what was said in them and by how they are sorted."""

from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter, SkipValidation

from api.chats.list_scope import PAGE_CHATS, PAGE_MAX, ChatListOut, Lists, require_position
from domain.folder import Folders, folder_ids_named
from projections.ports import ChatFilter
from projections.search import Search, parsed

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
        my_lists: NamedDependency[SkipValidation[Lists]],
        text: FromQuery[str] = "",
        page: Page = 1,
        at_least: FromQuery[int | None] = None,
    ) -> list[FoundChatOut]:
        """The caller's chats whose title, or one of whose messages, has all words of ``text``; the one that changed last first, 60 a page.

        Case and accents do not count. "Words in quotes" stand one after the other; of the last word the beginning will do. `tag:NAME`
        (`tag:none`: without any), `folder:NAME` (with the folders below it; or its id), `pinned:true`, `archived:true`, `shared:true`, or
        `false`, say which chats; those in the archive are left out unless they are asked for. An empty text lists all.
        """
        search = parsed(text)
        chosen = chosen_by(search, my_lists.folders)
        offset = (page - 1) * PAGE_CHATS
        if search.phrases is None:
            return [found(one) for one in await my_lists.part(chosen, offset, PAGE_CHATS, at_least)]
        await require_position(my_lists.history, at_least)
        hits = await my_lists.history.search(my_lists.user_id, search.phrases, chosen, offset=offset, limit=PAGE_CHATS)
        listed = await my_lists.shown([hit.chat for hit in hits], fresh=at_least is not None)
        return [found(one, hit.snippet, hit.message_id) for one, hit in zip(listed, hits, strict=True)]


def chosen_by(search: Search, folders: Folders) -> ChatFilter:
    folder_ids: set[UUID] = set()
    for name in search.folders:
        try:
            folder_ids |= {UUID(name)} & folders.by_id.keys()
        except ValueError:
            folder_ids |= set(folder_ids_named(folders, name))
    return ChatFilter(
        pinned=search.pinned,
        archived=search.archived or False,
        in_folder=True if search.folders else None,
        folder_ids=frozenset(folder_ids) if search.folders else None,
        tags=search.tags,
        tagged=False if search.is_untagged else None,
        shared=search.shared,
    )


def found(chat: ChatListOut, snippet: str | None = None, message_id: UUID | None = None) -> FoundChatOut:
    return FoundChatOut(**msgspec.structs.asdict(chat), snippet=snippet, message_id=message_id)
