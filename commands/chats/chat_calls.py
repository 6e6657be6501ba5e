"""Calls to users below messages of chats: ``CallPlace`` (``commands/call_places.py``)."""

from uuid import UUID

from commands.call_places import CallAnswer
from commands.chats.chats import Chats
from commands.ports import Appended
from domain.chat.commands import AnswerCall, AskUser, ExpireCall
from domain.log.event import Actor
from domain.routing.call import CallOpened, ExpiryReason


class ChatCalls:
    answers_are_public = True

    def __init__(self, chats: Chats) -> None:
        self._chats = chats

    async def ask(self, stream_id: UUID, message_id: UUID, call: CallOpened) -> None:
        await self._chats.handle(AskUser(chat_id=stream_id, message_id=message_id, call=call), attempts_max=None)

    async def answer(self, stream_id: UUID, answer: CallAnswer) -> Appended:
        command = AnswerCall(
            chat_id=stream_id,
            by=answer.user_id,
            call_id=answer.call_id,
            data=answer.data,
            session_id=answer.session_id,
            by_role=answer.by_role,
        )
        if answer.actor is None:  # the process that waited notes it, however many others write meanwhile
            return await self._chats.handle(command, attempts_max=None)
        return await self._chats.handle(command, actor=answer.actor, key=answer.key)

    async def expire(self, stream_id: UUID, call_id: UUID, reason: ExpiryReason) -> None:
        await self._chats.handle(ExpireCall(chat_id=stream_id, call_id=call_id, reason=reason), attempts_max=None)

    async def may_answer(self, actor: Actor, stream_id: UUID) -> bool:
        _, chat = await self._chats.state(stream_id, fresh=False)
        return not chat.deleted and (chat.may_write(actor.id) or actor.role == "admin")
