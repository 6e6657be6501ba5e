"""Models in channels: a message that mentions a model, or replies to what it has said, makes it answer.

The message and the beginnings of the answers are one commit; the runs are those of chats (``commands/generation/run.py``). A model that
the writer may not ask does not keep their message from being posted: the result says why it does not answer.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
import structlog

from commands.channels.answer_context import AskedThere, ChannelContext, context_for
from commands.channels.channel_answer import ChannelAnswer
from commands.channels.channels import Channels
from commands.generation.answer_context import answer_context
from commands.generation.model_settings import Asked, asked, with_other_settings, with_systems
from commands.generation.payload import payload_of
from commands.generation.starting import AnswerServices, AnswerStarts, Beginning
from commands.ports import Appended, CommandKey
from commands.providers.provider import ProviderRequest
from commands.routing.route import Routed
from domain.channel.commands import AskModel, PostMessage
from domain.channel.mentions import mentions_in
from domain.channel.rights import Asker, may_post
from domain.channel.settings import answers_in_thread
from domain.channel.state import Channel
from domain.errors import BadRequest, ProviderFailed, RateReached, Refusal
from domain.log.event import Actor
from domain.log.stream import channel_stream
from projections.ports import ChannelQueries

logger = structlog.get_logger("channel answers")

MODELS_MAX: Final = 8  # asked by one message


class AskedModel(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model that a message asked. Either it answers, or ``code`` and ``detail`` say why not."""

    model: str
    message_id: UUID | None = None
    task_id: UUID | None = None
    code: str | None = None
    detail: str | None = None


class Posted(msgspec.Struct, frozen=True):
    appended: Appended
    answers: Sequence[AskedModel] = ()


class ChannelAnswers:
    """All answers of models in channels."""

    def __init__(self, services: AnswerServices, channels: Channels, queries: ChannelQueries) -> None:
        self._log = services.log
        self._blobs = services.blobs
        self._channels = channels
        self._queries = queries
        self._context = ChannelContext(queries, services.blobs)
        self._routes = services.routes
        self._model_settings = services.model_settings
        self._filters = services.filters
        self._ask_in = services.asking
        self._starts = AnswerStarts(services, channels)
        self._beginning: set[asyncio.Task[Posted]] = set()

    async def post(
        self,
        command: PostMessage,
        actor: Actor,
        *,
        key: CommandKey | None = None,
        expected_version: int | None = None,
        new_ids: Collection[UUID] = (),
    ) -> Posted:
        """Post a person's message, and begin the answers that it asks for. Returns after the commit; the runs go on without the caller.

        ``new_ids``: see ``Aggregate.handle``. Raises what ``Channels.handle`` raises; ``BadRequest`` for a message that asks too many
        models.
        """
        models = await self._asked_models(command)
        if not models:
            handled = self._channels.handle(command, actor=actor, key=key, expected_version=expected_version, new_ids=new_ids)
            return Posted(await handled)
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
        self._starts.require_open()
        by = command.by
        assert by is not None
        version, channel = await self._channels.state(command.channel_id, messages=[command.message_id, command.parent_id])
        if not may_post(channel, by):  # nothing is read or stored for somebody whose message is refused
            return Posted(await self._channels.handle(command, actor=actor, key=key, expected_version=expected_version))
        begun, refused = await self._prepared(command, models, channel, version, actor)
        stream = channel_stream(command.channel_id)
        held = await self._starts.take_slots(actor.id, stream, begun)
        if held is not None:
            refused += [refusal_of(one.routed.requested_model, held) for one in begun]
            begun = []
        answers = [*(AskedModel(one.routed.requested_model, one.message_id, one.task_id) for one in begun), *refused]
        if key is not None:
            key = msgspec.structs.replace(key, answer=msgspec.json.encode(answers))

        async def append() -> Appended:
            kept = await self._starts.kept_payloads(by.id, stream, begun)
            asking = [self._asking(command, channel, by, one, reference) for one, reference in zip(begun, kept, strict=True)]
            return await self._channels.post_and_ask(command, asking, actor=actor, key=key, expected_version=expected_version)

        appended = await self._starts.begin(stream, begun, actor, append)
        if appended.repeated:
            return Posted(appended, msgspec.json.decode(appended.answer, type=list[AskedModel] | None) or ())
        return Posted(appended, answers)

    async def _prepared(
        self, command: PostMessage, models: Sequence[str], channel: Channel, version: int, actor: Actor
    ) -> tuple[list[Beginning], list[AskedModel]]:
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
        begun: list[Beginning] = []
        refused: list[AskedModel] = []
        before = None
        for model in models:
            try:
                routed = await self._routes.route(model, actor)
            except (Refusal, ProviderFailed) as error:
                refused.append(refusal_of(model, error))
                continue
            if before is None:
                before = await self._context.before(asked_there)
            messages = context_for(routed.model, channel, before, asked_there)
            begun.append(await self._begun(routed, messages, asked_there, actor))
        return begun, refused

    async def _begun(self, routed: Routed, messages: Sequence[Mapping[str, Any]], asked_there: AskedThere, actor: Actor) -> Beginning:
        message_id = uuid4()
        settings = self._settings(routed)
        beside = {"files": asked_there.files} if isinstance(asked_there.files, list) else {}
        context = answer_context(
            self._channels,
            actor=actor,
            chat_id=asked_there.channel_id,
            message_id=message_id,
            model=routed.model,
            meta=routed.meta,
            beside=beside,
            ask=self._ask_in(actor, channel_stream(asked_there.channel_id), message_id) if self._ask_in is not None else None,
        )
        request = ProviderRequest(
            model=routed.upstream,
            messages=with_systems(settings.systems, messages),
            params=settings.custom,
            options=settings.options,
            reasoning_tags=settings.reasoning_tags,
            context=context,
        )

        def resettled(other: Routed, ask: ProviderRequest) -> ProviderRequest:
            return msgspec.structs.replace(with_other_settings(ask, settings, self._settings(other)), model=other.upstream)

        filtering = None
        if self._filters is not None and not self._filters.is_empty:
            place = ChannelAnswer(self._channels, self._log, self._blobs, channel_id=asked_there.channel_id, message_id=message_id)
            filtering = await self._filters.of(
                place, context=context, model=routed.model, meta=routed.meta, beside=beside, resettled=resettled
            )
        return Beginning(routed, await payload_of(request), message_id, uuid4(), filtering)

    def _settings(self, routed: Routed) -> Asked:
        return asked(self._model_settings, routed.model, {}, {}, base_model_id=routed.base_model_id, entry=routed.settings)

    def _asking(self, command: PostMessage, channel: Channel, by: Asker, begun: Beginning, kept: Mapping[str, Any] | None) -> AskModel:
        """In the thread that it was asked in; otherwise below the question, or beside it where the channel says so."""
        parent_id = command.parent_id
        if parent_id is None and answers_in_thread(channel):
            parent_id = command.message_id
        fields = {"reply_to_id": str(command.message_id)} if parent_id != command.message_id else {}
        start = self._starts.command(begun, channel_stream(command.channel_id), by.id, parent_id, kept, fields=fields)
        return AskModel(channel_id=command.channel_id, by=by, start=start)


def refusal_of(model: str, error: Refusal | ProviderFailed | RateReached) -> AskedModel:
    return AskedModel(model, code=error.code, detail=str(error))
