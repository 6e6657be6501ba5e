"""What can be asked of an account.

``by`` is the caller with their role; None is the server itself, which the rules of access do not bind. A command without ``by`` changes
the caller's own account only.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from domain.accounts.user.facts import UserRole
from domain.log.event import Actor


class CreateUser(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    name: str
    email: str
    role: UserRole
    fields: Mapping[str, Any] = {}


class RenameUser(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    by: Actor | None
    name: str


class ChangeProfile(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    by: Actor | None
    fields: Mapping[str, Any]


class ChangeRole(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    by: Actor | None
    role: UserRole


class DeactivateUser(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    by: Actor | None


class RevokeTokens(msgspec.Struct, frozen=True, kw_only=True):
    """Revoke all tokens, or with ``token_id`` that one."""

    user_id: UUID
    by: Actor | None
    token_id: UUID | None = None
    revoke_keys: bool = False  # and every API key


class ChangePassword(msgspec.Struct, frozen=True, kw_only=True):
    """The new hash is in the credentials. Every token that was issued before is revoked, and every API key unless it is to stay."""

    user_id: UUID
    by: Actor | None
    revoke_keys: bool = True


class ChangeQuotas(msgspec.Struct, frozen=True, kw_only=True):
    """What the account may have; None: what every account may have."""

    user_id: UUID
    by: Actor | None
    quotas: Mapping[str, int | None]


class CreateApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key without a name replaces the one that had none."""

    user_id: UUID
    key_id: UUID
    name: str
    scopes: Collection[str] | None = None  # None: everything that its owner may do
    expires_at: datetime | None = None


class RevokeApiKeys(msgspec.Struct, frozen=True, kw_only=True):
    """Revoke all API keys, or with ``key_id`` that one."""

    user_id: UUID
    by: Actor | None
    key_id: UUID | None = None


class ChangeSettings(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    fields: Mapping[str, Any]


class MarkRead(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    stream: str
    version: int


class MarkManyRead(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    versions: Mapping[str, int]  # by stream, ``MANY_READ_MAX`` at most


class MarkUnread(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    stream: str


class HideChat(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    chat_id: UUID
    hidden: bool


class BlockUser(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    blocked_id: UUID
    blocked: bool


GuardedCommand = RenameUser | ChangeProfile | ChangeRole | DeactivateUser | RevokeTokens | ChangePassword | ChangeQuotas | RevokeApiKeys
UserCommand = CreateUser | GuardedCommand | CreateApiKey | ChangeSettings | MarkRead | MarkManyRead | MarkUnread | HideChat | BlockUser
