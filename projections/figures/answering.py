"""Answers a question from rows in memory: what Postgres is to say, too."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from projections.figures.catalogue import DIMENSIONS, Metric, Source
from projections.figures.parts_of_time import part_of_time
from projections.figures.question import Answer, Question, merged
from projections.figures.tables import Tables

Row = Mapping[str, Any]


def answer(tables: Tables, question: Question, position: int) -> Answer:
    answers = []
    for source, metrics in question.sources.items():
        groups: dict[tuple[Any, ...], list[Row]] = {} if question.granularity or question.dimensions else {(): []}
        for row in chosen(rows_of(tables, source), question, source):
            groups.setdefault(key_of(row, question, source), []).append(row)
        answers.append((metrics, [(*key, *(value_of(metric, rows) for metric in metrics)) for key, rows in groups.items()]))
    return merged(question, answers, position)


def rows_of(tables: Tables, source: Source) -> Iterable[Row]:
    """As the source's query in ``sql/queries/figures.sql`` says. There are no prices in memory, so no cost."""
    match source:
        case "generations":
            for one in tables.generations.values():
                conversation = tables.conversations[one.stream_id]
                if one.version >= conversation.imported_version:
                    speed = None
                    if (
                        one.output_tokens is not None
                        and one.duration_ms
                        and one.first_token_ms is not None
                        and one.duration_ms > one.first_token_ms
                    ):
                        speed = one.output_tokens * 1000.0 / (one.duration_ms - one.first_token_ms)
                    more = {"kind": conversation.kind, "listed": conversation.listed, "at": one.started_at}
                    yield {**msgspec.structs.asdict(one), **more, "tokens_per_second": speed, "cost": None}
        case "messages":
            for message in tables.messages.values():
                conversation = tables.conversations[message.stream_id]
                is_here = message.version >= conversation.imported_version
                if is_here or conversation.source != "chat":
                    yield {
                        **msgspec.structs.asdict(message),
                        "kind": conversation.kind,
                        "listed": conversation.listed,
                        "at": message.sent_at,
                        "is_deleted": message.deleted_at is not None,
                        "answering_model_id": message.model_id if message.role == "assistant" else None,
                        "origin": "here" if is_here else "imported",
                    }
        case "ratings":
            for rating in tables.ratings.values():
                conversation = tables.conversations[rating.stream_id]
                if rating.superseded_at is None and rating.version >= conversation.imported_version:
                    yield {**msgspec.structs.asdict(rating), "kind": conversation.kind, "at": rating.rated_at}
        case "memberships":
            for member in tables.memberships.values():
                yield {**msgspec.structs.asdict(member), "at": member.joined_at, "has_left": member.left_at is not None}
        case "people":
            for person in tables.people.values():
                yield {**msgspec.structs.asdict(person), "at": person.created_at}


def chosen(rows: Iterable[Row], question: Question, source: Source) -> Iterable[Row]:
    filters = [(DIMENSIONS[name].columns[source], frozenset(values)) for name, values in question.filters]
    for row in rows:
        is_inside = (question.since is None or row["at"] >= question.since) and (question.until is None or row["at"] < question.until)
        if is_inside and all(text_of(row[column]) in values for column, values in filters):
            yield row


def key_of(row: Row, question: Question, source: Source) -> tuple[Any, ...]:
    time = () if question.granularity is None else (part_of_time(row["at"], question.granularity, ZoneInfo(question.time_zone)),)
    return (*time, *(text_of(row[DIMENSIONS[name].columns[source]]) for name in question.dimensions))


def text_of(value: Any) -> str | None:
    """As Postgres writes it."""
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case UUID() | int():
            return str(value)
        case _:
            raise AssertionError(f"no dimension holds {value!r}")


def value_of(metric: Metric, rows: Sequence[Row]) -> Any:
    if metric.aggregate in ("count", "share"):
        where = metric.where
        counted = sum(where is None or text_of(row[where[0]]) == where[1] for row in rows)
        return counted if metric.aggregate == "count" else counted / len(rows) if rows else None
    assert metric.column is not None
    values = [row[metric.column] for row in rows if row[metric.column] is not None]
    match metric.aggregate:
        case "distinct":
            return len(set(values))
        case "sum":
            return float(sum(values)) if values else None
        case "max":
            return max(values, default=None)
        case _:
            assert metric.fraction is not None
            return percentile(values, metric.fraction)


def percentile(values: Sequence[float], fraction: float) -> float | None:
    """Between two values in proportion, as ``percentile_cont`` does."""
    if not values:
        return None
    ordered = sorted(values)
    place = fraction * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (ordered[above] - ordered[below]) * (place - below))
