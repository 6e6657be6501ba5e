"""Making accounts: people sign up, and an admin adds others."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import msgspec

from commands.accounts.accounts import Accounts, normal_email
from commands.accounts.attempts import SIGN_UPS_FROM_ONE_PLACE, TAKEN_FROM_ONE_PLACE, Attempts, network_of
from commands.accounts.passwords import Passwords
from commands.accounts.principal import Principal, require_admin
from commands.accounts.sessions import Sessions, SignedIn
from commands.ports import Claim, EventLog
from domain.accounts.user.commands import CreateUser
from domain.accounts.user.decide import decide
from domain.accounts.user.facts import UserRole
from domain.accounts.user.state import NO_ACCOUNT, Account
from domain.errors import ClaimTaken, Forbidden
from domain.log.stream import user_stream


class Registration:
    """``processes``: how many server processes share one address, and with it the limits of attempts."""

    def __init__(
        self,
        log: EventLog,
        accounts: Accounts,
        sessions: Sessions,
        passwords: Passwords,
        *,
        default_role: UserRole = "user",
        signup_enabled: bool = True,
        processes: int = 1,
    ) -> None:
        self._has_first = False  # accounts are never removed: once the first one was found, the log is not asked again
        self._log = log
        self._accounts = accounts
        self._sessions = sessions
        self._passwords = passwords
        self._default_role = default_role
        self.signup_enabled = signup_enabled
        self._attempts = Attempts(processes=processes)

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
        command = await self._prepared(name, email, password, "admin" if first else self._default_role, fields)
        stream = user_stream(command.user_id)
        claims = [Claim("email", command.email, stream)]
        try:
            await self._accounts.handle(command, claims=[*claims, Claim("first_admin", "", stream)] if first else claims)
        except ClaimTaken as taken:
            if taken.kind != "first_admin":
                raise ClaimTaken("email", "") from None
            # Somebody else became the first admin in between: then this is an account like any other.
            self._require_signup(False)
            await self._accounts.handle(msgspec.structs.replace(command, role=self._default_role), claims=claims)
        standing = await self._accounts.standing(command.user_id, fresh=True)
        return await self._sessions.begin(command.user_id, standing, standing.account, address, user_agent)

    def _require_signup(self, first: bool) -> None:
        if not first and not self.signup_enabled:
            raise Forbidden("sign-up is switched off here: ask an admin for an account")

    async def add(
        self, principal: Principal, name: str, email: str, password: str, role: UserRole, *, fields: Mapping[str, Any] | None = None
    ) -> tuple[UUID, Account]:
        """Create an account for another person. Raises ``Forbidden`` unless the caller is an admin, otherwise like ``sign_up``."""
        principal.require_scope({"admin"})
        require_admin(await self._accounts.account(principal.user_id, fresh=True))
        command = await self._prepared(name, email, password, role, fields or {})
        await self._accounts.handle_as_admin(principal, command)
        return command.user_id, await self._accounts.account(command.user_id, fresh=True)

    async def _prepared(self, name: str, email: str, password: str, role: UserRole, fields: Mapping[str, Any]) -> CreateUser:
        """The command that makes an account whose password is kept already.

        The password is kept first: an account without a password could not be repaired, and a password without an account does no harm.
        """
        command = CreateUser(user_id=uuid4(), name=name.strip(), email=normal_email(email), role=role, fields=fields)
        decide(NO_ACCOUNT, command)  # refused before anything is hashed
        await self._passwords.require_hard_to_guess(password, command.name, command.email)
        if await self._log.find_claim("email", command.email) is not None:
            raise ClaimTaken("email", "")
        await self._passwords.keep(command.user_id, password)
        return command
