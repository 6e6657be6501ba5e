"""The providers that stand in the settings of the server."""

from collections import Counter
from collections.abc import Iterator
from uuid import uuid5

from api.settings import PROVIDER_KEYS, Settings
from commands.providers.provider_setup import ProviderSecrets, ProviderSetup
from domain.routing.provider import NAMESPACE, ProviderKind


def fixed_providers(settings: Settings) -> list[ProviderSetup]:
    """In the order of the settings. An id is made of the kind and the address, or of the name: what an admin changes of a provider stays
    with it when the settings around it change.
    """
    return [*_listed(settings), *_named(settings)]


def _listed(settings: Settings) -> Iterator[ProviderSetup]:
    seen: Counter[tuple[str, str]] = Counter()

    def setup(kind: ProviderKind, number: int, base_url: str, secrets: ProviderSecrets, models: list[str]) -> ProviderSetup:
        seen[kind, base_url] += 1
        return ProviderSetup(
            id=uuid5(NAMESPACE, f"settings {kind} {base_url} {seen[kind, base_url]}"),
            kind=kind,
            base_url=base_url.rstrip("/"),
            fields={"name": f"{kind} {number}", "rank": number - 1, **({"model_ids": models} if models else {})},
            from_settings=True,
            secrets=secrets,
        )

    for number, one in enumerate(settings.openai_connections, 1):
        secrets = ProviderSecrets(key=one.api_key or "", proxy=one.proxy or "")
        yield setup("openai", number, one.base_url, secrets, list(one.models))
    for number, ollama in enumerate(settings.ollama_connections, 1):
        yield setup("ollama", number, ollama.base_url, ProviderSecrets(proxy=ollama.proxy or ""), [])


def _named(settings: Settings) -> Iterator[ProviderSetup]:
    ranks = Counter({"openai": len(settings.openai_connections), "ollama": len(settings.ollama_connections)})
    for name, entry in settings.providers.items():
        kind: ProviderKind = entry["kind"]
        fields = {key: value for key, value in entry.items() if key not in PROVIDER_KEYS and key != "base_url"}
        yield ProviderSetup(
            id=uuid5(NAMESPACE, f"settings {name}"),
            kind=kind,
            base_url=entry["base_url"].rstrip("/"),
            fields={"name": name, "rank": ranks[kind], **fields},
            enabled=entry.get("enabled", True),
            from_settings=True,
            secrets=ProviderSecrets(key=entry.get("api_key", ""), headers=entry.get("headers", {}), proxy=entry.get("proxy", "")),
        )
        ranks[kind] += 1
