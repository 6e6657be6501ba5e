"""A provider of models as an aggregate: where its server is, and how it is asked.

Keys, headers and proxies are secrets: they are among the credentials, under an id that an event names. What an event says of them is
which of them were set, by whom and when.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, assert_never, get_args
from urllib.parse import urlsplit
from uuid import UUID, uuid5

import msgspec

from domain.accounts.name import require_name
from domain.errors import BadRequest, ProviderNotFound
from domain.log.event import Event
from domain.values.fields import differing

ProviderKind = Literal["openai", "ollama"]
PROVIDER_KINDS: Final[tuple[ProviderKind, ...]] = get_args(ProviderKind)
Secret = Literal["key", "headers", "proxy"]

PROVIDERS_MAX: Final = 200
URL_CHARACTERS_MAX: Final = 2_000
NAME_CHARACTERS_MAX: Final = 200
MODELS_MAX: Final = 1_000  # of the list of one provider
TAGS_MAX: Final = 50
TIMEOUT_S_MAX: Final = 86_400.0
PREFIX: Final = re.compile(r"[^\s\x00-\x1f\x7f]{1,64}")
NAMESPACE: Final = UUID("5c2d6c1e-8f0b-4b52-9a39-6d1c0e5f7a11")  # of ids that are made of names here

# ---------------------------------------------------------------------------------------------------------------- facts


class ProviderAdded(msgspec.Struct, frozen=True):
    """``from_settings``: it stands in the operator's settings; the stream holds what an admin has changed of it."""

    kind: ProviderKind
    base_url: str
    from_settings: bool = False
    fields: Mapping[str, Any] = {}  # by the names of ``FIELDS``


class ProviderChanged(msgspec.Struct, frozen=True):
    """Changed keys only, ``base_url`` among them; null takes one out."""

    fields: Mapping[str, Any] = {}


class ProviderSecretsChanged(msgspec.Struct, frozen=True):
    """``changed`` were set or taken away, the rest says what there is now. ``secret_id`` names them among the credentials."""

    secret_id: UUID | None  # None: there is none any more
    changed: Sequence[Secret]
    has_key: bool = False
    header_names: Sequence[str] = ()
    has_proxy: bool = False


class ProviderEnabled(msgspec.Struct, frozen=True):
    """Its models can be asked. In the stream of a kind: those of all providers of that kind."""


class ProviderDisabled(msgspec.Struct, frozen=True):
    pass


class ProviderRemoved(msgspec.Struct, frozen=True):
    pass


ProviderFact = ProviderAdded | ProviderChanged | ProviderSecretsChanged | ProviderEnabled | ProviderDisabled | ProviderRemoved
ProviderEvent = Event[ProviderFact]

PROVIDER_TYPES: Final[Mapping[str, type[Any]]] = {
    "provider_added": ProviderAdded,
    "provider_changed": ProviderChanged,
    "provider_secrets_changed": ProviderSecretsChanged,
    "provider_enabled": ProviderEnabled,
    "provider_disabled": ProviderDisabled,
    "provider_removed": ProviderRemoved,
}

# ------------------------------------------------------------------------------------------------------------- commands
# Only admins command providers: who asks was checked before.


class AddProvider(msgspec.Struct, frozen=True, kw_only=True):
    provider_id: UUID
    kind: ProviderKind
    base_url: str
    from_settings: bool = False
    fields: Mapping[str, Any] = {}


class ChangeProvider(msgspec.Struct, frozen=True, kw_only=True):
    """Null takes a key out; what is not named stays."""

    provider_id: UUID
    fields: Mapping[str, Any]


class ChangeProviderSecrets(msgspec.Struct, frozen=True, kw_only=True):
    provider_id: UUID
    secret_id: UUID | None
    changed: Sequence[Secret]
    has_key: bool = False
    header_names: Sequence[str] = ()
    has_proxy: bool = False


class SwitchProvider(msgspec.Struct, frozen=True, kw_only=True):
    provider_id: UUID
    enabled: bool


