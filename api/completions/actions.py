"""Actions that a person runs on a message, and outlets for clients that run them themselves."""

from collections.abc import Mapping
from typing import Any, Final

from litestar import Controller, Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api.request.bodies import CONTENT_BYTES
from api.request.caller import Caller
from commands.filters.completed import CompletedFilters
from commands.functions.actions import Actions
from domain.errors import BadRequest

ID_KEYS: Final = ("actionId", "action_id")
# What a function may see of a request's headers: nothing that lets it act as the caller.
HEADERS: Final = frozenset({"accept-language", "user-agent", "referer", "origin", "host", "x-request-id"})


class ActionsController(Controller):
    path = "/api/chat"
    tags = ("completions",)

    @post("/actions/{action_id:str}", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def run(
        self,
        action_id: FromPath[str],
        data: JSONBody[dict[str, Any]],
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        actions: NamedDependency[Actions],
    ) -> Response[Any]:
        """Run an action, ``id`` or ``id.sub``, on a message. What it returns is the response."""
        return await run_action(action_id, data, request, caller, actions)

    @post("/actions", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def run_named_in_body(
        self,
        data: JSONBody[dict[str, Any]],
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        actions: NamedDependency[Actions],
    ) -> Response[Any]:
        """The same, with the action in the body as ``actionId`` or ``action_id``."""
        action_id = action_of(data)
        if action_id is None:
            raise BadRequest("expected actionId as text", param="actionId")
        return await run_action(action_id, data, request, caller, actions)

    @post("/completed", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def completed(
        self, data: JSONBody[dict[str, Any]], caller: NamedDependency[Caller], completed_filters: NamedDependency[CompletedFilters]
    ) -> dict[str, Any]:
        """The body after the filters' outlets. The server has run them for the stored answer already, and stores nothing here."""
        return await completed_filters.run(data, caller.actor)


def action_of(data: Mapping[str, Any]) -> str | None:
    """The action that a body names. Raises ``BadRequest``."""
    for name in ID_KEYS:
        given = data.get(name)
        if given is not None:
            if not isinstance(given, str) or not given:
                raise BadRequest(f"expected {name} as text", param=name)
            return given
    return None


async def run_action(
    action_id: str, data: Mapping[str, Any], request: Request[Any, Any, Any], caller: Caller, actions: Actions
) -> Response[Any]:
    headers = {name: value for name, value in request.headers.items() if name in HEADERS}
    return Response(await actions.run(action_id, data, caller.actor, key=caller.key, headers=headers), media_type="application/json")
