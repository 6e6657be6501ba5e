"""What routing finds out: who answers for a model, under which name it is asked there, and with which settings of the model."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from commands.providers.provider import Model, Provider
from domain.log.event import Actor

Layer = Mapping[str, Any]  # settings under the reference's names, as in ``commands/generation/model_settings.py``


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """What a source of models says of one of them."""

    provider: Provider
    upstream: str  # the model's name there
    owned_by: str = ""  # "openai", "ollama", "demo", "pipe"
    provider_name: str = ""  # of the provider, as its operator calls it; of a pipe its function's id


class Routed(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is decided of one request's model, before anything is written."""

    requested_model: str  # as the caller named it
    model: str  # the public id of the model that answers: ``requested_model``, or what an arena picked
    provider: Provider
    upstream: str  # the name under which the provider knows the model
    selected_model_id: str | None = None  # what an arena picked
    base_model_id: str | None = None  # of a custom model: the model that it stands on, which is asked
    settings: Layer = {}  # a custom model's ``params``, with its system prompt as ``system``
    meta: Mapping[str, Any] = {}  # a custom model's ``meta``: ``capabilities``, ``filterIds``, ``actionIds``, …
    owned_by: str = ""
    provider_name: str = ""  # as in ``Route``


class ModelSource(Protocol):
    """Somewhere models come from: configured providers, pipe functions. The router asks its sources in order."""

    async def models(self) -> Sequence[Model]:
        """The models that can be asked now, under their public ids. Never fails because one of them cannot be reached."""
        ...

    async def find(self, model: str) -> Route | None:
        """Who answers for the model with this public id; None where this source does not know it.

        Raises ``ProviderFailed`` for a model that it knows and that cannot be asked now.
        """
        ...


class Routes(Protocol):
    """Who answers for a model: ``commands/routing/router.py``."""

    async def route(self, model: str, actor: Actor, *, direct: Route | None = None) -> Routed:
        """Raises ``ModelNotFound``, ``ArenaEmpty``, ``ProviderFailed``."""
        ...
