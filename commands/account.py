"""Accounts: making them, signing in, and knowing who is calling.

``Accounts.observe`` must see every event of the log: then what is known of a person here is current on every process, and a
request of somebody who is known costs no query.
"""

import hashlib
import re
import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec

from commands.aggregate import Aggregate
from commands.ports import (
    Appended,
    Claim,
    CommandKey,
    Credentials,
    EventLog,
    PasswordHasher,
    Tickets,
    TokenClaims,
    Tokens,
)
from domain.codec import decode_event
from domain.errors import AccountInactive, BadRequest, ClaimTaken, Forbidden, NotAuthenticated, TooManyAttempts, UserNotFound
from domain.event import Actor, Stored
from domain.stream import Stream
from domain.user import (
    NOBODY,
    Account,
    ChangePassword,
    ChangeRole,
    CreateApiKey,
    CreateUser,
    DeactivateUser,
    RenameUser,
    RevokeApiKey,
    RevokeTokens,
    UserCommand,
    UserRole,
    decide,
    evolve,
)

PASSWORD_CHARACTERS: Final = (8, 1024)
EMAIL: Final = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,190}")
API_KEY_PREFIX: Final = "sk-"
TICKET_TTL_S: Final = 30.0
ATTEMPTS_PER_MINUTE: Final = 10
ATTEMPTS_KEPT_MAX: Final = 10_000
KNOWN_ACCOUNTS_MAX: Final = 10_000


class Principal(msgspec.Struct, frozen=True):
    """Who is calling, as they were when they were authenticated. ``token_id`` is None for an API key."""

    user_id: UUID
    name: str
    role: UserRole
    email: str
    generation: int
    expires_at: int | None  # seconds since 1970; None: an API key has no end
    token_id: UUID | None
    api_key_id: UUID | None = None


class SignedIn(msgspec.Struct, frozen=True):
    token: str
    expires_at: int
    principal: Principal


