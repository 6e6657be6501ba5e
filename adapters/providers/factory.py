"""Providers as they are set up, made into connections that can be asked."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import structlog

from adapters.providers.http.address_guard import AddressGuard
from adapters.providers.http.client import ProviderClients
from adapters.providers.http.http import Patience
from adapters.providers.ollama.ollama import OllamaProvider
from adapters.providers.openai.openai import OpenAIProvider
from adapters.providers.router import ConfiguredProvider
from commands.providers.provider_setup import ProviderSetup
from domain.errors import BadRequest, ProviderFailed
from domain.routing.provider import ProviderKind

VERIFY_S: Final = 10.0
PROVIDERS: Final[Mapping[ProviderKind, type[OpenAIProvider | OllamaProvider]]] = {"openai": OpenAIProvider, "ollama": OllamaProvider}

logger = structlog.get_logger(__name__)


class ProviderFactory:
    """``patience`` is what counts where a provider says nothing else. A setup that has not changed gives the same connection."""

    def __init__(self, patience: Patience, guard: AddressGuard) -> None:
        self._patience = patience
        self._clients = ProviderClients(guard)
        self._made: dict[UUID, tuple[ProviderSetup, str, ConfiguredProvider]] = {}

    def connections(self, setups: Sequence[ProviderSetup]) -> list[ConfiguredProvider]:
        """Ollama's first: of two models with one id the first counts. What cannot be made is logged and left out."""
        made: list[ConfiguredProvider] = []
        names: set[str] = set()
        for setup in sorted(setups, key=lambda one: one.kind != "ollama"):
            name = setup.name if setup.name not in names else f"{setup.name} {setup.id}"
            names.add(name)
            known = self._made.get(setup.id)
            if known is None or known[:2] != (setup, name):
                try:
                    known = (setup, name, self._connection(setup, name))
                except ValueError as error:  # a proxy in a form that httpx does not take
                    logger.warning("provider_left_out", connection=name, error=type(error).__name__)
                    continue
                self._made[setup.id] = known
            made.append(known[2])
        for gone in self._made.keys() - {setup.id for setup in setups}:
            del self._made[gone]
        return made

    async def verify(self, setup: ProviderSetup) -> Mapping[str, Any]:
        """What the server says of itself. Raises ``BadRequest``, and ``ProviderFailed`` without the provider's own status: its 401 would
        say to a client that it is not signed in here.
        """
        try:
            async with asyncio.timeout(VERIFY_S):
                return await self._provider(setup).verify()
        except ProviderFailed as failure:
            said = {name: value for name, value in failure.said.items() if name != "status"}
            raise ProviderFailed(failure.code, str(failure), said, private=failure.private) from None
        except TimeoutError:
            raise ProviderFailed("provider_idle", f"no answer within {VERIFY_S:g} s") from None
        except ValueError:
            raise BadRequest("expected the address of an HTTP proxy, http://… or https://…", param="proxy") from None

    def _connection(self, setup: ProviderSetup, name: str) -> ConfiguredProvider:
        fields = setup.fields
        details: dict[str, Any] = {}
        if tags := fields.get("tags"):
            details["tags"] = [{"name": tag} for tag in tags]
        if connection_type := fields.get("connection_type"):
            details["connection_type"] = connection_type
        model_ids: Sequence[str] = fields.get("model_ids", ())
        is_openai = setup.kind == "openai"
        return ConfiguredProvider(
            name,
            self._provider(setup),
            prefix=fields.get("prefix_id", ""),
            models=model_ids if is_openai else (),
            allowed=frozenset(() if is_openai else model_ids),
            details=details,
        )

    def _provider(self, setup: ProviderSetup) -> OpenAIProvider | OllamaProvider:
        secrets, fields, usual = setup.secrets, setup.fields, self._patience
        client = self._clients.client(secrets.proxy or None, is_guarded=setup.is_guarded)
        patience = Patience(
            connect_s=fields.get("connect_timeout_s", usual.connect_s),
            first_token_s=fields.get("first_token_timeout_s", usual.first_token_s),
            idle_s=fields.get("idle_timeout_s", usual.idle_s),
            answer_s=fields.get("answer_timeout_s", usual.answer_s),
        )
        return PROVIDERS[setup.kind](client, setup.base_url, secrets.key, patience=patience, headers=secrets.headers)
