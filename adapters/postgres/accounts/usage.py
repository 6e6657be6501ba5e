"""``Usage`` on Postgres: a row for each account and day, and the rows of the projection ``chat_list``."""

from collections.abc import Mapping
from datetime import date
from typing import Final
from uuid import UUID

from adapters.postgres.connections.queries import text
from adapters.postgres.connections.query_reader import QueryReader
from commands.ports import AccountUsage, ChatUsage

ADD: Final = text("add_usage")
OF_USER: Final = text("usage_of_user")
OF_CHAT: Final = text("usage_of_chat")


class PostgresUsage:
    def __init__(self, reader: QueryReader) -> None:
        self._reader = reader

    async def add(self, day: date, written: Mapping[UUID, int]) -> Mapping[UUID, int]:
        rows = await self._reader.fetch(ADD, day, list(written), list(written.values()))
        return {row["user_id"]: row["bytes"] for row in rows}

    async def of_account(self, user_id: UUID, day: date) -> AccountUsage:
        rows = await self._reader.fetch(OF_USER, user_id, day)
        return AccountUsage(**rows[0])

    async def of_chat(self, chat_id: UUID) -> ChatUsage:
        rows = await self._reader.fetch(OF_CHAT, chat_id)
        return ChatUsage(**rows[0]) if rows else ChatUsage()
