"""The facts of a person's own stream, and their names in the log."""

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args
from uuid import UUID

import msgspec

from domain.accounts.api_key import API_KEY_TYPES, ApiKeyFact
from domain.channel.own import OwnChannelFact
from domain.chat.folder import FolderFact
from domain.log.event import Emitted, Event
from domain.routing.function import UserValvesChanged

UserRole = Literal["admin", "user", "auditor", "analyst", "pending"]
USER_ROLES: Final[tuple[UserRole, ...]] = get_args(UserRole)


class UserCreated(msgspec.Struct, frozen=True):
    name: str
    email: str  # lower case
    role: UserRole
    fields: Mapping[str, Any] = {}  # profile_image_url and the like


class UserRenamed(msgspec.Struct, frozen=True):
    name: str


class ProfileChanged(msgspec.Struct, frozen=True):
    """Changed keys only; shallow merge. ``profile_image_url`` and the like."""

    fields: Mapping[str, Any] = {}


class RoleChanged(msgspec.Struct, frozen=True):
    role: UserRole


class UserDeactivated(msgspec.Struct, frozen=True):
    pass


class TokensRevoked(msgspec.Struct, frozen=True):
    """Every token issued before this event ends; with ``token_id`` only that one."""

    token_id: UUID | None = None


class PasswordChanged(msgspec.Struct, frozen=True):
    pass


class SettingsChanged(msgspec.Struct, frozen=True):
    """Changed keys only; shallow merge."""

    fields: Mapping[str, Any] = {}


class QuotasChanged(msgspec.Struct, frozen=True):
    """What this account may have from now on, by the names of ``QUOTA_NAMES``: changed ones only. None: what every account may have."""

    quotas: Mapping[str, int | None]


class ChatListed(msgspec.Struct, frozen=True):
    """A chat appears in this person's list: made by them, or shared with them."""

    chat_id: UUID
    offered_by: UUID | msgspec.UnsetType = msgspec.UNSET  # who shares it; not there for a chat of their own


class ChatUnlisted(msgspec.Struct, frozen=True):
    chat_id: UUID


class ChatHidden(msgspec.Struct, frozen=True):
    """A chat that others share is left out of this person's lists and searches. They still have access."""

    chat_id: UUID


class ChatUnhidden(msgspec.Struct, frozen=True):
    chat_id: UUID


class UserBlocked(msgspec.Struct, frozen=True):
    """No shares are taken from that person, and theirs are left out of lists and searches."""

    user_id: UUID


class UserUnblocked(msgspec.Struct, frozen=True):
    user_id: UUID


class LastReadAt(msgspec.Struct, frozen=True):
    stream: str  # kind/uuid
    version: int


class MarkedUnread(msgspec.Struct, frozen=True):
    """The stream counts as unread until a version of it is read again."""

    stream: str  # kind/uuid


UserFact = (
    UserCreated
    | UserRenamed
    | ProfileChanged
    | RoleChanged
    | UserDeactivated
    | TokensRevoked
    | PasswordChanged
    | ApiKeyFact
    | SettingsChanged
    | QuotasChanged
    | ChatListed
    | ChatUnlisted
    | ChatHidden
    | ChatUnhidden
    | UserBlocked
    | UserUnblocked
    | LastReadAt
    | MarkedUnread
    | FolderFact
    | UserValvesChanged
    | OwnChannelFact
    | Emitted
)
UserEvent = Event[UserFact]
USER_TYPES: Final[Mapping[str, type[Any]]] = {
    "user_created": UserCreated,
    "user_renamed": UserRenamed,
    "profile_changed": ProfileChanged,
    "role_changed": RoleChanged,
    "user_deactivated": UserDeactivated,
    "tokens_revoked": TokensRevoked,
    "password_changed": PasswordChanged,
    **API_KEY_TYPES,
    "settings_changed": SettingsChanged,
    "quotas_changed": QuotasChanged,
    "chat_listed": ChatListed,
    "chat_unlisted": ChatUnlisted,
    "chat_hidden": ChatHidden,
    "chat_unhidden": ChatUnhidden,
    "user_blocked": UserBlocked,
    "user_unblocked": UserUnblocked,
    "last_read_at": LastReadAt,
    "marked_unread": MarkedUnread,
}
QUOTA_NAMES: Final = ("chats", "storage_bytes", "bytes_a_day", "runs", "connections")
QUOTA_MAX: Final = 2**53 - 1  # the largest number that every JSON reader takes exactly
