"""Passwords: signing in with one, and changing it."""

from typing import Final
from uuid import UUID

from commands import security_log
from commands.accounts.accounts import Accounts, normal_email
from commands.accounts.attempts import GUESSES_OF_ONE_FROM_ONE_PLACE, Attempts, SignInBrake, network_of
from commands.accounts.principal import KnownAccount, Principal, require_active, require_admin
from commands.accounts.sessions import Sessions, SignedIn
from commands.ports import Credentials, EventLog, PasswordHasher, PasswordStrength
from domain.accounts.user.commands import ChangePassword
from domain.accounts.user.decide import decide
from domain.accounts.user.state import NO_ACCOUNT, Account
from domain.errors import BadRequest, WrongCredentials
from domain.log.stream import Stream

PASSWORD_CHARACTERS: Final = (8, 1024)  # at most: what is hashed is work that anybody may ask for
PLACES_MAX: Final = 200  # of the newest sign-ins, from which an account is known to be used


class Passwords:
    """``processes``: how many server processes share one address, and with it the limits of attempts."""

    def __init__(
        self,
        log: EventLog,
        accounts: Accounts,
        sessions: Sessions,
        credentials: Credentials,
        hasher: PasswordHasher,
        strength: PasswordStrength,
        *,
        processes: int = 1,
        brake: SignInBrake | None = None,
    ) -> None:
        self._log = log
        self._accounts = accounts
        self._sessions = sessions
        self._credentials = credentials
        self._hasher = hasher
        self._strength = strength
        self._attempts = Attempts(processes=processes)
        self._brake = brake or SignInBrake(processes=processes)

    async def sign_in(self, email: str, password: str, *, address: str = "", user_agent: str = "") -> SignedIn:
        """Raises ``WrongCredentials`` for a wrong e-mail or password alike, ``AccountInactive`` for the right ones of an account
        that was deactivated, ``TooManyAttempts``, ``Overloaded``."""
        try:
            known_as = normal_email(email)
        except BadRequest:
            known_as = ""  # no account has this address: the password is hashed all the same, so that the time tells nothing
        holder = await self._log.find_claim("email", known_as) if known_as else None

        async def is_known_place(place: str) -> bool:
            sessions = await self._credentials.sessions(holder.id, limit=PLACES_MAX) if holder is not None else ()
            return any(network_of(session.address) == place for session in sessions)

        async with self._brake.attempt(known_as, network_of(address), is_known_place):
            user_id, standing, account = await self._verified(holder, password)
        require_active(account)
        return await self._sessions.begin(user_id, standing, account, address, user_agent)

    async def _verified(self, holder: Stream | None, password: str) -> tuple[UUID, KnownAccount, Account]:
        """Whose password it is. It costs the same work where there is no such account. Raises ``WrongCredentials``, ``Overloaded``."""
        standing, account, password_hash = KnownAccount(), NO_ACCOUNT, None
        if holder is not None:
            # The account before the password: a token is of the generation that this very password belongs to, and ends with
            # a change of it that happens meanwhile.
            standing = await self._accounts.standing(holder.id, fresh=True)
            account = standing.account
            password_hash = await self._credentials.password(holder.id)
        right = await self._matches(password, password_hash)
        security_log.about(target=holder.id if holder is not None else None)
        if not right or holder is None:
            raise WrongCredentials
        return holder.id, standing, account

    async def change(self, principal: Principal, old: str, new: str, *, revoke_keys: bool = True) -> None:
        """Every token issued before ends, this one too, and every API key unless they are to stay. Raises ``BadRequest`` for a wrong old
        password."""
        account = await self._accounts.account(principal.user_id)
        await self.require_hard_to_guess(new, account.name, account.email)
        self._attempts.count((f"password of {principal.user_id}", GUESSES_OF_ONE_FROM_ONE_PLACE))
        known = await self._credentials.password(principal.user_id)
        right = await self._matches(old, known)
        # The new one in its place already: an earlier attempt was cut off before the tokens ended. It is finished now.
        half_done = not right and await self._hasher.verify(new, known)
        if not right and not half_done:
            raise BadRequest("the old password is not right")
        if right:
            await self.keep(principal.user_id, new)
        await self._accounts.change(principal, ChangePassword(user_id=principal.user_id, by=None, revoke_keys=revoke_keys))

    async def reset(self, principal: Principal, user_id: UUID, new: str, *, revoke_keys: bool = True) -> None:
        """Another person's, by an admin; every token of theirs ends, and every API key unless they are to stay.

        Raises ``Forbidden``, ``UserNotFound``, ``BadRequest``.
        """
        principal.require_scope({"admin"})
        require_admin(await self._accounts.account(principal.user_id, fresh=True))
        command = ChangePassword(user_id=user_id, by=None, revoke_keys=revoke_keys)
        account = await self._accounts.account(user_id, fresh=True)
        decide(account, command)  # refused before anything is kept
        await self.require_hard_to_guess(new, account.name, account.email)
        await self.keep(user_id, new)
        await self._accounts.change(principal, command)

    async def _matches(self, password: str, password_hash: str | None) -> bool:
        """One that is too long costs the work of a wrong one."""
        return await self._hasher.verify(password if len(password) <= PASSWORD_CHARACTERS[1] else "", password_hash)

    async def require_hard_to_guess(self, password: str, name: str, email: str) -> None:
        """Raises ``BadRequest`` for a password that is too short, too long or easy to guess, also by who knows the person."""
        least, most = PASSWORD_CHARACTERS
        if not least <= len(password) <= most:
            raise BadRequest(f"expected a password of {least} to {most} characters, received {len(password)}")
        weakness = await self._strength.weakness(password, [name, email, email.partition("@")[0]])
        if weakness is not None:
            raise BadRequest(f"this password is easy to guess ({weakness}): take a longer one, such as a few words")

    async def keep(self, user_id: UUID, password: str) -> None:
        """It replaces the one that was kept before. Raises ``Overloaded``."""
        await self._credentials.add_password(user_id, await self._hasher.hash(password))
