"""The port ``Workshop`` on the runtime: what admins and users do with functions, done in functions' threads."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from adapters.functions.runtime import FunctionRuntime
from adapters.functions.valves import Refused, checked, spec
from commands.functions.function_library import Examined, Whose
from domain.errors import FunctionNotLoaded, ValvesRefused


class FunctionWorkshop:
    def __init__(self, runtime: FunctionRuntime) -> None:
        self._runtime = runtime

    async def examine(self, function_id: str, source: str, values: Mapping[str, Any]) -> Examined:
        loaded = await self._runtime.loader.try_out(function_id, source, values)
        return Examined(loaded.kind, loaded.manifest, loaded.has_toggle)

    async def spec(self, stream_id: UUID, whose: Whose, person: Mapping[str, Any]) -> Mapping[str, Any] | None:
        function_id, declared = await self._declared(stream_id, whose)
        if declared is None:
            return None
        try:
            return dict(await self._runtime.running.in_thread(function_id, lambda: spec(declared, person)))
        except Exception as error:
            raise FunctionNotLoaded(function_id, "valves", f"its valves have no schema: {type(error).__name__}: {error}"[:500]) from error

    async def check_valves(
        self, stream_id: UUID, whose: Whose, given: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
        function_id, declared = await self._declared(stream_id, whose)
        if declared is None:
            return None
        try:
            values, secrets = await self._runtime.running.in_thread(function_id, lambda: checked(declared, given))
        except Refused as refused:
            raise ValvesRefused(function_id, refused.problems) from None
        return values, secrets

    async def settled(self, stream_id: UUID) -> None:
        await self._runtime.loader.settled(stream_id)

    def failures(self) -> Mapping[str, FunctionNotLoaded]:
        return self._runtime.loader.failures

    async def _declared(self, stream_id: UUID, whose: Whose) -> tuple[str, Any]:
        loaded = await self._runtime.loader.load_now(stream_id)
        return loaded.function_id, loaded.declared.valves if whose == "valves" else loaded.declared.user_valves
