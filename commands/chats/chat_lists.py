"""Lists of a person's chats: chosen by folder, tag, pin and archive, or found by a search; with what each has unread."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec

from commands.accounts.accounts import Accounts
from commands.chats.folders import FolderTrees
from commands.chats.read_receipts import ReadReceipts
from commands.positions import ListWaits
from domain.chat.folder import Folders, folder_ids_named
from projections.ports import ChatFilter, ChatQueries, ListedChat
from projections.search import Search, parsed


class ListItem(NamedTuple):
    """One chat of a list. ``snippet`` and ``message_id`` only where a search has found something in it: see ``FoundChat``."""

    chat: ListedChat
    folder_id: UUID | None  # None also where the folder is gone
    last_read_at: int | None  # see ``ReadReceipts.last_read_at``
    snippet: str | None = None
    message_id: UUID | None = None


class ChatLists:
    """The lists of all users, the chat that changed last first.

    ``at_least``, a position: wait until the list holds what happened until then. It always waits for the reader's own events, within a
    bound. Raises what ``ListWaits.wait`` raises.
    """

    def __init__(
        self, chat_queries: ChatQueries, folders: FolderTrees, receipts: ReadReceipts, waits: ListWaits, accounts: Accounts
    ) -> None:
        self._chat_queries = chat_queries
        self._waits = waits
        self._folders = folders
        self._receipts = receipts
        self._accounts = accounts

    async def list_chats(
        self, user_id: UUID, chosen: ChatFilter, *, offset: int, limit: int, at_least: int | None = None
    ) -> list[ListItem]:
        """``limit`` of the chosen chats at most."""
        _, folders = await self._folders.folders_of(user_id)
        return await self._list_chats(user_id, chosen, folders, offset, limit, at_least)

    async def list_folder(
        self, user_id: UUID, folder_id: UUID, *, with_subfolders: bool, offset: int, limit: int, at_least: int | None = None
    ) -> list[ListItem]:
        """The chats in one folder that are not in the archive; none where there is no such folder."""
        _, folders = await self._folders.folders_of(user_id)
        folder_ids = frozenset(folders.subtree(folder_id)) if with_subfolders else frozenset({folder_id} & folders.by_id.keys())
        chosen = ChatFilter(archived=False, in_folder=True, folder_ids=folder_ids)
        return await self._list_chats(user_id, chosen, folders, offset, limit, at_least)

    async def list_hidden(self, user_id: UUID, *, offset: int, limit: int, at_least: int | None = None) -> list[ListItem]:
        """The chats of others that this person has hidden."""
        account = await self._accounts.account(user_id, fresh=True)
        has_waited = await self._waits.wait(user_id, at_least)
        _, folders = await self._folders.folders_of(user_id)
        chats = await self._chat_queries.listed(user_id, ChatFilter(only=account.hidden), offset=offset, limit=limit)
        return await self._list_items(user_id, chats, folders, fresh=has_waited)

    async def search(self, user_id: UUID, text: str, *, offset: int, limit: int, at_least: int | None = None) -> list[ListItem]:
        """The chats in which the search finds something. Raises ``BadSearch``."""
        search = parsed(text)
        _, folders = await self._folders.folders_of(user_id)
        chosen = filter_of(search, folders)
        if search.phrases is None:
            return await self._list_chats(user_id, chosen, folders, offset, limit, at_least)
        has_waited = await self._waits.wait(user_id, at_least)
        chosen = await self._without_hidden(user_id, chosen)
        hits = await self._chat_queries.search(user_id, search.phrases, chosen, offset=offset, limit=limit)
        items = await self._list_items(user_id, [hit.chat for hit in hits], folders, fresh=has_waited)
        return [item._replace(snippet=hit.snippet, message_id=hit.message_id) for item, hit in zip(items, hits, strict=True)]

    async def archived_count(self, user_id: UUID, at_least: int | None) -> int:
        await self._waits.wait(user_id, at_least)
        return await self._chat_queries.archived_count(user_id)

    async def tags(self, user_id: UUID, at_least: int | None) -> Sequence[str]:
        """The names of all tags on this person's chats."""
        await self._waits.wait(user_id, at_least)
        return await self._chat_queries.tags(user_id)

    async def _list_chats(
        self, user_id: UUID, chosen: ChatFilter, folders: Folders, offset: int, limit: int, at_least: int | None
    ) -> list[ListItem]:
        has_waited = await self._waits.wait(user_id, at_least)
        if chosen.folder_ids is None:
            chosen = msgspec.structs.replace(chosen, folder_ids=frozenset(folders.by_id))
        chosen = await self._without_hidden(user_id, chosen)
        chats = await self._chat_queries.listed(user_id, chosen, offset=offset, limit=limit)
        return await self._list_items(user_id, chats, folders, fresh=has_waited)

    async def _without_hidden(self, user_id: UUID, chosen: ChatFilter) -> ChatFilter:
        """The filter, without the chats that this person has hidden and those of people whom they have blocked."""
        account = await self._accounts.account(user_id, fresh=True)
        return msgspec.structs.replace(chosen, hidden=account.hidden, blocked=account.blocked)

    async def _list_items(self, user_id: UUID, chats: Sequence[ListedChat], folders: Folders, *, fresh: bool) -> list[ListItem]:
        read_at = await self._receipts.last_read_at(user_id, chats, fresh=fresh)
        return [ListItem(one, one.folder_id if one.folder_id in folders.by_id else None, read_at[one.chat_id]) for one in chats]


def filter_of(search: Search, folders: Folders) -> ChatFilter:
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
