"""How far people have read: what their clients report all the time, and what they mark by hand in a list of chats."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog

from commands.accounts.accounts import Accounts
from commands.accounts.principal import Principal, actor_of
from commands.chats.chat_reader import ChatReader
from commands.ports import Appended, CommandKey, EventLog
from commands.positions import require_projected
from domain.accounts.user.commands import MarkManyRead, MarkRead, MarkUnread
from domain.accounts.user.decide import MANY_READ_MAX
from domain.errors import BadRequest, StenographError
from domain.log.event import Actor
from domain.log.stream import Stream, chat_stream
from projections.ports import ChatQueries, ListedChat

logger = structlog.get_logger("reads")

WAITING_MAX: Final = 50_000


class ReadReceipts:
    """The read receipts of all users. ``note`` keeps a report in memory until ``write_noted`` is called."""

    def __init__(self, accounts: Accounts, reader: ChatReader, log: EventLog, chat_queries: ChatQueries) -> None:
        self._accounts = accounts
        self._reader = reader
        self._log = log
        self._chat_queries = chat_queries
        # By person, not by session: two tabs of one person write once.
        self._waiting: dict[tuple[UUID, Stream], tuple[int, Actor]] = {}

    def note(self, principal: Principal, stream: Stream, version: int, head: int) -> None:
        """A client reports that it has shown the stream up to this version. Of several reports the furthest is written.

        ``head`` is the stream's. Raises ``BadRequest`` for a version that the stream does not have: gathered with the others, it would be
        the furthest, and the whole receipt would be refused or mark what nobody has read.
        """
        if not 0 < version <= head:
            raise BadRequest(f"expected a version from 1 to {head}, received {version}")
        key = (principal.user_id, stream)
        known = self._waiting.get(key)
        if known is not None or len(self._waiting) < WAITING_MAX:
            self._waiting[key] = (max(version, known[0] if known is not None else 0), actor_of(principal))

    async def write_noted(self) -> None:
        """Write what was noted since the last call. A receipt that is refused is logged and dropped."""
        waiting, self._waiting = self._waiting, {}
        for (user_id, stream), (version, actor) in waiting.items():
            try:
                await self._accounts.handle(MarkRead(user_id=user_id, stream=str(stream), version=version), actor=actor)
            except StenographError as error:
                logger.warning("read_not_marked", stream=str(stream), error=str(error))

    async def mark_all_read(self, principal: Principal) -> None:
        """Mark every chat in the person's list as read, also archived chats and those that others share."""
        await require_projected(self._chat_queries, await self._log.head())
        account = await self._accounts.account(principal.user_id, fresh=True)
        offset = 0
        while True:
            page = await self._chat_queries.listed(principal.user_id, offset=offset, limit=MANY_READ_MAX)
            unread = {str(chat_stream(one.chat_id)): one.version for one in page if account.read_version(one.chat_id) < one.version}
            if unread:
                await self._accounts.handle(MarkManyRead(user_id=principal.user_id, versions=unread), actor=actor_of(principal))
            if len(page) < MANY_READ_MAX:
                return
            offset += MANY_READ_MAX

    async def mark_read(self, principal: Principal, chat_id: UUID, version: int | None, key: CommandKey | None) -> tuple[int, Appended]:
        """Mark one chat as read up to ``version``, None: all of it. Returns the chat's version too. Raises ``ChatNotFound``."""
        head = (await self._reader.head(principal, chat_id)).version
        read_version = head if version is None else min(head, version)
        command = MarkRead(user_id=principal.user_id, stream=str(chat_stream(chat_id)), version=read_version)
        return head, await self._accounts.handle(command, actor=actor_of(principal), key=key)

    async def mark_unread(self, principal: Principal, chat_id: UUID, key: CommandKey | None) -> tuple[int, Appended]:
        """Mark one chat as unread for this person, until some of it is read again. As ``mark_read``."""
        stream = chat_stream(chat_id)
        head = (await self._reader.head(principal, chat_id)).version
        self._waiting.pop((principal.user_id, stream), None)  # an earlier report must not mark it as read again
        command = MarkUnread(user_id=principal.user_id, stream=str(stream))
        return head, await self._accounts.handle(command, actor=actor_of(principal), key=key)

    async def last_read_at(self, user_id: UUID, chats: Sequence[ListedChat], *, fresh: bool) -> Mapping[UUID, int | None]:
        """For each chat the time, in seconds since 1970, of the newest event that this person has read; None: they have read nothing.

        Below the chat's ``updated_at`` something is unread. ``fresh``: with every receipt that was written before the call.
        """
        account = await self._accounts.account(user_id, fresh=fresh)
        versions = {one.chat_id: account.read_version(one.chat_id) for one in chats}
        times = await self._chat_queries.times(
            {one.chat_id: versions[one.chat_id] for one in chats if 0 < versions[one.chat_id] < one.version}
        )
        return {one.chat_id: last_read_at(one, versions[one.chat_id], times) for one in chats}


def last_read_at(chat: ListedChat, version: int, times: Mapping[UUID, datetime]) -> int | None:
    if version == 0:
        return None
    updated_at = int(chat.updated_at.timestamp())
    if version >= chat.version:
        return updated_at
    return min(int(times[chat.chat_id].timestamp()), updated_at - 1)  # of two events in one second the later one is still unread
