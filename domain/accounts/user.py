"""An account as an aggregate, and the facts of a person's own stream.

Hashes of passwords and keys are not in events, since the log is replayed, exported and read by auditors.
"""

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final, Literal, assert_never, get_args
from uuid import UUID

import msgspec

from domain.accounts import api_key
from domain.accounts.api_key import API_KEY_TYPES, ApiKey, ApiKeyCreated, ApiKeyFact, ApiKeyRevoked, create_api_key, revoke_api_keys
from domain.accounts.name import require_name
from domain.channel.own import (
    ChannelHidden,
    ChannelJoined,
    ChannelLeft,
    ChannelMuted,
    ChannelPinned,
    ChannelUnhidden,
    ChannelUnmuted,
    ChannelUnpinned,
    Mentioned,
    OwnChannelFact,
    ThreadRead,
)
from domain.chat.folder import (
    FolderCollapsed,
    FolderConfigured,
    FolderCreated,
    FolderDeleted,
    FolderExpanded,
    FolderFact,
    FolderMoved,
    FolderRenamed,
)
from domain.errors import AccountInactive, BadRequest, BadStreamName, Forbidden, ShareRefused, TooManyOffers, UserNotFound
from domain.log.event import Actor, Emitted, Event
from domain.log.stream import parse_stream
from domain.routing.function import UserValvesChanged
from domain.values.fields import differing
from domain.values.idmap import IdMap

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
NAME_CHARACTERS_MAX: Final = 200
REVOKED_TOKENS_MAX: Final = 1000
SETTINGS_BYTES_MAX: Final = 256 * 1024
PROFILE_BYTES_MAX: Final = 64 * 1024
VERSION_MAX: Final = 2**31 - 1
MANY_READ_MAX: Final = 1000  # streams of one command: some 100 KiB of events
OFFERS_OF_ONE_MAX: Final = 20  # of one sender, that this person has not answered: a list must not be filled by a stranger
OFFERS_MAX: Final = 500  # of all senders
HIDDEN_MAX: Final = 1000  # every list is asked for without them
BLOCKED_MAX: Final = 1000
# Other people's browsers show the picture: no content that can run, such as a script or an SVG.
PICTURE: Final = re.compile(r"/[\w./-]{0,200}|https?://\S{1,2000}|data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]*")

# ------------------------------------------------------------------------------------------------------------- commands
# ``by`` is the caller with their role; None is the server itself, which the rules of access do not bind. A command without ``by``
# changes the caller's own account only.


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

# ---------------------------------------------------------------------------------------------------------------- state


class Account(msgspec.Struct, frozen=True):
    """The state that decisions and authentication read."""

    name: str = ""
    email: str = ""  # empty: the user does not exist
    role: UserRole = "pending"
    active: bool = False
    generation: int = 0  # counts revocations of all tokens; a token names its generation
    revoked_tokens: frozenset[UUID] = frozenset()  # one by one, since the generation began
    api_keys: Mapping[UUID, ApiKey] = {}
    fields: Mapping[str, Any] = {}
    settings: Mapping[str, Any] = {}
    quotas: Mapping[str, int] = {}  # where an admin has said something else than the server's settings
    read_versions: IdMap[tuple[str, int]] = IdMap()  # by the stream's uuid: its name, and the version read; 0: marked unread
    offers: Mapping[UUID, UUID] = {}  # chats that others share and that were neither read nor hidden since: by whom each was shared
    hidden: frozenset[UUID] = frozenset()  # chats of others
    blocked: frozenset[UUID] = frozenset()  # people

    def read_version(self, stream_id: UUID) -> int:
        """The highest version of this stream that was read; 0: none."""
        _, version = self.read_versions.get(stream_id) or ("", 0)
        return version


NOBODY: Final = Account()


def account_to_json(account: Account) -> dict[str, Any]:
    """The snapshot of a person's own stream: what they can set, and how far they have read."""
    read_versions = dict(filter(None, map(account.read_versions.get, account.read_versions)))
    return {
        "name": account.name,
        "email": account.email,
        "role": account.role,
        "active": account.active,
        "api_keys": {key_id: key.name for key_id, key in account.api_keys.items()},
        "settings": account.settings,
        "read_versions": read_versions,
        "offers": account.offers,
        "hidden": sorted(account.hidden),
        "blocked": sorted(account.blocked),
        **{key: value for key, value in account.fields.items() if key not in Account.__struct_fields__},
    }


