"""What a list of chats looks like on the wire, and its pages."""

from collections.abc import Iterable
from typing import Annotated, Final
from uuid import UUID

import msgspec
from litestar.params import QueryParameter

from commands.chats.chat_lists import ListItem

PAGE_CHATS: Final = 60
CHATS_MAX: Final = 10_000  # of a list without pages
PAGE_MAX: Final = 1_000_000

PageNumber = Annotated[int | None, QueryParameter(ge=1, le=PAGE_MAX, required=False)]


class ChatListOut(msgspec.Struct):
    id: UUID
    title: str
    updated_at: int  # seconds since 1970
    created_at: int
    last_read_at: int | None  # of the newest event that this person has read; null, or below ``updated_at``: something is unread
    pinned: bool
    archived: bool
    folder_id: UUID | None


def page_bounds(page: int | None, all_max: int = CHATS_MAX) -> dict[str, int]:
    """``offset`` and ``limit`` of a page, which counts from 1; without a page of a list of ``all_max`` at most."""
    return {"offset": (page - 1) * PAGE_CHATS, "limit": PAGE_CHATS} if page is not None else {"offset": 0, "limit": all_max}


def list_out(items: Iterable[ListItem]) -> list[ChatListOut]:
    return [
        ChatListOut(
            chat.chat_id,
            chat.title,
            int(chat.updated_at.timestamp()),
            int(chat.created_at.timestamp()),
            item.last_read_at,
            chat.pinned,
            chat.archived,
            item.folder_id,
        )
        for item in items
        for chat in [item.chat]
    ]
