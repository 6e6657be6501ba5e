"""How answers begin, in chats and in channels alike: their run slots, one commit of all beginnings, and the runs behind their filters."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from commands.functions.call_context import Asking
from commands.generation.answer_streams import AnswerStreams
from commands.generation.filtering import AnswerFilters, Filtering
from commands.generation.model_settings import NO_SETTINGS, ModelSettings
from commands.generation.payload import Payload, keep_payload
from commands.generation.run import Run
from commands.generation.runs import Runs
from commands.ports import Appended, Blobs, EventLog, RunSlots
from commands.routing.route import Routed, Routes
from domain.errors import ConcurrencyConflict, LogUnavailable, RateReached, Refusal
from domain.generation import StartGeneration
from domain.log.event import Actor
from domain.log.stream import Stream

RUNS_RETRY_S: Final = 5  # when an account with too many runs may ask again: one has ended by then, or will soon


class Beginning(msgspec.Struct, frozen=True):
    """An answer that is about to begin, and what its model is going to be sent."""

    routed: Routed
    payload: Payload
    message_id: UUID
    task_id: UUID
    filtering: Filtering | None = None  # its filters, where it has any


class AnswerServices(msgspec.Struct, frozen=True, kw_only=True):
    """What answers in chats and in channels need alike. ``clock`` and ``spend`` as in ``Run``."""

    log: EventLog
    blobs: Blobs
    runs: Runs
    routes: Routes
    slots: RunSlots
    runs_max: Callable[[UUID], Awaitable[int]]  # how many runs an account may have at once
    node_id: UUID
    clock: Callable[[], float]
    spend: Callable[[UUID, int], None] = lambda _user_id, _bytes: None
    model_settings: ModelSettings = NO_SETTINGS
    filters: AnswerFilters | None = None
    asking: Asking | None = None
    keep_payloads: bool = False


class AnswerStarts:
    """``streams``: where the answers stand."""

    def __init__(self, services: AnswerServices, streams: AnswerStreams) -> None:
        self._services = services
        self._streams = streams
        self._log = services.log
        self._runs = services.runs

    def require_open(self) -> None:
        """Raises ``LogUnavailable`` where this process begins no more runs."""
        if self._runs.closing:
            raise LogUnavailable("the server is going away; nothing was written")

    async def take_slots(self, user_id: UUID, stream: Stream, answers: Sequence[Beginning]) -> RateReached | None:
        """Take a slot for each; what it returns says why not, and then none is taken."""
        if not answers:
            return None
        runs_max = await self._services.runs_max(user_id)
        message_ids = {one.task_id: one.message_id for one in answers}
        held = await self._services.slots.take(user_id, self._services.node_id, stream.id, message_ids, runs_max=runs_max)
        return None if held is None else RateReached("runs", used=held, limit=runs_max, retry_after_s=RUNS_RETRY_S)

    async def kept_payloads(self, user_id: UUID, stream: Stream, answers: Sequence[Beginning]) -> Sequence[Mapping[str, Any] | None]:
        """The references to the payloads, where payloads are kept. Raises what ``EventLog.require_account`` raises."""
        if not self._services.keep_payloads or not answers:
            return [None] * len(answers)
        await self._log.require_account(user_id)
        return [await keep_payload(one.payload, self._services.blobs, stream) for one in answers]

    def command(
        self,
        begun: Beginning,
        stream: Stream,
        by: UUID,
        parent_id: UUID | None,
        kept: Mapping[str, Any] | None,
        *,
        client_id: str | None = None,
        fills: bool = False,
        continues: UUID | None = None,
        fields: Mapping[str, Any],
    ) -> StartGeneration:
        """``kept``: the reference to its payload, of ``kept_payloads``."""
        routed = begun.routed
        return StartGeneration(
            stream_id=stream.id,
            by=by,
            message_id=begun.message_id,
            parent_id=parent_id,
            model=routed.model,
            requested_model=routed.requested_model,
            selected_model_id=routed.selected_model_id,
            base_model_id=routed.base_model_id if routed.base_model_id is not None else msgspec.UNSET,
            provider_name=routed.provider_name or msgspec.UNSET,
            task_id=begun.task_id,
            node_id=self._services.node_id,
            client_id=client_id,
            fills=fills,
            continues=continues,
            payload_sha256=begun.payload.sha256,
            payload=kept,
            fields=fields,
        )

    async def begin(
        self,
        stream: Stream,
        answers: Sequence[Beginning],
        actor: Actor,
        append: Callable[[], Awaitable[Appended]],
        *,
        text_so_far: str = "",
        is_background: bool = False,
        on_started: Callable[[Run, int], None] = lambda _run, _index: None,
    ) -> Appended:
        """Append the beginnings by ``append``, and start their runs. The slots are given back where nothing was written, or where it was
        written before. Raises what ``append`` raises.
        """
        with self._runs.starting() as floor:
            try:
                appended = await append()
            except (Refusal, ConcurrencyConflict):  # otherwise it may have been written
                await self._services.slots.give_back([one.task_id for one in answers])
                raise
            if appended.repeated:
                await self._services.slots.give_back([one.task_id for one in answers])
                return appended
            created = int(appended.at.timestamp()) if appended.at is not None else 0
            for index, one in enumerate(answers):
                provider, filtering = one.routed.provider, one.filtering
                if filtering is not None:
                    provider = filtering.behind(provider, one.payload.ask, created=created)
                run = Run(
                    self._streams,
                    self._services.blobs,
                    provider,
                    one.payload.ask,
                    stream=stream,
                    message_id=one.message_id,
                    task_id=one.task_id,
                    node_id=self._services.node_id,
                    user_id=actor.id,
                    started_position=floor + 1,  # what else the request wrote may stand behind its start
                    clock=self._services.clock,
                    spend=self._services.spend,
                    filtering=filtering,
                    text_so_far=text_so_far,
                    is_background=is_background,
                    model=one.routed.model,
                    owned_by=one.routed.owned_by,
                )
                self._runs.start(run)
                on_started(run, index)
        return appended
