"""Accounts: making them, signing in, and authenticating who is calling.

``Accounts.observe`` must see every event of the log: then what is known of a person here is current on every process, and a
request of somebody who is known costs no query.
"""

import hashlib
import re
import secrets
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from uuid import UUID, uuid4
from weakref import WeakValueDictionary

import msgspec

from commands import security_log
from commands.accounts.attempts import (
    GUESSES_OF_ONE_FROM_ONE_PLACE,
    SIGN_UPS_FROM_ONE_PLACE,
    TAKEN_FROM_ONE_PLACE,
    Attempts,
    SignInBrake,
    network_of,
)
from commands.accounts.principal import (
    KnownAccount,
    Principal,
    TokenSession,
    actor_of,
    principal_of,
    require_active,
    require_admin,
    role_within,
)
from commands.aggregate import Aggregate
from commands.ports import (
    Appended,
    Claim,
    CommandKey,
    Credentials,
    EventLog,
    PasswordHasher,
    PasswordStrength,
    Session,
    StreamAppend,
    Tickets,
    TokenClaims,
    Tokens,
)
from domain.accounts.user.commands import (
    ChangePassword,
    ChangeProfile,
    ChangeRole,
    CreateUser,
    GuardedCommand,
    RenameUser,
    RevokeTokens,
    UserCommand,
)
from domain.accounts.user.decide import decide
from domain.accounts.user.evolve import evolve
from domain.accounts.user.facts import USER_TYPES, UserRole
from domain.accounts.user.state import NO_ACCOUNT, Account
from domain.errors import (
    BadRequest,
    ClaimTaken,
    Forbidden,
    NotAuthenticated,
    TooManyLostRaces,
    UserNotFound,
    WrongCredentials,
)
from domain.log.event import Actor, StoredEvent
from domain.log.stream import Stream, user_stream

PASSWORD_CHARACTERS: Final = (8, 1024)  # at most: what is hashed is work that anybody may ask for
EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")
CREDENTIAL_CHARACTERS_MAX: Final = 4096
API_KEY_PREFIX: Final = "sk-"
CLIENT_CHARACTERS_MAX: Final = 200  # of what a client says of itself
TIME_MAX: Final = 253_402_300_799  # the last second that a date can name; a lifetime of a token may be set beyond it
TICKET_TTL_S: Final = 30.0
KNOWN_ACCOUNTS_MAX: Final = 10_000
KNOWN_KEYS_MAX: Final = 10_000
GUARDED_ATTEMPTS_MAX: Final = 32
PLACES_MAX: Final = 200  # of the newest sign-ins, from which an account is known to be used


class SignedIn(msgspec.Struct, frozen=True):
    token: str
    expires_at: int  # seconds since 1970
    lifetime_s: int
    principal: Principal
    account: Account


