"""``/api/models``: which models can be asked now."""

from typing import Any

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from commands.accounts.accounts import Principal
from commands.generation.completion import Models
from commands.providers import Model


def model_out(model: Model) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": model.owned_by,
        "info": {"meta": dict(model.details)},
    }


async def models_out(models: Models) -> dict[str, Any]:
    return {"data": [model_out(model) for model in await models.models()]}


class ModelsController(Controller):
    path = "/api"
    tags = ("models",)

    @get("/models")
    async def models(self, principal: NamedDependency[Principal], models: NamedDependency[SkipValidation[Models]]) -> dict[str, Any]:
        """The models that can be asked now. A provider that is down hides only its own."""
        return await models_out(models)
