"""API keys: several for one account, each with a name, scopes and an end. The key itself is shown once; its hash is kept."""

import hashlib
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

import msgspec

from commands.accounts.accounts import Accounts
from commands.accounts.authentication import API_KEY_PREFIX
from commands.accounts.principal import Principal, actor_of, require_admin
from commands.ports import Credentials, EventLog
from domain.accounts.api_key import with_included
from domain.accounts.user.commands import CreateApiKey, RevokeApiKeys
from domain.accounts.user.decide import decide
from domain.errors import ApiKeyNotFound, BadRequest, Forbidden
from domain.log.stream import user_stream

KEY_BYTES: Final = 32


class KnownApiKey(msgspec.Struct, frozen=True):
    """A key as lists show it."""

    key_id: UUID
    name: str
    scopes: Sequence[str] | None  # None: everything that its owner may do
    created_at: datetime | None
    expires_at: int | None  # seconds since 1970
    last_used_at: datetime | None


class ApiKeys:
    """``now`` gives seconds since 1970."""

    def __init__(self, accounts: Accounts, credentials: Credentials, log: EventLog, *, now: Callable[[], float] = time.time) -> None:
        self._accounts = accounts
        self._credentials = credentials
        self._log = log
        self._now = now

    async def create(
        self, principal: Principal, name: str = "", scopes: Collection[str] | None = None, expires_at: int | None = None
    ) -> tuple[UUID, str]:
        """``(id, key)`` of a key of the caller's own. ``expires_at`` in seconds since 1970; without ``name`` it replaces the one without.

        Raises ``BadRequest``; ``Forbidden`` where a key would make one that may do more, or holds for longer, than itself.
        """
        if expires_at is not None and expires_at <= self._now():
            raise BadRequest("expected expires_at in the future", param="expires_at")
        require_within(principal, scopes, expires_at)
        command = CreateApiKey(
            user_id=principal.user_id,
            key_id=uuid4(),
            name=name.strip(),
            scopes=scopes,
            expires_at=datetime_of(expires_at),
        )
        decide(await self._accounts.account(principal.user_id, fresh=True), command)  # refused before anything is kept
        key = API_KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
        await self._credentials.add_api_key(command.key_id, principal.user_id, hashlib.sha256(key.encode()).digest())
        await self._accounts.handle(command, actor=actor_of(principal))
        await self._accounts.account(principal.user_id, fresh=True)
        return command.key_id, key

    async def list_keys(self, principal: Principal, user_id: UUID) -> list[KnownApiKey]:
        """The keys of the caller, or of another account for an admin, in the order in which they were made.

        Raises ``Forbidden``, ``UserNotFound``.
        """
        require_self_or_admin(principal, user_id)
        keys = (await self._accounts.existing(user_id)).api_keys
        used = await self._credentials.last_used(list(keys))
        made = await self._log.times(user_stream(user_id), [key.version for key in keys.values()])
        return [
            KnownApiKey(
                key_id,
                key.name,
                None if key.scopes is None else sorted(key.scopes),
                made.get(key.version),
                key.expires_at,
                used.get(key_id),
            )
            for key_id, key in keys.items()
        ]

    async def revoke(self, principal: Principal, user_id: UUID, key_id: UUID) -> None:
        """End one key, in all processes. Raises ``Forbidden``, ``UserNotFound``, ``ApiKeyNotFound``."""
        require_self_or_admin(principal, user_id)
        await self._accounts.existing(user_id)
        if key_id not in (await self._accounts.account(user_id, fresh=True)).api_keys:
            raise ApiKeyNotFound(key_id)
        await self._accounts.change(principal, RevokeApiKeys(user_id=user_id, by=None, key_id=key_id))

    async def revoke_all(self, principal: Principal, user_id: UUID) -> None:
        """End every key of an account. Raises ``Forbidden``, ``UserNotFound``."""
        require_self_or_admin(principal, user_id)
        await self._accounts.change(principal, RevokeApiKeys(user_id=user_id, by=None))

    async def revoke_unnamed(self, principal: Principal) -> None:
        """End the caller's key without a name. Those with one stay."""
        for key_id, key in (await self._accounts.account(principal.user_id, fresh=True)).api_keys.items():
            if not key.name:
                await self._accounts.change(principal, RevokeApiKeys(user_id=principal.user_id, by=None, key_id=key_id))


def require_within(principal: Principal, scopes: Collection[str] | None, expires_at: int | None) -> None:
    """A key that was stolen must not make one that outlives or exceeds it."""
    if principal.api_key_id is None:
        return
    if principal.scopes is not None and (scopes is None or not with_included(scopes) <= principal.scopes):
        raise Forbidden(f"this key makes only keys with scopes of its own: {', '.join(sorted(principal.scopes))}")
    if principal.expires_at is not None and (expires_at is None or expires_at > principal.expires_at):
        raise Forbidden("this key makes only keys that expire when it does, or before")


def require_self_or_admin(principal: Principal, user_id: UUID) -> None:
    if principal.user_id != user_id:
        require_admin(principal)


def datetime_of(seconds: int | None) -> datetime | None:
    """Raises ``BadRequest`` for a time beyond what a date can name."""
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise BadRequest("expected expires_at in seconds since 1970", param="expires_at") from None
