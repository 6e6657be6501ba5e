"""``/openai/config`` and ``/ollama/config``: all providers of a kind at once, as Open WebUI's page of connections sends them (admin).

A list is compared with what there is, entry by entry: by its ``id`` in the entry's configuration, else by its address.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, SkipValidation

from api.providers.providers import Headers, Text, masked, unmasked, unmasked_headers
from api.request.bodies import FIELDS_BYTES
from api.request.caller import Caller
from commands.accounts.principal import require_admin
from commands.providers.provider_setup import ProviderEdit, ProviderSetup, WantedProvider
from commands.providers.providers import ProviderRegistry
from commands.security_log import about
from domain.errors import BadRequest
from domain.routing.provider import TIMEOUTS, ProviderKind, require_fields

Configs = dict[str, dict[str, Any]]
FIELDS: Final = ("prefix_id", "model_ids", "connection_type", "name", *TIMEOUTS)
OTHERS: Final = frozenset({"id", "enable", "tags", "auth_type", "headers", "proxy", "key", "from_settings", *FIELDS})


class OpenAIListIn(msgspec.Struct):
    OPENAI_API_BASE_URLS: list[Text]
    OPENAI_API_KEYS: list[Text]
    OPENAI_API_CONFIGS: Configs
    ENABLE_OPENAI_API: bool | None = None


class OllamaListIn(msgspec.Struct):
    OLLAMA_BASE_URLS: list[Text]
    OLLAMA_API_CONFIGS: Configs
    ENABLE_OLLAMA_API: bool | None = None


class OpenAIListOut(msgspec.Struct):
    ENABLE_OPENAI_API: bool
    OPENAI_API_BASE_URLS: list[str]
    OPENAI_API_KEYS: list[str]
    OPENAI_API_CONFIGS: Configs


class OllamaListOut(msgspec.Struct):
    ENABLE_OLLAMA_API: bool
    OLLAMA_BASE_URLS: list[str]
    OLLAMA_API_CONFIGS: Configs


class VerifyIn(msgspec.Struct):
    url: Annotated[str, msgspec.Meta(max_length=2_000)]
    key: Text | None = None
    config: dict[str, Any] | None = None


def config_out(setup: ProviderSetup) -> dict[str, Any]:
    fields = setup.fields
    return {
        "id": str(setup.id),
        "from_settings": setup.from_settings,
        "enable": setup.enabled,
        "tags": [{"name": tag} for tag in fields.get("tags", ())],
        "prefix_id": fields.get("prefix_id", ""),
        "model_ids": fields.get("model_ids", []),
        "connection_type": fields.get("connection_type", "external" if setup.kind == "openai" else "local"),
        "auth_type": "bearer",
        "headers": {name: masked(value) for name, value in setup.secrets.headers.items()} or None,
        "proxy": masked(setup.secrets.proxy),
        **({"key": masked(setup.secrets.key)} if setup.kind == "ollama" else {}),
        **{name: fields[name] for name in ("name", *TIMEOUTS) if name in fields},
    }


def configs_out(setups: Sequence[ProviderSetup]) -> Configs:
    return {str(number): config_out(setup) for number, setup in enumerate(setups)}


def openai_list(registry: ProviderRegistry) -> OpenAIListOut:
    setups = registry.setups("openai")
    keys = [masked(setup.secrets.key) for setup in setups]
    return OpenAIListOut(registry.kind_enabled("openai"), [setup.base_url for setup in setups], keys, configs_out(setups))


def ollama_list(registry: ProviderRegistry) -> OllamaListOut:
    setups = registry.setups("ollama")
    return OllamaListOut(registry.kind_enabled("ollama"), [setup.base_url for setup in setups], configs_out(setups))


def wanted_of(kind: ProviderKind, base_url: str, key: str, config: Mapping[str, Any]) -> WantedProvider:
    """Raises ``BadRequest``, also for what a configuration says and this server does not know: it would be ignored in silence."""
    for name, value in config.items():
        if name not in OTHERS and value not in (None, "", [], {}, False):
            raise BadRequest(f"the configuration of {base_url[:200]!r} says {name[:80]!r}, which is not known here", param=name[:80])
    if config.get("auth_type") not in (None, "", "bearer", "none"):
        raise BadRequest("expected the auth_type bearer or none", param="auth_type")
    headers, enable, provider_id, proxy = (config.get(name) for name in ("headers", "enable", "id", "proxy"))
    try:
        given_headers = msgspec.convert(headers or {}, Headers)
        known_id = msgspec.convert(provider_id, UUID | None)
        given_proxy = msgspec.convert(proxy or "", Text)
        given_key = msgspec.convert(key, Text)
        enabled = msgspec.convert(enable, bool | None)
    except msgspec.ValidationError as error:
        raise BadRequest(f"the configuration of {base_url[:200]!r} does not fit: {error}") from None
    fields = {name: config.get(name) or None for name in FIELDS if name in config or name in ("prefix_id", "model_ids", *TIMEOUTS)}
    tags = config.get("tags") or None
    fields["tags"] = [tag.get("name") if isinstance(tag, Mapping) else tag for tag in tags] if isinstance(tags, list) else tags
    if fields.get("connection_type") == ("external" if kind == "openai" else "local"):
        del fields["connection_type"]  # what it is anyway
    require_fields({"base_url": base_url, **fields})
    edit = ProviderEdit(
        fields=fields,
        enabled=True if enabled is None else enabled,
        key="" if config.get("auth_type") == "none" else unmasked(given_key),
        headers=unmasked_headers(given_headers),
        proxy=unmasked(given_proxy),
    )
    return WantedProvider(base_url=base_url, edit=edit, id=known_id)


def wanted_list(kind: ProviderKind, urls: Sequence[str], keys: Sequence[str], configs: Configs) -> list[WantedProvider]:
    """Configurations are by the number of the address in its list, or by the address itself."""
    wanted: list[WantedProvider] = []
    for number, url in enumerate(urls):
        config = configs.get(str(number)) or configs.get(url) or {}
        key = keys[number] if number < len(keys) else ""
        wanted.append(wanted_of(kind, url.rstrip("/"), (config.get("key") or "") if kind == "ollama" else key, config))
    return wanted


async def tried_out(registry: ProviderRegistry, kind: ProviderKind, data: VerifyIn) -> dict[str, Any]:
    wanted = wanted_of(kind, data.url.rstrip("/"), data.key or "", {**(data.config or {}), "id": None})
    return dict(await registry.try_out(kind, wanted.base_url, wanted.edit))


class OpenAIListController(Controller):
    path = "/openai"
    tags = ("providers",)

    @get("/config")
    async def config(
        self, caller: NamedDependency[Caller], provider_registry: NamedDependency[SkipValidation[ProviderRegistry]]
    ) -> OpenAIListOut:
        """All OpenAI-compatible servers (admin). ``***`` stands for a key."""
        require_admin(caller.principal)
        await provider_registry.catch_up()
        return openai_list(provider_registry)

    @post("/config/update", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def update(
        self,
        data: JSONBody[OpenAIListIn],
        caller: NamedDependency[Caller],
        provider_registry: NamedDependency[SkipValidation[ProviderRegistry]],
    ) -> OpenAIListOut:
        """Make these the OpenAI-compatible servers, all or nothing (admin). A key of ``***`` stays as it is."""
        require_admin(caller.principal)
        about(changed=["openai"])
        wanted = wanted_list("openai", data.OPENAI_API_BASE_URLS, data.OPENAI_API_KEYS, data.OPENAI_API_CONFIGS)
        await provider_registry.replace_all(caller.actor, "openai", wanted, enabled=data.ENABLE_OPENAI_API)
        return openai_list(provider_registry)

    @post("/verify", status_code=200)
    async def verify(
        self,
        data: JSONBody[VerifyIn],
        caller: NamedDependency[Caller],
        provider_registry: NamedDependency[SkipValidation[ProviderRegistry]],
    ) -> dict[str, Any]:
        """The models of a server, as a test of its address and key (admin)."""
        require_admin(caller.principal)
        return await tried_out(provider_registry, "openai", data)


class OllamaListController(Controller):
    path = "/ollama"
    tags = ("providers",)

    @get("/config")
    async def config(
        self, caller: NamedDependency[Caller], provider_registry: NamedDependency[SkipValidation[ProviderRegistry]]
    ) -> OllamaListOut:
        """All Ollama servers (admin). ``***`` stands for a key."""
        require_admin(caller.principal)
        await provider_registry.catch_up()
        return ollama_list(provider_registry)

    @post("/config/update", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def update(
        self,
        data: JSONBody[OllamaListIn],
        caller: NamedDependency[Caller],
        provider_registry: NamedDependency[SkipValidation[ProviderRegistry]],
    ) -> OllamaListOut:
        """Make these the Ollama servers, all or nothing (admin). A key of ``***`` stays as it is."""
        require_admin(caller.principal)
        about(changed=["ollama"])
        wanted = wanted_list("ollama", data.OLLAMA_BASE_URLS, (), data.OLLAMA_API_CONFIGS)
        await provider_registry.replace_all(caller.actor, "ollama", wanted, enabled=data.ENABLE_OLLAMA_API)
        return ollama_list(provider_registry)

    @post("/verify", status_code=200)
    async def verify(
        self,
        data: JSONBody[VerifyIn],
        caller: NamedDependency[Caller],
        provider_registry: NamedDependency[SkipValidation[ProviderRegistry]],
    ) -> dict[str, Any]:
        """The version of an Ollama server, as a test of its address and key (admin)."""
        require_admin(caller.principal)
        return await tried_out(provider_registry, "ollama", data)
