"""``IdMap`` is a dict that is never changed in place."""

from collections.abc import Sequence
from uuid import UUID

from hypothesis import given, strategies

from domain.values.idmap import BUCKETS, IdMap
from tests.domain.histories import UNHURRIED

# Few uuids, some of them in the same bucket: a collision has to come up.
IDS = strategies.builds(lambda high, low: UUID(int=high * BUCKETS + low), strategies.integers(0, 3), strategies.integers(0, 2))
ENTRIES = strategies.lists(strategies.tuples(IDS, strategies.integers()))


@UNHURRIED
@given(ENTRIES)
def test_it_answers_as_a_dict_would(entries: Sequence[tuple[UUID, int]]) -> None:
    made, expected = IdMap[int](), dict[UUID, int]()
    for key, value in entries:
        made = made.with_(key, value)
        expected[key] = value
        assert len(made) == len(expected)
    assert {key: made.get(key) for key in made} == expected
    assert all(key in made for key in expected)


@UNHURRIED
@given(ENTRIES, IDS, strategies.integers())
def test_setting_a_key_leaves_the_old_one_as_it_was(entries: Sequence[tuple[UUID, int]], key: UUID, value: int) -> None:
    before = IdMap[int]()
    for one, its in entries:
        before = before.with_(one, its)
    known = {one: before.get(one) for one in before}
    after = before.with_(key, value)
    assert after.get(key) == value
    assert {one: before.get(one) for one in before} == known


@UNHURRIED
@given(ENTRIES)
def test_it_is_compared_by_what_it_holds(entries: Sequence[tuple[UUID, int]]) -> None:
    forwards, backwards = IdMap[int](), IdMap[int]()
    unique = dict(entries)
    for key in unique:
        forwards = forwards.with_(key, unique[key])
    for key in reversed(unique):
        backwards = backwards.with_(key, unique[key])
    assert forwards == backwards
    assert (forwards == IdMap()) == (not unique)
    assert forwards != unique


@UNHURRIED
@given(ENTRIES, ENTRIES)
def test_a_thawed_one_becomes_the_same_and_leaves_the_one_it_came_from(
    first: Sequence[tuple[UUID, int]], then: Sequence[tuple[UUID, int]]
) -> None:
    before = IdMap[int]()
    for key, value in first:
        before = before.with_(key, value)
    known = {one: before.get(one) for one in before}
    thawed, expected = before.thawed(), before
    for key, value in then:
        thawed, expected = thawed.with_(key, value), expected.with_(key, value)
    made = thawed.frozen()
    assert made == expected
    assert len(made) == len(expected)
    assert {one: before.get(one) for one in before} == known
    assert made.with_(UUID(int=1 << 100), 1) != made


def test_a_key_that_is_not_there_is_none() -> None:
    assert IdMap[int]().get(UUID(int=1)) is None
    assert UUID(int=1) not in IdMap[int]()
