"""``/health``, ``/ready`` and ``/metrics``, for the operator."""

from collections.abc import Callable, Iterable
from typing import Any

from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from api.request.authentication import PUBLIC, authenticated, require_admin
from api.settings import Settings

Readiness = Callable[[], dict[str, Any]]


class OpsController(Controller):
    path = "/"
    tags = ("operation",)

    @get("/health", opt={PUBLIC: True})
    async def health(self) -> dict[str, bool]:
        """The process answers."""
        return {"status": True}

    @get("/ready", opt={PUBLIC: True})
    async def ready(self, readiness: NamedDependency[SkipValidation[Readiness]]) -> Response[dict[str, Any]]:
        """200 when the log can be read and written and the server takes work, else 503; with warnings about the database."""
        state = readiness()
        return Response(state, status_code=200 if state["ready"] else 503)

    @get("/metrics", opt={PUBLIC: True})
    async def metrics(
        self,
        request: Request[Any, Any, Any],
        settings: NamedDependency[SkipValidation[Settings]],
        registry: NamedDependency[SkipValidation[CollectorRegistry]],
    ) -> Response[bytes]:
        """Prometheus' text format. For admins alone where the setting ``metrics_public`` is off."""
        if not settings.metrics_public:
            require_admin(await authenticated(request))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class Gauges:
    """A collector that asks for its figures when it is scraped: counting costs the hot path nothing."""

    def __init__(self, figures: Callable[[], Iterable[tuple[str, str, str, float]]]) -> None:
        """``figures`` gives ``(kind, name, help, value)`` with kind ``counter`` or ``gauge``."""
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        for kind, name, text, value in self._figures():
            family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
            yield family(name, text, value=value)
