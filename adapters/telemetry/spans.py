"""The spans of a trace, as ``commands/tracing.py`` wants them. What stands in them is a fixed set of names and numbers of ours."""

import time
from collections.abc import Mapping, Sequence
from contextvars import Token
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace import Span as OtelSpan

from adapters.telemetry.deliveries import Deliveries
from adapters.telemetry.genai import generation_attributes, report_attributes
from commands.generation.run_figures import RunReport
from commands.tracing import CURRENT, CommittedBatch, Span
from domain.errors import StenographError
from domain.log.event import Event

LINKS_MAX: Final = 128  # of one batch; it may hold a thousand requests
FACTS_MAX: Final = 16
ATTEMPTS: Final = "stenograph.command.attempts"


class OpenSpan:
    """``Span``: also that of a request, which the API ends itself."""

    def __init__(self, tracer: Tracer, deliveries: Deliveries, span: OtelSpan) -> None:
        self.tracer = tracer
        self.deliveries = deliveries
        self.span = span
        self.context: Context = set_span_in_context(span, Context())

    def begin_command(self, kind: str) -> "OpenCommand":
        span = self.tracer.start_span(f"command {kind}", self.context, attributes={"stenograph.stream.kind": kind})
        return OpenCommand(self.tracer, self.deliveries, span)

    def begin_generation(self, model: str, owned_by: str) -> "OpenGeneration":
        attributes = generation_attributes(model, owned_by)
        name = f"chat {attributes['gen_ai.request.model']}" if "gen_ai.request.model" in attributes else "chat"
        return OpenGeneration(
            self.tracer, self.deliveries, self.tracer.start_span(name, self.context, SpanKind.CLIENT, attributes=attributes)
        )

    def committed(self, batch: CommittedBatch) -> None:
        """The batch is a span of its own, since it belongs to many traces: its span links to the commits, and each of them to it."""
        now_ns = time.time_ns()
        attributes: dict[str, Any] = {
            "db.system.name": "postgresql",
            "db.operation.name": "CALL",
            "db.stored_procedure.name": "append_batch",
            "stenograph.batch.requests": batch.requests_total,
            "stenograph.batch.events": batch.events_total,
        }
        spans = [request.span for request in batch.requests if isinstance(request.span, OpenSpan)]
        whole = self.tracer.start_span(
            "append_batch",
            Context(),
            SpanKind.CLIENT,
            attributes,
            links=[Link(one.span.get_span_context()) for one in spans[:LINKS_MAX]],
            start_time=now_ns - round(batch.duration_s * 1e9),
        )
        link = Link(whole.get_span_context())
        for request in batch.requests:
            assert isinstance(request.span, OpenSpan)
            commit = self.tracer.start_span(
                "commit",
                request.span.context,
                attributes={"stenograph.log.position": request.position, "stenograph.commit.events": request.events},
                links=[link],
                start_time=now_ns - round(request.waited_s * 1e9),
            )
            below = set_span_in_context(commit, Context())
            for stream, version in request.streams:
                self.deliveries.expect(stream, version, below)
            commit.end(now_ns)
        whole.end(now_ns)

    def fail(self, error: BaseException) -> None:
        """By its code or its class: its text may name somebody."""
        self.span.set_attribute("error.type", error.code if isinstance(error, StenographError) else type(error).__name__)
        self.span.set_status(Status(StatusCode.ERROR))

    def end_with(self, attributes: Mapping[str, Any]) -> None:
        self.span.set_attributes(attributes)
        self.span.end()


class OpenCommand(OpenSpan):
    """``CommandSpan``."""

    def __init__(self, tracer: Tracer, deliveries: Deliveries, span: OtelSpan) -> None:
        super().__init__(tracer, deliveries, span)
        self._attempts = 0
        self._facts: Sequence[Event[Any]] = ()
        self._before: Token[Span | None] = CURRENT.set(self)

    def decided(self, events: Sequence[Event[Any]]) -> None:
        self._attempts += 1
        self._facts = events

    def failed(self, error: BaseException) -> None:
        self.fail(error)

    def end(self) -> None:
        CURRENT.reset(self._before)
        # The names of our own classes: an emitted event's type is somebody's word.
        facts = list(dict.fromkeys(type(event.data).__name__ for event in self._facts))[:FACTS_MAX]
        self.end_with({"stenograph.command.facts": facts, ATTEMPTS: self._attempts})


class OpenGeneration(OpenSpan):
    """``GenerationSpan``."""

    def attach(self) -> None:
        CURRENT.set(self)

    def detach(self) -> None:
        CURRENT.set(None)

    def end(self, report: RunReport) -> None:
        if report.error_code is not None:
            self.span.set_status(Status(StatusCode.ERROR))
        self.end_with(report_attributes(report))
