"""The port to pipelines: filters that run on servers of their own and are asked over HTTP."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

PipelineStage = Literal["inlet", "outlet"]


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """One filter of a server, as the server lists it; or the pipe that answers itself, which may have an inlet and an outlet too."""

    id: str
    server: int  # which of the configured servers, from 0
    is_filter: bool = True
    models: Sequence[str] = ()  # the models that it is for; ``*`` alone: all
    priority: float = 0  # lower ones first

    def is_for(self, model: str) -> bool:
        return model in self.models or list(self.models) == ["*"] if self.is_filter else model == self.id


class PipelineSkipped(Exception):
    """A server that could not be asked, or did not answer as a server of pipelines does: the body goes on as it is."""


class Pipelines(Protocol):
    @property
    def is_empty(self) -> bool:
        """Whether no server is configured: then nothing is to be asked."""
        ...

    async def filters(self) -> tuple[Sequence[Pipeline], Mapping[str, str]]:
        """What all servers list, as of some seconds ago; and, by a name for the server, why one could not be asked for its list."""
        ...

    async def call(self, pipeline: Pipeline, stage: PipelineStage, body: Mapping[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
        """The body as the pipeline returns it. Raises ``PipelineSkipped``, and ``PipelineFailed`` with the server's own status and detail
        where it refuses.
        """
        ...


class NoPipelines:
    is_empty = True

    async def filters(self) -> tuple[Sequence[Pipeline], Mapping[str, str]]:
        return (), {}

    async def call(self, pipeline: Pipeline, stage: PipelineStage, body: Mapping[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
        raise PipelineSkipped("no server of pipelines is configured")


def chosen(pipelines: Sequence[Pipeline], model: str, stage: PipelineStage) -> list[Pipeline]:
    """Those that run for the model, in their order: by priority, then by server and id. The model itself comes last at the inlet and
    first at the outlet, where it is a pipeline.
    """
    fitting = [one for one in pipelines if one.is_for(model)]
    filters = sorted((one for one in fitting if one.is_filter), key=lambda one: (one.priority, one.server, one.id))
    pipes = [one for one in fitting if not one.is_filter][:1]
    return [*filters, *pipes] if stage == "inlet" else [*pipes, *filters]
