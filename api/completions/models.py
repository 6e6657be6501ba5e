"""``/api/models``: which models the caller can ask now, in the reference's form."""

from collections.abc import Mapping
from typing import Any, Final

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from api.models.entry_json import entry_json
from commands.accounts.principal import Principal, actor_of
from commands.functions.actions import action_items, filter_items
from commands.functions.functions import Functions
from commands.providers.provider import Model
from commands.routing.access import PIPE
from commands.routing.router import AvailableModel, Router
from domain.log.event import Actor

OPENAI: Final = "openai"
PICTURE: Final = "profile_image_url"  # it has a route of its own: a list would be megabytes of pictures


async def models_out(router: Router, functions: Functions, actor: Actor) -> dict[str, Any]:
    return {"data": [with_functions(available_out(model), functions) for model in await router.available(actor)]}


async def model_card(router: Router, functions: Functions, model: str, actor: Actor) -> dict[str, Any]:
    """What ``models_out`` says of one model, and little of one that no list shows. Raises ``ModelNotFound``, ``ArenaEmpty``."""
    for known in await router.available(actor):
        if known.id == model:
            return with_functions(available_out(known), functions)
    routed = await router.route(model, actor)
    return with_functions({"id": model, "name": model, "owned_by": routed.owned_by, "info": {"meta": dict(routed.meta)}}, functions)


def with_functions(shown: dict[str, Any], functions: Functions) -> dict[str, Any]:
    """With the buttons below an answer of the model, and the filters that can be switched on for a question to it."""
    meta = shown["info"]["meta"]
    return {**shown, "actions": action_items(functions, meta), "filters": filter_items(functions, meta)}


async def base_models_out(router: Router) -> dict[str, Any]:
    return {"data": [model_out(model) for model in await router.base_models()]}


def model_out(model: Model) -> dict[str, Any]:
    """``owned_by`` is "openai" for a pipe, as in the reference: clients know it by ``pipe``."""
    is_pipe = model.owned_by == PIPE
    return {
        "id": model.id,
        "name": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": OPENAI if is_pipe else model.owned_by,
        **({"pipe": {"type": PIPE}} if is_pipe else {}),
        "info": {"meta": dict(model.details)},
        "tags": [],
        "actions": [],
        "filters": [],
    }


def available_out(model: AvailableModel) -> dict[str, Any]:
    """A model with what people have made or said of it in ``info``, as far as the caller may see that."""
    shown = model_out(model)
    if model.entry is None:
        return shown
    info = entry_json(model.entry, may_write=model.may_write)
    meta = {name: value for name, value in info["meta"].items() if name != PICTURE}
    shown |= {"info": {**info, "meta": {**model.details, **meta}}, "tags": tags_of(meta)}
    if model.is_arena:
        shown["arena"] = True
    if model.is_custom:
        shown["preset"] = True
    return shown


def tags_of(meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """As models carry them: ``{"name"}``."""
    tags = meta.get("tags")
    return [{"name": tag["name"]} for tag in tags if isinstance(tag, Mapping) and tag.get("name")] if isinstance(tags, list) else []


class ModelsController(Controller):
    path = "/api"
    tags = ("models",)

    @get("/models")
    async def models(
        self,
        principal: NamedDependency[Principal],
        router: NamedDependency[Router],
        functions: NamedDependency[SkipValidation[Functions]],
    ) -> dict[str, Any]:
        """The models that the caller can ask now. A provider that is down hides only its own."""
        return await models_out(router, functions, actor_of(principal))
