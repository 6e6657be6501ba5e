"""Versions of a function: ``/api/v1/functions/id/{id}/history``. Nothing is taken out of them: they say which code ran."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api.functions.functions import FunctionSourceOut, source_out
from api.request.caller import Caller
from commands.accounts.principal import require_admin
from commands.functions.function_history import FunctionHistory, FunctionVersion
from commands.functions.function_library import FunctionLibrary


class FunctionVersionOut(msgspec.Struct, kw_only=True):
    version: int  # of the function's stream
    name: str
    type: str
    meta: Mapping[str, Any]
    sha256: str  # of the source
    is_production: bool  # it is the newest, which runs
    user_id: UUID | None  # who saved it; null for a file of the server's folder
    created_at: int  # seconds since 1970


class FunctionVersionSourceOut(FunctionVersionOut, kw_only=True):
    content: str


class RestoreIn(msgspec.Struct):
    version: Annotated[int, msgspec.Meta(ge=1)]


class FunctionHistoryController(Controller):
    path = "/api/v1/functions"
    tags = ("functions",)

    @get("/id/{function_id:str}/history")
    async def versions(
        self, function_id: FromPath[str], caller: NamedDependency[Caller], function_history: NamedDependency[FunctionHistory]
    ) -> list[FunctionVersionOut]:
        """Its versions (admin), the newest first: each save that changed name, source or meta."""
        require_admin(caller.principal)
        return [FunctionVersionOut(**described(one)) for one in await function_history.versions(function_id)]

    @get("/id/{function_id:str}/history/{version:str}")
    async def version(
        self,
        function_id: FromPath[str],
        version: FromPath[int],
        caller: NamedDependency[Caller],
        function_history: NamedDependency[FunctionHistory],
    ) -> FunctionVersionSourceOut:
        """One of its versions with the source (admin)."""
        require_admin(caller.principal)
        found, source = await function_history.version(function_id, version)
        return FunctionVersionSourceOut(**described(found), content=source)

    @post("/id/{function_id:str}/update/version", status_code=200)
    async def restore(
        self,
        function_id: FromPath[str],
        data: JSONBody[RestoreIn],
        caller: NamedDependency[Caller],
        function_history: NamedDependency[FunctionHistory],
        function_library: NamedDependency[FunctionLibrary],
    ) -> FunctionSourceOut:
        """Put an older version back (admin), as a new one. It is loaded first, as any other source."""
        require_admin(caller.principal)
        return await source_out(function_library, await function_history.restore(caller.actor, function_id, data.version))


def described(one: FunctionVersion) -> dict[str, Any]:
    return {
        "version": one.version,
        "name": one.state.name,
        "type": one.state.kind,
        "meta": one.state.meta,
        "sha256": one.state.source.blob if one.state.source is not None else "",
        "is_production": one.in_production,
        "user_id": one.author.id if one.author is not None else None,
        "created_at": int(one.at.timestamp()),
    }
