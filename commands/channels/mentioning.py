"""Who is told that a message mentions them."""

import asyncio
from typing import Final
from uuid import UUID

from commands.accounts.accounts import Accounts
from commands.routing.groups import Groups
from domain.channel.mentions import Mentions
from domain.channel.rights import Asker
from projections.ports import ChannelQueries

MENTIONED_MAX: Final = 500  # people of one message: one by one and by their groups. Each costs an event in their stream


class Mentioning:
    def __init__(self, accounts: Accounts, groups: Groups, queries: ChannelQueries) -> None:
        self._accounts = accounts
        self._groups = groups
        self._queries = queries

    async def people(self, mentions: Mentions) -> list[Asker]:
        """The accounts that are mentioned, by themselves first and then by their groups; ``MENTIONED_MAX`` at most.

        Whether they may read the message is not checked here. Raises ``LogUnavailable``.
        """
        ids: dict[UUID, None] = dict.fromkeys(mentions.user_ids)
        for group_id in mentions.group_ids:
            ids |= dict.fromkeys(sorted(self._groups.members(group_id)))
        few = list(ids)[:MENTIONED_MAX]
        accounts = await asyncio.gather(*(self._accounts.account(user_id) for user_id in few))
        return [
            Asker(user_id, account.role, self._groups.groups_of(user_id))
            for user_id, account in zip(few, accounts, strict=True)
            if account.email and account.active
        ]

    async def told(self, channel_id: UUID, message_id: UUID) -> frozenset[UUID]:
        """Who was told that this message mentions them, and not that it does no more. Raises ``LogUnavailable``."""
        return frozenset(await self._queries.mentioned(channel_id, message_id))
