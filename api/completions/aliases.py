"""The same completions and models under the other addresses that clients of Open WebUI use."""

from typing import Any

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, SkipValidation

from api.completions.completions import CompletionsController, complete
from api.completions.models import base_models_out, models_out
from api.completions.openai import OpenAIController
from api.completions.turns import Turns
from api.request.bodies import CONTENT_BYTES
from api.request.caller import Caller
from commands.accounts.principal import Principal, actor_of, require_admin
from commands.functions.functions import Functions
from commands.routing.router import Router


class OpenAIAliasController(OpenAIController):
    """OpenAI's dialect as a proxy offers it."""

    path = "/openai"


class CompletionsAliasController(Controller):
    path = "/api"
    tags = CompletionsController.tags

    @post("/v1/chat/completions", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def complete(
        self,
        data: JSONBody[dict[str, Any]],
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        turns: NamedDependency[Turns],
    ) -> Response[Any]:
        """As ``/api/chat/completions``."""
        return await complete(data, request, caller, turns)

    @get("/v1/models")
    async def models(
        self,
        principal: NamedDependency[Principal],
        router: NamedDependency[Router],
        functions: NamedDependency[SkipValidation[Functions]],
    ) -> dict[str, Any]:
        """As ``/api/models``, in the same order."""
        return await models_out(router, functions, actor_of(principal))

    @get("/models/base")
    async def base_models(self, principal: NamedDependency[Principal], router: NamedDependency[Router]) -> dict[str, Any]:
        """The models as their providers offer them (admin)."""
        require_admin(principal)
        return await base_models_out(router)
