"""What a command to an account leads to, and what is refused."""

import re
from collections.abc import Mapping
from typing import Any, Final, assert_never
from uuid import UUID

import msgspec

from domain.accounts.api_key import create_api_key, revoke_api_keys
from domain.accounts.name import require_name
from domain.accounts.user.commands import (
    BlockUser,
    ChangePassword,
    ChangeProfile,
    ChangeQuotas,
    ChangeRole,
    ChangeSettings,
    CreateApiKey,
    CreateUser,
    DeactivateUser,
    GuardedCommand,
    HideChat,
    MarkManyRead,
    MarkRead,
    MarkUnread,
    RenameUser,
    RevokeApiKeys,
    RevokeTokens,
    UserCommand,
)
from domain.accounts.user.facts import (
    QUOTA_MAX,
    QUOTA_NAMES,
    ChatHidden,
    ChatListed,
    ChatUnhidden,
    LastReadAt,
    MarkedUnread,
    PasswordChanged,
    ProfileChanged,
    QuotasChanged,
    RoleChanged,
    SettingsChanged,
    TokensRevoked,
    UserBlocked,
    UserCreated,
    UserDeactivated,
    UserEvent,
    UserRenamed,
    UserUnblocked,
)
from domain.accounts.user.state import Account
from domain.errors import AccountInactive, BadRequest, Forbidden, ShareRefused, TooManyOffers, UserNotFound
from domain.log.event import Event
from domain.log.stream import parse_stream
from domain.values.fields import differing

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