# --------------------------------------------------------------------------------------------------------------- decide


def decide(account: Account, command: UserCommand) -> list[UserEvent]:
    """The events that the command leads to. An empty list means "already so", a ``Refusal`` means "no".

    Two rules together keep at least one admin. Here: an admin cannot demote or deactivate themselves. In
    ``commands/accounts/accounts.py``: the append that demotes another admin succeeds only while its caller is an active admin.
    """
    if isinstance(command, CreateUser):
        return create_user(account, command)
    if not account.email:
        raise UserNotFound(command.user_id)
    if isinstance(command, GuardedCommand):
        require_self_or_admin(command)
    if not account.active:
        if isinstance(command, DeactivateUser):
            return []
        raise AccountInactive("this account was deactivated")
    match command:
        case RenameUser(name=name):
            require_name(name, NAME_CHARACTERS_MAX)
            return [] if name == account.name else [Event(None, UserRenamed(name))]
        case ChangeProfile(fields=fields):
            require_profile({**account.fields, **fields})
            changes = differing(account.fields, fields)
            return [Event(None, ProfileChanged(changes))] if changes else []
        case ChangeRole():
            return change_role(account, command)
        case DeactivateUser(user_id=user_id, by=by):
            if by is not None and by.id == user_id and account.role == "admin":
                raise Forbidden("an admin cannot delete their own account: ask another admin")
            return [Event(None, UserDeactivated())]
        case RevokeTokens(token_id=token_id, revoke_keys=revoke_keys):
            return [*revoke_tokens(account, token_id), *keys_revoked(account, revoke_keys)]
        case ChangePassword(revoke_keys=revoke_keys):
            return [Event(None, PasswordChanged()), Event(None, TokensRevoked()), *keys_revoked(account, revoke_keys)]
        case ChangeQuotas():
            return change_quotas(account, command)
        case CreateApiKey(key_id=key_id, name=name, scopes=scopes, expires_at=expires_at):
            return [Event(None, fact) for fact in create_api_key(account.api_keys, key_id, name, scopes, expires_at)]
        case RevokeApiKeys(key_id=key_id):
            return [Event(None, fact) for fact in revoke_api_keys(account.api_keys, key_id)]
        case ChangeSettings(fields=fields):
            return change_settings(account, fields)
        case MarkRead(stream=stream, version=version):
            return mark_read(account, stream, version)
        case MarkManyRead(versions=versions):
            if len(versions) > MANY_READ_MAX:
                raise BadRequest(f"at most {MANY_READ_MAX} streams are marked at once, received {len(versions)}")
            return [event for stream, version in versions.items() for event in mark_read(account, stream, version)]
        case MarkUnread(stream=stream):
            return [Event(None, MarkedUnread(stream))] if account.read_version(parse_stream(stream).id) else []
        case HideChat():
            return hide_chat(account, command)
        case BlockUser():
            return block_user(account, command)
        case _:
            assert_never(command)


def offer_chat(account: Account, chat_id: UUID, sender_id: UUID) -> list[UserEvent]:
    """``sender_id`` shares a chat with this person. Raises ``ShareRefused`` and ``TooManyOffers``."""
    if sender_id in account.blocked:
        raise ShareRefused
    of_sender = sum(sender == sender_id for sender in account.offers.values())
    if of_sender >= OFFERS_OF_ONE_MAX:
        raise TooManyOffers(OFFERS_OF_ONE_MAX)
    if len(account.offers) >= OFFERS_MAX:
        raise TooManyOffers(OFFERS_MAX)
    return [Event(None, ChatListed(chat_id, sender_id))]


def hide_chat(account: Account, command: HideChat) -> list[UserEvent]:
    if command.hidden == (command.chat_id in account.hidden):
        return []
    if not command.hidden:
        return [Event(None, ChatUnhidden(command.chat_id))]
    if len(account.hidden) >= HIDDEN_MAX:
        raise BadRequest(f"at most {HIDDEN_MAX} chats are hidden: leave some of them")
    return [Event(None, ChatHidden(command.chat_id))]


