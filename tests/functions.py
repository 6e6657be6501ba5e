"""A server in memory with functions in it, for tests that call these themselves."""

import contextlib
import textwrap
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

from api.process.server import Functions, System
from api.settings import Settings
from api.systems import in_memory
from commands.functions.call_context import Ask, CallContext
from commands.functions.function_library import KnownFunction
from commands.functions.functions import Function
from commands.providers.provider import Part, ProviderRequest
from domain.log.event import Actor

ADA = Actor(UUID("01900000-0000-7000-8000-0000000000ad"), "Ada", "admin")


class Workbench:
    """``emitted`` are the events of all calls, in the order in which they were written."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.emitted: list[tuple[str, Any]] = []

    @property
    def functions(self) -> Functions:
        return self.system.functions

    async def put(self, function_id: str, source: str, *, active: bool = True, everywhere: bool = True) -> KnownFunction:
        text = textwrap.dedent(source).lstrip("\n")
        return await self.functions.library.create(None, function_id, function_id, text, {}, active=active, everywhere=everywhere)

    async def change(self, function_id: str, source: str) -> KnownFunction:
        return await self.functions.library.update(None, function_id, function_id, textwrap.dedent(source).lstrip("\n"), {})

    def get(self, function_id: str) -> Function:
        found = self.functions.runtime.get(function_id)
        assert found is not None
        return found

    def context(self, ask: Ask | None = None, **more: Any) -> CallContext:
        async def emit(name: str, data: Any) -> None:
            self.emitted.append((name, data))

        return CallContext(actor=ADA, **{"chat_id": "a chat", "message_id": "a message", "emit": emit, "ask": ask, **more})

    async def call(
        self, function_id: str, method: str, arguments: Mapping[str, Any] | None = None, context: CallContext | None = None
    ) -> Any:
        given = {"body": {}} if arguments is None else arguments
        return await self.functions.runtime.call(self.get(function_id), method, given, context or self.context())

    async def answer(self, model: str, content: str = "Hello", context: CallContext | None = None, **params: Any) -> list[Part]:
        """The parts of a pipe's answer."""
        route = await self.functions.pipes.find(model)
        assert route is not None
        messages = [{"role": "user", "content": content}]
        ask = ProviderRequest(model=route.upstream, messages=messages, params=params, context=context or self.context())
        return [part async for parts in route.provider.stream(ask) for part in parts]


@contextlib.asynccontextmanager
async def workbench(**settings: Any) -> AsyncIterator[Workbench]:
    system = await in_memory(Settings(**settings))
    await system.start()
    try:
        yield Workbench(system)
    finally:
        await system.stop()
