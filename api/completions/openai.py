"""``/v1``: OpenAI's API on the log. Any OpenAI client can talk to this server.

Source: https://platform.openai.com/docs/api-reference. Refusals have OpenAI's shape too (``api/request/openai_errors.py``).
"""

from collections.abc import Mapping
from typing import Any, Final

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api.completions.anthropic.models import anthropic_list, anthropic_listed
from api.completions.turns import Turns
from api.request.anthropic_errors import VERSION_HEADER
from api.request.bodies import CONTENT_BYTES
from api.request.caller import Caller
from commands.accounts.principal import Principal, actor_of
from commands.providers.provider import Model
from commands.routing.router import Router
from domain.errors import BadRequest, ModelNotFound

# What this server says to the provider itself. Everything else goes there as it is.
OWN_KEYS: Final = frozenset({"model", "messages", "stream", "stream_options", "n"})
# Keys of Open WebUI's completions that would name a chat here. OpenAI's API has none of them.
CHAT_KEYS: Final = frozenset({"chat_id", "session_id", "id", "parent_id", "user_message", "parent_message", "message_ids"})


def listed(model: Model) -> Mapping[str, Any]:
    return {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owned_by}


class OpenAIController(Controller):
    path = "/v1"
    tags = ("openai",)

    @get("/models")
    async def models(
        self,
        request: Request[Any, Any, Any],
        principal: NamedDependency[Principal],
        router: NamedDependency[Router],
    ) -> dict[str, Any]:
        """As OpenAI lists them; as Anthropic does for a client that sends ``anthropic-version``."""
        known = await router.available(actor_of(principal))
        if VERSION_HEADER in request.headers:
            return anthropic_list(known)
        return {"object": "list", "data": [listed(model) for model in known]}

    @get("/models/{model_id:path}")
    async def model(
        self,
        model_id: FromPath[str],
        request: Request[Any, Any, Any],
        principal: NamedDependency[Principal],
        router: NamedDependency[Router],
    ) -> Mapping[str, Any]:
        """One model, in the same form. Its id may hold ``/`` and ``:``."""
        wanted = model_id.removeprefix("/")
        for model in await router.available(actor_of(principal)):
            if model.id == wanted:
                return anthropic_listed(model) if VERSION_HEADER in request.headers else listed(model)
        raise ModelNotFound(wanted)

    @post("/chat/completions", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def complete(
        self,
        data: JSONBody[dict[str, Any]],
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        turns: NamedDependency[Turns],
    ) -> Response[Any]:
        """As OpenAI answers. Logged like any other turn, in a chat of its own that no list shows."""
        if not data.get("messages"):
            raise BadRequest("expected at least one message", param="messages")
        own = {name: value for name, value in data.items() if name not in CHAT_KEYS}
        return await turns.answer(request, caller, await turns.begin(own, caller, own_keys=OWN_KEYS), own)
