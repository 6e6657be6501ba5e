"""What decisions and authentication read of an account, and its snapshot."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

from domain.accounts.api_key import ApiKey
from domain.accounts.user.facts import UserRole
from domain.values.idmap import IdMap


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


NO_ACCOUNT: Final = Account()


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
