"""One method of one function, called in one context, as often as is wanted."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from adapters.functions.entry import Entry
from adapters.functions.jobs import Job
from adapters.functions.loops import FunctionLoops
from adapters.functions.parameters import Signature, arguments_of
from adapters.functions.running import Running, copied
from adapters.functions.side import Side
from adapters.functions.threads import Threads
from domain.errors import FunctionFailed


class BoundCall:
    """``Bound``. ``fixed`` are the parameters that stay the same."""

    __slots__ = ("_entry", "_fixed", "_limit_s", "_loaded", "_method", "_running", "_signature", "side")

    def __init__(
        self, running: Running, entry: Entry, loaded: Any, method: str, signature: Signature, fixed: dict[str, Any], side: Side
    ) -> None:
        self._running = running
        self._entry = entry
        self._loaded = loaded
        self._method = getattr(loaded.instance, method)
        self._signature = signature
        self._fixed = fixed
        self._limit_s = running.limit_s(method)
        self.side = side

    async def __call__(self, arguments: Mapping[str, Any]) -> Any:
        entry, side, function_id = self._entry, self.side, self._entry.function_id
        if self._loaded.declared.problem is not None:
            raise FunctionFailed(function_id, self._loaded.declared.problem)
        taken = {**self._fixed, **arguments_of(self._signature, arguments)}
        method = self._method
        with self._running.translated(entry):
            try:
                if self._signature.is_async:
                    result = await self._on_loop(lambda: _awaited(method, taken))
                else:
                    threads = self._running.pipe_threads() if method.__name__ == "pipe" else self._running.call_threads()
                    job = threads.submit(lambda: _called(method, taken), self._limit_s, name=function_id, may_wait=side.is_asking)
                    result = await self._outcome(job, threads)
                    if isinstance(result, Awaitable):
                        result = await self._on_loop(lambda: _resumed(result))
            except BaseException:
                side.end()
                raise
        if side.handed_over != side.written:
            await side.settled()
        return result

    async def _on_loop(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        loops = self._running.loops(self._entry.function_id)
        return await self._outcome(loops.submit(work, self._limit_s, may_wait=self.side.is_asking), loops)

    async def _outcome(self, job: Job, where: Threads | FunctionLoops) -> Any:
        self.side.touched = job.touch
        try:
            return await job.future
        except asyncio.CancelledError:
            where.stop(job)
            raise


async def _awaited(method: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    made = method(**arguments)
    return copied(await made) if isinstance(made, Awaitable) else made


def _called(method: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    made = method(**arguments)
    return made if isinstance(made, Awaitable) else copied(made)


async def _resumed(made: Awaitable[Any]) -> Any:
    return copied(await made)
