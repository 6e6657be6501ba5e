"""One question: metrics, split by dimensions and by time, of the rows that filters choose."""

import functools
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from domain.errors import BadRequest
from projections.figures.catalogue import DIMENSIONS, GRANULARITIES, METRICS, Dimension, Metric, Source

ROWS_MAX: Final = 100_000
NAMES_MAX: Final = 30
VALUES_MAX: Final = 1_000
TIME: Final = "time"  # the name of the column by which rows are split by time


class Question(msgspec.Struct, frozen=True):
    """Made by ``question_of``, which has looked at every name. ``filters`` are all to hold, each by one of its values."""

    metrics: tuple[str, ...]
    dimensions: tuple[str, ...] = ()
    filters: tuple[tuple[str, tuple[str, ...]], ...] = ()
    since: datetime | None = None  # at it or after it
    until: datetime | None = None  # before it
    granularity: str | None = None
    time_zone: str = "UTC"
    rows_max: int = ROWS_MAX

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of its answer, in their order."""
        return (*((TIME,) if self.granularity is not None else ()), *self.dimensions, *self.metrics)

    @property
    def sources(self) -> Mapping[Source, Sequence[Metric]]:
        """Its metrics by where they come from."""
        found: dict[Source, list[Metric]] = {}
        for name in self.metrics:
            found.setdefault(METRICS[name].source, []).append(METRICS[name])
        return found


def question_of(
    metrics: Sequence[str],
    dimensions: Sequence[str] = (),
    filters: Mapping[str, Sequence[str]] | Iterable[tuple[str, Sequence[str]]] = (),
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    granularity: str | None = None,
    time_zone: str = "UTC",
    rows_max: int = ROWS_MAX,
) -> Question:
    """Raises ``BadRequest`` for a name that is not in the catalogue, naming those that are, and for a window that ends before it begins."""
    if not metrics:
        raise BadRequest(f"expected at least one metric of: {', '.join(METRICS)}", param="metrics")
    require_names("metric", metrics, METRICS, "metrics")
    require_names("dimension", dimensions, DIMENSIONS, "dimensions")
    chosen = tuple((name, tuple(values)) for name, values in (filters.items() if isinstance(filters, Mapping) else filters))
    require_names("dimension", [name for name, _ in chosen], DIMENSIONS, "filters", may_repeat=True)
    if any(len(values) > VALUES_MAX for _, values in chosen):
        raise BadRequest(f"expected at most {VALUES_MAX:,} values of a filter", param="filters")
    if granularity is not None and granularity not in GRANULARITIES:
        raise BadRequest(f"expected a granularity of {', '.join(GRANULARITIES)}, received {granularity[:80]!r}", param="granularity")
    zone_of(time_zone)
    if since is not None and until is not None and until <= since:
        raise BadRequest(f"expected a window that ends after it begins, received {since.isoformat()} to {until.isoformat()}", param="until")
    if not 0 < rows_max <= ROWS_MAX:
        raise BadRequest(f"expected rows_max from 1 to {ROWS_MAX:,}, received {rows_max}", param="rows_max")
    for name in {METRICS[metric].source: metric for metric in metrics}.values():
        source = METRICS[name].source
        for dimension in (*dimensions, *(one for one, _ in chosen)):
            if source not in DIMENSIONS[dimension].columns:
                known = ", ".join(one.name for one in DIMENSIONS.values() if source in one.columns)
                raise BadRequest(f"{name} has no dimension {dimension}; it has: {known}", param="dimensions")
    return Question(tuple(metrics), tuple(dimensions), chosen, since, until, granularity, time_zone, rows_max)


def require_names(
    what: str, names: Sequence[str], known: Mapping[str, Metric] | Mapping[str, Dimension], param: str, *, may_repeat: bool = False
) -> None:
    if len(names) > NAMES_MAX:
        raise BadRequest(f"expected at most {NAMES_MAX} {param}, received {len(names)}", param=param)
    for name in names:
        if name not in known:
            raise BadRequest(f"no {what} {name[:80]!r}; there are: {', '.join(known)}", param=param)
    if not may_repeat and len(set(names)) < len(names):
        raise BadRequest(f"expected each of {param} once", param=param)


@functools.cache
def known_zones() -> frozenset[str]:
    """Found once: reading the folders of all zones takes 10 ms."""
    return frozenset(zoneinfo.available_timezones())


def zone_of(name: str) -> zoneinfo.ZoneInfo:
    """Raises ``BadRequest``. ``localtime`` and the like are files, and no names that Postgres knows."""
    if name in known_zones() and name not in ("localtime", "Factory"):
        return zoneinfo.ZoneInfo(name)
    raise BadRequest(f"no time zone {name[:80]!r}; expected a name like Europe/Berlin, America/New_York or UTC", param="time_zone")


class Answer(msgspec.Struct, frozen=True):
    """``rows`` hold a value for each of ``columns``: the time at which a part of time begins, texts of dimensions, numbers."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]
    position: int  # of the log: everything up to it is counted
    is_cut: bool = False  # there were more than ``rows_max`` rows


def merged(question: Question, answers: Sequence[tuple[Sequence[Metric], Sequence[Sequence[Any]]]], position: int) -> Answer:
    """The answers of several sources as one, in order of time and dimensions. A count of no rows is 0, anything else of none is null."""
    keys = len(question.columns) - len(question.metrics)
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for metrics, found in answers:
        for row in found:
            values = rows.setdefault(tuple(row[:keys]), {})
            values.update(zip((metric.name for metric in metrics), row[keys:], strict=True))
    ordered = sorted(rows, key=lambda key: [(part is not None, part if part is not None else "") for part in key])
    nothing = [0 if METRICS[name].aggregate in ("count", "distinct") else None for name in question.metrics]
    filled = [
        (*key, *(rows[key].get(name, none) for name, none in zip(question.metrics, nothing, strict=True)))
        for key in ordered[: question.rows_max]
    ]
    return Answer(question.columns, filled, position, len(ordered) > question.rows_max)
