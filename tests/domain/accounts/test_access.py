"""Who may use a thing: given these grants, an account and its groups, what may it do, and which events change the grants."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies

from domain.accounts.access import EVERYBODY, GRANTS_MAX, AccessGranted, AccessRevoked, Grant, change_grants, evolve_grants, permission_of
from domain.errors import BadRequest

ME, OTHER, GROUP, OTHERS = (UUID(int=number) for number in range(1, 5))


def to(principal: Any, permission: Any = "read", kind: Any = "user") -> Grant:
    return Grant(kind, str(principal), permission)


@pytest.mark.parametrize(
    ("grants", "permission"),
    [
        ([], None),
        ([to(OTHER)], None),
        ([to(ME)], "read"),
        ([to(EVERYBODY)], "read"),
        ([to(GROUP, kind="group")], "read"),
        ([to(OTHERS, kind="group")], None),
        ([to(ME), to(GROUP, "write", "group")], "write"),
        ([to(ME, "write"), to(ME)], "write"),
        ([to(GROUP)], None),  # an account with the id of the group
        ([to(ME, kind="group")], None),
        ([to(EVERYBODY, kind="group")], None),
    ],
)
def test_the_most_that_any_grant_gives_counts(grants: list[Grant], permission: str | None) -> None:
    assert permission_of(grants, ME, {GROUP}) == permission


def test_only_what_differs_is_an_event() -> None:
    known = (to(ME), to(OTHER, "write"))
    events = change_grants(known, [to(OTHER, "write"), to(GROUP, kind="group")])
    assert [event.data for event in events] == [AccessGranted("group", str(GROUP), "read"), AccessRevoked("user", str(ME), "read")]
    assert change_grants(known, [*reversed(known), to(ME)]) == []


def test_an_id_is_known_in_every_spelling() -> None:
    wild = UUID("ABCDEFAB-0000-0000-0000-00000000000F")
    assert change_grants((to(wild),), [Grant("user", f"{{{str(wild).upper()}}}", "read")]) == []


@pytest.mark.parametrize("grant", [to("me"), to(""), to(EVERYBODY, kind="group"), to("*x"), to("\x00")])
def test_a_principal_that_cannot_be_is_refused(grant: Grant) -> None:
    with pytest.raises(BadRequest, match="principal_id"):
        change_grants((), [grant])


def test_more_grants_than_are_looked_through_are_refused() -> None:
    many = [to(UUID(int=number)) for number in range(GRANTS_MAX + 1)]
    assert len(change_grants((), many[1:])) == GRANTS_MAX
    with pytest.raises(BadRequest, match=f"at most {GRANTS_MAX}"):
        change_grants((), many)


GRANTS = strategies.lists(
    strategies.builds(
        Grant,
        strategies.sampled_from(["user", "group"]),
        strategies.sampled_from([str(ME), str(OTHER), str(GROUP)]),
        strategies.sampled_from(["read", "write"]),
    ),
    max_size=6,
)


@for_all(GRANTS, GRANTS)
def test_the_events_lead_to_exactly_what_was_wanted(known: list[Grant], wanted: list[Grant]) -> None:
    grants = tuple(dict.fromkeys(known))
    for event in change_grants(grants, wanted):
        grants = evolve_grants(grants, event.data)
    assert set(grants) == set(wanted)
    assert change_grants(grants, wanted) == []
