"""``UserList`` in memory."""

from collections.abc import Sequence
from uuid import UUID

from adapters.memory.log import MemoryLog
from commands.ports import UserSearch
from domain.accounts.user.evolve import evolve
from domain.accounts.user.state import NO_ACCOUNT, Account
from domain.log.codec import decode_event
from domain.log.stream import user_stream


class MemoryUserList:
    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def users(self, *, offset: int, limit: int) -> tuple[Sequence[UUID], int]:
        ids = [stream.id for stream in self._log.claimed("email")]
        return ids[offset : offset + limit], len(ids)

    async def search(self, asked: UserSearch, *, offset: int, limit: int) -> tuple[Sequence[UUID], int]:
        accounts = [(stream.id, await self._account(stream.id)) for stream in self._log.claimed("email")]
        found = [(user_id, account) for user_id, account in accounts if is_found(account, asked)]
        if asked.descending:
            found.reverse()
        if asked.by_name:
            found.sort(key=lambda one: one[1].name.lower(), reverse=asked.descending)
        return [user_id for user_id, _ in found[offset : offset + limit]], len(found)

    async def _account(self, user_id: UUID) -> Account:
        account = NO_ACCOUNT
        for stored in await self._log.read(user_stream(user_id), limit=1_000_000):
            account = evolve(account, decode_event(stored), stored.version)
        return account


def is_found(account: Account, asked: UserSearch) -> bool:
    text = asked.text.lower()
    if not (text in account.name.lower() or text == account.email or (asked.by_email and text in account.email)):
        return False
    return asked.inactive or (account.active and account.role != "pending")
