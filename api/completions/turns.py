"""Turns as every dialect of completions begins and answers them."""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any
from uuid import UUID

from litestar import Request, Response

from adapters.delivery.hub import Batch, Hub
from api.completions.answering import AnswerFrames, answer, answer_with
from api.completions.turn import turn_of
from api.request.caller import Caller
from api.streams.access import LiveConnections
from api.streams.sse import PING_S
from api.streams.tailing import tail_stream
from commands.generation.completion import Completions, StartedTurn, Turn
from commands.ports import EventLog
from domain.stream import chat_stream


class Turns:
    def __init__(
        self,
        completions: Completions,
        log: EventLog,
        hub: Hub,
        live: LiveConnections,
        epoch: UUID,
    ) -> None:
        self._completions = completions
        self._log = log
        self._hub = hub
        self._live = live
        self._epoch = epoch

    async def begin(self, data: Mapping[str, Any], caller: Caller, *, own_keys: frozenset[str]) -> StartedTurn:
        """Ask what ``data`` asks. All of it but ``own_keys`` goes to the provider.

        Raises ``BadRequest``, ``ChatNotFound``, and what ``Completions.begin`` raises. Nothing was written then.
        """
        return await self.begin_turn(turn_of(data, caller.principal, own_keys=own_keys), caller)

    async def begin_turn(self, turn: Turn, caller: Caller) -> StartedTurn:
        """Raises what ``Completions.begin`` raises. Nothing was written then."""
        return await self._completions.begin(turn, caller.actor, caller.key)

    async def answer(self, request: Request[Any, Any, Any], caller: Caller, started: StartedTurn, data: Mapping[str, Any]) -> Response[Any]:
        """The answers of ``started`` in OpenAI's form, read from the log: as SSE with ``stream``, otherwise once they have ended."""
        return await answer(request, started, data, self._events(caller, started), self._epoch)

    async def answer_with(
        self,
        request: Request[Any, Any, Any],
        caller: Caller,
        started: StartedTurn,
        frames: AnswerFrames,
        whole: Callable[[], Mapping[str, Any]],
        *,
        stream: bool,
    ) -> Response[Any]:
        """The same in the form of another dialect: ``frames`` as SSE, or ``whole`` once the answer has ended."""
        return await answer_with(request, started, frames, whole, self._events(caller, started), stream=stream)

    def _events(self, caller: Caller, started: StartedTurn) -> AsyncGenerator[Batch, None]:
        stream = chat_stream(started.chat_id)
        return tail_stream(self._hub, self._log, self._live, caller.principal, stream, started.version, idle_s=PING_S)
