"""Models in channels: a message that mentions a model, or replies to what it has said, makes it answer.

The message and the beginnings of the answers are one commit; the runs are those of chats (``commands/generation/run.py``). A model that
the writer may not ask does not keep their message from being posted: the result says why it does not answer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
import structlog

from commands.channels.answer_context import AskedThere, ChannelContext, context_for
from commands.channels.channels import Channels
from commands.generation.answer_context import answer_context
from commands.generation.completion import RUNS_RETRY_S, Routes
from commands.generation.model_settings import NO_SETTINGS, ModelSettings, asked, with_systems
from commands.generation.payload import Payload, keep_payload, payload_of
from commands.generation.run import Run
from commands.generation.runs import Runs
from commands.ports import Appended, Blobs, CommandKey, EventLog, RunSlots
from commands.providers.provider import ProviderRequest
from commands.routing.route import Routed
from domain.channel.commands import AskModel, PostMessage
from domain.channel.mentions import mentions_in
from domain.channel.rights import Asker, may_post
from domain.channel.settings import answers_in_thread
from domain.channel.state import Channel
from domain.errors import BadRequest, ConcurrencyConflict, LogUnavailable, ProviderFailed, RateReached, Refusal
from domain.generation import StartGeneration
from domain.log.event import Actor
from domain.log.stream import channel_stream
from projections.ports import ChannelQueries

logger = structlog.get_logger("channel answers")

MODELS_MAX: Final = 8  # asked by one message


class ChannelAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model that a message asked. Either it answers, or ``code`` and ``detail`` say why not."""

    model: str
    message_id: UUID | None = None
    task_id: UUID | None = None
    code: str | None = None
    detail: str | None = None


class Posted(msgspec.Struct, frozen=True):
    appended: Appended
    answers: Sequence[ChannelAnswer] = ()


class Begun(msgspec.Struct, frozen=True):
    routed: Routed
    payload: Payload
    answer: ChannelAnswer


