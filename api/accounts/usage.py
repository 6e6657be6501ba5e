"""What each account uses: counted as it is committed, added to the table of all processes about once a second, and shown."""

from typing import Final
from uuid import UUID

import msgspec
import structlog

from api.periodic import Periodic
from api.streams.access import LiveConnections
from commands.accounts.usage import UsageBook
from commands.ports import RunSlots
from domain.errors import StenographError

logger = structlog.get_logger("usage")

EVERY_S: Final = 1.0


class UsageWriter(Periodic):
    def __init__(self, book: UsageBook) -> None:
        super().__init__(EVERY_S, "usage")
        self._book = book

    async def _write(self) -> None:
        try:
            await self._book.flush()
        except StenographError as error:
            logger.warning("usage_not_added", error=str(error))


class QuotaOut(msgspec.Struct):
    used: int
    limit: int


class QuotasOut(msgspec.Struct):
    """``storage_bytes`` without deleted chats. ``bytes_a_day``: since midnight UTC. ``connections``: to the process that answers."""

    chats: QuotaOut
    storage_bytes: QuotaOut
    bytes_a_day: QuotaOut
    runs: QuotaOut
    connections: QuotaOut


class UsageReport:
    """What an account has and may have."""

    def __init__(self, book: UsageBook, slots: RunSlots, live: LiveConnections) -> None:
        self._book = book
        self._slots = slots
        self._live = live

    async def of(self, user_id: UUID) -> QuotasOut:
        used, quotas = await self._book.usage_of(user_id)
        return QuotasOut(
            chats=QuotaOut(used.chats, quotas.chats),
            storage_bytes=QuotaOut(used.bytes, quotas.storage_bytes),
            bytes_a_day=QuotaOut(used.day_bytes, quotas.bytes_a_day),
            runs=QuotaOut(await self._slots.count(user_id), quotas.runs),
            connections=QuotaOut(self._live.count(user_id), quotas.connections),
        )

    def forget(self, user_id: UUID) -> None:
        self._book.forget(user_id)
