"""What pytest-xdist shares out: tests that are to stay together do so (``GROUPS`` in ``conftest.py``), and have a name of their own."""

import re
import time

import pytest

from tests.conftest import group_of


def test_the_groups_of_tests_are_seen_by_what_shares_them_out(request: pytest.FixtureRequest) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("all tests run in one process")
    assert group_of(request.path) == "grouping"
    for item in request.session.items:
        group = group_of(item.path)
        assert group is None or item.nodeid.endswith(f"@{group}"), f"{item.nodeid} goes to the process that is free next"


def test_a_test_has_the_same_name_in_each_process(request: pytest.FixtureRequest) -> None:
    """pytest-xdist runs nothing where two processes have found different names: none is made of the moment or of chance."""
    made_anew = re.compile(rf"eyJ|{str(int(time.time()))[:6]}|[0-9a-f]{{8}}-[0-9a-f]{{4}}-4[0-9a-f]{{3}}-[89ab]")  # a token, a time, an id
    assert [item.nodeid for item in request.session.items if made_anew.search(item.nodeid)] == []
