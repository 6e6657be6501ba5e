"""Valves, the settings of functions: an admin's for everybody, and a user's own. Secrets go in and never come out."""

from typing import Any

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api.request.bodies import FIELDS_BYTES
from api.request.caller import Caller
from commands.accounts.principal import require_admin
from commands.functions.function_library import FunctionLibrary


class FunctionValvesController(Controller):
    path = "/api/v1/functions/id/{function_id:str}/valves"
    tags = ("functions",)

    @get("/")
    async def valves(
        self, function_id: FromPath[str], caller: NamedDependency[Caller], function_library: NamedDependency[FunctionLibrary]
    ) -> dict[str, Any]:
        """What is set (admin); secrets are masked. What is left at its default is not in it."""
        require_admin(caller.principal)
        return dict(await function_library.valves(function_id))

    @get("/spec")
    async def spec(
        self, function_id: FromPath[str], caller: NamedDependency[Caller], function_library: NamedDependency[FunctionLibrary]
    ) -> dict[str, Any] | None:
        """The JSON schema of what can be set (admin); null where that is nothing."""
        require_admin(caller.principal)
        spec = await function_library.spec(function_id, "valves", caller.actor)
        return None if spec is None else dict(spec)

    @post("/update", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def change(
        self,
        function_id: FromPath[str],
        data: JSONBody[dict[str, Any]],
        caller: NamedDependency[Caller],
        function_library: NamedDependency[FunctionLibrary],
    ) -> dict[str, Any]:
        """Set all of them (admin). Null: the default. A mask that comes back stands for the secret that is kept."""
        require_admin(caller.principal)
        return dict(await function_library.change_valves(caller.actor, function_id, data))

    @get("/user")
    async def own_valves(
        self, function_id: FromPath[str], caller: NamedDependency[Caller], function_library: NamedDependency[FunctionLibrary]
    ) -> dict[str, Any]:
        """What the caller has set for themselves."""
        return dict(await function_library.user_valves(caller.actor, function_id))

    @get("/user/spec")
    async def own_spec(
        self, function_id: FromPath[str], caller: NamedDependency[Caller], function_library: NamedDependency[FunctionLibrary]
    ) -> dict[str, Any] | None:
        """The JSON schema of what a user can set; null where that is nothing, and for a function that is off."""
        spec = await function_library.spec(function_id, "user_valves", caller.actor)
        return None if spec is None else dict(spec)

    @post("/user/update", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def change_own(
        self,
        function_id: FromPath[str],
        data: JSONBody[dict[str, Any]],
        caller: NamedDependency[Caller],
        function_library: NamedDependency[FunctionLibrary],
    ) -> dict[str, Any]:
        """Set all of one's own."""
        return dict(await function_library.change_user_valves(caller.actor, function_id, data))
