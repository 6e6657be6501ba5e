"""Parts of time as stretches: each moment of a window is in one of them, the one that it belongs to by the clocks of the zone."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.figures.catalogue import GRANULARITIES
from projections.figures.parts_of_time import PARTS_MAX, part_of_time, parts_of_time

# By half hours, by quarters, by seconds (until 1972), changes by half an hour, at midnight, over midnight, and a day that was left out.
ZONES = (
    *("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Africa/Monrovia", "Australia/Lord_Howe"),
    *("America/Sao_Paulo", "Asia/Beirut", "America/St_Johns", "Pacific/Apia", "Africa/Casablanca", "America/Havana"),
)
MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2037, 12, 31), timezones=st.just(UTC))


@settings(max_examples=60)
@given(st.sampled_from(ZONES), st.sampled_from(GRANULARITIES), MOMENTS, st.timedeltas(timedelta(minutes=1), timedelta(days=8)), st.data())
def test_each_moment_is_in_the_part_that_it_belongs_to(
    name: str, granularity: str, since: datetime, length: timedelta, data: st.DataObject
) -> None:
    zone, until = ZoneInfo(name), since + length
    parts = parts_of_time(since, until, granularity, zone)
    if parts is None:  # clocks were put back over the beginning of a day
        assert name in ("America/St_Johns", "America/Havana", "America/Sao_Paulo", "Asia/Beirut", "Africa/Casablanca")
        return
    assert (parts[0].since, parts[-1].until) == (since, until)
    assert all(one.until == other.since for one, other in pairwise(parts)), "no gap and no overlap"
    assert len({part.at for part in parts}) == len(parts)
    for part in parts:
        inside = data.draw(st.datetimes(part.since.replace(tzinfo=None), part.until.replace(tzinfo=None), timezones=st.just(UTC)))
        for moment in (part.since, min(inside, part.until - timedelta(microseconds=1)), part.until - timedelta(microseconds=1)):
            assert part_of_time(moment, granularity, zone) == part.at


@pytest.mark.parametrize(
    ("name", "around"),
    [
        ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),  # half an hour comes twice
        ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),  # half an hour is left out
        ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),  # an hour comes twice
        ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),  # an hour is left out
        ("Africa/Monrovia", datetime(1972, 1, 7, 0, 44, 30, tzinfo=UTC)),  # the clocks were 44 minutes and 30 seconds behind
        ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),  # a day is left out
    ],
)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_where_clocks_change_every_minute_is_in_its_part(name: str, around: datetime, granularity: str) -> None:
    zone, since = ZoneInfo(name), around - timedelta(hours=3)
    parts = parts_of_time(since, around + timedelta(hours=3), granularity, zone)
    assert parts is not None
    for minute in range(360):
        moment = since + timedelta(minutes=minute)
        assert [part.at for part in parts if part.since <= moment < part.until] == [part_of_time(moment, granularity, zone)]


def test_a_day_of_two_stretches_and_too_many_hours_are_not_asked_by_parts() -> None:
    newfoundland = ZoneInfo("America/St_Johns")
    back = datetime(2010, 11, 7, 2, 31, tzinfo=UTC)  # at 00:01 it was 23:01 of the day before
    assert parts_of_time(back - timedelta(days=1), back + timedelta(days=1), "day", newfoundland) is None
    assert parts_of_time(back - timedelta(days=1), back + timedelta(days=1), "hour", newfoundland) is not None
    since = datetime(2020, 1, 1, tzinfo=UTC)
    assert parts_of_time(since, since + timedelta(hours=PARTS_MAX + 1), "hour", ZoneInfo("UTC")) is None
