"""An answer as JSON, CSV, Arrow or Parquet."""

import csv
import io
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from domain.errors import BadRequest
from projections.figures.catalogue import METRICS
from projections.figures.question import TIME, Answer

Format = Literal["json", "csv", "arrow", "parquet"]
MEDIA_TYPES: Final[dict[Format, str]] = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}


def encoded(answer: Answer, form: Format) -> bytes:
    """Raises ``BadRequest`` where the server lacks what a format needs."""
    match form:
        case "json":
            return msgspec.json.encode(answer)
        case "csv":
            return as_csv(answer)
        case "arrow" | "parquet":
            return as_arrow(answer, form)


def as_csv(answer: Answer) -> bytes:
    """RFC 4180, with a line of names. Null is nothing. A text that a spreadsheet would take for a formula has an apostrophe before it."""
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(answer.columns)
    writer.writerows([cell(value) for value in row] for row in answer.rows)
    return lines.getvalue().encode()


def cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) and not is_number(value):
        return f"'{value}"
    return value


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def as_arrow(answer: Answer, form: Literal["arrow", "parquet"]) -> bytes:
    """Times are of UTC in microseconds, dimensions texts, counts whole numbers, and everything else a float."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise BadRequest(
            f"this server has no {form}: its operator can install stenograph[analytics]; there are json and csv", param="format"
        ) from None

    def type_of(name: str) -> Any:
        metric = METRICS.get(name)
        if metric is None:
            return pa.timestamp("us", "UTC") if name == TIME else pa.string()
        return pa.int64() if metric.aggregate in ("count", "distinct") else pa.float64()

    columns = list(zip(*answer.rows, strict=True)) or [()] * len(answer.columns)
    types = [type_of(name) for name in answer.columns]
    arrays = [pa.array(list(values), type) for values, type in zip(columns, types, strict=True)]
    table = pa.table(dict(zip(answer.columns, arrays, strict=True)))
    sink = io.BytesIO()
    if form == "parquet":
        pq.write_table(table, sink)
    else:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return sink.getvalue()
