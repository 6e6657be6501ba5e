"""A share is an offer: what its sender may send, and what its receiver does with it."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final
from uuid import UUID

from commands.accounts.accounts import Accounts
from commands.chats.chats import Chats
from commands.ports import EXISTS, Appended, CommandKey, StreamAppend
from domain.accounts.user.commands import BlockUser, HideChat
from domain.accounts.user.decide import offer_chat
from domain.accounts.user.facts import ChatListed
from domain.accounts.user.state import Account
from domain.chat.commands import LeaveChat, ShareChat
from domain.chat.state import Chat
from domain.errors import BadRequest, ChatNotFound, TooManyLostRaces
from domain.log.event import Actor, Event
from domain.log.stream import chat_stream, user_stream

ATTEMPTS_MAX: Final = 64  # each is a race for the chat's stream or for the receiver's


class Offers:
    """``actor`` is who asks. A chat that is not for them raises ``ChatNotFound``."""

    def __init__(self, chats: Chats, accounts: Accounts) -> None:
        self._chats = chats
        self._accounts = accounts

    async def share(self, command: ShareChat, actor: Actor, key: CommandKey | None) -> Appended:
        """Give access or take it. The receiver's list is part of the commit, as of the version on which it was decided.

        Raises ``ShareRefused`` and ``TooManyOffers``, after it is known that the chat is the actor's own.
        """
        for _ in range(ATTEMPTS_MAX):
            version, account = await self._accounts.state(command.user_id)
            also = partial(offered, command=command, version=version, account=account)
            try:
                return await self._chats.handle(command, actor=actor, key=key, also=also, attempts_max=1)
            except TooManyLostRaces:
                continue
        raise TooManyLostRaces(chat_stream(command.chat_id), ATTEMPTS_MAX)

    async def leave(self, actor: Actor, chat_id: UUID, key: CommandKey | None) -> Appended:
        """Give one's own access up."""
        return await self._chats.handle(LeaveChat(chat_id=chat_id, by=actor.id), actor=actor, key=key)

    async def hide(self, actor: Actor, chat_id: UUID, key: CommandKey | None, *, hidden: bool) -> Appended:
        """Leave a chat that others share out of one's lists and searches, or show it again. The access stays."""
        _, chat = await self._chats.state(chat_id)
        if not chat.may_read(actor.id):
            raise ChatNotFound(chat_id)
        if chat.owner_id == actor.id:
            raise BadRequest("expected a chat that somebody else shares: your own go into the archive")
        return await self._accounts.handle(HideChat(user_id=actor.id, chat_id=chat_id, hidden=hidden), actor=actor, key=key)

    async def block(self, actor: Actor, user_id: UUID, key: CommandKey | None, *, blocked: bool) -> Appended:
        """Take no shares from this person any more, and leave those that are there out of lists and searches. Raises ``UserNotFound``."""
        await self._accounts.existing(user_id)
        return await self._accounts.handle(BlockUser(user_id=actor.id, blocked_id=user_id, blocked=blocked), actor=actor, key=key)

    async def waiting(self, user_id: UUID) -> Mapping[UUID, UUID]:
        """The offers that this person has not answered: who has shared which chat."""
        account = await self._accounts.account(user_id, fresh=True)
        return {chat_id: sender for chat_id, sender in account.offers.items() if sender not in account.blocked}


def offered(chat: Chat, *, command: ShareChat, version: int, account: Account) -> Sequence[StreamAppend]:
    """The offer in the receiver's stream; nothing where they have access already, or where it is taken."""
    if command.permission is None or command.user_id in chat.grants:
        return []
    stream = user_stream(command.user_id)
    if version == 0:  # there is no such person: the log says so
        return [StreamAppend(stream, [Event(None, ChatListed(command.chat_id, command.by))], EXISTS)]
    return [StreamAppend(stream, offer_chat(account, command.chat_id, command.by), version)]
