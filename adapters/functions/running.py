"""Where the functions of one process run: the pools of threads, each function's loops, and what comes out of generators there."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Final

import msgspec
import structlog

from adapters.functions.entry import Entry
from adapters.functions.feed import Feed
from adapters.functions.jobs import Stopped, TooSlow, never
from adapters.functions.loops import FunctionLoops, LoopCounts
from adapters.functions.side import Side
from adapters.functions.threads import Threads
from adapters.functions.valves import plain
from commands.futures import retrieve_exception
from commands.metrics import MetricFigure
from domain.errors import FunctionFailed, StenographError

logger = structlog.get_logger("functions")

DETAIL_CHARACTERS_MAX: Final = 1_000


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """In seconds, and numbers of threads."""

    call_s: float = 60.0  # one call of a filter or an action, a load, a list of a pipe's models; not counting what a person is asked
    silence_s: float = 300.0  # of a pipe, between two signs of life
    threads_max: int = 32  # for calls that are not asynchronous; and as many again for pipes


class Running:
    """Used on the server's loop alone. No thread runs before something is to be done in it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._calls: Threads | None = None
        self._pipes: Threads | None = None
        self._loops: dict[str, FunctionLoops] = {}  # by the function's id
        self._counts = LoopCounts()
        self.failed_calls = 0

    def call_threads(self) -> Threads:
        if self._calls is None:
            self._calls = Threads("function call", self._limits.threads_max)
        return self._calls

    def pipe_threads(self) -> Threads:
        """Of their own: pipes that wait for their providers take no thread from filters."""
        if self._pipes is None:
            self._pipes = Threads("function pipe", self._limits.threads_max)
        return self._pipes

    def loops(self, function_id: str) -> FunctionLoops:
        found = self._loops.get(function_id)
        if found is None:
            found = self._loops[function_id] = FunctionLoops(function_id, self._counts)
        return found

    def forget(self, function_id: str) -> None:
        """The function has gone: what runs on its loops is told to stop."""
        loops = self._loops.pop(function_id, None)
        if loops is not None:
            loops.close()

    def limit_s(self, method: str) -> float:
        return self._limits.silence_s if method == "pipe" else self._limits.call_s

    def translated(self, entry: Entry) -> "Translation":
        return Translation(self, entry)

    async def in_thread(self, function_id: str, work: Callable[[], Any]) -> Any:
        """Something of the function's own, such as a validator of its valves. Raises ``FunctionFailed``, and what ``work`` raises."""
        try:
            return await self.call_threads().run(work, self._limits.call_s, name=function_id)
        except TooSlow as slow:
            raise FunctionFailed(function_id, str(slow), reason="too_slow") from None

    async def batches(self, entry: Entry, result: Any, feed: Feed, side: Side | None = None) -> AsyncGenerator[list[Any], None]:
        """The items of a generator, an asynchronous one, or a streamed response, as many at a time as there are.

        Raises ``FunctionFailed``, after what came before it. Closing this closes the generator.
        """
        may_wait = side.is_asking if side is not None else never
        body, background = streamed(result)
        name = entry.function_id
        if hasattr(body, "__aiter__"):
            loops = self.loops(name)
            job = loops.submit(lambda: _pump_async(body, background, feed), self._limits.silence_s, may_wait=may_wait)
            stop: Callable[[Any], None] = loops.stop
        else:
            threads = self.pipe_threads()
            job = threads.submit(lambda: _pump(body, feed), self._limits.silence_s, name=name, may_wait=may_wait)
            stop = threads.stop
        if side is not None:
            side.touched = job.touch
        job.future.add_done_callback(lambda _: feed.end())
        try:
            while (items := await feed.next_items()) is not None:
                job.touch()
                yield items
            with self.translated(entry):
                await job.future
        finally:
            feed.close()
            if not job.future.done():
                job.future.cancel()
            else:
                retrieve_exception(job.future)
            stop(job)
            if side is not None:
                side.end()

    def close(self) -> None:
        for threads in (self._calls, self._pipes):
            if threads is not None:
                threads.close()
        for function_id in list(self._loops):
            self.forget(function_id)

    def figures(self) -> Iterator[MetricFigure]:
        pools = [one for one in (self._calls, self._pipes) if one is not None]
        given_up = self._counts.given_up + sum(one.given_up for one in pools)
        timeouts = self._counts.timeouts + sum(one.timeouts for one in pools)
        yield "counter", "stenograph_function_failures", "Calls of functions that raised an exception.", self.failed_calls
        yield "counter", "stenograph_function_timeouts", "Calls of functions that took longer than they may.", timeouts
        yield "counter", "stenograph_function_loops_blocked", "Times that a function blocked its event loop.", self._counts.blocked
        yield "gauge", "stenograph_function_threads_given_up", "Threads in which a function does not come back.", given_up


class Translation:
    """What a function raises, as ``FunctionFailed``. Its traceback goes to the server's log."""

    __slots__ = ("_entry", "_running")

    def __init__(self, running: Running, entry: Entry) -> None:
        self._running = running
        self._entry = entry

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _traceback: object) -> None:
        if error is None or isinstance(error, FunctionFailed | GeneratorExit | asyncio.CancelledError):
            return
        function_id = self._entry.function_id
        if isinstance(error, TooSlow):
            logger.warning("function_too_slow", function=function_id, detail=str(error))
            raise FunctionFailed(function_id, str(error), reason="too_slow") from None
        if isinstance(error, Stopped):
            raise FunctionFailed(function_id, "it was stopped", reason="stopped") from None
        self._running.failed_calls += 1
        logger.warning("function_raised", function=function_id, exc_info=error)
        detail = str(error) if isinstance(error, StenographError) else f"{type(error).__name__}: {error}"
        raise FunctionFailed(function_id, detail[:DETAIL_CHARACTERS_MAX]) from None


def is_iterated(result: Any) -> bool:
    """Whether a result is made item by item."""
    if hasattr(result, "body_iterator") or hasattr(result, "__anext__"):
        return True
    return hasattr(result, "__next__")


def streamed(result: Any) -> tuple[Any, Any]:
    """``(what is iterated, what is called after it)``."""
    body = getattr(result, "body_iterator", None)
    return (result, None) if body is None else (body, getattr(result, "background", None))


def copied(result: Any) -> Any:
    """What leaves the thread: a copy, unless it is made item by item or is an answer in a class of its own."""
    kind = type(result)
    if kind is dict or kind is list:
        return plain(result)
    if result is None or kind in (str, bytes, bool, int, float) or is_iterated(result) or hasattr(result, "status_code"):
        return result
    return plain(result)


def _pump(body: Any, feed: Feed) -> None:
    """All items of an iterator, in its thread."""
    try:
        for item in body:
            feed.put(copied(item))
            if not feed.wait_for_room():
                break
    finally:
        close = getattr(body, "close", None)
        if callable(close):
            close()


async def _pump_async(body: Any, background: Any, feed: Feed) -> None:
    try:
        async for item in body:
            feed.put(copied(item))
            if not await feed.wait_for_room_async():
                break
    finally:
        close = getattr(body, "aclose", None)
        if callable(close):
            await close()
        if background is not None:
            await background()
