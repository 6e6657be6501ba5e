"""Sign-ins of an account: where it is signed in, and how to end that."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from commands.accounts.accounts import Accounts
from commands.accounts.principal import Principal
from commands.ports import Credentials, Session
from domain.accounts.user.commands import RevokeTokens
from domain.errors import SessionNotFound

SESSIONS_MAX: Final = 1000  # of a list without pages


class KnownSession(msgspec.Struct, frozen=True):
    session: Session
    last_used_at: datetime | None
    is_current: bool  # the caller's own


class Sessions:
    """``now`` gives seconds since 1970."""

    def __init__(self, accounts: Accounts, credentials: Credentials, *, now: Callable[[], float] = time.time) -> None:
        self._accounts = accounts
        self._credentials = credentials
        self._now = now

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

    async def revoke(self, principal: Principal, token_id: UUID) -> None:
        """Sign out one of the caller's sign-ins, in all processes. Raises ``SessionNotFound``."""
        if all(one.session.token_id != token_id for one in await self.list_sessions(principal)):
            raise SessionNotFound(token_id)
        await self._accounts.change(principal, RevokeTokens(user_id=principal.user_id, by=None, token_id=token_id))

    async def revoke_all(self, principal: Principal, user_id: UUID, *, revoke_keys: bool) -> None:
        """Sign out an account everywhere: the caller's own, or another for an admin. Raises ``Forbidden``, ``UserNotFound``."""
        await self._accounts.change(principal, RevokeTokens(user_id=user_id, by=None, revoke_keys=revoke_keys))
