"""What a list of chats is made from, for one person: their chats, the folders they have, and how far they have read."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar.di import NamedDependency
from litestar.params import QueryParameter, SkipValidation

from commands.accounts import Accounts, Principal
from commands.folders import FolderTrees
from domain.errors import ProjectionBehind
from domain.folder import Folders
from projections.ports import ChatFilter, History, ListedChat

PAGE_CHATS: Final = 60
CHATS_MAX: Final = 10_000  # of a list without pages
AT_LEAST_WAIT_S: Final = 10.0

PAGE_MAX: Final = 1_000_000

Page = Annotated[int | None, QueryParameter(ge=1, le=PAGE_MAX, required=False)]


class ChatListOut(msgspec.Struct):
    id: UUID
    title: str
    updated_at: int  # seconds since 1970
    created_at: int
    last_read_at: int | None  # of the newest event that this person has read; null, or below ``updated_at``: something is unread
    pinned: bool
    archived: bool
    folder_id: UUID | None


class Lists:
    """One person's lists, as they see them."""

    def __init__(self, history: History, accounts: Accounts, user_id: UUID, folders: Folders) -> None:
        self.history = history
        self.user_id = user_id
        self.folders = folders
        self._accounts = accounts

    async def page(self, chosen: ChatFilter, page: int | None, at_least: int | None) -> list[ChatListOut]:
        """The chosen chats, the one that changed last first; all of them without ``page``. Raises ``ProjectionBehind``."""
        offset, limit = ((page - 1) * PAGE_CHATS, PAGE_CHATS) if page is not None else (0, CHATS_MAX)
        return await self.part(chosen, offset, limit, at_least)

    async def part(self, chosen: ChatFilter, offset: int, limit: int, at_least: int | None = None) -> list[ChatListOut]:
        """The same, ``limit`` of them at most."""
        await require_position(self.history, at_least)
        if chosen.folder_ids is None:
            chosen = msgspec.structs.replace(chosen, folder_ids=frozenset(self.folders.by_id))
        chats = await self.history.listed(self.user_id, chosen, offset=offset, limit=limit)
        return await self.shown(chats, fresh=at_least is not None)

    async def shown(self, chats: Sequence[ListedChat], *, fresh: bool = False) -> list[ChatListOut]:
        """``fresh``: with everything that was read before this call, on whichever process."""
        read_at = await self._last_read_at(chats, fresh=fresh)
        return [self._shown(one, read_at[one.chat_id]) for one in chats]

    async def _last_read_at(self, chats: Sequence[ListedChat], *, fresh: bool) -> Mapping[UUID, int | None]:
        account = await self._accounts.account(self.user_id, fresh=fresh)
        versions = {one.chat_id: account.read_version(one.chat_id) for one in chats}
        times = await self.history.times({one.chat_id: versions[one.chat_id] for one in chats if 0 < versions[one.chat_id] < one.version})
        read_at: dict[UUID, int | None] = {}
        for one in chats:
            version, updated_at = versions[one.chat_id], int(one.updated_at.timestamp())
            if version == 0:
                read_at[one.chat_id] = None
            elif version >= one.version:
                read_at[one.chat_id] = updated_at
            else:  # of two events of one second the later one is unread all the same
                read_at[one.chat_id] = min(int(times[one.chat_id].timestamp()), updated_at - 1)
        return read_at

    def _shown(self, one: ListedChat, read_at: int | None) -> ChatListOut:
        folder_id = one.folder_id if one.folder_id in self.folders.by_id else None  # one that is gone, or never was, is none
        updated_at, created_at = int(one.updated_at.timestamp()), int(one.created_at.timestamp())
        return ChatListOut(one.chat_id, one.title, updated_at, created_at, read_at, one.pinned, one.archived, folder_id)


async def provide_my_folders(principal: NamedDependency[Principal], folders: NamedDependency[FolderTrees]) -> Folders:
    """The caller's own, as they are now: which of the folders that chats name are there."""
    _, known = await folders.of(principal.user_id)
    return known


def provide_my_lists(
    principal: NamedDependency[Principal],
    history: NamedDependency[SkipValidation[History]],
    accounts: NamedDependency[Accounts],
    my_folders: NamedDependency[SkipValidation[Folders]],
) -> Lists:
    """The caller's own."""
    return Lists(history, accounts, principal.user_id, my_folders)


async def require_position(history: History, at_least: int | None) -> None:
    """Raises ``ProjectionBehind`` if lists do not hold everything up to there in time."""
    if at_least is not None and not await history.reached(at_least, AT_LEAST_WAIT_S):
        raise ProjectionBehind(at_least)
