"""``/api/v1/providers``: the model servers, one by one (admin). What a provider is shown is in no answer: ``***`` stands for it."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, SkipValidation

from api.request.bodies import FIELDS_BYTES
from api.request.caller import Caller
from commands.accounts.principal import require_admin
from commands.providers.provider_setup import ProviderEdit, ProviderSetup
from commands.providers.providers import ProviderRegistry
from commands.security_log import about
from domain.routing.provider import ProviderKind
from domain.values.public_text import KEY

MASK = KEY
Text = Annotated[str, msgspec.Meta(max_length=8_000)]
Headers = dict[Text, Text]


class ProviderFieldsIn(msgspec.Struct, forbid_unknown_fields=True):
    """What is not there stays as it is; null takes a field out. ``***`` in place of a key, a header or a proxy leaves it as it is."""

    base_url: Text | msgspec.UnsetType = msgspec.UNSET
    name: Text | msgspec.UnsetType | None = msgspec.UNSET
    prefix_id: Text | msgspec.UnsetType | None = msgspec.UNSET
    model_ids: list[Text] | msgspec.UnsetType | None = msgspec.UNSET
    tags: list[Text] | msgspec.UnsetType | None = msgspec.UNSET
    connection_type: Text | msgspec.UnsetType | None = msgspec.UNSET
    connect_timeout_s: float | msgspec.UnsetType | None = msgspec.UNSET
    first_token_timeout_s: float | msgspec.UnsetType | None = msgspec.UNSET
    idle_timeout_s: float | msgspec.UnsetType | None = msgspec.UNSET
    answer_timeout_s: float | msgspec.UnsetType | None = msgspec.UNSET
    rank: int | msgspec.UnsetType | None = msgspec.UNSET
    enabled: bool | None = None
    key: Text | None = None
    headers: Headers | None = None
    proxy: Text | None = None


class ProviderIn(ProviderFieldsIn, forbid_unknown_fields=True, kw_only=True):
    kind: ProviderKind
    base_url: Text
    id: UUID | None = None  # so that the request can be repeated


class ProviderOut(msgspec.Struct):
    id: UUID
    kind: str
    base_url: str
    enabled: bool
    from_settings: bool  # it stands in the settings: it can be changed and switched off, not removed
    name: str
    key: str  # *** or empty, as the values of headers and the proxy
    headers: Mapping[str, str]
    proxy: str
    prefix_id: str | None = None
    model_ids: list[str] = []
    tags: list[str] = []
    connection_type: str | None = None
    connect_timeout_s: float | None = None  # null: what the settings say for all
    first_token_timeout_s: float | None = None
    idle_timeout_s: float | None = None
    answer_timeout_s: float | None = None
    rank: int = 0


def masked(secret: str) -> str:
    return MASK if secret else ""


def provider_out(setup: ProviderSetup) -> ProviderOut:
    secrets = setup.secrets
    return ProviderOut(
        id=setup.id,
        kind=setup.kind,
        base_url=setup.base_url,
        enabled=setup.enabled,
        from_settings=setup.from_settings,
        key=masked(secrets.key),
        headers={name: masked(value) for name, value in secrets.headers.items()},
        proxy=masked(secrets.proxy),
        **{"name": setup.name, **setup.fields},
    )


def unmasked(given: str | None) -> str | None:
    """None: it stays as it is. Who pastes a key brings white space."""
    given = given.strip() if given is not None else None
    return None if given == MASK else given


def unmasked_headers(given: Mapping[str, str] | None) -> dict[str, str | None] | None:
    return None if given is None else {name: unmasked(value) for name, value in given.items()}


def edit_of(data: ProviderFieldsIn) -> ProviderEdit:
    beside = ("enabled", "key", "headers", "proxy", "kind", "id")
    fields = {name: value for name, value in msgspec.structs.asdict(data).items() if name not in beside and value is not msgspec.UNSET}
    if "base_url" in fields:
        fields["base_url"] = fields["base_url"].rstrip("/")
    return ProviderEdit(
        fields=fields,
        enabled=data.enabled,
        key=unmasked(data.key),
        headers=unmasked_headers(data.headers),
        proxy=unmasked(data.proxy),
    )


def changed_names(edit: ProviderEdit) -> list[str]:
    """For the security log: what was named, and no value of it."""
    beside = [name for name in ("enabled", "key", "headers", "proxy") if getattr(edit, name) is not None]
    return [*edit.fields, *beside]


class ProvidersController(Controller):
    path = "/api/v1/providers"
    tags = ("providers",)

    @get("/")
    async def providers(
        self,
        caller: NamedDependency[Caller],
        provider_registry: NamedDependency[SkipValidation[ProviderRegistry]],
        kind: FromQuery[ProviderKind | None] = None,
    ) -> list[ProviderOut]:
        """All model servers, in the order in which they are asked (admin)."""
        require_admin(caller.principal)
        await provider_registry.catch_up()
        return [provider_out(setup) for setup in provider_registry.setups(kind)]

    @post("/", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def add(
        self,
        data: JSONBody[ProviderIn],
        caller: NamedDependency[Caller],
        provider_registry: NamedDependency[SkipValidation[ProviderRegistry]],
    ) -> ProviderOut:
        """Add a model server (admin). With an ``id`` of one's own the request can be repeated."""
        require_admin(caller.principal)
        edit = edit_of(data)
        base_url = edit.fields["base_url"]
        edit = msgspec.structs.replace(edit, fields={name: value for name, value in edit.fields.items() if name != "base_url"})
        provider_id = caller.bound(str(data.id)) if data.id is not None else None
        return provider_out(await provider_registry.add(caller.actor, data.kind, base_url, edit, provider_id=provider_id))

    @get("/{provider_id:uuid}")
    async def provider(
        self,
        provider_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        provider_registry: NamedDependency[SkipValidation[ProviderRegistry]],
    ) -> ProviderOut:
        """One model server (admin)."""
        require_admin(caller.principal)
        await provider_registry.catch_up()
        return provider_out(provider_registry.existing(provider_id))

    @post("/{provider_id:uuid}", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def change(
        self,
        provider_id: FromPath[UUID],
        data: JSONBody[ProviderFieldsIn],
        caller: NamedDependency[Caller],
        provider_registry: NamedDependency[SkipValidation[ProviderRegistry]],
    ) -> ProviderOut:
        """Change a model server, or switch it on or off (admin). It holds at once on every process; running answers go on."""
        require_admin(caller.principal)
        edit = edit_of(data)
        about(changed=changed_names(edit))
        return provider_out(await provider_registry.change(caller.actor, provider_id, edit))

    @delete("/{provider_id:uuid}", status_code=200)
    async def remove(
        self,
        provider_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        provider_registry: NamedDependency[SkipValidation[ProviderRegistry]],
    ) -> bool:
        """Remove a model server (admin). Its key is forgotten; the log keeps that there was one."""
        require_admin(caller.principal)
        await provider_registry.remove(caller.actor, provider_id)
        return True

    @post("/{provider_id:uuid}/verify", status_code=200)
    async def verify(
        self,
        provider_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        provider_registry: NamedDependency[SkipValidation[ProviderRegistry]],
    ) -> dict[str, Any]:
        """Ask a model server for its models, or Ollama for its version: whether it is there and takes the key (admin)."""
        require_admin(caller.principal)
        return dict(await provider_registry.verify(provider_id))
