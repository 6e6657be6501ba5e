"""``/health``, ``/ready`` and ``/metrics``, for the operator."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.utils import floatToGoString

from api.request.authentication import PUBLIC, authenticated, require_admin
from api.settings import Settings
from commands.metrics import Histogram, Labelled, MetricFigure

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

    def __init__(self, figures: Callable[[], Iterable[MetricFigure]]) -> None:
        """``figures`` as ``commands/metrics.py`` says. Several parts may give one metric, each with label values of its own."""
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily] = {}
        for kind, name, text, value in self._figures():
            label = [value.label] if isinstance(value, Labelled) else []
            values = value.values if isinstance(value, Labelled) else {"": value}
            family = families.get(name)
            if family is None:
                family = families[name] = FAMILIES[kind](name, text, labels=label)
            for of, one in values.items():
                add(family, [of] if label else [], one)
        return families.values()


FAMILIES: Final[Mapping[str, type[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


def add(family: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily, labels: Sequence[str], value: float | Histogram) -> None:
    if isinstance(family, HistogramMetricFamily):
        assert isinstance(value, Histogram)
        bounds = [*map(floatToGoString, value.bounds), "+Inf"]
        family.add_metric(labels, list(zip(bounds, accumulate(value.counts), strict=True)), value.sum)
    else:
        assert not isinstance(value, Histogram)
        family.add_metric(labels, value)