class SwitchProviderKind(msgspec.Struct, frozen=True, kw_only=True):
    """All providers of one kind on or off. ``provider_id`` is ``kind_id``."""

    provider_id: UUID
    enabled: bool


class RemoveProvider(msgspec.Struct, frozen=True, kw_only=True):
    provider_id: UUID


ProviderCommand = AddProvider | ChangeProvider | ChangeProviderSecrets | SwitchProvider | SwitchProviderKind | RemoveProvider

# ---------------------------------------------------------------------------------------------------------------- state


class ProviderState(msgspec.Struct, frozen=True):
    exists: bool = False
    kind: ProviderKind = "openai"
    base_url: str = ""
    from_settings: bool = False
    enabled: bool = True
    fields: Mapping[str, Any] = {}
    secret_id: UUID | None = None
    secrets: frozenset[Secret] = frozenset()  # those that were ever changed: of a provider of the settings the others are the settings'


NO_PROVIDER: Final = ProviderState()


def kind_id(kind: ProviderKind) -> UUID:
    """The stream that says whether providers of this kind are asked at all."""
    return uuid5(NAMESPACE, f"kind {kind}")


# ---------------------------------------------------------------------------------------------------- what a field may be


def _require_url(url: Any) -> None:
    try:
        parts = urlsplit(url) if isinstance(url, str) and len(url) <= URL_CHARACTERS_MAX else None
        valid = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        parts, valid = None, False
    if parts is None or not valid or re.search(r"[\s\x00-\x1f\x7f\\]", url):
        raise BadRequest("expected the address of a server, http://… or https://…", param="base_url")
    if "@" in parts.netloc or parts.query or parts.fragment:
        # Addresses stand in events and answers. Whoever reads those must not find a password there.
        raise BadRequest("expected an address without user, password, query and fragment: a key has a place of its own", param="base_url")


def _require_prefix(prefix: Any) -> None:
    if not isinstance(prefix, str) or not PREFIX.fullmatch(prefix):
        raise BadRequest("expected a prefix of 1 to 64 characters without white space", param="prefix_id")


def _require_name(name: Any) -> None:
    if not isinstance(name, str):
        raise BadRequest("expected a name", param="name")
    require_name(name, NAME_CHARACTERS_MAX)


def _texts(param: str, count_max: int) -> Any:
    def require(value: Any) -> None:
        texts = value if isinstance(value, list) else [None]
        if len(texts) > count_max or not all(isinstance(one, str) and 0 < len(one) <= NAME_CHARACTERS_MAX for one in texts):
            raise BadRequest(f"expected at most {count_max} texts of 1 to {NAME_CHARACTERS_MAX} characters", param=param)

    return require


