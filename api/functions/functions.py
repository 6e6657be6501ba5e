"""Functions: ``/api/v1/functions``, in Open WebUI's shapes. Their code runs in the server: only admins put it in, change or read it."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, SkipValidation

from adapters.functions.folder import FunctionFolder
from api.request.bodies import CONTENT_BYTES
from api.request.caller import Caller
from commands.accounts.accounts import Accounts
from commands.accounts.principal import require_admin
from commands.functions.function_library import FunctionLibrary, KnownFunction


class FunctionIn(msgspec.Struct):
    """Keys that are not named here are passed over: clients send what an export held."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    content: str
    meta: dict[str, Any] = {}


class FunctionOut(msgspec.Struct, kw_only=True):
    id: str
    user_id: UUID | None  # who made it; null for a file of the server's folder
    type: str
    name: str
    meta: Mapping[str, Any]
    is_active: bool
    is_global: bool
    sha256: str  # of the source
    origin: str  # "api", or "folder"
    version: int  # of the function's stream
    updated_at: int  # seconds since 1970
    created_at: int


class FunctionSourceOut(FunctionOut, kw_only=True):
    content: str
    valves: Mapping[str, Any] | None = None  # secrets masked


class AuthorOut(msgspec.Struct):
    id: UUID
    name: str
    role: str
    email: str


class FunctionWithUserOut(FunctionOut, kw_only=True):
    user: AuthorOut | None


class FunctionErrorOut(msgspec.Struct):
    """``file`` of the folder, or the ``id`` of a function whose newest source does not run on this process."""

    id: str | None
    file: str | None
    code: str
    reason: str | None
    line: int | None
    detail: str


class FunctionsController(Controller):
    path = "/api/v1/functions"
    tags = ("functions",)

    @get("/")
    async def functions(self, function_library: NamedDependency[FunctionLibrary]) -> list[FunctionOut]:
        """All functions, without their source."""
        return [function_out(one) for one in await function_library.list_known()]

    @get("/list")
    async def functions_with_users(
        self, caller: NamedDependency[Caller], function_library: NamedDependency[FunctionLibrary], accounts: NamedDependency[Accounts]
    ) -> list[FunctionWithUserOut]:
        """The same with who made them (admin)."""
        require_admin(caller.principal)
        return [
            FunctionWithUserOut(**msgspec.structs.asdict(function_out(one)), user=await author_of(one, accounts))
            for one in await function_library.list_known()
        ]

    @get("/export")
    async def export(
        self, caller: NamedDependency[Caller], function_library: NamedDependency[FunctionLibrary], include_valves: FromQuery[bool] = False
    ) -> list[FunctionSourceOut]:
        """All functions with their source (admin), and with what is set of them; secrets are masked."""
        require_admin(caller.principal)
        return [await source_out(function_library, one, include_valves) for one in await function_library.list_known()]

    @get("/errors")
    async def errors(
        self,
        caller: NamedDependency[Caller],
        function_library: NamedDependency[FunctionLibrary],
        function_folder: NamedDependency[SkipValidation[FunctionFolder | None]],
    ) -> list[FunctionErrorOut]:
        """Why sources do not run on this process (admin): files of the folder that are no functions, and functions that do not load."""
        require_admin(caller.principal)
        files = [] if function_folder is None else function_folder.problems
        failures = function_library.failures()
        return [
            *(FunctionErrorOut(None, one.file, one.code, one.reason, one.line, one.detail) for one in files),
            *(FunctionErrorOut(one, None, why.code, why.reason, why.line, why.detail) for one, why in sorted(failures.items())),
        ]

    @post("/create", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def create(
        self, data: JSONBody[FunctionIn], caller: NamedDependency[Caller], function_library: NamedDependency[FunctionLibrary]
    ) -> FunctionOut:
        """Put one in (admin). It is loaded first: a source that cannot run is refused, with its line. It is switched off at first."""
        require_admin(caller.principal)
        made = await function_library.create(caller.actor, data.id.lower(), data.name, data.content, data.meta)
        return function_out(made)

    @get("/id/{function_id:str}")
    async def function(
        self, function_id: FromPath[str], caller: NamedDependency[Caller], function_library: NamedDependency[FunctionLibrary]
    ) -> FunctionSourceOut:
        """One with its source (admin)."""
        require_admin(caller.principal)
        return await source_out(function_library, await function_library.known(function_id))

    @post("/id/{function_id:str}/update", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def update(
        self,
        function_id: FromPath[str],
        data: JSONBody[FunctionIn],
        caller: NamedDependency[Caller],
        function_library: NamedDependency[FunctionLibrary],
    ) -> FunctionSourceOut:
        """Change name, source or meta (admin). A source that cannot run is refused, and the one before goes on."""
        require_admin(caller.principal)
        changed = await function_library.update(caller.actor, function_id, data.name, data.content, data.meta)
        return await source_out(function_library, changed)

    @post("/id/{function_id:str}/toggle", status_code=200)
    async def toggle(
        self, function_id: FromPath[str], caller: NamedDependency[Caller], function_library: NamedDependency[FunctionLibrary]
    ) -> FunctionSourceOut:
        """Switch it on or off (admin)."""
        require_admin(caller.principal)
        return await source_out(function_library, await function_library.toggle(caller.actor, function_id))

    @post("/id/{function_id:str}/toggle/global", status_code=200)
    async def toggle_global(
        self, function_id: FromPath[str], caller: NamedDependency[Caller], function_library: NamedDependency[FunctionLibrary]
    ) -> FunctionSourceOut:
        """Let it be for every model, or only for those that name it (admin)."""
        require_admin(caller.principal)
        return await source_out(function_library, await function_library.toggle_global(caller.actor, function_id))

    @delete("/id/{function_id:str}/delete", status_code=200)
    async def remove(
        self, function_id: FromPath[str], caller: NamedDependency[Caller], function_library: NamedDependency[FunctionLibrary]
    ) -> bool:
        """Take it out (admin). The log keeps its source. A file of the folder comes back when it changes, or with the next start."""
        require_admin(caller.principal)
        await function_library.delete(caller.actor, function_id)
        return True


def function_out(one: KnownFunction) -> FunctionOut:
    state = one.state
    return FunctionOut(
        id=state.function_id,
        user_id=one.author.id if one.author is not None else None,
        type=state.kind,
        name=state.name,
        meta=state.meta,
        is_active=state.active,
        is_global=state.everywhere,
        sha256=state.source.blob if state.source is not None else "",
        origin=state.origin,
        version=one.version,
        updated_at=int(one.updated_at.timestamp()),
        created_at=int(one.created_at.timestamp()),
    )


async def source_out(library: FunctionLibrary, one: KnownFunction, include_valves: bool = False) -> FunctionSourceOut:
    valves = await library.valves(one.state.function_id) if include_valves else None
    return FunctionSourceOut(**msgspec.structs.asdict(function_out(one)), content=await library.source(one), valves=valves)


async def author_of(one: KnownFunction, accounts: Accounts) -> AuthorOut | None:
    if one.author is None:
        return None
    account = await accounts.account(one.author.id)
    return AuthorOut(one.author.id, account.name, account.role, account.email)