class Attempts:
    """How often somebody tried to sign in within a minute, by e-mail and by address. In memory, bounded: a brake, not a wall."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: dict[str, tuple[float, int]] = {}

    def count(self, *names: str) -> None:
        """Raises ``TooManyAttempts``."""
        now_s = self._clock()
        if len(self._tries) > ATTEMPTS_KEPT_MAX:
            self._tries = {name: tried for name, tried in self._tries.items() if now_s - tried[0] < 60}
        for name in names:
            since_s, tries = self._tries.get(name, (now_s, 0))
            if now_s - since_s >= 60:
                since_s, tries = now_s, 0
            if tries >= ATTEMPTS_PER_MINUTE:
                raise TooManyAttempts(round(60 - (now_s - since_s)))
            self._tries[name] = (since_s, tries + 1)

    def forget(self, *names: str) -> None:
        """They knew the password after all."""
        for name in names:
            self._tries.pop(name, None)


class Accounts:
    """All accounts. ``now`` gives seconds since 1970."""

    def __init__(
        self,
        log: EventLog,
        credentials: Credentials,
        tickets: Tickets,
        hasher: PasswordHasher,
        tokens: Tokens,
        *,
        default_role: UserRole = "user",
        signup_enabled: bool = True,
        token_lifetime_s: int = 7 * 86_400,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._log = log
        self._credentials = credentials
        self._tickets = tickets
        self._hasher = hasher
        self._tokens = tokens
        self._default_role = default_role
        self._signup_enabled = signup_enabled
        self._token_lifetime_s = token_lifetime_s
        self._now = now
        self._aggregate = Aggregate(log, "user", NOBODY, evolve)
        self._known: dict[UUID, tuple[int, Account]] = {}
        self._keys: dict[bytes, tuple[UUID, UUID]] = {}
        self._attempts = Attempts()

    # ------------------------------------------------------------------------------------------------- who is calling

    def observe(self, stored: Stored) -> None:
        """An event passes in the tail of the log. One of a person known here makes what is known current."""
        if stored.stream.kind == "user":
            known = self._known.get(stored.stream.id)
            if known is not None and stored.version == known[0] + 1:
                self._known[stored.stream.id] = (stored.version, evolve(known[1], decode_event(stored), stored.version))
            elif known is not None and stored.version > known[0]:
                del self._known[stored.stream.id]  # something was missed: it is read again when it is needed

    async def account(self, user_id: UUID) -> Account:
        """What is known of this person now; ``NOBODY`` if there is no such."""
        known = self._known.get(user_id)
        if known is None:
            version, account = await self._aggregate.state(user_id)
            if version == 0:
                return NOBODY
            if len(self._known) >= KNOWN_ACCOUNTS_MAX:
                self._known.pop(next(iter(self._known)))
            # Events that passed while we read may be newer than what was read: whoever is further ahead counts.
            known = max(self._known.get(user_id, (0, NOBODY)), (version, account), key=lambda one: one[0])
            self._known[user_id] = known
        return known[1]

    async def authenticate(self, credential: str) -> Principal:
        """Who the token or API key belongs to. Raises ``NotAuthenticated``, ``AccountInactive``."""
        if credential.startswith(API_KEY_PREFIX):
            return await self._by_api_key(credential)
        claims = self._tokens.read(credential)
        if claims is None:
            raise NotAuthenticated("the token is not valid, or it has expired")
        account = await self.account(claims.user_id)
        require_active(account)
        if claims.generation != account.generation or claims.token_id in account.revoked_tokens:
            raise NotAuthenticated("the token was revoked")
        return principal(claims.user_id, account, claims.expires_at, claims.token_id)

    async def _by_api_key(self, key: str) -> Principal:
        digest = hashlib.sha256(key.encode()).digest()
        owner = self._keys.get(digest)
        if owner is None:
            owner = await self._credentials.api_key_owner(digest)
            if owner is None:
                raise NotAuthenticated("the API key is not valid")
            self._keys[digest] = owner
        key_id, user_id = owner
        account = await self.account(user_id)
        require_active(account)
        if key_id not in account.api_keys:
            raise NotAuthenticated("the API key was revoked")
        return msgspec.structs.replace(principal(user_id, account, None, None), api_key_id=key_id)

    def still_valid(self, caller: Principal) -> bool:
        """Whether what was authenticated still holds, by what is known here now. Costs no query, so it can be asked for every frame."""
        known = self._known.get(caller.user_id)
        if known is None:
            return False  # nothing is known any more: authenticate again
        account = known[1]
        if not account.active or account.role != caller.role or account.role == "pending":
            return False
        if caller.api_key_id is not None:
            return caller.api_key_id in account.api_keys
        if caller.generation != account.generation or caller.token_id in account.revoked_tokens:
            return False
        return caller.expires_at is None or caller.expires_at > self._now()

    # ------------------------------------------------------------------------------------------------------- commands

    async def handle(self, command: UserCommand, *, actor: Actor | None = None, key: CommandKey | None = None) -> Appended:
        """One command on one account, as its decider says."""
        return await self._aggregate.handle(command.user_id, partial(decide, command=command), actor=actor, command=key)

    async def sign_up(self, name: str, email: str, password: str, *, address: str = "") -> SignedIn:
        """Make an account. The first one becomes admin, whoever else signs up at the same moment on whatever process.

        Raises ``ClaimTaken`` for a known e-mail, ``Forbidden`` where sign-up is off, ``BadRequest``, ``TooManyAttempts``.
        """
        if address:
            self._attempts.count(f"sign-up {address}")
        first = await self._log.find_claim("first_admin", "") is None
        if not first and not self._signup_enabled:
            raise Forbidden("sign-up is switched off here: ask an admin for an account")
        user_id = await self._create(name, email, password, "admin" if first else self._default_role, first_admin=first)
        return await self.session(user_id)

    async def add(self, name: str, email: str, password: str, role: UserRole, *, by: Actor) -> UUID:
        """Make an account for somebody else. The caller must be an admin; raises like ``sign_up``."""
        return await self._create(name, email, password, role, first_admin=False, by=by)

    async def _create(self, name: str, email: str, password: str, role: UserRole, *, first_admin: bool, by: Actor | None = None) -> UUID:
        address = normal_email(email)
        require_password(password)
        user_id = uuid4()
        stream = Stream("user", user_id)
        # The hash first: an account without a password could not be repaired, a hash without an account harms nobody.
        await self._credentials.add_password(user_id, await self._hasher.hash(password))
        claims = [Claim("email", address, stream)]
        if first_admin:
            claims.append(Claim("first_admin", "", stream))
        command = CreateUser(user_id=user_id, name=name.strip(), email=address, role=role)
        try:
            await self._aggregate.handle(user_id, partial(decide, command=command), actor=by, claims=claims)
        except ClaimTaken:
            if first_admin and await self._log.find_claim("email", address) is None:
                # Somebody else became the first admin in between: then this is an ordinary account.
                return await self._create(name, email, password, self._default_role, first_admin=False)
            raise ClaimTaken("email", "") from None
        return user_id

    async def sign_in(self, email: str, password: str, *, address: str = "") -> SignedIn:
        """Raises ``NotAuthenticated`` for a wrong e-mail or password alike, ``AccountInactive``, ``TooManyAttempts``."""
        known_as = email.strip().lower()
        self._attempts.count(f"e-mail {known_as}", f"address {address}")
        holder = await self._log.find_claim("email", known_as)
        password_hash = await self._credentials.password(holder.id) if holder is not None else None
        if not await self._hasher.verify(password[: PASSWORD_CHARACTERS[1]], password_hash) or holder is None:
            raise NotAuthenticated("the e-mail or the password is not right")
        self._attempts.forget(f"e-mail {known_as}", f"address {address}")
        return await self.session(holder.id)

    async def session(self, user_id: UUID) -> SignedIn:
        """A token for this person. Raises ``AccountInactive`` for one that was deactivated."""
        account = await self._fresh(user_id)
        if not account.active:
            raise AccountInactive("this account was deactivated")
        expires_at = int(self._now()) + self._token_lifetime_s
        token_id = uuid4()
        token = self._tokens.issue(TokenClaims(user_id, token_id, account.generation, expires_at))
        return SignedIn(token, expires_at, principal(user_id, account, expires_at, token_id))

    async def _fresh(self, user_id: UUID) -> Account:
        """Not older than the call: what this very request has written must count."""
        version, account = await self._aggregate.state(user_id)
        if version > self._known.get(user_id, (0, NOBODY))[0]:
            self._known[user_id] = (version, account)
        return account

    async def sign_out(self, caller: Principal) -> None:
        """End this one token, everywhere."""
        if caller.token_id is not None:
            await self.handle(RevokeTokens(user_id=caller.user_id, token_id=caller.token_id), actor=actor_of(caller))
            await self._fresh(caller.user_id)

    async def rename(self, caller: Principal, name: str) -> Principal:
        await self.handle(RenameUser(user_id=caller.user_id, name=name.strip()), actor=actor_of(caller))
        account = await self._fresh(caller.user_id)
        return msgspec.structs.replace(caller, name=account.name)

    async def change_password(self, caller: Principal, old: str, new: str) -> None:
        """Every token issued before ends, this one too. Raises ``NotAuthenticated`` for a wrong old password."""
        require_password(new)
        self._attempts.count(f"e-mail {caller.email}")
        if not await self._hasher.verify(old[: PASSWORD_CHARACTERS[1]], await self._credentials.password(caller.user_id)):
            raise BadRequest("the old password is not right")
        await self._credentials.add_password(caller.user_id, await self._hasher.hash(new))
        await self.handle(ChangePassword(user_id=caller.user_id), actor=actor_of(caller))
        await self._fresh(caller.user_id)

    async def create_api_key(self, caller: Principal, name: str = "") -> str:
        """The key, shown this once: only its hash is kept."""
        key = API_KEY_PREFIX + secrets.token_urlsafe(32)
        key_id = uuid4()
        await self._credentials.add_api_key(key_id, caller.user_id, hashlib.sha256(key.encode()).digest())
        await self.handle(CreateApiKey(user_id=caller.user_id, key_id=key_id, name=name), actor=actor_of(caller))
        await self._fresh(caller.user_id)
        return key

    async def revoke_api_keys(self, caller: Principal) -> None:
        for key_id in (await self._fresh(caller.user_id)).api_keys:
            await self.handle(RevokeApiKey(user_id=caller.user_id, key_id=key_id), actor=actor_of(caller))
        await self._fresh(caller.user_id)

    async def ticket(self, caller: Principal) -> str:
        """A one-use ticket for a connection that cannot send a header, good for 30 s."""
        ticket = secrets.token_urlsafe(32)
        session: dict[str, Any] = {
            "generation": caller.generation,
            "expires_at": caller.expires_at,
            "token_id": caller.token_id,
            "api_key_id": caller.api_key_id,
        }
        await self._tickets.put(hashlib.sha256(ticket.encode()).digest(), caller.user_id, session, TICKET_TTL_S)
        return ticket

    async def redeem(self, ticket: str) -> Principal:
        """Whose ticket it is, once. Raises ``NotAuthenticated``."""
        taken = await self._tickets.take(hashlib.sha256(ticket.encode()).digest())
        if taken is None:
            raise NotAuthenticated("the ticket is unknown, used already, or too old")
        user_id, session = taken
        kept = msgspec.convert(session, TicketSession)
        account = await self.account(user_id)
        require_active(account)
        caller = principal(user_id, account, kept.expires_at, kept.token_id)
        caller = msgspec.structs.replace(caller, generation=kept.generation, api_key_id=kept.api_key_id)
        if not self.still_valid(caller):
            raise NotAuthenticated("the session that the ticket was made in has ended")
        return caller

    async def change_role(self, caller: Principal, user_id: UUID, role: UserRole) -> None:
        require_admin(caller)
        await self._existing(user_id)
        await self.handle(ChangeRole(user_id=user_id, by=caller.user_id, role=role), actor=actor_of(caller))
        await self._fresh(user_id)

    async def deactivate(self, caller: Principal, user_id: UUID) -> None:
        """An admin anybody else, and everybody but an admin themselves: so one admin always remains."""
        if caller.user_id != user_id:
            require_admin(caller)
        await self._existing(user_id)
        await self.handle(DeactivateUser(user_id=user_id, by=caller.user_id), actor=actor_of(caller))
        await self._fresh(user_id)

    async def _existing(self, user_id: UUID) -> None:
        if not (await self._fresh(user_id)).email:
            raise UserNotFound(user_id)


class TicketSession(msgspec.Struct, frozen=True):
    generation: int
    expires_at: int | None
    token_id: UUID | None
    api_key_id: UUID | None


def principal(user_id: UUID, account: Account, expires_at: int | None, token_id: UUID | None) -> Principal:
    return Principal(user_id, account.name, account.role, account.email, account.generation, expires_at, token_id)


def actor_of(caller: Principal) -> Actor:
    return Actor(caller.user_id, caller.name, caller.role)


def require_active(account: Account) -> None:
    if not account.email:
        raise NotAuthenticated("there is no such account")
    if not account.active:
        raise AccountInactive("this account was deactivated")


def require_admin(caller: Principal) -> None:
    if caller.role != "admin":
        raise Forbidden("only an admin may do this")


def require_password(password: str) -> None:
    least, most = PASSWORD_CHARACTERS
    if not least <= len(password) <= most:
        raise BadRequest(f"expected a password of {least} to {most} characters, received {len(password)}")


def normal_email(email: str) -> str:
    """Lower case, without spaces around it. Raises ``BadRequest`` for what cannot be an address."""
    normal = email.strip().lower()
    if not EMAIL.fullmatch(normal):
        raise BadRequest("expected an e-mail address such as name@example.org")
    return normal
