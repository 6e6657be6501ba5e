"""Who is calling: the account and the token or key by which a caller was authenticated, and what they may do."""

import asyncio
from collections.abc import Collection
from typing import Final
from uuid import UUID

import msgspec

from commands.ports import TokenClaims
from domain.accounts.api_key import RAISED_ROLES, Scope
from domain.accounts.user.evolve import evolve
from domain.accounts.user.facts import UserRole
from domain.accounts.user.state import NO_ACCOUNT, Account
from domain.errors import AccountInactive, Forbidden, NotAuthenticated, ScopeMissing
from domain.log.codec import decode_event
from domain.log.event import Actor, StoredEvent

READS_EVERYTHING: Final = frozenset({"admin", "auditor"})


class KnownAccount:
    """What is known of one account now. Shared by everybody who was authenticated as it, and moved on by ``Accounts.observe``.

    It lives at least as long as a ``Principal`` that holds it: a live connection never loses sight of its own account.
    """

    __slots__ = ("__weakref__", "account", "missed", "reading", "version")

    def __init__(self) -> None:
        self.account = NO_ACCOUNT
        self.version = 0
        self.reading = asyncio.Lock()  # of many who ask at once, one reads
        self.missed = 0  # the newest version that passed and could not be taken up, because something before it was not there

    @property
    def current(self) -> bool:
        return self.version > 0 and self.missed <= self.version

    def observe(self, stored: StoredEvent) -> None:
        if stored.version == self.version + 1:
            self.account, self.version = evolve(self.account, decode_event(stored), stored.version), stored.version
        elif stored.version > self.version:
            self.missed = stored.version  # it passes while the account is read: then it is read once more

    def read(self, version: int, account: Account) -> None:
        """The log was read. Whoever is further ahead counts."""
        if version > self.version:
            self.account, self.version = account, version


class Principal(msgspec.Struct, frozen=True):
    """Who is calling, as they were when they were authenticated. ``token_id`` is None for an API key.

    ``role`` is the account's, or ``user`` where a higher one is beyond the scopes of the key: see ``role_within``.
    """

    user_id: UUID
    name: str
    role: UserRole
    email: str
    generation: int
    expires_at: int | None  # seconds since 1970; None: an API key without an end
    token_id: UUID | None
    api_key_id: UUID | None = None
    standing: KnownAccount | None = None  # what is known of them now
    scopes: frozenset[str] | None = None  # what the API key is for; None: everything that the account may do

    @property
    def reads_everything(self) -> bool:
        """Whether they may read every chat, every stream and the whole log."""
        return self.role in READS_EVERYTHING

    def may(self, scope: Scope) -> bool:
        """Whether they may do what is of this scope: always, except with an API key that is not for it."""
        return self.scopes is None or scope in self.scopes

    def require_scope(self, scopes: Collection[str]) -> None:
        """Raises ``ScopeMissing`` unless one of ``scopes`` is the API key's."""
        if self.scopes is not None and self.scopes.isdisjoint(scopes):
            raise ScopeMissing(scopes, self.scopes)


class TokenSession(msgspec.Struct, frozen=True):
    """What a principal was authenticated by: a token of a generation, or an API key."""

    generation: int
    expires_at: int | None
    token_id: UUID | None
    api_key_id: UUID | None = None

    @classmethod
    def of(cls, claims: TokenClaims) -> "TokenSession":
        return cls(claims.generation, claims.expires_at, claims.token_id)


def principal_of(user_id: UUID, account: Account, session: TokenSession, standing: KnownAccount) -> Principal:
    key = account.api_keys.get(session.api_key_id) if session.api_key_id is not None else None
    scopes = key.scopes if key is not None else None
    return Principal(
        user_id,
        account.name,
        role_within(account.role, scopes),
        account.email,
        session.generation,
        key.expires_at if key is not None else session.expires_at,
        session.token_id,
        session.api_key_id,
        standing,
        scopes,
    )


def role_within(role: UserRole, scopes: frozenset[str] | None) -> UserRole:
    """The role in which a credential with these scopes acts: a higher one than a user's only with the scope ``admin``."""
    return role if scopes is None or "admin" in scopes or role not in RAISED_ROLES else "user"


def actor_of(principal: Principal) -> Actor:
    return Actor(principal.user_id, principal.name, principal.role)


def require_active(account: Account) -> None:
    if not account.email:
        raise NotAuthenticated("there is no such account")
    if not account.active:
        raise AccountInactive("this account was deactivated")


def require_admin(principal: Principal | Account) -> None:
    if principal.role != "admin" or (isinstance(principal, Account) and not principal.active):
        raise Forbidden("only an admin may do this")