def block_user(account: Account, command: BlockUser) -> list[UserEvent]:
    if command.blocked_id == command.user_id:
        raise BadRequest("expected somebody else's account to block")
    if command.blocked == (command.blocked_id in account.blocked):
        return []
    if not command.blocked:
        return [Event(None, UserUnblocked(command.blocked_id))]
    if len(account.blocked) >= BLOCKED_MAX:
        raise BadRequest(f"at most {BLOCKED_MAX} people are blocked")
    return [Event(None, UserBlocked(command.blocked_id))]


def require_self_or_admin(command: GuardedCommand) -> None:
    by = command.by
    if by is not None and by.id != command.user_id and by.role != "admin":
        raise Forbidden("only an admin may change another account")


def create_user(account: Account, command: CreateUser) -> list[UserEvent]:
    if account.email:
        raise BadRequest(f"user {command.user_id} exists already")
    require_name(command.name, NAME_CHARACTERS_MAX)
    require_profile(command.fields)
    return [Event(None, UserCreated(command.name, command.email, command.role, command.fields))]


def change_role(account: Account, command: ChangeRole) -> list[UserEvent]:
    by = command.by
    if by is not None and by.role != "admin":
        raise Forbidden("only an admin changes roles")
    if command.role == account.role:
        return []
    if by is not None and by.id == command.user_id:
        raise Forbidden("an admin cannot change their own role: ask another admin")
    return [Event(None, RoleChanged(command.role))]


def change_quotas(account: Account, command: ChangeQuotas) -> list[UserEvent]:
    if command.by is not None and command.by.role != "admin":
        raise Forbidden("only an admin changes quotas")
    for name, quota in command.quotas.items():
        if name not in QUOTA_NAMES:
            raise BadRequest(f"expected a quota of {', '.join(QUOTA_NAMES)}, received {name[:80]!r}", param=name[:80])
        if quota is not None and not 0 <= quota <= QUOTA_MAX:
            raise BadRequest(f"expected {name} from 0 to {QUOTA_MAX}, received {quota}", param=name)
    changes = {name: quota for name, quota in command.quotas.items() if account.quotas.get(name) != quota}
    return [Event(None, QuotasChanged(changes))] if changes else []


def revoke_tokens(account: Account, token_id: UUID | None) -> list[UserEvent]:
    if token_id in account.revoked_tokens:
        return []
    if token_id is not None and len(account.revoked_tokens) >= REVOKED_TOKENS_MAX:
        # Without a clock the single revocations would be kept for ever; a new generation replaces them all.
        return [Event(None, TokensRevoked())]
    return [Event(None, TokensRevoked(token_id))]


def keys_revoked(account: Account, revoke_keys: bool) -> list[UserEvent]:
    return [Event(None, fact) for fact in revoke_api_keys(account.api_keys, None)] if revoke_keys else []


def change_settings(account: Account, fields: Mapping[str, Any]) -> list[UserEvent]:
    """Keys that are not named stay, also inside ``ui``: a page sends of it only what its user has changed."""
    known, new = account.settings.get("ui"), fields.get("ui")
    if isinstance(known, Mapping) and isinstance(new, Mapping):
        fields = {**fields, "ui": {**known, **new}}
    changes = differing(account.settings, fields)
    size = len(msgspec.json.encode({**account.settings, **changes}))
    if size > SETTINGS_BYTES_MAX:
        raise BadRequest(f"all settings together hold at most {SETTINGS_BYTES_MAX} bytes, these would have {size}")
    return [Event(None, SettingsChanged(changes))] if changes else []


def mark_read(account: Account, stream: str, version: int) -> list[UserEvent]:
    stream_id = parse_stream(stream).id
    if not 0 < version <= VERSION_MAX:
        raise BadRequest(f"expected a version from 1 to {VERSION_MAX}, received {version}")
    # The read version only rises: two tabs at different versions agree on the higher one.
    return [Event(None, LastReadAt(stream, version))] if version > account.read_version(stream_id) else []