class ChannelAnswers:
    """``runs_max`` says how many runs an account may have at once; ``clock`` and ``spend`` as in ``Run``."""

    def __init__(
        self,
        log: EventLog,
        blobs: Blobs,
        channels: Channels,
        queries: ChannelQueries,
        runs: Runs,
        routes: Routes,
        slots: RunSlots,
        runs_max: Callable[[UUID], Awaitable[int]],
        *,
        node_id: UUID,
        clock: Callable[[], float],
        spend: Callable[[UUID, int], None] = lambda _user_id, _bytes: None,
        model_settings: ModelSettings = NO_SETTINGS,
        keep_payloads: bool = False,
    ) -> None:
        self._log = log
        self._blobs = blobs
        self._channels = channels
        self._queries = queries
        self._context = ChannelContext(queries, blobs)
        self._runs = runs
        self._routes = routes
        self._slots = slots
        self._runs_max = runs_max
        self._node_id = node_id
        self._clock = clock
        self._spend = spend
        self._model_settings = model_settings
        self._keep_payloads = keep_payloads
        self._beginning: set[asyncio.Task[Posted]] = set()

    async def post(
        self, command: PostMessage, actor: Actor, *, key: CommandKey | None = None, expected_version: int | None = None
    ) -> Posted:
        """Post a person's message, and begin the answers that it asks for. Returns after the commit; the runs go on without the caller.

        Raises what ``Channels.handle`` raises; ``BadRequest`` for a message that asks too many models.
        """
        models = await self._asked_models(command)
        if not models:
            return Posted(await self._channels.handle(command, actor=actor, key=key, expected_version=expected_version))
        if len(models) > MODELS_MAX:
            raise BadRequest(f"expected at most {MODELS_MAX} models that a message asks, received {len(models)}", param="content")
        # In a task of its own: a caller that is cancelled between the commit and the start would leave a generation without a run.
        task = asyncio.create_task(self._post(command, models, actor, key, expected_version))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)
        return await asyncio.shield(task)

    async def _asked_models(self, command: PostMessage) -> Sequence[str]:
        """Those that the text mentions, and the one whose message it replies to."""
        named = list(mentions_in(command.content).models) if isinstance(command.content, str) else []
        if command.reply_to_id is not None:
            quoted = (await self._queries.messages(command.channel_id, [command.reply_to_id])).get(command.reply_to_id)
            model = quoted.meta.get("model_id") if quoted is not None and quoted.exists and quoted.is_generated else None
            if isinstance(model, str):
                named.append(model)
        return list(dict.fromkeys(named))

    async def _post(
        self, command: PostMessage, models: Sequence[str], actor: Actor, key: CommandKey | None, expected_version: int | None
    ) -> Posted:
        if self._runs.closing:
            raise LogUnavailable("the server is going away; nothing was written")
        by = command.by
        assert by is not None
        version, channel = await self._channels.state(command.channel_id, messages=[command.message_id, command.parent_id])
        if not may_post(channel, by):  # nothing is read or stored for somebody whose message is refused
            return Posted(await self._channels.handle(command, actor=actor, key=key, expected_version=expected_version))
        begun, refused = await self._prepared(command, models, channel, version, actor)
        tasks = {one.answer.task_id: one.answer.message_id for one in begun}
        held = await self._take_slots(actor.id, command.channel_id, tasks)
        if held is not None:
            refused += [refusal_of(one.answer.model, held) for one in begun]
            begun = []
        answers = [*(one.answer for one in begun), *refused]
        if key is not None:
            key = msgspec.structs.replace(key, answer=msgspec.json.encode(answers))
        with self._runs.starting() as floor:
            try:
                asking = [await self._asking(command, channel, by, one) for one in begun]
                appended = await self._channels.post_and_ask(command, asking, actor=actor, key=key, expected_version=expected_version)
            except (Refusal, ConcurrencyConflict):  # otherwise it may have been written
                await self._give_back(begun)
                raise
            if appended.repeated:
                await self._give_back(begun)
                return Posted(appended, msgspec.json.decode(appended.answer, type=list[ChannelAnswer] | None) or ())
            for one in begun:
                self._start(one, command.channel_id, actor, floor + 1)
        return Posted(appended, answers)

    async def _prepared(
        self, command: PostMessage, models: Sequence[str], channel: Channel, version: int, actor: Actor
    ) -> tuple[list[Begun], list[ChannelAnswer]]:
        """What each model is going to be sent, and those that cannot be asked."""
        data = command.fields.get("data")
        asked_there = AskedThere(
            command.channel_id,
            version,
            command.parent_id,
            command.reply_to_id,
            actor.name,
            command.content,
            data.get("files") if isinstance(data, Mapping) else None,
        )
        begun: list[Begun] = []
        refused: list[ChannelAnswer] = []
        before = None
        for model in models:
            try:
                routed = await self._routes.route(model, actor)
            except (Refusal, ProviderFailed) as error:
                refused.append(refusal_of(model, error))
                continue
            if before is None:
                before = await self._context.before(asked_there)
            answer = ChannelAnswer(model, uuid4(), uuid4())
            messages = context_for(routed.model, channel, before, asked_there)
            begun.append(Begun(routed, await payload_of(self._request(routed, messages, command.channel_id, answer, actor)), answer))
        return begun, refused

    def _request(
        self, routed: Routed, messages: Sequence[Mapping[str, Any]], channel_id: UUID, answer: ChannelAnswer, actor: Actor
    ) -> ProviderRequest:
        assert answer.message_id is not None
        settings = asked(self._model_settings, routed.model, {}, {}, base_model_id=routed.base_model_id, entry=routed.settings)
        context = answer_context(
            self._channels,
            actor=actor,
            chat_id=channel_id,
            message_id=answer.message_id,
            model=routed.model,
            meta=routed.meta,
            beside={},
            ask=None,
        )
        return ProviderRequest(
            model=routed.upstream,
            messages=with_systems(settings.systems, messages),
            params=settings.custom,
            options=settings.options,
            reasoning_tags=settings.reasoning_tags,
            context=context,
        )

    async def _asking(self, command: PostMessage, channel: Channel, by: Asker, begun: Begun) -> AskModel:
        """In the thread that it was asked in; otherwise below the question, or beside it where the channel says so."""
        routed, payload, answer = begun.routed, begun.payload, begun.answer
        assert answer.message_id is not None
        assert answer.task_id is not None
        parent_id = command.parent_id
        if parent_id is None and answers_in_thread(channel):
            parent_id = command.message_id
        kept = None
        if self._keep_payloads:
            await self._log.require_account(by.id)
            kept = await keep_payload(payload, self._blobs, channel_stream(command.channel_id))
        start = StartGeneration(
            stream_id=command.channel_id,
            by=by.id,
            message_id=answer.message_id,
            parent_id=parent_id,
            model=routed.model,
            requested_model=routed.requested_model,
            selected_model_id=routed.selected_model_id,
            base_model_id=routed.base_model_id if routed.base_model_id is not None else msgspec.UNSET,
            task_id=answer.task_id,
            node_id=self._node_id,
            payload_sha256=payload.sha256,
            payload=kept,
            fields={"reply_to_id": str(command.message_id)} if parent_id != command.message_id else {},
        )
        return AskModel(channel_id=command.channel_id, by=by, start=start)

    def _start(self, begun: Begun, channel_id: UUID, actor: Actor, position: int) -> None:
        answer = begun.answer
        assert answer.message_id is not None
        assert answer.task_id is not None
        run = Run(
            self._channels,
            self._blobs,
            begun.routed.provider,
            begun.payload.ask,
            stream=channel_stream(channel_id),
            message_id=answer.message_id,
            task_id=answer.task_id,
            node_id=self._node_id,
            user_id=actor.id,
            started_position=position,
            clock=self._clock,
            spend=self._spend,
        )
        self._runs.start(run)

    async def _take_slots(self, user_id: UUID, channel_id: UUID, tasks: Mapping[UUID | None, UUID | None]) -> RateReached | None:
        message_ids = {task_id: one for task_id, one in tasks.items() if task_id is not None and one is not None}
        if not message_ids:
            return None
        runs_max = await self._runs_max(user_id)
        held = await self._slots.take(user_id, self._node_id, channel_id, message_ids, runs_max=runs_max)
        return None if held is None else RateReached("runs", used=held, limit=runs_max, retry_after_s=RUNS_RETRY_S)

    async def _give_back(self, begun: Sequence[Begun]) -> None:
        await self._slots.give_back([one.answer.task_id for one in begun if one.answer.task_id is not None])


def refusal_of(model: str, error: Refusal | ProviderFailed | RateReached) -> ChannelAnswer:
    return ChannelAnswer(model, code=error.code, detail=str(error))
