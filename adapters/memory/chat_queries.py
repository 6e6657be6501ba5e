"""``ChatQueries`` without rows: every question is answered from the events themselves. What the rows must agree with."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from adapters.memory.blobs import MemoryBlobs
from adapters.memory.log import MemoryLog
from domain.chat.state import tag_id
from domain.errors import MessageNotFound
from domain.log.stream import chat_stream
from projections.chat import ChatView, blob_of, message_for_wire, text_of, view
from projections.chat_search import TEXT_CHARACTERS_MAX, plain_text
from projections.messages import Messages
from projections.outline import Outline, Place
from projections.ports import ALL, ChatFilter, FoundChat, ListedChat, SharedChat
from projections.search import Phrase, matches, snippet
from projections.statistics import CountedChat, counted_view
from projections.words import words


class MemoryChatQueries:
    def __init__(self, log: MemoryLog, blobs: MemoryBlobs) -> None:
        self._log = log
        self._blobs = blobs

    async def chat(self, chat_id: UUID, *, at: int | None = None) -> ChatView:
        stream = chat_stream(chat_id)
        newest = await self._log.version(stream)
        events = await self._log.read(stream, until=newest if at is None else at, limit=newest)
        times = await self._log.original_times(stream, after=0, until=newest)
        # What readers see of a restored event is when it was recorded first.
        return view(msgspec.structs.replace(event, at=times.get(event.version, event.at)) if times else event for event in events)

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

    async def outline(self, chat_id: UUID, *, at: int | None = None, whole_bytes_max: int) -> tuple[ChatView, Outline | None]:
        chat = await self.chat(chat_id, at=at)
        messages = chat.messages
        places = [
            Place(one, messages.parent_of(one), len(msgspec.json.encode(message_for_wire(messages, one))))
            for one in sorted(messages, key=chat.ordinals.__getitem__)
        ]
        if sum(place.bytes for place in places) <= whole_bytes_max:
            return chat, None
        chat.messages = Messages()
        return chat, Outline(places, chat.current_id)

    async def messages(self, chat_id: UUID, message_ids: Sequence[str], *, at: int) -> ChatView:
        chat = await self.chat(chat_id, at=at)
        chat.messages = chat.messages.only(message_ids)
        return chat

    async def listed(self, user_id: UUID, chosen: ChatFilter = ALL, *, offset: int, limit: int) -> Sequence[ListedChat]:
        chats = await self._chosen(user_id, chosen)
        return [listed_chat(chat_id, chat, user_id) for chat_id, chat in chats[offset : offset + limit]]

    async def own(self, user_id: UUID, chosen: ChatFilter = ALL, *, after: int, limit: int) -> Sequence[tuple[int, UUID]]:
        chats = await self._chosen(user_id, chosen)
        found = [(chat.position, chat_id) for chat_id, chat in chats if chat.owner_id == user_id]
        return [one for one in sorted(found) if one[0] > after][:limit]

    async def archived_count(self, user_id: UUID) -> int:
        return len(await self._chosen(user_id, ChatFilter(archived=True)))

    async def shared(self, user_id: UUID, *, offset: int, limit: int) -> Sequence[SharedChat]:
        chats = [(stream.id, await self.chat(stream.id)) for stream in await self._log.streams("chat")]
        found = [
            SharedChat(chat_id, chat.title, UUID(share["share_id"]), share["version"], share["created_at"], share["updated_at"])
            for chat_id, chat in chats
            if chat.owner_id == user_id and not chat.deleted and (share := chat.share) is not None
        ]
        found.sort(key=lambda one: (-one.updated_at, one.chat_id))
        return found[offset : offset + limit]

    async def search(
        self, user_id: UUID, phrases: Sequence[Phrase], chosen: ChatFilter = ALL, *, offset: int, limit: int
    ) -> Sequence[FoundChat]:
        found: list[FoundChat] = []
        for chat_id, chat in await self._chosen(user_id, chosen) if phrases else []:
            whole = sorted(chat.messages.keys() - chat.open.keys(), key=chat.ordinals.__getitem__)
            texts = [(UUID(one), await self._text(chat_id, text_of(chat.messages[one]))) for one in whole]
            hits = [(one, text) for one, text in [(None, chat.title), *texts] if matches(phrases, words(text))]
            if hits:
                hit_id, text = hits[-1]
                found.append(FoundChat(listed_chat(chat_id, chat, user_id), hit_id, snippet(text, phrases)))
        return found[offset : offset + limit]

    async def counted(
        self, user_id: UUID, *, offset: int, limit: int, oldest_first: bool = False, since: datetime | None = None
    ) -> tuple[Sequence[CountedChat], int]:
        chats = [counted_view(chat_id, chat) for chat_id, chat in await self._chosen(user_id, ALL) if chat.owner_id == user_id]
        chats = [one for one in chats if since is None or one.updated_at > since]
        return (chats[::-1] if oldest_first else chats)[offset : offset + limit], len(chats)

    async def _text(self, chat_id: UUID, content: Any) -> str:
        blob = blob_of(content)
        kept = await self._blobs.get(chat_stream(chat_id), blob) if blob is not None else None
        return (kept.decode() if kept is not None else plain_text(content))[:TEXT_CHARACTERS_MAX]

    async def _chosen(self, user_id: UUID, chosen: ChatFilter) -> list[tuple[UUID, ChatView]]:
        chats = [(stream.id, await self.chat(stream.id)) for stream in await self._log.streams("chat")]
        mine = [(chat_id, chat) for chat_id, chat in chats if chat.is_listed_for(user_id) and chosen.includes(chat_id, chat, user_id)]
        return sorted(mine, reverse=True, key=changed_last)

    async def times(self, versions: Mapping[UUID, int]) -> Mapping[UUID, datetime]:
        found: dict[UUID, datetime] = {}
        for chat_id, version in versions.items():
            stream = chat_stream(chat_id)
            first = await self._log.original_times(stream, after=version - 1, until=version)
            for at in (first or await self._log.times(stream, [version])).values():
                found[chat_id] = at
        return found

    async def tags(self, user_id: UUID) -> Sequence[str]:
        chats = [await self.chat(stream.id) for stream in await self._log.streams("chat")]
        names = {name for chat in chats if chat.owner_id == user_id and chat.is_listed_for(user_id) for name in chat.tags}
        first: dict[str, str] = {}
        for name in sorted(names):
            first.setdefault(tag_id(name), name)
        return [first[key] for key in sorted(first)]

    async def reached(self, position: int, timeout_s: float) -> bool:  # there is nothing to wait for
        return position <= await self._log.head()


def changed_last(one: tuple[UUID, ChatView]) -> tuple[datetime, int]:
    _, chat = one
    assert chat.updated_at is not None  # it has an event
    return chat.updated_at, chat.position


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
        chat.version,
    )
