"""The hours, days, weeks and months of a window by the clocks of a zone, as stretches of time: an index on times finds their rows."""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

PARTS_MAX: Final = 20_000  # more are no longer quicker than to look at every row


class PartOfTime(NamedTuple):
    at: datetime  # when it began: its name in answers
    since: datetime  # of the window what is in it
    until: datetime


def parts_of_time(since: datetime, until: datetime, granularity: str, zone: ZoneInfo) -> list[PartOfTime] | None:
    """All of them between two times, in order, none empty.

    None where there are too many, and where clocks that were put back over the beginning of one make two stretches of it.
    """
    unit, is_hours = (timedelta(hours=1), True) if granularity == "hour" else (timedelta(days=1), False)
    if granularity in ("hour", "day") and until - since > 2 * PARTS_MAX * unit:  # none of them is twice as long as the others
        return None
    parts: list[PartOfTime] = []
    seen: set[datetime] = set()
    begin, until = since.astimezone(UTC), until.astimezone(UTC)
    while begin < until:
        # A stretch in which the clocks neither change nor come to another hour or day: all of it is in one part.
        local = begin.astimezone(zone)
        offset = local.utcoffset() or timedelta()
        whole = local.replace(hour=local.hour if is_hours else 0, minute=0, second=0, microsecond=0, fold=0, tzinfo=UTC)
        end = whole + unit - offset
        if end.astimezone(zone).utcoffset() != offset:
            end = first_change(begin, end, offset, zone)
        end = min(end, until)
        at = part_of_time(begin, granularity, zone)
        if parts and parts[-1].at == at:
            parts[-1] = parts[-1]._replace(until=end)
        elif at in seen or len(parts) == PARTS_MAX:
            return None
        else:
            parts.append(PartOfTime(at, begin, end))
            seen.add(at)
        begin = end
    return parts


def first_change(begin: datetime, end: datetime, offset: timedelta, zone: ZoneInfo) -> datetime:
    """When the clocks of ``zone`` leave ``offset``, which they have at ``begin`` and not at ``end``. They change at a whole second."""
    before, after = int(begin.timestamp()), int(end.timestamp())
    while after - before > 1:
        middle = (before + after) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return datetime.fromtimestamp(after, UTC)


def part_of_time(at: datetime, granularity: str, zone: ZoneInfo) -> datetime:
    """When the hour, day, week or month began in which ``at`` is, by the clocks of ``zone``. An hour that comes twice is two hours."""
    local = at.astimezone(zone)
    if granularity == "hour":
        return at.astimezone(UTC) - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    day = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if granularity == "week":
        day -= timedelta(days=day.weekday())
    if granularity == "month":
        day = day.replace(day=1)
    return day.astimezone(UTC)
