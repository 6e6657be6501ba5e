"""What a process sends by OpenTelemetry: spans of requests and of what they cause, and the metrics of generations.

Spans and metrics are sent by threads of the SDK over OTLP/HTTP. What cannot be sent in time is dropped: nothing here waits for a collector.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from typing import Final
from uuid import UUID

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from adapters.delivery.hub import Encode, Hub, ReadRange
from adapters.telemetry.deliveries import Deliveries, TracedHub
from adapters.telemetry.genai import GenerationMetrics
from adapters.telemetry.spans import OpenSpan

SCHEMA: Final = "https://opentelemetry.io/schemas/1.37.0"
SCOPE: Final = "stenograph"
SEND_TIMEOUT_S: Final = 5.0
# Names of the conventions; another one is a caller's word.
METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
OTHER_METHOD: Final = "_OTHER"
TRACEPARENT_CHARACTERS_MAX: Final = 128  # it has 55; later versions may have more


class RequestSpan(OpenSpan):
    """The span of one HTTP request."""

    def __init__(self, tracer: Tracer, deliveries: Deliveries, span: OtelSpan, method: str) -> None:
        super().__init__(tracer, deliveries, span)
        self._method = method

    def end(self, route: str, status: int) -> None:
        """``route``: the template of its path, "" where there is none; ``status`` 0: there was no response."""
        if route:
            self.span.update_name(f"{self._method} {route}")
            self.span.set_attribute("http.route", route)
        if status:
            self.span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self.span.set_attribute("error.type", str(status))
            self.span.set_status(Status(StatusCode.ERROR))
        self.span.end()


class Telemetry:
    """``endpoint`` is the base URL of an OTLP/HTTP receiver, such as ``http://127.0.0.1:4318``. Everything else is set by OpenTelemetry's
    own variables: headers, sampling, intervals, attributes of the resource.
    """

    def __init__(self, endpoint: str, node_id: UUID, version: str) -> None:
        base = endpoint.rstrip("/")
        resource = Resource.create(
            {
                "service.name": os.environ.get("OTEL_SERVICE_NAME") or "stenograph",
                "service.version": version,
                "service.instance.id": str(node_id),
            }
        )
        # Our own, and not the process's: a function may have set up another.
        self._traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{base}/v1/traces", timeout=SEND_TIMEOUT_S)))
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{base}/v1/metrics", timeout=SEND_TIMEOUT_S))
        self._meters = MeterProvider([reader], resource, shutdown_on_exit=False)
        self._tracer = self._traces.get_tracer(SCOPE, version, schema_url=SCHEMA)
        self._propagator = TraceContextTextMapPropagator()
        self._deliveries = Deliveries(self._tracer)
        self.count = GenerationMetrics(self._meters.get_meter(SCOPE, version, SCHEMA)).count

    def hub(self, read_range: ReadRange, encode: Encode, *, memory_bytes: int) -> Hub:
        """A hub whose deliveries are parts of traces."""
        return TracedHub(read_range, encode, self._deliveries, memory_bytes=memory_bytes)

    def begin_request(self, method: str, traceparent: str | None) -> RequestSpan | None:
        """The span of an HTTP request. None: it is not sampled.

        ``traceparent`` (W3C Trace Context) is the caller's span. Its ``tracestate`` is not read, because a caller can put any text into it.
        """
        is_long = traceparent is not None and len(traceparent) > TRACEPARENT_CHARACTERS_MAX  # the propagator would log each of them
        parent = Context() if traceparent is None or is_long else self._propagator.extract({"traceparent": traceparent}, Context())
        known = method if method in METHODS else OTHER_METHOD
        span = self._tracer.start_span(known, parent, SpanKind.SERVER, {"http.request.method": known})
        return RequestSpan(self._tracer, self._deliveries, span, known) if span.is_recording() else None

    async def close(self, within_s: float) -> None:
        """Send what waits. What the receiver has not taken within the time is lost."""
        self._deliveries.close()
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down(tell: Callable[[], object]) -> None:
            with contextlib.suppress(Exception):  # a receiver that is away
                self._traces.shutdown()
                self._meters.shutdown(within_s * 1000)
            with contextlib.suppress(RuntimeError):  # the loop has ended: it did not wait for so long
                loop.call_soon_threadsafe(tell)

        # A daemon: a process that ends does not wait for it.
        threading.Thread(target=shut_down, args=(done.set,), name="telemetry", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await done.wait()
