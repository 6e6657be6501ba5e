"""Times from outside are seconds inside."""

import math
from typing import Any

import pytest
from hypothesis import given, strategies

from domain.values.times import seconds_since_1970


@given(strategies.integers(10**9, 10**11 - 1))
def test_each_unit_gives_the_same_seconds(seconds: int) -> None:
    assert [seconds_since_1970(seconds * unit) for unit in (1, 10**3, 10**6, 10**9)] == [seconds] * 4


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (0, 0),
        (1.5, 1.5),
        (1700000000123, 1700000000.123),
        ("2023-11-14T22:13:20+00:00", 1700000000),
        ("2023-11-14T23:13:20+01:00", 1700000000),
        ("2023-11-14 22:13:20", 1700000000),
        ("2023-11-14T22:13:20.500000Z", 1700000000.5),
        ("1700000000", 1700000000),
        ("1700000000123", 1700000000.123),
        ("1700000000.5", 1700000000.5),
        ("20231114", 1699920000),
    ],
)
def test_fractions_and_texts(given: Any, seconds: float) -> None:
    assert seconds_since_1970(given) == seconds


@pytest.mark.parametrize(
    "given", [None, True, -1, 10**20, 1e300, math.nan, math.inf, -math.inf, "", "soon", "0001-01-01T00:00:00Z", [], {}]
)
def test_anything_else_is_no_time(given: Any) -> None:
    assert seconds_since_1970(given) is None
