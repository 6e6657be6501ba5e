"""What can happen to an account, and what stands in a person's own stream.

Password and key hashes are not here: a log that is replayed, exported and read by auditors is no place for them.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args
from uuid import UUID

import msgspec

UserRole = Literal["admin", "user", "auditor", "analyst", "pending"]
USER_ROLES: Final[tuple[UserRole, ...]] = get_args(UserRole)

# ---------------------------------------------------------------------------------------------------------------- facts


class UserCreated(msgspec.Struct, frozen=True):
    name: str
    email: str  # lower case
    role: UserRole
    fields: Mapping[str, Any] = {}  # profile_image_url and the like


class UserRenamed(msgspec.Struct, frozen=True):
    name: str


class RoleChanged(msgspec.Struct, frozen=True):
    role: UserRole


class UserDeactivated(msgspec.Struct, frozen=True):
    pass


class TokensRevoked(msgspec.Struct, frozen=True):
    """Every token issued before this event ends; with ``token_id`` only that one."""

    token_id: UUID | None = None


class PasswordChanged(msgspec.Struct, frozen=True):
    pass


class ApiKeyCreated(msgspec.Struct, frozen=True):
    key_id: UUID
    name: str


class ApiKeyRevoked(msgspec.Struct, frozen=True):
    key_id: UUID


class SettingsChanged(msgspec.Struct, frozen=True):
    """Changed keys only; shallow merge."""

    fields: Mapping[str, Any] = {}


class ChatListed(msgspec.Struct, frozen=True):
    """A chat appears in this person's list: made by them, or shared with them."""

    chat_id: UUID


class ChatUnlisted(msgspec.Struct, frozen=True):
    chat_id: UUID


class LastReadAt(msgspec.Struct, frozen=True):
    stream: str  # kind/uuid
    version: int


UserFact = (
    UserCreated
    | UserRenamed
    | RoleChanged
    | UserDeactivated
    | TokensRevoked
    | PasswordChanged
    | ApiKeyCreated
    | ApiKeyRevoked
    | SettingsChanged
    | ChatListed
    | ChatUnlisted
    | LastReadAt
)

USER_TYPES: Final[Mapping[str, type[Any]]] = {
    "user_created": UserCreated,
    "user_renamed": UserRenamed,
    "role_changed": RoleChanged,
    "user_deactivated": UserDeactivated,
    "tokens_revoked": TokensRevoked,
    "password_changed": PasswordChanged,
    "api_key_created": ApiKeyCreated,
    "api_key_revoked": ApiKeyRevoked,
    "settings_changed": SettingsChanged,
    "chat_listed": ChatListed,
    "chat_unlisted": ChatUnlisted,
    "last_read_at": LastReadAt,
}
