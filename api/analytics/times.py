"""The window of a report, as clients say it."""

from datetime import UTC, datetime
from typing import Annotated, Final

from litestar.params import QueryParameter

from domain.errors import BadRequest

SECONDS_MAX: Final = 32_503_680_000  # the year 3000
Seconds = Annotated[int | None, QueryParameter(ge=0, le=SECONDS_MAX, required=False)]
Moment = Annotated[str | None, QueryParameter(max_length=40, required=False)]


def window(start_date: int | None, end_date: int | None) -> tuple[datetime | None, datetime | None]:
    """From the second ``start_date`` to the end of the second ``end_date``. Raises ``BadRequest`` where it ends before it begins."""
    if start_date is not None and end_date is not None and end_date < start_date:
        raise BadRequest(f"expected an end_date from start_date {start_date} on, received {end_date}", param="end_date")
    since = datetime.fromtimestamp(start_date, UTC) if start_date is not None else None
    return since, datetime.fromtimestamp(end_date + 1, UTC) if end_date is not None else None


def moment(given: str | None, param: str) -> datetime | None:
    """A time as ISO 8601 writes it, in UTC where it names no zone, or in seconds since 1970. Raises ``BadRequest``."""
    if given is None or given == "":
        return None
    try:
        if given.isdecimal():
            return datetime.fromtimestamp(min(int(given), SECONDS_MAX), UTC)
        known = datetime.fromisoformat(given)
        return (known if known.tzinfo is not None else known.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequest(f"expected a time like 2026-03-01T00:00:00Z or in seconds since 1970, received {given!r}", param=param) from None