class Accounts:
    """All accounts. ``now`` gives seconds since 1970; ``note_used`` gets the id of each token and key that was found good."""

    def __init__(
        self,
        log: EventLog,
        credentials: Credentials,
        tickets: Tickets,
        hasher: PasswordHasher,
        strength: PasswordStrength,
        tokens: Tokens,
        *,
        default_role: UserRole = "user",
        signup_enabled: bool = True,
        token_lifetime_s: int = 7 * 86_400,
        known_max: int = KNOWN_ACCOUNTS_MAX,
        processes: int = 1,
        brake: SignInBrake | None = None,
        note_used: Callable[[UUID], None] = lambda _: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._has_first = False  # an account stays one for ever: once true, nobody has to look again
        self._log = log
        self._credentials = credentials
        self._tickets = tickets
        self._hasher = hasher
        self._strength = strength
        self._tokens = tokens
        self._default_role = default_role
        self.signup_enabled = signup_enabled
        self._token_lifetime_s = token_lifetime_s
        self._known_max = known_max
        self._note_used = note_used
        self._now = now
        self._aggregate = Aggregate(log, "user", NO_ACCOUNT, evolve, types=USER_TYPES)
        self._standings: WeakValueDictionary[UUID, KnownAccount] = WeakValueDictionary()
        self._recent: OrderedDict[UUID, KnownAccount] = OrderedDict()  # keeps accounts that no connection refers to
        self._keys: OrderedDict[bytes, tuple[UUID, UUID]] = OrderedDict()
        self._attempts = Attempts(processes=processes)
        self._brake = brake or SignInBrake(processes=processes)

    # ------------------------------------------------------------------------------------------------- who is calling

    def observe(self, stored: StoredEvent) -> None:
        """An event passes in the tail of the log. One of a person known here makes what is known current."""
        if stored.stream.kind == "user":
            standing = self._standings.get(stored.stream.id)
            if standing is not None:
                standing.observe(stored)

    async def account(self, user_id: UUID, *, fresh: bool = False) -> Account:
        """What is known of this person now, with ``fresh`` never older than the call; ``NO_ACCOUNT`` if there is no such."""
        return (await self._standing(user_id, fresh=fresh)).account

    async def state(self, user_id: UUID) -> tuple[int, Account]:
        """``(version, account)`` as of now; version 0 if there is no such."""
        return await self._aggregate.state(user_id)

    async def existing(self, user_id: UUID) -> Account:
        """Raises ``UserNotFound`` where there is no such account."""
        account = await self.account(user_id)
        if not account.email:
            raise UserNotFound(user_id)
        return account

    async def _standing(self, user_id: UUID, *, fresh: bool = False) -> KnownAccount:
        standing = self._standings.get(user_id)
        if standing is None:
            # Known from here on: what passes while the log is read is not missed.
            standing = self._standings[user_id] = KnownAccount()
        while fresh or not standing.current:
            if fresh:
                fresh = False
                version, account = await self._aggregate.state(user_id)
            else:
                async with standing.reading:
                    if standing.current:
                        break
                    version, account = await self._aggregate.state(user_id)
            if version == 0:
                return standing
            standing.read(version, account)
        self._recent[user_id] = standing
        self._recent.move_to_end(user_id)
        if len(self._recent) > self._known_max:
            self._recent.popitem(last=False)
        return standing

    async def authenticate(self, credential: str) -> Principal:
        """Who the token or API key belongs to. Raises ``NotAuthenticated``, ``AccountInactive``."""
        if len(credential) > CREDENTIAL_CHARACTERS_MAX or not credential.isascii():
            raise NotAuthenticated("the token is not valid")
        if credential.startswith(API_KEY_PREFIX):
            return await self._by_api_key(credential)
        claims = self._tokens.read(credential)
        if claims is None:
            raise NotAuthenticated("the token is not valid, or it has expired")
        return self._admitted(claims.user_id, await self._standing(claims.user_id), TokenSession.of(claims))

    async def _by_api_key(self, key: str) -> Principal:
        digest = hashlib.sha256(key.encode()).digest()
        owner = self._keys.get(digest)
        if owner is None:
            owner = await self._credentials.api_key_owner(digest)
            if owner is None:
                raise NotAuthenticated("the API key is not valid")
            self._keys[digest] = owner
            if len(self._keys) > KNOWN_KEYS_MAX:
                self._keys.popitem(last=False)
        key_id, user_id = owner
        return self._admitted(user_id, await self._standing(user_id), TokenSession(0, None, None, key_id))

    def _admitted(self, user_id: UUID, standing: KnownAccount, session: "TokenSession") -> Principal:
        account = standing.account
        require_active(account)
        principal = principal_of(user_id, account, session, standing)
        if not self._in_force(principal, account):
            raise NotAuthenticated("the token or the key has expired, or it was revoked")
        credential_id = principal.api_key_id or principal.token_id
        if credential_id is not None:
            self._note_used(credential_id)
        return principal

    def _in_force(self, principal: Principal, account: Account) -> bool:
        """Whether the token or key itself still holds."""
        if principal.api_key_id is not None:
            return principal.api_key_id in account.api_keys and (principal.expires_at is None or principal.expires_at > self._now())
        if principal.generation != account.generation or principal.token_id in account.revoked_tokens:
            return False
        return principal.expires_at is None or principal.expires_at > self._now()

    def still_valid(self, principal: Principal) -> bool:
        """Whether what was authenticated still holds, by what is known here now. Costs no query, so it can be asked for every frame."""
        standing = principal.standing
        if standing is None or not standing.current:
            return False  # not known, or not for sure: authenticate again
        account = standing.account
        if not account.active or account.role == "pending" or role_within(account.role, principal.scopes) != principal.role:
            return False
        return self._in_force(principal, account)

    # ------------------------------------------------------------------------------------------------------- commands

    async def handle(self, command: UserCommand, *, actor: Actor | None = None, key: CommandKey | None = None) -> Appended:
        """One command on one account, as its decider says."""
        return await self._aggregate.handle(command.user_id, partial(decide, command=command), actor=actor, command=key)

    async def change(self, principal: Principal, command: GuardedCommand) -> Account:
        """One command by somebody on their own account, or by an admin on another's. Returns the account after it.

        Across two accounts, the principal's is part of the commit: nothing is written if it has moved on since it was read. So
        the caller who changes another account is an active admin at that moment, also if they were demoted on another process
        an instant before; and two admins who demote each other leave one. Raises what ``decide`` raises.
        """
        if command.user_id == principal.user_id:
            await self.handle(msgspec.structs.replace(command, by=actor_of(principal)), actor=actor_of(principal))
        else:
            await self._guarded(principal, command)
        return await self.account(command.user_id, fresh=True)

    async def update(
        self,
        principal: Principal,
        user_id: UUID,
        *,
        role: UserRole | None = None,
        name: str | None = None,
        email: str | None = None,
        password: str | None = None,
        revoke_keys: bool = True,
        fields: Mapping[str, Any] | None = None,
    ) -> Account:
        """Change another account, as an admin; what is None stays. Returns the account after it.

        One commit a change, so a refusal may leave earlier ones done. Raises ``Forbidden``, ``UserNotFound``, ``BadRequest`` for another
        e-mail address, and what ``decide`` raises.
        """
        require_admin(principal)
        account = await self.existing(user_id)
        if email is not None and normal_email(email) != account.email:
            raise BadRequest("an account keeps the e-mail address that it was made with")
        if role is not None:
            account = await self.change(principal, ChangeRole(user_id=user_id, by=None, role=role))
        if name is not None:
            account = await self.change(principal, RenameUser(user_id=user_id, by=None, name=name.strip()))
        if fields:
            account = await self.change(principal, ChangeProfile(user_id=user_id, by=None, fields=fields))
        if password is not None:
            await self.reset_password(principal, user_id, password, revoke_keys=revoke_keys)
        return account

    async def change_profile(self, principal: Principal, name: str, fields: Mapping[str, Any]) -> Account:
        """Change one's own name and profile. Returns the account after it."""
        account = await self.change(principal, RenameUser(user_id=principal.user_id, by=None, name=name.strip()))
        if fields:
            account = await self.change(principal, ChangeProfile(user_id=principal.user_id, by=None, fields=fields))
        return account

    async def _guarded(self, principal: Principal, command: CreateUser | GuardedCommand) -> None:
        principal.require_scope({"admin"})
        stream = user_stream(principal.user_id)
        for _ in range(GUARDED_ATTEMPTS_MAX):
            version, admin = await self._aggregate.state(principal.user_id)
            if not admin.active or admin.role != "admin":
                raise Forbidden("only an admin may do this")
            by = Actor(principal.user_id, admin.name, admin.role)
            claims: list[Claim] = []
            if isinstance(command, CreateUser):
                claims.append(Claim("email", command.email, user_stream(command.user_id)))
            else:
                command = msgspec.structs.replace(command, by=by)
            guard = StreamAppend(stream, (), version)
            try:
                await self._aggregate.handle(
                    command.user_id,
                    partial(decide, command=command),
                    actor=by,
                    claims=claims,
                    also=partial(with_guard, guard),
                    attempts_max=1,
                )
            except TooManyLostRaces:
                continue
            return
        raise TooManyLostRaces(stream, GUARDED_ATTEMPTS_MAX)

    async def is_new(self) -> bool:
        """Whether there is no account yet. Costs a query until there is one. Raises ``LogUnavailable``."""
        if not self._has_first:
            self._has_first = await self._log.find_claim("first_admin", "") is not None
        return not self._has_first

    async def sign_up(
        self, name: str, email: str, password: str, *, fields: Mapping[str, Any] | None = None, address: str = "", user_agent: str = ""
    ) -> SignedIn:
        """Make an account. The first one becomes admin, also if several sign up at the same moment on different processes.

        Raises ``ClaimTaken`` for a known e-mail, ``Forbidden`` where sign-up is off, ``BadRequest``, ``TooManyAttempts``,
        ``Overloaded``.
        """
        place = network_of(address)
        taken_here = (f"taken {place}", TAKEN_FROM_ONE_PLACE)
        self._attempts.require(taken_here)
        self._attempts.count((f"sign-up {place}", SIGN_UPS_FROM_ONE_PLACE))
        try:
            return await self._sign_up(name, email, password, fields or {}, address, user_agent)
        except ClaimTaken:
            self._attempts.count(taken_here)
            raise

    async def _sign_up(self, name: str, email: str, password: str, fields: Mapping[str, Any], address: str, user_agent: str) -> SignedIn:
        first = await self.is_new()
        self._require_signup(first)
        command = await self._creation(name, email, password, "admin" if first else self._default_role, fields)
        await self._keep_password(command, password)
        stream = user_stream(command.user_id)
        claims = [Claim("email", command.email, stream)]
        try:
            if not first:
                await self._create(command, claims)
            else:
                await self._create(command, [*claims, Claim("first_admin", "", stream)])
        except ClaimTaken as taken:
            if taken.kind != "first_admin":
                raise ClaimTaken("email", "") from None
            # Somebody else became the first admin in between: then this is an account like any other.
            self._require_signup(False)
            await self._create(msgspec.structs.replace(command, role=self._default_role), claims)
        standing = await self._standing(command.user_id, fresh=True)
        return await self._session(command.user_id, standing, standing.account, address, user_agent)

    def _require_signup(self, first: bool) -> None:
        if not first and not self.signup_enabled:
            raise Forbidden("sign-up is switched off here: ask an admin for an account")

    async def add(
        self, principal: Principal, name: str, email: str, password: str, role: UserRole, *, fields: Mapping[str, Any] | None = None
    ) -> tuple[UUID, Account]:
        """Create an account for another person. Raises ``Forbidden`` unless the caller is an admin, otherwise like ``sign_up``."""
        principal.require_scope({"admin"})
        require_admin(await self.account(principal.user_id, fresh=True))
        command = await self._creation(name, email, password, role, fields or {})
        await self._keep_password(command, password)
        await self._guarded(principal, command)
        return command.user_id, await self.account(command.user_id, fresh=True)

    async def _creation(self, name: str, email: str, password: str, role: UserRole, fields: Mapping[str, Any]) -> CreateUser:
        command = CreateUser(user_id=uuid4(), name=name.strip(), email=normal_email(email), role=role, fields=fields)
        decide(NO_ACCOUNT, command)  # refused before anything is hashed
        await self._require_password(password, command.name, command.email)
        return command

    async def _require_password(self, password: str, name: str, email: str) -> None:
        """Raises ``BadRequest`` for a password that is too short, too long or easy to guess, also by who knows the person."""
        least, most = PASSWORD_CHARACTERS
        if not least <= len(password) <= most:
            raise BadRequest(f"expected a password of {least} to {most} characters, received {len(password)}")
        weakness = await self._strength.weakness(password, [name, email, email.partition("@")[0]])
        if weakness is not None:
            raise BadRequest(f"this password is easy to guess ({weakness}): take a longer one, such as a few words")

    async def _keep_password(self, command: CreateUser, password: str) -> None:
        """The hash first: an account without a password could not be repaired, a hash without an account harms nobody."""
        if await self._log.find_claim("email", command.email) is not None:
            raise ClaimTaken("email", "")
        await self._credentials.add_password(command.user_id, await self._hasher.hash(password))

    async def _create(self, command: CreateUser, claims: list[Claim]) -> None:
        await self._aggregate.handle(command.user_id, partial(decide, command=command), claims=claims)

    async def sign_in(self, email: str, password: str, *, address: str = "", user_agent: str = "") -> SignedIn:
        """Raises ``WrongCredentials`` for a wrong e-mail or password alike, ``AccountInactive`` for the right ones of an account
        that was deactivated, ``TooManyAttempts``, ``Overloaded``."""
        try:
            known_as = normal_email(email)
        except BadRequest:
            known_as = ""  # nobody's; it costs the same work
        holder = await self._log.find_claim("email", known_as) if known_as else None

        async def is_known_place(place: str) -> bool:
            sessions = await self._credentials.sessions(holder.id, limit=PLACES_MAX) if holder is not None else ()
            return any(network_of(session.address) == place for session in sessions)

        async with self._brake.attempt(known_as, network_of(address), is_known_place):
            user_id, standing, account = await self._verified(holder, password)
        require_active(account)
        return await self._session(user_id, standing, account, address, user_agent)

    async def _verified(self, holder: Stream | None, password: str) -> tuple[UUID, KnownAccount, Account]:
        """Whose password it is. It costs the same work where there is no such account. Raises ``WrongCredentials``, ``Overloaded``."""
        standing, account, password_hash = KnownAccount(), NO_ACCOUNT, None
        if holder is not None:
            # The account before the password: a token is of the generation that this very password belongs to, and ends with
            # a change of it that happens meanwhile.
            standing = await self._standing(holder.id, fresh=True)
            account = standing.account
            password_hash = await self._credentials.password(holder.id)
        fits = len(password) <= PASSWORD_CHARACTERS[1]
        if not await self._hasher.verify(password if fits else "", password_hash) or holder is None:
            security_log.about(target=holder.id if holder is not None else None)
            raise WrongCredentials
        security_log.about(target=holder.id)
        return holder.id, standing, account

    async def _session(self, user_id: UUID, standing: KnownAccount, account: Account, address: str, user_agent: str) -> SignedIn:
        now = int(self._now())
        claims = TokenClaims(user_id, uuid4(), account.generation, now + self._token_lifetime_s)
        since, until = (datetime.fromtimestamp(min(at, TIME_MAX), UTC) for at in (now, claims.expires_at))
        place, agent = one_line(address), one_line(user_agent)
        await self._credentials.add_session(Session(claims.token_id, user_id, claims.generation, place, agent, since, until))
        principal = principal_of(user_id, account, TokenSession.of(claims), standing)
        return SignedIn(self._tokens.issue(claims), claims.expires_at, self._token_lifetime_s, principal, account)

    async def sign_out(self, principal: Principal) -> None:
        """End this one token, everywhere. An API key is not signed out: it is revoked."""
        if principal.token_id is not None:
            await self.change(principal, RevokeTokens(user_id=principal.user_id, by=None, token_id=principal.token_id))

    async def change_password(self, principal: Principal, old: str, new: str, *, revoke_keys: bool = True) -> None:
        """Every token issued before ends, this one too, and every API key unless they are to stay. Raises ``BadRequest`` for a wrong old
        password."""
        account = await self.account(principal.user_id)
        await self._require_password(new, account.name, account.email)
        self._attempts.count((f"password of {principal.user_id}", GUESSES_OF_ONE_FROM_ONE_PLACE))
        known = await self._credentials.password(principal.user_id)
        fits = len(old) <= PASSWORD_CHARACTERS[1]
        right = await self._hasher.verify(old if fits else "", known)
        # The new one in its place already: an earlier attempt was cut off before the tokens ended. It is finished now.
        half_done = not right and await self._hasher.verify(new, known)
        if not right and not half_done:
            raise BadRequest("the old password is not right")
        if right:
            await self._credentials.add_password(principal.user_id, await self._hasher.hash(new))
        await self.change(principal, ChangePassword(user_id=principal.user_id, by=None, revoke_keys=revoke_keys))

    async def reset_password(self, principal: Principal, user_id: UUID, new: str, *, revoke_keys: bool = True) -> None:
        """Another person's, by an admin; every token of theirs ends, and every API key unless they are to stay.

        Raises ``Forbidden``, ``UserNotFound``, ``BadRequest``.
        """
        principal.require_scope({"admin"})
        require_admin(await self.account(principal.user_id, fresh=True))
        command = ChangePassword(user_id=user_id, by=None, revoke_keys=revoke_keys)
        account = await self.account(user_id, fresh=True)
        decide(account, command)  # refused before anything is kept
        await self._require_password(new, account.name, account.email)
        await self._credentials.add_password(user_id, await self._hasher.hash(new))
        await self.change(principal, command)

    async def ticket(self, principal: Principal) -> str:
        """A one-use ticket for a connection that cannot send a header, good for 30 s."""
        ticket = secrets.token_urlsafe(32)
        session = TokenSession(principal.generation, principal.expires_at, principal.token_id, principal.api_key_id)
        kept: dict[str, Any] = msgspec.to_builtins(session)
        await self._tickets.put(hashlib.sha256(ticket.encode()).digest(), principal.user_id, kept, TICKET_TTL_S)
        return ticket

    async def redeem(self, ticket: str) -> Principal:
        """Whose ticket it is, once. Raises ``NotAuthenticated``, ``AccountInactive``."""
        known = len(ticket) <= CREDENTIAL_CHARACTERS_MAX and ticket.isascii()
        taken = await self._tickets.take(hashlib.sha256(ticket.encode()).digest()) if known else None
        if taken is None:
            raise NotAuthenticated("the ticket is unknown, used already, or too old")
        user_id, kept = taken
        return self._admitted(user_id, await self._standing(user_id), msgspec.convert(kept, TokenSession))


def with_guard(guard: StreamAppend, _: Account, __: int) -> list[StreamAppend]:
    return [guard]


def one_line(text: str) -> str:
    """What a client says of itself, as it may be stored and shown."""
    return "".join(one if one.isprintable() else " " for one in text[:CLIENT_CHARACTERS_MAX])


def normal_email(email: str) -> str:
    """In lower case, composed, without spaces around it. Raises ``BadRequest`` for what cannot be an address."""
    normal = unicodedata.normalize("NFC", email.strip().lower())
    if not EMAIL.fullmatch(normal) or not normal.isprintable():
        raise BadRequest("expected an e-mail address such as name@example.org")
    return normal
