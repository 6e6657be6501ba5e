"""API keys of an account: what each may do, and until when. A part of what can happen to an account (``domain/accounts/user/``).

The key itself is in no event: only its id, and its hash among the credentials.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, get_args
from uuid import UUID

import msgspec

from domain.errors import BadRequest, Forbidden

Scope = Literal["read", "chat", "account", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
# ``chat`` includes ``read``: who may ask a model may read its answer.
INCLUDED: Final[Mapping[str, frozenset[str]]] = {"chat": frozenset({"read"})}
# Roles that may do more than a user. A key has their rights only with the scope ``admin``.
RAISED_ROLES: Final = frozenset({"admin", "auditor", "analyst"})

API_KEYS_MAX: Final = 100
KEY_NAME_CHARACTERS_MAX: Final = 200

# ---------------------------------------------------------------------------------------------------------------- facts


class ApiKeyCreated(msgspec.Struct, frozen=True):
    key_id: UUID
    name: str
    scopes: Sequence[str] | None = None  # None: everything that its owner may do
    expires_at: datetime | None = None


class ApiKeyRevoked(msgspec.Struct, frozen=True):
    key_id: UUID


ApiKeyFact = ApiKeyCreated | ApiKeyRevoked
API_KEY_TYPES: Final[Mapping[str, type[Any]]] = {"api_key_created": ApiKeyCreated, "api_key_revoked": ApiKeyRevoked}

# ---------------------------------------------------------------------------------------------------------------- state


class ApiKey(msgspec.Struct, frozen=True):
    name: str  # unique among the keys of an account; empty: the one key of Open WebUI's routes
    scopes: frozenset[str] | None  # with what they include; None: everything that its owner may do
    expires_at: int | None  # seconds since 1970
    version: int  # of the event that created it


ApiKeys = Mapping[UUID, ApiKey]


def with_included(scopes: Iterable[str]) -> frozenset[str]:
    named = frozenset(scopes)
    return named.union(*(INCLUDED.get(scope, frozenset[str]()) for scope in named))


# --------------------------------------------------------------------------------------------------------------- decide


def create_api_key(keys: ApiKeys, key_id: UUID, name: str, scopes: Collection[str] | None, expires_at: datetime | None) -> list[ApiKeyFact]:
    """A key without a name replaces the one that had none. Raises ``BadRequest``, ``Forbidden``."""
    if key_id in keys:
        return []
    if len(name) > KEY_NAME_CHARACTERS_MAX:
        raise BadRequest(f"expected a name of at most {KEY_NAME_CHARACTERS_MAX} characters, received {len(name)}", param="name")
    if scopes is not None and (not scopes or not set(scopes) <= set(SCOPES)):
        raise BadRequest(f"expected scopes from {', '.join(SCOPES)}, received {', '.join(scopes)[:80] or 'none'}", param="scopes")
    same = [one for one, key in keys.items() if key.name == name]
    if same and name:
        raise BadRequest("there is a key of this name: revoke it first, or choose another name", param="name")
    if len(keys) - len(same) >= API_KEYS_MAX:
        raise Forbidden(f"an account holds at most {API_KEYS_MAX} keys: revoke one first")
    created = ApiKeyCreated(key_id, name, None if scopes is None else sorted(set(scopes)), expires_at)
    return [*(ApiKeyRevoked(one) for one in same), created]


def revoke_api_keys(keys: ApiKeys, key_id: UUID | None) -> list[ApiKeyFact]:
    """One key, or with None all of them."""
    return [ApiKeyRevoked(one) for one in keys if key_id in (None, one)]


# --------------------------------------------------------------------------------------------------------------- evolve


def evolve(keys: ApiKeys, fact: ApiKeyFact, version: int) -> ApiKeys:
    if isinstance(fact, ApiKeyRevoked):
        return {one: key for one, key in keys.items() if one != fact.key_id}
    scopes = with_included(fact.scopes) if fact.scopes is not None else None
    expires_at = int(fact.expires_at.timestamp()) if fact.expires_at is not None else None
    return {**keys, fact.key_id: ApiKey(fact.name, scopes, expires_at, version)}
