"""What can happen to an account, and what stands in a person's own stream.

Password and key hashes are not here: a log that is replayed, exported and read by auditors is no place for them.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, assert_never, get_args
from uuid import UUID

import msgspec

from domain.errors import AccountInactive, BadRequest, Forbidden, UserNotFound
from domain.event import Emitted, Event

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
    | Emitted
)
UserEvent = Event[UserFact]

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

NAME_CHARACTERS_MAX: Final = 200
API_KEYS_MAX: Final = 100

# ------------------------------------------------------------------------------------------------------------- commands
# ``by`` is the user who asks, with the role they have: an admin may change others, everyone themselves.


class CreateUser(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    name: str
    email: str
    role: UserRole
    fields: Mapping[str, Any] = {}


class RenameUser(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    name: str


class ChangeRole(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    by: UUID
    role: UserRole


class DeactivateUser(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    by: UUID


class RevokeTokens(msgspec.Struct, frozen=True, kw_only=True):
    """All of them, or the one."""

    user_id: UUID
    token_id: UUID | None = None


class ChangePassword(msgspec.Struct, frozen=True, kw_only=True):
    """The new hash stands in the credentials; every token issued before ends with the change."""

    user_id: UUID


class CreateApiKey(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    key_id: UUID
    name: str


class RevokeApiKey(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    key_id: UUID


class ChangeSettings(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    fields: Mapping[str, Any]


class MarkRead(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    stream: str
    version: int


UserCommand = (
    CreateUser
    | RenameUser
    | ChangeRole
    | DeactivateUser
    | RevokeTokens
    | ChangePassword
    | CreateApiKey
    | RevokeApiKey
    | ChangeSettings
    | MarkRead
)

# ---------------------------------------------------------------------------------------------------------------- state


class Account(msgspec.Struct, frozen=True):
    """Holds what decisions and authentication read."""

    name: str = ""
    email: str = ""  # empty: there is no such user
    role: UserRole = "pending"
    active: bool = False
    generation: int = 0  # how often all tokens were revoked: a token names the generation that it belongs to
    revoked_tokens: frozenset[UUID] = frozenset()  # singly, since the generation began
    api_keys: Mapping[UUID, str] = {}
    fields: Mapping[str, Any] = {}
    settings: Mapping[str, Any] = {}
    read_versions: Mapping[str, int] = {}


NOBODY: Final = Account()

# --------------------------------------------------------------------------------------------------------------- decide


def decide(account: Account, command: UserCommand) -> list[UserEvent]:
    """The events that the command leads to. An empty list means "already so", a ``Refusal`` means "no"."""
    if isinstance(command, CreateUser):
        return create_user(account, command)
    if not account.email:
        raise UserNotFound(command.user_id)
    if not account.active:
        if isinstance(command, DeactivateUser):
            return []
        raise AccountInactive("this account was deactivated")
    match command:
        case RenameUser(name=name):
            require_name(name)
            return [] if name == account.name else [Event(None, UserRenamed(name))]
        case ChangeRole(user_id=user_id, by=by, role=role):
            if by == user_id:
                raise Forbidden("nobody changes their own role: ask another admin")
            return [] if role == account.role else [Event(None, RoleChanged(role))]
        case DeactivateUser(user_id=user_id, by=by):
            if by == user_id and account.role == "admin":
                raise Forbidden("an admin cannot delete their own account: ask another admin")
            return [Event(None, UserDeactivated())]
        case RevokeTokens(token_id=token_id):
            return [] if token_id in account.revoked_tokens else [Event(None, TokensRevoked(token_id))]
        case ChangePassword():
            return [Event(None, PasswordChanged()), Event(None, TokensRevoked())]
        case CreateApiKey(key_id=key_id, name=name):
            if len(account.api_keys) >= API_KEYS_MAX:
                raise Forbidden(f"an account holds at most {API_KEYS_MAX} keys: revoke one first")
            return [] if key_id in account.api_keys else [Event(None, ApiKeyCreated(key_id, name))]
        case RevokeApiKey(key_id=key_id):
            return [Event(None, ApiKeyRevoked(key_id))] if key_id in account.api_keys else []
        case ChangeSettings(fields=fields):
            return [Event(None, SettingsChanged(fields))] if fields else []
        case MarkRead(stream=stream, version=version):
            # It only moves forward: two tabs that read at different places agree on the further one.
            return [Event(None, LastReadAt(stream, version))] if version > account.read_versions.get(stream, 0) else []
        case _:
            assert_never(command)


def create_user(account: Account, command: CreateUser) -> list[UserEvent]:
    if account.email:
        raise BadRequest(f"user {command.user_id} exists already")
    require_name(command.name)
    return [Event(None, UserCreated(command.name, command.email, command.role, command.fields))]


def require_name(name: str) -> None:
    if not name.strip() or len(name) > NAME_CHARACTERS_MAX or not name.isprintable():
        raise BadRequest(f"expected a name of 1 to {NAME_CHARACTERS_MAX} printable characters")


# --------------------------------------------------------------------------------------------------------------- evolve


def evolve(account: Account, event: UserEvent, _version: int) -> Account:
    """The next state. Total: history cannot be refused, so this never raises."""
    match event.data:
        case UserCreated(name=name, email=email, role=role, fields=fields):
            return changed(account, name=name, email=email, role=role, active=True, fields=fields)
        case UserRenamed(name=name):
            return changed(account, name=name)
        case RoleChanged(role=role):
            return changed(account, role=role)
        case UserDeactivated():
            return changed(account, active=False, generation=account.generation + 1)
        case TokensRevoked(token_id=None):
            return changed(account, generation=account.generation + 1, revoked_tokens=frozenset[UUID]())
        case TokensRevoked(token_id=token_id):
            return changed(account, revoked_tokens=account.revoked_tokens | {token_id})
        case ApiKeyCreated(key_id=key_id, name=name):
            return changed(account, api_keys={**account.api_keys, key_id: name})
        case ApiKeyRevoked(key_id=key_id):
            return changed(account, api_keys={one: name for one, name in account.api_keys.items() if one != key_id})
        case SettingsChanged(fields=fields):
            return changed(account, settings={**account.settings, **fields})
        case LastReadAt(stream=stream, version=version):
            return changed(account, read_versions={**account.read_versions, stream: version})
        case PasswordChanged() | ChatListed() | ChatUnlisted() | Emitted():
            return account
        case _:
            assert_never(event.data)


def changed(account: Account, **fields: Any) -> Account:
    return msgspec.structs.replace(account, **fields)
