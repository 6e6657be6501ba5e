"""Who besides its owner may use a thing: grants to accounts, to groups, or to everybody. For models, and any other kind of stream.

The facts are in the stream of the thing itself. The check is pure: it is given the grants, the account and its groups.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from domain.errors import BadRequest
from domain.log.event import Event

PrincipalType = Literal["user", "group"]
Permission = Literal["read", "write"]  # who may write may read
EVERYBODY: Final = "*"  # as the id of a "user": every account
GRANTS_MAX: Final = 1000  # on one thing: they are looked through at each check


class Grant(msgspec.Struct, frozen=True):
    principal_type: PrincipalType
    principal_id: str  # the uuid of the account or the group, or ``EVERYBODY``
    permission: Permission


Grants = tuple[Grant, ...]  # in the order in which they were given
PUBLIC: Final = Grant("user", EVERYBODY, "read")

# ---------------------------------------------------------------------------------------------------------------- facts


class AccessGranted(Grant, frozen=True):
    pass


class AccessRevoked(Grant, frozen=True):
    """This grant has ended. What is left over from others stays."""


AccessFact = AccessGranted | AccessRevoked
ACCESS_TYPES: Final[Mapping[str, type[Any]]] = {"access_granted": AccessGranted, "access_revoked": AccessRevoked}

# ---------------------------------------------------------------------------------------------------------------- check


def permission_of(grants: Sequence[Grant], user_id: UUID, group_ids: Collection[UUID]) -> Permission | None:
    """The most that the grants give this account, which is in these groups; None: nothing."""
    principals = {EVERYBODY, str(user_id)} if grants else frozenset[str]()
    groups = {str(group_id) for group_id in group_ids} if grants and group_ids else frozenset[str]()
    found: Permission | None = None
    for grant in grants:
        if grant.principal_id in (groups if grant.principal_type == "group" else principals):
            if grant.permission == "write":
                return "write"
            found = "read"
    return found


# --------------------------------------------------------------------------------------------------------------- decide


def valid_grants(grants: Sequence[Grant]) -> Grants:
    """Each once, with ids in their usual form. Raises ``BadRequest``."""
    if len(grants) > GRANTS_MAX:
        raise BadRequest(f"expected at most {GRANTS_MAX} grants, received {len(grants)}", param="access_grants")
    return tuple(dict.fromkeys(Grant(grant.principal_type, principal_of(grant), grant.permission) for grant in grants))


def principal_of(grant: Grant) -> str:
    if grant.principal_id == EVERYBODY and grant.principal_type == "user":
        return EVERYBODY
    try:
        return str(UUID(grant.principal_id))
    except ValueError:
        expected = "a UUID" if grant.principal_type == "group" else f"a UUID or {EVERYBODY}"
        raise BadRequest(
            f"expected {expected} as the principal_id of a {grant.principal_type}, received {grant.principal_id[:80]!r}",
            param="access_grants",
        ) from None


def change_grants(known: Grants, wanted: Sequence[Grant]) -> list[Event[AccessFact]]:
    """The events that lead from the known grants to exactly these: only what differs. Raises ``BadRequest``.

    What is new comes first: an account whose permission changes has access at every version in between.
    """
    valid = valid_grants(wanted)
    facts: list[AccessFact] = [AccessGranted(one.principal_type, one.principal_id, one.permission) for one in valid if one not in known]
    facts += [AccessRevoked(one.principal_type, one.principal_id, one.permission) for one in known if one not in valid]
    return [Event(None, fact) for fact in facts]


# --------------------------------------------------------------------------------------------------------------- evolve


def evolve_grants(grants: Grants, fact: AccessFact) -> Grants:
    """The next grants. Total: history cannot be refused."""
    grant = Grant(fact.principal_type, fact.principal_id, fact.permission)
    others = tuple(one for one in grants if one != grant)
    return others if isinstance(fact, AccessRevoked) else (*others, grant)
