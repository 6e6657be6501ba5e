"""A receiver of OTLP over HTTP, as a collector is one: it decodes what comes and keeps it."""

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest, ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Receiver:
    """``received`` is every body as it came. A receiver that ``refuses`` answers 503."""

    def __init__(self) -> None:
        self.url = ""
        self.received: list[bytes] = []
        self.refuses = False
        self._traces: list[ExportTraceServiceRequest] = []
        self._metrics: list[ExportMetricsServiceRequest] = []

    def take(self, path: str, body: bytes) -> bytes:
        self.received.append(body)
        if path == "/v1/traces":
            self._traces.append(ExportTraceServiceRequest.FromString(body))
            return bytes(ExportTraceServiceResponse().SerializeToString())
        assert path == "/v1/metrics"
        self._metrics.append(ExportMetricsServiceRequest.FromString(body))
        return bytes(ExportMetricsServiceResponse().SerializeToString())

    @property
    def spans(self) -> list[Span]:
        return [span for one in self._traces for group in one.resource_spans for scope in group.scope_spans for span in scope.spans]

    @property
    def resources(self) -> list[Mapping[str, Any]]:
        return [attributes(group.resource.attributes) for one in self._traces for group in one.resource_spans]

    def of_trace(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id.hex() == trace_id]

    def points(self, name: str) -> list[HistogramDataPoint]:
        """Of a histogram as it was told last. Each telling holds everything since the start."""
        return [point for metric in self._newest if metric.name == name for point in metric.histogram.data_points]

    @property
    def histograms(self) -> dict[str, str]:
        """The unit of each."""
        return {metric.name: metric.unit for metric in self._newest}

    @property
    def _newest(self) -> list[Metric]:
        return [metric for group in self._metrics[-1].resource_metrics for scope in group.scope_metrics for metric in scope.metrics]


def attributes(given: Sequence[KeyValue]) -> dict[str, Any]:
    return {one.key: value_of(one.value) for one in given}


def value_of(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(one) for one in value.array_value.values]
    return getattr(value, str(kind))


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            said = receiver.take(self.path, body)
            self.send_response(503 if receiver.refuses else 200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: Any) -> None:
            """Not among the output of the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
