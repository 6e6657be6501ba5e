"""Answers to calls, as a tab gives them: whole, or as the chunks of a direct connection. Only who was asked is listened to."""

from typing import Any
from uuid import UUID

import msgspec

from commands.calls.calls import Call, Calls, require_open
from commands.calls.relays import Relaying
from commands.ports import Appended, CommandKey
from domain.errors import BadRequest, CallNotFound
from domain.log.event import Actor
from domain.routing.call import CallAnswered, CallOpened


class CallAnswers:
    def __init__(self, calls: Calls, relaying: Relaying) -> None:
        self._calls = calls
        self._relaying = relaying

    async def answer(
        self, actor: Actor, call_id: UUID, data: Any, *, session_id: str | None = None, key: CommandKey | None = None
    ) -> Appended | None:
        """Answer a call; None where the answer goes to a direct connection's run, which notes the end by itself.

        Raises what ``Calls.find`` and ``Calls.answer`` raise, and ``Overloaded``.
        """
        call = await self._calls.find(actor, call_id)
        if not call.opened.relayed:
            return await self._calls.answer(actor, call, data, session_id=session_id, key=key)
        require_open(call)
        if not await self._calls.may_answer(actor, call.stream):
            raise CallNotFound(call_id)
        await self._relaying.put(call_id, actor.id, None, data, session_id=session_id, is_answer=True)
        return None

    async def chunk(self, actor: Actor, call_id: UUID, seq: int, data: Any, *, session_id: str | None) -> None:
        """The next chunk of a direct connection. Raises ``CallNotFound``, ``CallTaken``, ``CallExpired``, ``ChunkGap``, ``Overloaded``, and
        ``BadRequest`` for a call that is answered as a whole.
        """
        try:
            await self._relaying.put(call_id, actor.id, seq, data, session_id=session_id, is_answer=False)
        except CallNotFound:
            call = await self._calls.find(actor, call_id)
            if call.opened.relayed and isinstance(call.end, CallAnswered) and is_known(call.end, seq, data):
                return
            require_open(call)
            if not call.opened.relayed:
                raise BadRequest(f"expected the answer of call {call_id} as a whole: a {call.opened.kind} takes no chunks") from None
            raise

    async def question(self, call: Call) -> CallOpened:
        """The question as the tab needs it. That of a direct connection is gone once the call has ended."""
        if not call.opened.relayed:
            return await self._calls.with_question(call)
        asked = await self._relaying.question(call.opened.call_id, call.opened.user_id)
        return call.opened if asked is None else msgspec.structs.replace(call.opened, data=asked)


def is_known(end: CallAnswered, seq: int, data: Any) -> bool:
    """Whether the chunk says nothing new of an answer that is over: a repeat, or the end after a provider's own end mark."""
    chunks = end.data.get("chunks", 0) if isinstance(end.data, dict) else 0
    return seq < chunks or data == {"done": True}
