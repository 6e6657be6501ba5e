"""``/api/v1/search``: what the search window of Open WebUI's page asks. Chats alone are found: there is nothing else here yet."""

from typing import Annotated, Any, Final

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from api.request.caller import Caller
from commands.chats.chat_lists import ChatLists, ListItem

PAGE_CHATS: Final = 30
PAGE_MAX: Final = 10_000
QUERY_CHARACTERS_MAX: Final = 1_000
KINDS: Final = [{"id": "chat", "name": "Chats"}]


class FoundOut(msgspec.Struct):
    id: str  # the kind, a colon, the id
    kind: str
    title: str
    context: str
    snippet: str
    preview: str
    url: str
    updated_at: int  # seconds since 1970
    shared: bool
    pinned: bool


class SearchOut(msgspec.Struct):
    items: list[FoundOut]
    has_more: bool
    scopes: list[Any]
    kinds: list[dict[str, str]]


class PageSearchController(Controller):
    path = "/api/v1/search"
    tags = ("chats",)

    @get("/")
    async def search(
        self,
        caller: NamedDependency[Caller],
        chat_lists: NamedDependency[ChatLists],
        q: Annotated[str, QueryParameter(max_length=QUERY_CHARACTERS_MAX, required=False)] = "",
        kind: FromQuery[str] = "all",
        page: Annotated[int, QueryParameter(ge=1, le=PAGE_MAX, required=False)] = 1,
    ) -> SearchOut:
        """Chats of the caller that have all words of ``q``, as in ``/api/v1/chats/search``; an empty one lists the newest."""
        found: list[ListItem] = []
        if kind in ("all", "chat"):
            offset = (page - 1) * PAGE_CHATS
            found = await chat_lists.search(caller.user_id, q, offset=offset, limit=PAGE_CHATS + 1)
        return SearchOut([found_out(one) for one in found[:PAGE_CHATS]], len(found) > PAGE_CHATS, [], KINDS)


def found_out(item: ListItem) -> FoundOut:
    chat = item.chat
    url = f"/c/{chat.chat_id}" + (f"?message={item.message_id}" if item.message_id is not None else "")
    snippet = item.snippet or ""
    updated_at = int(chat.updated_at.timestamp())
    return FoundOut(f"chat:{chat.chat_id}", "chat", chat.title, "", snippet, snippet, url, updated_at, False, chat.pinned)
