"""The filters of one answer: which ones run for it, in which order, and what each of them does at each stage.

Pipelines come first at the inlet and at the outlet, then functions by priority and id. A chunk meets functions alone. ``Filters.chain``
returns None where nothing applies: then nothing of this stands in the way of an answer.

What a filter returns is compared with what it got. Each leaves one ``FilterApplied`` for each stage, also where it changed nothing: so a
reader of the log sees which filters ran.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
import structlog

from commands.filters.filter_steps import FunctionStep, Keep, PipelineStep, Step, StreamStep, WholeStage, trace_of, with_original
from commands.filters.filtered_body import Body, Seen, asked_by, request_body, wrong
from commands.filters.filtered_stream import ChunkForm, Said
from commands.filters.pipelines import NoPipelines, Pipelines, PipelineSkipped, chosen
from commands.functions.functions import Bound, CallContext, Function, Functions
from commands.providers.provider import Part, ProviderRequest
from domain.errors import FunctionFailed, FunctionNotFound, PipelineFailed
from domain.generation import FilterApplied

logger = structlog.get_logger("filters")

Note = Callable[[Sequence[FilterApplied]], Awaitable[None]]  # writes them to the log
EmailOf = Callable[[UUID], Awaitable[str]]  # of an account: servers of pipelines are told it


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """The answer that filters are for."""

    model: str  # its public id
    context: CallContext  # for whom and where, as functions are told
    meta: Mapping[str, Any] = {}  # the model's
    filter_ids: frozenset[str] = frozenset()  # the filters with a toggle that the request has switched on
    beside: Mapping[str, Any] = {}  # keys of the request that functions see and no provider is sent, such as ``files``
    email: str = ""  # of who asks: servers of pipelines are told it


class Filters:
    def __init__(self, functions: Functions, pipelines: Pipelines | None = None) -> None:
        self._functions = functions
        self._pipelines: Pipelines = pipelines or NoPipelines()

    @property
    def is_empty(self) -> bool:
        """Whether no filter runs for any answer: then no scene is needed."""
        return self._pipelines.is_empty and not self._functions.filters()

    @property
    def has_pipelines(self) -> bool:
        return not self._pipelines.is_empty

    def of(self, scene: Scene) -> list[Function]:
        """The functions that run, in their order."""
        given = scene.meta.get("filterIds")
        of_model = given if isinstance(given, list) else []
        return [
            one
            for one in self._functions.filters()
            if (one.is_global or one.id in of_model) and (not one.has_toggle or one.id in scene.filter_ids)
        ]

    def chain(self, scene: Scene) -> "Chain | None":
        functions = self.of(scene)
        if not functions and self._pipelines.is_empty:
            return None
        return Chain(functions, self._functions, self._pipelines, scene)


class Chain:
    """The filters of one answer: ``inlet``, then ``begin_stream`` and ``stream``, then ``run`` for the outlet."""

    def __init__(self, filters: Sequence[Function], functions: Functions, pipelines: Pipelines, scene: Scene) -> None:
        self.scene = scene
        self._filters = filters
        self._functions = functions
        self._pipelines = pipelines
        self._steps: list[StreamStep] = []
        self._said = Said()  # after the last of the steps
        self._form = ChunkForm({})
        self._unnoted: list[FilterApplied] = []

    @property
    def has_outlet(self) -> bool:
        return not self._pipelines.is_empty or any("outlet" in one.methods for one in self._filters)

    @property
    def sees_chunks(self) -> bool:
        return bool(self._steps)

    # ------------------------------------------------------------------------------------------- the request, the answer

    async def inlet(self, ask: ProviderRequest, keep: Keep, note: Note) -> tuple[ProviderRequest, str | None]:
        """What the provider is asked instead, and the model that a filter has chosen. What was changed is noted by then.

        Raises ``FunctionFailed`` and ``PipelineFailed`` where a filter raises or refuses.
        """
        body = request_body(ask, self.scene.model, self.scene.beside, self.scene.context.metadata)
        body, last, traces = await self.run("inlet", body, keep)
        changed = [trace for trace in traces if trace.changed]
        self._unnoted = [trace for trace in traces if not trace.changed]
        if not changed:
            return ask, None
        await note(changed)
        asked = asked_by(last.body(), ask, self.scene.beside)
        return asked, body["model"] if body["model"] != self.scene.model else None

    async def run(self, stage: WholeStage, body: Body, keep: Keep, *, raising: bool = False) -> tuple[Body, Seen, list[FilterApplied]]:
        """The body after all filters of the stage, and what each of them did to it. An inlet's failure is raised, an outlet's too with
        ``raising``; otherwise it is noted.
        """
        traces: list[FilterApplied] = []
        seen, model = Seen(body), body["model"]
        for step in await self._whole_steps(stage, traces, seen):
            try:
                given = await step.call(body)
                if isinstance(given, dict):
                    given.setdefault("model", model)
                if (problem := wrong(given)) is not None:
                    raise step.failed(problem)
                try:
                    after = Seen(given)
                except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
                    raise step.failed(f"returned a body that is not JSON: {error}") from None
            except PipelineSkipped as skipped:
                logger.warning("pipeline_skipped", pipeline=step.id, stage=stage, detail=str(skipped))
                traces.append(step.trace(seen, seen, failed=str(skipped)))
                continue
            except (FunctionFailed, PipelineFailed) as error:
                if stage == "inlet" or raising:
                    raise
                logger.warning("filter_failed", filter=step.id, stage=stage, error=str(error))
                traces.append(step.trace(seen, seen, failed=str(error)))
                body = {**seen.body(), "metadata": body.get("metadata")}  # it may have changed some of it before it failed
                continue
            trace = step.trace(seen, after, model=given["model"] if given["model"] != model else None)
            traces.append(await with_original(trace, seen, after, keep))
            model = given["model"]
            body, seen = given, after
        return body, seen, traces

    async def _whole_steps(self, stage: WholeStage, traces: list[FilterApplied], seen: Seen) -> list["Step"]:
        steps: list[Step] = []
        if not self._pipelines.is_empty:
            pipelines, unreachable = await self._pipelines.filters()
            for server, why in unreachable.items():
                traces.append(trace_of(server, stage, "pipeline", seen, seen, failed=why))
            who = self.scene.context.actor
            user = {"id": str(who.id), "email": self.scene.email, "name": who.name, "role": who.role}
            steps += [PipelineStep(self._pipelines, one, stage, user) for one in chosen(pipelines, self.scene.model, stage)]
        steps += [FunctionStep(one, stage, bound) for one, bound in await self._bound(stage)]
        return steps

    async def _bound(self, method: str) -> list[tuple[Function, Bound]]:
        """The functions that have the method. One that has gone since the answer began is left out."""
        made: list[tuple[Function, Bound]] = []
        for one in self._filters:
            if method in one.methods:
                try:
                    made.append((one, await self._functions.bind(one, method, self.scene.context)))
                except FunctionNotFound as gone:
                    logger.warning("filter_gone", filter=one.id, stage=method, error=str(gone))
        return made

    # --------------------------------------------------------------------------------------------------------- chunks

    async def begin_stream(self, message_id: str, created: int) -> None:
        """To be called before the first chunk."""
        head = {"id": f"chatcmpl-{message_id}", "object": "chat.completion.chunk", "created": created, "model": self.scene.model}
        self._form = ChunkForm(head)
        self._steps = [StreamStep(one, bound) for one, bound in await self._bound("stream")]

    async def stream(self, parts: Sequence[Part]) -> list[Part]:
        """What is left of one read once every filter has seen its chunks, one after the other."""
        made: list[Part] = []
        for chunk, said in self._form.chunks(parts):
            if chunk is None:
                made += said
                continue
            for step in self._steps:
                step.said.add(said)
                if not step.is_off:
                    said, chunk = await step.filtered(chunk, said)
                    if chunk is None:
                        break
            made += said
        self._said.add(made)
        return made

    # ---------------------------------------------------------------------------------------------------------- traces

    async def traces(self, keep: Keep) -> list[FilterApplied]:
        """What is not noted yet: filters that changed nothing of the request, and those of the stream, with its chunks so far."""
        made = [*self._unnoted]
        after = self._said.encoded()
        for step in reversed(self._steps):
            before = step.said.encoded()
            made.insert(len(self._unnoted), await step.trace(before, after, keep))
            after = before
        return made
