"""``History`` without rows: every question is answered from the events themselves. What the rows must agree with."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from adapters.memory.log import MemoryLog
from domain.chat import tag_id
from domain.errors import MessageNotFound
from domain.stream import Stream
from projections.chat import ChatView, view
from projections.ports import ALL, ChatFilter, ListedChat, SharedChat
from projections.statistics import CountedChat, counted_chat


class MemoryHistory:
    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def chat(self, chat_id: UUID, *, at: int | None = None) -> ChatView:
        stream = Stream("chat", chat_id)
        newest = await self._log.version(stream)
        return view(await self._log.read(stream, until=newest if at is None else at, limit=newest))

    async def branch(
        self, chat_id: UUID, *, at: int | None = None, leaf: UUID | None = None, above: UUID | None = None, limit: int
    ) -> tuple[ChatView, list[str]]:
        chat = await self.chat(chat_id, at=at)
        named = leaf or above
        if named is not None and str(named) not in chat.messages:
            raise MessageNotFound(named)
        start = str(named) if named is not None else chat.current_id
        ids = chat.branch(chat.messages[str(above)]["parentId"] if above is not None else start)
        return chat, ids[-limit:]

    async def listed(self, user_id: UUID, chosen: ChatFilter = ALL, *, offset: int, limit: int) -> Sequence[ListedChat]:
        chats: list[tuple[datetime, int, ListedChat]] = []
        for stream in self._log.streams("chat"):
            chat = await self.chat(stream.id)
            if chat.is_listed_for(user_id) and chosen.takes(chat, user_id):
                assert chat.updated_at is not None  # it has an event
                chats.append((chat.updated_at, chat.position, listed_chat(stream.id, chat, user_id)))
        chats.sort(reverse=True, key=lambda one: one[:2])
        return [listed for _, _, listed in chats[offset : offset + limit]]

    async def shared(self, user_id: UUID, *, offset: int, limit: int) -> Sequence[SharedChat]:
        chats = [(stream.id, await self.chat(stream.id)) for stream in self._log.streams("chat")]
        found = [
            SharedChat(chat_id, chat.title, UUID(share["share_id"]), share["version"], share["created_at"], share["updated_at"])
            for chat_id, chat in chats
            if chat.owner_id == user_id and not chat.deleted and (share := chat.share) is not None
        ]
        found.sort(key=lambda one: (-one.updated_at, one.chat_id))
        return found[offset : offset + limit]

    async def counted(
        self, user_id: UUID, *, offset: int, limit: int, oldest_first: bool = False, since: datetime | None = None
    ) -> tuple[Sequence[CountedChat], int]:
        chats: list[tuple[datetime, int, CountedChat]] = []
        for stream in self._log.streams("chat"):
            chat = await self.chat(stream.id)
            if chat.owner_id == user_id and chat.is_listed_for(user_id):
                counted = counted_chat(stream.id, chat)
                if since is None or counted.updated_at > since:
                    chats.append((counted.updated_at, chat.position, counted))
        chats.sort(reverse=not oldest_first, key=lambda one: one[:2])
        return [counted for _, _, counted in chats[offset : offset + limit]], len(chats)

    async def tags(self, user_id: UUID) -> Sequence[str]:
        chats = [await self.chat(stream.id) for stream in self._log.streams("chat")]
        names = {name for chat in chats if chat.owner_id == user_id and chat.is_listed_for(user_id) for name in chat.tags}
        first: dict[str, str] = {}
        for name in sorted(names):
            first.setdefault(tag_id(name), name)
        return [first[key] for key in sorted(first)]

    async def reached(self, position: int, timeout_s: float) -> bool:  # there is nothing to wait for
        return position <= await self._log.head()


def listed_chat(chat_id: UUID, chat: ChatView, user_id: UUID) -> ListedChat:
    assert chat.created_at is not None
    assert chat.updated_at is not None
    is_own = user_id == chat.owner_id
    return ListedChat(
        chat_id,
        chat.title,
        chat.created_at,
        chat.updated_at,
        is_own and chat.pinned,
        is_own and chat.archived,
        chat.folder_id if is_own else None,
    )
