"""Calls to members below answers in channels: ``CallPlace`` (``commands/call_places.py``)."""

from collections.abc import Callable
from uuid import UUID

from commands.call_places import CallAnswer
from commands.channels.channels import Channels
from commands.ports import Appended
from domain.channel.commands import AnswerMember, AskMember, ExpireMemberCall
from domain.channel.rights import Asker, may_post
from domain.log.event import Actor
from domain.routing.call import CallOpened, ExpiryReason


class ChannelCalls:
    """Every member reads the channel's stream: what the asked one answers goes to the function alone."""

    answers_are_public = False

    def __init__(self, channels: Channels, asker: Callable[[Actor], Asker]) -> None:
        self._channels = channels
        self._asker = asker

    async def ask(self, stream_id: UUID, message_id: UUID, call: CallOpened) -> None:
        await self._channels.handle(AskMember(channel_id=stream_id, message_id=message_id, call=call), attempts_max=None)

    async def answer(self, stream_id: UUID, answer: CallAnswer) -> Appended:
        command = AnswerMember(
            channel_id=stream_id, user_id=answer.user_id, call_id=answer.call_id, data=answer.data, session_id=answer.session_id
        )
        return await self._channels.handle(command, actor=answer.actor, key=answer.key, attempts_max=None)

    async def expire(self, stream_id: UUID, call_id: UUID, reason: ExpiryReason) -> None:
        await self._channels.handle(ExpireMemberCall(channel_id=stream_id, call_id=call_id, reason=reason), attempts_max=None)

    async def may_answer(self, actor: Actor, stream_id: UUID) -> bool:
        _, channel = await self._channels.state(stream_id, fresh=False)
        return may_post(channel, self._asker(actor))
