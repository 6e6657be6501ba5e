"""One provider as it is asked, and what may be changed of it."""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from domain.errors import BadRequest
from domain.routing.provider import ProviderKind

KEY_CHARACTERS_MAX: Final = 8_000
HEADERS_MAX: Final = 50
PRINTABLE: Final = re.compile(r"[\x20-\x7e]*")
HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
# What the request itself says of its body and its connection.
HEADERS_REFUSED: Final = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "te", "trailer", "upgrade", "accept-encoding"}
)


class ProviderSecrets(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a provider is shown and nobody else. Stored as JSON among the credentials."""

    key: str = ""
    headers: Mapping[str, str] = {}
    proxy: str = ""  # its address may hold a password


NO_SECRETS: Final = ProviderSecrets()


class ProviderSetup(msgspec.Struct, frozen=True, kw_only=True):
    """One provider as it is asked now. ``fields`` by the names of ``domain.routing.provider.FIELDS``."""

    id: UUID
    kind: ProviderKind
    base_url: str
    fields: Mapping[str, Any] = {}
    enabled: bool = True
    from_settings: bool = False
    secrets: ProviderSecrets = NO_SECRETS
    # An admin has chosen an address: it may not lead into the networks that the operator has closed to them.
    is_guarded: bool = False

    @property
    def rank(self) -> int:
        """Its place among the providers of its kind."""
        return int(self.fields.get("rank", 0))

    @property
    def name(self) -> str:
        return str(self.fields.get("name") or f"{self.kind} {str(self.id)[:8]}")


class ProviderEdit(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be changed. None: as it is; an empty key, proxy or mapping of headers takes it away.

    Secrets can be set and not read: where a provider gets another address or proxy, they have to be given again.
    """

    fields: Mapping[str, Any] = {}  # null takes a field out
    enabled: bool | None = None
    key: str | None = None
    headers: Mapping[str, str | None] | None = None  # all of them; a value of None is as it is
    proxy: str | None = None


class WantedProvider(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a whole list. Without ``id`` it is recognised by its address."""

    base_url: str
    edit: ProviderEdit
    id: UUID | None = None


def require_secrets(edit: ProviderEdit) -> None:
    """Raises ``BadRequest`` for what no request can hold. Its text repeats nothing of what was given."""
    for name, value in (("key", edit.key), ("proxy", edit.proxy)):
        if value is not None and not (len(value) <= KEY_CHARACTERS_MAX and PRINTABLE.fullmatch(value)):
            raise BadRequest(f"expected a {name} of at most {KEY_CHARACTERS_MAX} printable characters of ASCII", param=name)
    if edit.proxy:
        try:
            parts = urlsplit(edit.proxy)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0 and " " not in edit.proxy
        except ValueError:
            valid = False
        if not valid:
            raise BadRequest("expected the address of an HTTP proxy, http://… or https://…", param="proxy")
    headers = edit.headers or {}
    if len(headers) > HEADERS_MAX:
        raise BadRequest(f"expected at most {HEADERS_MAX} headers, received {len(headers)}", param="headers")
    for name, value in headers.items():
        if not HEADER_NAME.fullmatch(name) or name.lower() in HEADERS_REFUSED:
            raise BadRequest(f"{name[:80]!r} is no header that can be added to a request", param="headers")
        if value is not None and (len(value) > KEY_CHARACTERS_MAX or not PRINTABLE.fullmatch(value)):
            raise BadRequest(f"the header {name} holds what a header cannot: expected printable characters of ASCII", param="headers")


def origin_of(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port
