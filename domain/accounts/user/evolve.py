"""What a fact makes of an account."""

from collections.abc import Mapping
from typing import Any, assert_never
from uuid import UUID

import msgspec

from domain.accounts import api_key
from domain.accounts.api_key import ApiKeyCreated, ApiKeyRevoked
from domain.accounts.user.facts import (
    ChatHidden,
    ChatListed,
    ChatUnhidden,
    ChatUnlisted,
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
    MentionRemoved,
    ThreadRead,
)
from domain.chat.folder import (
    FolderCollapsed,
    FolderConfigured,
    FolderCreated,
    FolderDeleted,
    FolderExpanded,
    FolderMoved,
    FolderRenamed,
)
from domain.errors import BadStreamName
from domain.log.event import Emitted
from domain.log.stream import parse_stream
from domain.routing.function import UserValvesChanged


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
        case Mentioned() | MentionRemoved() | ThreadRead():
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
