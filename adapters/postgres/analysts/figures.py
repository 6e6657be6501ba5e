"""``FigureQueries`` on the tables of the projection ``figures``."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from adapters.postgres.connections.queries import text
from adapters.postgres.connections.query_reader import QueryReader
from adapters.postgres.reading.checkpoints import Checkpoints
from projections.figures.catalogue import DIMENSIONS, Metric, Source
from projections.figures.parts_of_time import PartOfTime, parts_of_time
from projections.figures.ports import DuelCount, ListedMessage, ListedRating, ModelChat
from projections.figures.question import Answer, Question, merged

ASK: Final = text("figures_ask")
ASK_BY_TIME: Final = text("figures_ask_by_time")
MEMORY: Final = text("figures_memory")
EVERYTHING: Final = text("figures_of_everything")
SINCE: Final = text("figures_since")
UNTIL: Final = text("figures_until")
ONE_OF: Final = text("figures_one_of")
DIMENSION: Final = text("figures_dimension")
PART_OF_TIME: Final = text("figures_part_of_time")
COUNT_WHERE: Final = text("figures_count_where")
AGGREGATES: Final = {aggregate: text(f"figures_{aggregate}") for aggregate in ("count", "share", "sum", "max", "distinct", "percentile")}
SOURCES: Final[dict[Source, str]] = {
    "generations": text("figures_source_generations"),
    "messages": text("figures_source_messages"),
    "ratings": text("figures_source_ratings"),
    "memberships": text("figures_source_memberships"),
    "people": text("figures_source_people"),
}
# Of those that have an index on their time and need no other table.
TIMES: Final[dict[Source, str]] = {
    "generations": text("figures_times_of_generations"),
    "messages": text("figures_times_of_messages"),
}
POSITION: Final = text("figures_position")
DUELS: Final = text("figures_duels")
MESSAGES: Final = text("figures_list_messages")
RATINGS: Final = text("figures_list_ratings")
CHATS: Final = text("figures_chats_of_model")


class PostgresFigures:
    """``FigureQueries``. See the port for what each method promises."""

    def __init__(self, reader: QueryReader) -> None:
        self._reader = reader
        self._checkpoints = Checkpoints(reader, ["figures"])

    async def reached(self, position: int, timeout_s: float) -> bool:
        return await self._checkpoints.reached(position, timeout_s)

    async def position(self) -> int:
        rows = await self._reader.fetch(POSITION)
        position: int = rows[0]["position"] if rows else 0
        return position

    async def ask(self, question: Question) -> Answer:
        async def read(connection: Any) -> Answer:
            rows = await connection.fetch(POSITION)
            await connection.execute(MEMORY)
            answers = []
            for source, metrics in question.sources.items():
                parts = None
                if question.granularity is not None and source in TIMES:
                    parts = parts_of(question, question.granularity, *await connection.fetchrow(TIMES[source]))
                query, arguments = composed(question, source, metrics, parts)
                answers.append((metrics, [tuple(row) for row in await connection.fetch(query, *arguments)]))
            return merged(question, answers, rows[0]["position"] if rows else 0)

        return await self._reader.in_transaction_snapshot(read)

    async def duels(self, since: datetime | None, until: datetime | None) -> Sequence[DuelCount]:
        return [DuelCount(*row) for row in await self._reader.fetch(DUELS, since, until)]

    async def messages(
        self,
        *,
        model_id: str | None = None,
        user_id: UUID | None = None,
        stream_id: UUID | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        offset: int = 0,
        limit: int,
    ) -> Sequence[ListedMessage]:
        rows = await self._reader.fetch(MESSAGES, model_id, user_id, stream_id, since, until, offset, limit)
        return [ListedMessage(*row) for row in rows]

    async def ratings(
        self, *, by_rating: bool = False, ascending: bool = False, offset: int = 0, limit: int
    ) -> tuple[int, list[ListedRating]]:
        direction = 1 if ascending else -1
        rows = await self._reader.fetch(RATINGS, by_rating, direction, offset, limit)
        if not rows and offset:  # beyond the end no row says how many there are
            return (await self.ratings(limit=1))[0], []
        return rows[0]["total"] if rows else 0, [ListedRating(*row[:-1]) for row in map(tuple, rows)]

    async def chats_of_model(self, model_id: str, since: datetime | None, until: datetime | None) -> Sequence[ModelChat]:
        return [ModelChat(*row) for row in await self._reader.fetch(CHATS, model_id, since, until)]


def parts_of(question: Question, granularity: str, first: datetime | None, last: datetime | None) -> list[PartOfTime] | None:
    """Those of a question whose rows are from ``first`` to ``last``; None where they are not to be asked one by one."""
    if first is None or last is None:
        return []
    since = first if question.since is None else max(first, question.since)
    end = last + timedelta(microseconds=1)
    return parts_of_time(since, end if question.until is None else min(end, question.until), granularity, ZoneInfo(question.time_zone))


def composed(
    question: Question, source: Source, metrics: Sequence[Metric], parts: Sequence[PartOfTime] | None = None
) -> tuple[str, list[Any]]:
    """The query for one source of a question, and its arguments. Its columns: time, dimensions, metrics. ``parts`` are those of time."""
    arguments: list[Any] = []

    def number(value: Any) -> int:
        arguments.append(value)
        return len(arguments)

    columns = []
    if question.granularity is not None and parts is None:
        columns.append(PART_OF_TIME.format(part=number(question.granularity), zone=number(question.time_zone)))
    columns += [DIMENSION.format(column=DIMENSIONS[name].columns[source]) for name in question.dimensions]
    places = places_of(len(columns))
    filters = [ONE_OF.format(column=DIMENSIONS[name].columns[source], number=number(list(values))) for name, values in question.filters]
    asked = {"columns": ", ".join([*columns, *map(expression, metrics)]), "source": SOURCES[source], "limit": question.rows_max + 1}
    if parts is not None:
        bounds = {name: number([getattr(part, name) for part in parts]) for name in PartOfTime._fields}
        filled = " AND ".join(filters or [EVERYTHING])
        return ASK_BY_TIME.format(filters=filled, groups=places or "()", order=places_of(len(columns) + 1), **asked, **bounds), arguments
    filters += [SINCE.format(number=number(question.since))] if question.since is not None else []
    filters += [UNTIL.format(number=number(question.until))] if question.until is not None else []
    return ASK.format(filters=" AND ".join(filters or [EVERYTHING]), groups=places or "()", order=places or "1", **asked), arguments


def places_of(columns: int) -> str:
    """The first so many of a query."""
    return ", ".join(str(place) for place in range(1, columns + 1))


def expression(metric: Metric) -> str:
    where, value = metric.where or ("", "")
    template = COUNT_WHERE if metric.aggregate == "count" and metric.where is not None else AGGREGATES[metric.aggregate]
    return template.format(column=metric.column, where=where, value=value, fraction=metric.fraction)