def require_profile(fields: Mapping[str, Any]) -> None:
    picture = fields.get("profile_image_url")
    if picture is not None and not (isinstance(picture, str) and PICTURE.fullmatch(picture)):
        raise BadRequest("expected profile_image_url as a path, an http(s) URL, or data:image/png, jpeg, gif or webp in base64")
    size = len(msgspec.json.encode(fields))
    if size > PROFILE_BYTES_MAX:
        raise BadRequest(f"a profile holds at most {PROFILE_BYTES_MAX} bytes, this one has {size}")


# --------------------------------------------------------------------------------------------------------------- evolve


def evolve(account: Account, event: UserEvent, version: int) -> Account:
    """The next state. Total: history cannot be refused, so this never raises."""
    match event.data:
        case UserCreated(name=name, email=email, role=role, fields=fields):
            return changed(account, name=name, email=email, role=role, active=True, fields=fields)
        case UserRenamed(name=name):
            return changed(account, name=name)
        case ProfileChanged(fields=fields):
            return changed(account, fields={**account.fields, **fields})
        case RoleChanged(role=role):
            return changed(account, role=role)
        case UserDeactivated():
            return changed(account, active=False, generation=account.generation + 1)
        case TokensRevoked(token_id=None):
            return changed(account, generation=account.generation + 1, revoked_tokens=frozenset[UUID]())
        case TokensRevoked(token_id=token_id):
            return changed(account, revoked_tokens=account.revoked_tokens | {token_id})
        case ApiKeyCreated() | ApiKeyRevoked():
            return changed(account, api_keys=api_key.evolve(account.api_keys, event.data, version))
        case SettingsChanged(fields=fields):
            return changed(account, settings={**account.settings, **fields})
        case QuotasChanged(quotas=quotas):
            kept = {**account.quotas, **quotas}
            return changed(account, quotas={name: quota for name, quota in kept.items() if quota is not None})
        case LastReadAt(stream=stream, version=read_version):
            return read_until(account, stream, read_version)
        case ChatListed(chat_id=chat_id, offered_by=UUID() as sender_id):
            return changed(account, offers={**account.offers, chat_id: sender_id})
        case ChatHidden(chat_id=chat_id):
            return changed(account, hidden=account.hidden | {chat_id}, offers=without(account.offers, chat_id))
        case ChatUnhidden(chat_id=chat_id):
            return changed(account, hidden=account.hidden - {chat_id})
        case ChatUnlisted(chat_id=chat_id):
            return changed(account, hidden=account.hidden - {chat_id}, offers=without(account.offers, chat_id))
        case UserBlocked(user_id=user_id):
            return changed(account, blocked=account.blocked | {user_id})
        case UserUnblocked(user_id=user_id):
            return changed(account, blocked=account.blocked - {user_id})
        case MarkedUnread(stream=stream):
            return read_until(account, stream, 0)
        case PasswordChanged() | ChatListed() | Emitted():
            return account
        case FolderCreated() | FolderRenamed() | FolderMoved() | FolderConfigured():
            return account  # folded by domain/chat/folder.py
        case FolderExpanded() | FolderCollapsed() | FolderDeleted():
            return account
        case UserValvesChanged():
            return account  # folded by domain/routing/function.py
        case ChannelJoined() | ChannelLeft() | ChannelMuted() | ChannelUnmuted():
            return account  # folded by domain/channel/own.py
        case ChannelPinned() | ChannelUnpinned() | ChannelHidden() | ChannelUnhidden():
            return account
        case Mentioned() | ThreadRead():
            return account
        case _:
            assert_never(event.data)


def read_until(account: Account, stream: str, version: int) -> Account:
    try:
        stream_id = parse_stream(stream).id
    except BadStreamName:
        return account  # a kind that this version does not know
    read_versions = account.read_versions.with_(stream_id, (stream, version))
    return changed(account, read_versions=read_versions, offers=without(account.offers, stream_id) if version else account.offers)


def without(offers: Mapping[UUID, UUID], chat_id: UUID) -> Mapping[UUID, UUID]:
    """The offers that are left once this one is answered."""
    return {one: sender for one, sender in offers.items() if one != chat_id} if chat_id in offers else offers


def changed(account: Account, **fields: Any) -> Account:
    return msgspec.structs.replace(account, **fields)
