"""Functions as the tests of filters and actions need them: behind the port, in this event loop, each one a Python callable."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from commands.functions.functions import Bound, CallContext, Function
from domain.errors import FunctionFailed, FunctionNotFound

Method = Callable[..., Any]


class TestFunctions:
    """``add`` says what a function does; ``calls`` has what each was called with, in order."""

    __test__ = False

    def __init__(self) -> None:
        self._known: dict[str, tuple[Function, Mapping[str, Method]]] = {}
        self.calls: list[tuple[str, str]] = []  # (function, method)
        self.contexts: list[CallContext] = []

    def add(self, function_id: str, kind: Any = "filter", *, is_global: bool = True, **methods_and_more: Any) -> Function:
        methods = {name: value for name, value in methods_and_more.items() if callable(value)}
        more = {name: value for name, value in methods_and_more.items() if not callable(value)}
        function = Function(
            id=function_id, kind=kind, name=function_id, sha256="5" * 64, is_global=is_global, methods=frozenset(methods), **more
        )
        self._known[function_id] = function, methods
        return function

    def remove(self, function_id: str) -> None:
        del self._known[function_id]

    def get(self, function_id: str) -> Function | None:
        return self._known[function_id][0] if function_id in self._known else None

    def _of(self, kind: str) -> list[Function]:
        return sorted((one for one, _ in self._known.values() if one.kind == kind), key=lambda one: (one.priority, one.id))

    def pipes(self) -> Sequence[Function]:
        return self._of("pipe")

    def filters(self) -> Sequence[Function]:
        return self._of("filter")

    def actions(self) -> Sequence[Function]:
        return self._of("action")

    async def bind(self, function: Function, method: str, context: CallContext) -> Bound:
        if function.id not in self._known:
            raise FunctionNotFound(function.id, method)
        run = self._known[function.id][1][method]
        self.contexts.append(context)

        async def bound(arguments: Mapping[str, Any]) -> Any:
            self.calls.append((function.id, method))
            given = (*arguments.values(), context) if method == "action" else arguments.values()
            try:
                made = run(*given)
                return await made if isinstance(made, Awaitable) else made
            except Exception as error:
                raise FunctionFailed(function.id, f"{type(error).__name__}: {error}") from error

        return bound

    async def call(self, function: Function, method: str, arguments: Mapping[str, Any], context: CallContext) -> Any:
        return await (await self.bind(function, method, context))(arguments)
