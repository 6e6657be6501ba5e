"""Tests that are to stay together do so: ``GROUPS`` in ``conftest.py`` is what pytest-xdist goes by."""

import pytest

from tests.conftest import group_of


def test_the_groups_of_tests_are_seen_by_what_shares_them_out(request: pytest.FixtureRequest) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("all tests run in one process")
    assert group_of(request.path) == "grouping"
    for item in request.session.items:
        group = group_of(item.path)
        assert group is None or item.nodeid.endswith(f"@{group}"), f"{item.nodeid} goes to the process that is free next"
