"""Who is calling: the tokens, API keys and tickets by which a caller is authenticated."""

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import msgspec

from commands.accounts.accounts import Accounts
from commands.accounts.principal import KnownAccount, Principal, TokenSession, principal_of, require_active, role_within
from commands.ports import Credentials, Tickets, Tokens
from domain.accounts.user.state import Account
from domain.errors import NotAuthenticated

CREDENTIAL_CHARACTERS_MAX: Final = 4096
API_KEY_PREFIX: Final = "sk-"
TICKET_TTL_S: Final = 30.0
KNOWN_KEYS_MAX: Final = 10_000


class Authentication:
    """``note_used`` gets the id of each token and key that was found good; ``now`` gives seconds since 1970."""

    def __init__(
        self,
        accounts: Accounts,
        credentials: Credentials,
        tickets: Tickets,
        tokens: Tokens,
        *,
        note_used: Callable[[UUID], None] = lambda _: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._accounts = accounts
        self._credentials = credentials
        self._tickets = tickets
        self._tokens = tokens
        self._note_used = note_used
        self._now = now
        self._keys: OrderedDict[bytes, tuple[UUID, UUID]] = OrderedDict()

    async def authenticate(self, credential: str) -> Principal:
        """Who the token or API key belongs to. Raises ``NotAuthenticated``, ``AccountInactive``."""
        if len(credential) > CREDENTIAL_CHARACTERS_MAX or not credential.isascii():
            raise NotAuthenticated("the token is not valid")
        if credential.startswith(API_KEY_PREFIX):
            return await self._by_api_key(credential)
        claims = self._tokens.read(credential)
        if claims is None:
            raise NotAuthenticated("the token is not valid, or it has expired")
        return self._admitted(claims.user_id, await self._accounts.standing(claims.user_id), TokenSession.of(claims))

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
        return self._admitted(user_id, await self._accounts.standing(user_id), TokenSession(0, None, None, key_id))

    def _admitted(self, user_id: UUID, standing: KnownAccount, session: TokenSession) -> Principal:
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
        if principal.expires_at is not None and principal.expires_at <= self._now():
            return False
        if principal.api_key_id is not None:
            return principal.api_key_id in account.api_keys
        return principal.generation == account.generation and principal.token_id not in account.revoked_tokens

    def still_valid(self, principal: Principal) -> bool:
        """Whether what was authenticated still holds, by what is known here now. Costs no query, so it can be asked for every frame."""
        standing = principal.standing
        if standing is None or not standing.current:
            return False  # not known, or not for sure: authenticate again
        account = standing.account
        if not account.active or account.role == "pending" or role_within(account.role, principal.scopes) != principal.role:
            return False
        return self._in_force(principal, account)

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
        return self._admitted(user_id, await self._accounts.standing(user_id), msgspec.convert(kept, TokenSession))
