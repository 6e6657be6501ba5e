"""What a process needs of OpenTelemetry, where it is switched on. ``adapters/telemetry`` is loaded only then."""

from importlib.metadata import PackageNotFoundError, distribution
from typing import Final, Protocol

from adapters.delivery.hub import Encode, Hub, ReadRange
from api.request.traced_requests import RequestSpan
from api.settings import Settings
from commands.generation.run_figures import RunReport

PACKAGES: Final = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")


class TelemetryMissing(Exception):  # as ``CannotListen``
    """The settings ask for OpenTelemetry, which is not installed."""


class Telemetry(Protocol):
    """Spans and metrics of one process, sent in the background."""

    def hub(self, read_range: ReadRange, encode: Encode, *, memory_bytes: int) -> Hub:
        """A hub whose deliveries are parts of traces."""
        ...

    def begin_request(self, method: str, traceparent: str | None) -> RequestSpan | None:
        """The span of an HTTP request; None: it is not sampled. ``traceparent`` as in W3C Trace Context."""
        ...

    def count(self, report: RunReport) -> None:
        """A generation is over."""
        ...

    async def close(self, within_s: float) -> None:
        """Send what waits; what is not taken in that time is lost."""
        ...


def require_telemetry(settings: Settings) -> None:
    """Raises ``TelemetryMissing``."""
    if settings.otel_endpoint is None:
        return
    try:
        for package in PACKAGES:
            distribution(package)
    except PackageNotFoundError as error:
        raise TelemetryMissing(f"STENO_OTEL_ENDPOINT needs {error.name}. Install it:  pip install 'stenograph[otel]'") from None
