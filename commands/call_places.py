"""Where calls to users stand: below messages of chats, or below answers in channels. A call works the same in both."""

from typing import Any, Protocol
from uuid import UUID

import msgspec

from commands.ports import Appended, CommandKey
from domain.log.event import Actor
from domain.routing.call import CallOpened, ExpiryReason


class CallAnswer(msgspec.Struct, frozen=True):
    """The answer to a call, as it is to stand in the log. Without an ``actor`` the process that waited for it notes it."""

    user_id: UUID  # who was asked
    call_id: UUID
    data: Any
    session_id: str | None  # of the tab that answers
    by_role: bool  # the person may write there by their role, if by nothing else
    actor: Actor | None = None
    key: CommandKey | None = None


class CallPlace(Protocol):
    """All streams of one kind. Raises ``ChatNotFound`` or ``ChannelNotFound`` for one that is not there."""

    answers_are_public: bool  # whether an answer may stand in the log, for all who read the stream

    async def ask(self, stream_id: UUID, message_id: UUID, call: CallOpened) -> None: ...

    async def answer(self, stream_id: UUID, answer: CallAnswer) -> Appended:
        """Raises ``CallNotFound``, also for a call that has ended."""
        ...

    async def expire(self, stream_id: UUID, call_id: UUID, reason: ExpiryReason) -> None: ...

    async def may_answer(self, actor: Actor, stream_id: UUID) -> bool:
        """Whether they may write there, by what this process knows of it."""
        ...
