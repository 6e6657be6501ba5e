"""All chats of one person, or of everyone, read one after the other: however many there are, a page of one of them is in memory."""

from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

from commands.chats.chat_pages import ChatPages
from commands.chats.chat_reader import ChatReader
from commands.ports import EventLog, UserList
from commands.positions import require_projected
from projections.ports import ALL, ChatFilter, ChatQueries

PAGE_CHATS: Final = 10_000
PAGE_USERS: Final = 1000


class WholeLists:
    """Each chat comes with the content of its blobs. Chats that others share are left out."""

    def __init__(self, chat_queries: ChatQueries, log: EventLog, reader: ChatReader, user_list: UserList) -> None:
        self._chat_queries = chat_queries
        self._log = log
        self._reader = reader
        self._user_list = user_list

    async def require_current(self) -> None:
        """Wait until lists hold everything that is in the log now. Raises ``ProjectionBehind``."""
        await require_projected(self._chat_queries, await self._log.head())

    async def of_user(self, user_id: UUID, chosen: ChatFilter = ALL) -> AsyncIterator[ChatPages]:
        """The person's own chats, the one that changed last first."""
        offset = 0
        while True:
            page = await self._chat_queries.listed(user_id, chosen, offset=offset, limit=PAGE_CHATS)
            for one in page:
                pages = await self._reader.owned_by(user_id, one.chat_id)
                if pages is not None:
                    yield pages
            if len(page) < PAGE_CHATS:
                return
            offset += PAGE_CHATS

    async def of_everyone(self) -> AsyncIterator[ChatPages]:
        """Everyone's chats, by owner. For admins and auditors: the caller of this method has checked that."""
        offset = 0
        while True:
            user_ids, _ = await self._user_list.users(offset=offset, limit=PAGE_USERS)
            for user_id in user_ids:
                async for one in self.of_user(user_id):
                    yield one
            if len(user_ids) < PAGE_USERS:
                return
            offset += PAGE_USERS
