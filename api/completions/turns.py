"""Turns as every dialect of completions begins and answers them."""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final
from uuid import UUID

from litestar import Request, Response

from adapters.delivery.hub import Batch, Hub
from api.completions.answering import AnswerFrames, Replaced, answer, answer_with
from api.completions.turn import turn_of
from api.request.caller import Caller
from api.streams.access import LiveConnections
from api.streams.sse import PING_S
from api.streams.tailing import tail_stream
from commands.content.references import value_of
from commands.filters.filters import Filters
from commands.generation.completion import Completions
from commands.generation.runs import Runs
from commands.generation.turn import StartedTurn, Turn
from commands.ports import Blobs, EventLog
from domain.chat.facts import MessageEdited
from domain.log.codec import NAMES, decode_event
from domain.log.stream import chat_stream

EDITED: Final = NAMES[MessageEdited]


class Turns:
    def __init__(
        self,
        completions: Completions,
        log: EventLog,
        hub: Hub,
        live: LiveConnections,
        epoch: UUID,
        runs: Runs,
        blobs: Blobs,
        filters: Filters,
    ) -> None:
        self._completions = completions
        self._log = log
        self._hub = hub
        self._live = live
        self._epoch = epoch
        self._runs = runs
        self._blobs = blobs
        self._filters = filters

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
        return await answer(request, started, data, self._events(caller, started), self._epoch, self._replaced(started))

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
        return await answer_with(request, started, frames, whole, self._events(caller, started), self._replaced(started), stream=stream)

    def _replaced(self, started: StartedTurn) -> Replaced:
        """Of runs of this process it waits for the outlets; a run that is over, or goes on elsewhere, is known from the log alone."""
        runs = [run for task_id in started.task_ids if (run := self._runs.get(task_id)) is not None]

        async def replaced() -> Mapping[UUID, str]:
            if self._filters.is_empty:
                return {}
            for run in runs:
                await run.wait()
            stream, made = chat_stream(started.chat_id), dict[UUID, str]()
            until = await self._log.version(stream)
            for stored in await self._log.read_outline(stream, after=started.version, until=until, limit=until):
                if stored.type != EDITED or stored.message_id is None or stored.message_id not in started.message_ids:
                    continue
                content = await value_of(self._blobs, stream, decode_event(stored).data.fields.get("content"))
                if isinstance(content, str):
                    made[stored.message_id] = content
            return made

        return replaced

    def _events(self, caller: Caller, started: StartedTurn) -> AsyncGenerator[Batch, None]:
        stream = chat_stream(started.chat_id)
        return tail_stream(self._hub, self._log, self._live, caller.principal, stream, started.version, idle_s=PING_S)
