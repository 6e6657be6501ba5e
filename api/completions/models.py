"""``/api/models`` and OpenAI's ``/v1``: any OpenAI client can talk to this server."""

from typing import Any
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, SkipValidation

from adapters.delivery.hub import Hub
from api.completions.completions import answer, turn_of
from api.request.caller import Caller
from api.streams.access import Live
from commands.accounts import Principal
from commands.chats import Chats
from commands.generation.completion import Completions, Models
from commands.ports import Blobs, EventLog
from commands.providers import Model
from projections.ports import History


def shown(model: Model) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": model.owned_by,
        "info": {"meta": dict(model.details)},
    }


class ModelsController(Controller):
    path = "/api"
    tags = ("models",)

    @get("/models")
    async def models(self, principal: NamedDependency[Principal], models: NamedDependency[SkipValidation[Models]]) -> dict[str, Any]:
        """The models that can be asked now. A provider that is down hides only its own."""
        return {"data": [shown(model) for model in await models.models()]}


class OpenAIController(Controller):
    path = "/v1"
    tags = ("openai",)

    @get("/models")
    async def models(self, principal: NamedDependency[Principal], models: NamedDependency[SkipValidation[Models]]) -> dict[str, Any]:
        """As OpenAI lists them."""
        listed = [
            {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owned_by} for model in await models.models()
        ]
        return {"object": "list", "data": listed}

    @post("/chat/completions", status_code=200)
    async def complete(
        self,
        data: JSONBody[dict[str, Any]],
        caller: NamedDependency[Caller],
        completions: NamedDependency[Completions],
        chats: NamedDependency[Chats],
        history: NamedDependency[SkipValidation[History]],
        log: NamedDependency[SkipValidation[EventLog]],
        blobs: NamedDependency[SkipValidation[Blobs]],
        hub: NamedDependency[Hub],
        live: NamedDependency[SkipValidation[Live]],
        epoch: NamedDependency[UUID],
    ) -> Response[Any]:
        """As OpenAI answers. Logged like any other turn, in a chat of its own that is in nobody's list."""
        own = {name: value for name, value in data.items() if name not in ("chat_id", "session_id", "id", "parent_id", "user_message")}
        started = await completions.begin(await turn_of(own, caller.principal, chats, history, blobs), caller.actor, caller.key)
        return await answer(started, own, hub, log, live, caller.principal, epoch)
