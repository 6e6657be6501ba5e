"""Sign-ins of an account: a new one with its token, where the account is signed in, and how to end that."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

import msgspec

from commands.accounts.accounts import Accounts
from commands.accounts.principal import KnownAccount, Principal, TokenSession, principal_of
from commands.ports import Credentials, Session, TokenClaims, Tokens
from domain.accounts.user.commands import RevokeTokens
from domain.accounts.user.state import Account
from domain.errors import SessionNotFound

SESSIONS_MAX: Final = 1000  # of a list without pages
CLIENT_CHARACTERS_MAX: Final = 200  # of what a client says of itself
TIME_MAX: Final = 253_402_300_799  # the last second that a date can name; a lifetime of a token may be set beyond it


class SignedIn(msgspec.Struct, frozen=True):
    token: str
    expires_at: int  # seconds since 1970
    lifetime_s: int
    principal: Principal
    account: Account


class KnownSession(msgspec.Struct, frozen=True):
    session: Session
    last_used_at: datetime | None
    is_current: bool  # the caller's own


class Sessions:
    """``now`` gives seconds since 1970."""

    def __init__(
        self,
        accounts: Accounts,
        credentials: Credentials,
        tokens: Tokens,
        *,
        token_lifetime_s: int = 7 * 86_400,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._accounts = accounts
        self._credentials = credentials
        self._tokens = tokens
        self._token_lifetime_s = token_lifetime_s
        self._now = now

    async def begin(self, user_id: UUID, standing: KnownAccount, account: Account, address: str, user_agent: str) -> SignedIn:
        """A new sign-in of this person, who has just proven who they are; its token is of the generation of ``account``."""
        now = int(self._now())
        claims = TokenClaims(user_id, uuid4(), account.generation, now + self._token_lifetime_s)
        since, until = (datetime.fromtimestamp(min(at, TIME_MAX), UTC) for at in (now, claims.expires_at))
        place, agent = one_line(address), one_line(user_agent)
        await self._credentials.add_session(Session(claims.token_id, user_id, claims.generation, place, agent, since, until))
        principal = principal_of(user_id, account, TokenSession.of(claims), standing)
        return SignedIn(self._tokens.issue(claims), claims.expires_at, self._token_lifetime_s, principal, account)

    async def list_sessions(self, principal: Principal) -> list[KnownSession]:
        """The caller's sign-ins that still hold, the newest first."""
        account = await self._accounts.account(principal.user_id, fresh=True)
        held = [
            one
            for one in await self._credentials.sessions(principal.user_id, limit=SESSIONS_MAX)
            if one.generation == account.generation
            and one.token_id not in account.revoked_tokens
            and one.expires_at.timestamp() > self._now()
        ]
        used = await self._credentials.last_used([one.token_id for one in held])
        return [KnownSession(one, used.get(one.token_id), one.token_id == principal.token_id) for one in held]

    async def sign_out(self, principal: Principal) -> None:
        """End this one token, everywhere. An API key is not signed out: it is revoked."""
        if principal.token_id is not None:
            await self._accounts.change(principal, RevokeTokens(user_id=principal.user_id, by=None, token_id=principal.token_id))

    async def revoke(self, principal: Principal, token_id: UUID) -> None:
        """Sign out one of the caller's sign-ins, in all processes. Raises ``SessionNotFound``."""
        if all(one.session.token_id != token_id for one in await self.list_sessions(principal)):
            raise SessionNotFound(token_id)
        await self._accounts.change(principal, RevokeTokens(user_id=principal.user_id, by=None, token_id=token_id))

    async def revoke_all(self, principal: Principal, user_id: UUID, *, revoke_keys: bool) -> None:
        """Sign out an account everywhere: the caller's own, or another for an admin. Raises ``Forbidden``, ``UserNotFound``."""
        await self._accounts.change(principal, RevokeTokens(user_id=user_id, by=None, revoke_keys=revoke_keys))


def one_line(text: str) -> str:
    """What a client says of itself, as it may be stored and shown."""
    return "".join(one if one.isprintable() else " " for one in text[:CLIENT_CHARACTERS_MAX])
