"""Many whole chats in one response, written chat by chat: however many there are, one of them is in memory."""

from collections.abc import AsyncGenerator, AsyncIterator
from uuid import UUID

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Stream

from api.chats.chat_json import chat_pieces
from api.chats.list_items import ChatListOut, PageNumber, list_out, page_bounds
from api.request.caller import Caller
from commands.chats.chat_lists import ChatLists
from commands.chats.chat_pages import ChatPages
from commands.chats.whole_lists import WholeLists
from commands.security_log import read_by_role
from domain.errors import Forbidden
from projections.ports import ALL, ChatFilter


class AllChatsController(Controller):
    path = "/api/v1/chats"
    tags = ("chats",)

    @get("/all")
    async def all_chats(self, caller: NamedDependency[Caller], whole_lists: NamedDependency[WholeLists]) -> Stream:
        """All of one's own chats, with everything that stands in them."""
        await whole_lists.require_current()
        return array(whole_lists.of_user(caller.user_id))

    @get("/all/archived")
    async def all_archived(self, caller: NamedDependency[Caller], whole_lists: NamedDependency[WholeLists]) -> Stream:
        """Those in the archive."""
        await whole_lists.require_current()
        return array(whole_lists.of_user(caller.user_id, ChatFilter(archived=True)))

    @get("/all/db")
    async def everybodys(self, caller: NamedDependency[Caller], whole_lists: NamedDependency[WholeLists]) -> Stream:
        """Everyone's chats, for admins and auditors, ordered by owner."""
        require_reader_of_everything(caller)
        await whole_lists.require_current()
        return array(whole_lists.of_everyone())

    @get("/list/user/{user_id:uuid}")
    async def list_of_user(
        self,
        user_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        chat_lists: NamedDependency[ChatLists],
        page: PageNumber = None,
    ) -> list[ChatListOut]:
        """The list of one person, those in the archive too, for admins and auditors."""
        require_reader_of_everything(caller)
        return list_out(await chat_lists.list_chats(user_id, ALL, **page_bounds(page or 1)))


def require_reader_of_everything(caller: Caller) -> None:
    if not caller.principal.reads_everything:
        raise Forbidden("other people's chats are for admins and auditors")
    read_by_role(caller.user_id, caller.principal.role, "other people's chats")


def array(chats: AsyncIterator[ChatPages]) -> Stream:
    async def pieces() -> AsyncGenerator[bytes, None]:
        before = b"["
        async for chat in chats:
            yield before
            async for piece in chat_pieces(chat):
                yield piece
            before = b",\n"
        yield b"[]" if before == b"[" else b"]"

    return Stream(pieces(), media_type="application/json")
