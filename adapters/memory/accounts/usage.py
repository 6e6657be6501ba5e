"""``Usage`` in memory: what the projection counts is counted from the log."""

from collections import Counter
from collections.abc import Mapping
from datetime import date
from uuid import UUID

from adapters.memory.log import MemoryLog
from commands.ports import AccountUsage, ChatUsage
from domain.log.stream import chat_stream
from projections.chat import view
from projections.chat_list import Growth


class MemoryUsage:
    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._days: Counter[tuple[UUID, date]] = Counter()

    async def add(self, day: date, written: Mapping[UUID, int]) -> Mapping[UUID, int]:
        self._days.update({(user_id, day): size for user_id, size in written.items()})
        return {user_id: self._days[user_id, day] for user_id in written}

    async def of_account(self, user_id: UUID, day: date) -> AccountUsage:
        chats = [(stream, view(await self._log.read(stream, limit=len(self._log.events)))) for stream in await self._log.streams("chat")]
        own = [(stream, chat) for stream, chat in chats if chat.owner_id == user_id and not chat.deleted]
        stored = sum([(await self.of_chat(stream.id)).bytes for stream, _ in own])
        return AccountUsage(self._days[user_id, day], sum(chat.listed for _, chat in own), stored)

    async def of_chat(self, chat_id: UUID) -> ChatUsage:
        growth, version = Growth(), 0
        for event in await self._log.read(chat_stream(chat_id), limit=len(self._log.events)):
            growth.count(event)
            version = event.version
        return ChatUsage(version, growth.messages, growth.bytes)
