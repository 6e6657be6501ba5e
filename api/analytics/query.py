"""``/api/v1/analytics/query``: any question of the catalogue, and ``/arena``: the models by their duels (analyst)."""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from api.analytics.tables import MEDIA_TYPES, Format, encoded
from api.analytics.times import Moment, moment
from api.request.caller import Caller
from commands.analytics import Analytics, require_analyst, require_may_ask
from domain.errors import BadRequest
from projections.figures.catalogue import ALL_DIMENSIONS, ALL_METRICS, GRANULARITIES
from projections.figures.elo import Ranked
from projections.figures.question import ROWS_MAX, question_of

NAMES_CHARACTERS_MAX: Final = 2_000
FILTERS_MAX: Final = 1_000
Names = Annotated[str, QueryParameter(max_length=NAMES_CHARACTERS_MAX, required=False)]
RowsMax = Annotated[int, QueryParameter(ge=1, le=ROWS_MAX, required=False)]


class MetricOut(msgspec.Struct):
    name: str
    unit: str
    description: str
    dimensions: list[str]


class DimensionOut(msgspec.Struct):
    name: str
    description: str


class CatalogueOut(msgspec.Struct):
    metrics: list[MetricOut]
    dimensions: list[DimensionOut]
    granularities: list[str]
    formats: list[str]


class ArenaOut(msgspec.Struct):
    models: list[Ranked]
    position: int


CATALOGUE: Final = CatalogueOut(
    [
        MetricOut(one.name, one.unit, one.description, [dimension.name for dimension in ALL_DIMENSIONS if one.source in dimension.columns])
        for one in ALL_METRICS
    ],
    [DimensionOut(one.name, one.description) for one in ALL_DIMENSIONS],
    list(GRANULARITIES),
    list(MEDIA_TYPES),
)


class AnalyticsQueryController(Controller):
    path = "/api/v1/analytics"
    tags = ("analytics",)

    @get("/catalogue")
    async def catalogue(self, caller: NamedDependency[Caller]) -> CatalogueOut:
        """Every metric and dimension that `query` knows (analyst)."""
        require_analyst(caller.principal)
        return CATALOGUE

    @get("/query")
    async def query(
        self,
        caller: NamedDependency[Caller],
        analytics: NamedDependency[Analytics],
        metrics: Names = "",
        dimensions: Names = "",
        filter_: Annotated[list[str] | None, QueryParameter(name="filter", required=False)] = None,
        since: Moment = None,
        until: Moment = None,
        granularity: Annotated[str | None, QueryParameter(max_length=20, required=False)] = None,
        time_zone: Annotated[str, QueryParameter(max_length=80, required=False)] = "UTC",
        format_: Annotated[Format, QueryParameter(name="format", required=False)] = "json",
        rows_max: RowsMax = 10_000,
        at_least: FromQuery[int | None] = None,
    ) -> Response[bytes]:
        """Metrics by dimensions and parts of time, of what the filters choose (analyst). Names are separated by commas; a filter is
        `dimension=value`, and several values of one dimension are alternatives. By `person` and `conversation` only for admins."""
        require_analyst(caller.principal)
        question = question_of(
            names(metrics),
            names(dimensions),
            filters_of(filter_ or []),
            since=moment(since, "since"),
            until=moment(until, "until"),
            granularity=granularity,
            time_zone=time_zone,
            rows_max=rows_max,
        )
        require_may_ask(caller.principal, question)
        await analytics.wait(at_least)
        answer = await analytics.ask(question)
        return Response(encoded(answer, format_), media_type=MEDIA_TYPES[format_])

    @get("/arena")
    async def arena(
        self,
        caller: NamedDependency[Caller],
        analytics: NamedDependency[Analytics],
        since: Moment = None,
        until: Moment = None,
        at_least: FromQuery[int | None] = None,
    ) -> ArenaOut:
        """The models by their duels, the best first: ratings on Elo's scale, each with an interval of 95 of 100 draws (analyst)."""
        require_analyst(caller.principal)
        after, before = require_order(moment(since, "since"), moment(until, "until"))
        await analytics.wait(at_least)
        position, models = await analytics.ranks(after, before)
        return ArenaOut(models, position)


def names(given: str) -> list[str]:
    return [name.strip() for name in given.split(",") if name.strip()]


def filters_of(given: list[str]) -> dict[str, list[str]]:
    """``dimension=value``, the values of one dimension together. Raises ``BadRequest``."""
    if len(given) > FILTERS_MAX:
        raise BadRequest(f"expected at most {FILTERS_MAX:,} filters, received {len(given)}", param="filter")
    found: dict[str, list[str]] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise BadRequest(f"expected a filter like model=demo, received {one[:80]!r}", param="filter")
        found.setdefault(name.strip(), []).append(value)
    return found


def require_order(since: datetime | None, until: datetime | None) -> tuple[datetime | None, datetime | None]:
    if since is not None and until is not None and until <= since:
        raise BadRequest(f"expected a window that ends after it begins, received {since.isoformat()} to {until.isoformat()}", param="until")
    return since, until
