"""The functions of one process, as the rest of the server calls them."""

import asyncio
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import structlog

from adapters.functions.calling import BoundCall
from adapters.functions.entry import Entry
from adapters.functions.loader import FunctionLoader, Keeper
from adapters.functions.parameters import Signature, injected
from adapters.functions.running import Limits, Running
from adapters.functions.side import Side
from adapters.functions.valves import Refused, made
from commands.functions.functions import CallContext, Function
from commands.metrics import MetricFigure
from domain.errors import FunctionNotFound

logger = structlog.get_logger("functions")


class FunctionRuntime:
    """Satisfies ``Functions``. Used on the server's loop alone."""

    def __init__(self, keeper: Keeper, limits: Limits) -> None:
        self._keeper = keeper
        self.running = Running(limits)
        self.loader = FunctionLoader(keeper, self.running)

    def get(self, function_id: str) -> Function | None:
        entry = self.loader.by_id.get(function_id)
        return entry.function if entry is not None and entry.state.active else None

    def pipes(self) -> Sequence[Function]:
        return self.loader.shown["pipe"]

    def filters(self) -> Sequence[Function]:
        return self.loader.shown["filter"]

    def actions(self) -> Sequence[Function]:
        return self.loader.shown["action"]

    async def bind(self, function: Function, method: str, context: CallContext) -> BoundCall:
        return await self.bind_with(function, method, context)

    async def bind_with(
        self, function: Function, method: str, context: CallContext, intercept: Callable[[str, Any], bool] | None = None
    ) -> BoundCall:
        """``intercept`` as in ``Side``."""
        entry = self.loader.by_id.get(function.id)
        if entry is None or entry.loaded is None or entry.function is None or method not in entry.function.methods:
            raise FunctionNotFound(function.id, method)
        loaded = entry.loaded
        signature = entry.signatures.get(method)
        if signature is None:
            signature = entry.signatures[method] = Signature(getattr(loaded.instance, method))
        side = Side(function.id, context, asyncio.get_running_loop(), intercept)
        person: dict[str, Any] = {}
        if "__user__" in signature.names:
            person = {**await self._keeper.person(context.actor.id)}
            if loaded.declared.user_valves is not None:
                person["valves"] = await self._user_valves(function.id, loaded.declared.user_valves, context.actor.id)
        fixed = injected(signature, function.id, context, person, side)
        return BoundCall(self.running, entry, loaded, method, signature, fixed, side)

    async def call(self, function: Function, method: str, arguments: Mapping[str, Any], context: CallContext) -> Any:
        bound = await self.bind(function, method, context)
        return await bound(arguments)

    async def _user_valves(self, function_id: str, declared: Any, user_id: UUID) -> Any:
        """A person's own. What cannot be made of what is stored is logged, and the defaults count (None where there are not enough)."""
        stored = await self._keeper.values(await self._keeper.user_valves(user_id, function_id))
        return await self.running.in_thread(function_id, functools.partial(user_valves_of, function_id, declared, user_id, stored))

    def entry(self, function_id: str) -> Entry | None:
        return self.loader.by_id.get(function_id)

    async def close(self) -> None:
        await self.loader.close()
        self.running.close()

    def figures(self) -> Iterator[MetricFigure]:
        yield from self.loader.figures()
        yield from self.running.figures()


def user_valves_of(function_id: str, declared: Any, user_id: UUID, stored: Mapping[str, Any]) -> Any:
    """Called in a thread of the function's."""
    try:
        return made(declared, stored)
    except Refused as refused:
        logger.warning("user_valves_refused", function=function_id, user=str(user_id), problems=[name for name, _ in refused.problems])
    try:
        return made(declared, {})
    except Refused:
        return None