def _seconds(param: str) -> Any:
    def require(value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= TIMEOUT_S_MAX:
            raise BadRequest(f"expected seconds, above 0 and at most {TIMEOUT_S_MAX:g}", param=param)

    return require


def _require_connection_type(value: Any) -> None:
    if value not in ("local", "external"):
        raise BadRequest("expected local or external", param="connection_type")


def _require_rank(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise BadRequest("expected a whole number from 0", param="rank")


TIMEOUTS: Final = ("connect_timeout_s", "first_token_timeout_s", "idle_timeout_s", "answer_timeout_s")
FIELDS: Final[Mapping[str, Any]] = {
    "name": _require_name,
    "base_url": _require_url,
    "prefix_id": _require_prefix,
    "model_ids": _texts("model_ids", MODELS_MAX),
    "tags": _texts("tags", TAGS_MAX),
    "connection_type": _require_connection_type,
    "rank": _require_rank,  # its place among the providers of its kind
    **{name: _seconds(name) for name in TIMEOUTS},
}


def require_fields(fields: Mapping[str, Any]) -> None:
    """Raises ``BadRequest`` for a field that there is not, or a value that cannot be one. Null is any field's."""
    for name, value in fields.items():
        if name not in FIELDS:
            raise BadRequest(f"a provider has no {name[:80]!r}: expected {', '.join(FIELDS)}", param=name[:80])
        if value is not None:
            FIELDS[name](value)


# --------------------------------------------------------------------------------------------------------------- decide


def decide_all(provider: ProviderState, commands: Sequence[ProviderCommand]) -> list[ProviderEvent]:
    """The events of one command after the other."""
    events: list[ProviderEvent] = []
    for command in commands:
        for event in decide(provider, command):
            events.append(event)
            provider = evolve(provider, event, 0)
    return events


def decide(provider: ProviderState, command: ProviderCommand) -> list[ProviderEvent]:
    """The events that the command leads to. An empty list means "already so", a ``Refusal`` means "no"."""
    if isinstance(command, AddProvider):
        return add_provider(provider, command)
    if isinstance(command, SwitchProviderKind):
        return switch(provider, command.enabled)
    if not provider.exists:
        raise ProviderNotFound(command.provider_id)
    match command:
        case ChangeProvider():
            return change_provider(provider, command)
        case ChangeProviderSecrets() as change:
            fact = ProviderSecretsChanged(change.secret_id, change.changed, change.has_key, change.header_names, change.has_proxy)
            return [Event(None, fact)] if change.changed else []
        case SwitchProvider(enabled=enabled):
            return switch(provider, enabled)
        case RemoveProvider():
            if provider.from_settings:
                raise BadRequest("this provider stands in the settings of the server: take it out there, or switch it off here")
            return [Event(None, ProviderRemoved())]
        case _:
            assert_never(command)


def add_provider(provider: ProviderState, command: AddProvider) -> list[ProviderEvent]:
    require_fields({"base_url": command.base_url, **command.fields})
    if provider.exists:
        same = (provider.kind, provider.base_url, provider.from_settings) == (command.kind, command.base_url, command.from_settings)
        if same and not differing(provider.fields, command.fields):
            return []
        raise BadRequest(f"there is a provider {command.provider_id} already", param="id")
    fields = {name: value for name, value in command.fields.items() if value is not None}
    return [Event(None, ProviderAdded(command.kind, command.base_url, command.from_settings, fields))]


def change_provider(provider: ProviderState, command: ChangeProvider) -> list[ProviderEvent]:
    require_fields(command.fields)
    if command.fields.get("base_url", provider.base_url) != provider.base_url and provider.from_settings:
        raise BadRequest("this provider stands in the settings of the server: its address is changed there", param="base_url")
    if "base_url" in command.fields and command.fields["base_url"] is None:
        raise BadRequest("a provider has an address", param="base_url")
    known = {**dict.fromkeys(FIELDS), **provider.fields, "base_url": provider.base_url}
    changed = differing(known, command.fields)
    return [Event(None, ProviderChanged(changed))] if changed else []


def switch(provider: ProviderState, enabled: bool) -> list[ProviderEvent]:
    if provider.enabled == enabled:
        return []
    return [Event(None, ProviderEnabled() if enabled else ProviderDisabled())]


# --------------------------------------------------------------------------------------------------------------- evolve


def evolve(provider: ProviderState, event: Event[Any], _version: int) -> ProviderState:
    """The next state. Total: history cannot be refused, so this never raises."""
    replace = msgspec.structs.replace
    match event.data:
        case ProviderAdded(kind, base_url, from_settings, fields):
            return ProviderState(exists=True, kind=kind, base_url=base_url, from_settings=from_settings, fields=fields)
        case ProviderChanged(fields):
            merged = {name: value for name, value in {**provider.fields, **fields}.items() if value is not None}
            base_url = merged.pop("base_url", provider.base_url)
            return replace(provider, base_url=base_url, fields=merged)
        case ProviderSecretsChanged() as change:
            return replace(provider, secret_id=change.secret_id, secrets=provider.secrets | set(change.changed))
        case ProviderEnabled():
            return replace(provider, enabled=True)
        case ProviderDisabled():
            return replace(provider, enabled=False)
        case ProviderRemoved():
            return NO_PROVIDER
        case _:
            return provider
