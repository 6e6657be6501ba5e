"""What one call of a function has of the server: where it emits events and asks questions, from whatever thread it runs in.

Everything that a function hands over is copied in its own thread; the server's loop writes the events, one after the other.
"""

import asyncio
import collections.abc
import concurrent.futures
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Final

import structlog

from adapters.functions.valves import plain
from commands.functions.functions import CallContext
from domain.errors import StenographError

logger = structlog.get_logger("functions")

PENDING_MAX: Final = 1_000  # events that a function has emitted and that are not written yet


class Answer(collections.abc.Coroutine[Any, Any, Any]):
    """What an emitter returns: to be awaited, or not. The event is on its way already; only its outcome is waited for.

    It is a coroutine by its class, so that ``asyncio.create_task`` and ``asyncio.run`` take it; one that nobody awaits is no mistake.
    """

    __slots__ = ("_coroutine", "_future")

    def __init__(self, future: "concurrent.futures.Future[Any]") -> None:
        self._future = future
        self._coroutine: Generator[Any, None, Any] | None = None

    def send(self, value: Any) -> Any:
        if self._coroutine is None:
            self._coroutine = self.__await__()
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        if self._coroutine is None:
            self._coroutine = self.__await__()
        return self._coroutine.throw(*error)

    def close(self) -> None:
        if self._coroutine is not None:
            self._coroutine.close()

    def __await__(self) -> Generator[Any, None, Any]:
        return (yield from asyncio.wrap_future(self._future).__await__())


class Side:
    """One for each binding of a function. ``touched`` is called on the server's loop at each sign of life.

    ``intercept`` sees each event first, in the function's thread, and returns whether it has taken it.
    """

    def __init__(
        self,
        function_id: str,
        context: CallContext,
        loop: asyncio.AbstractEventLoop,
        intercept: Callable[[str, Any], bool] | None = None,
    ) -> None:
        self._function_id = function_id
        self._context = context
        self._loop = loop
        self._intercept = intercept
        self._waiting: deque[tuple[str, Any, concurrent.futures.Future[Any]]] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._questions: set[asyncio.Task[None]] = set()
        self.handed_over = 0  # events, counted in the function's threads
        self.written = 0
        self.touched: Callable[[], None] = lambda: None

    def emit(self, *given: Any, **named: Any) -> Answer:
        """``__event_emitter__``: one dict with ``type`` and ``data``, or the two."""
        name, data = named_event(given, named)
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        data = plain(data)
        if self._intercept is not None and self._intercept(name, data):
            future.set_result(None)
            return Answer(future)
        if self.handed_over - self.written >= PENDING_MAX:
            raise RuntimeError(f"{PENDING_MAX} events wait to be written: await the emitter")
        self.handed_over += 1
        self._loop.call_soon_threadsafe(self._enqueue, name, data, future)
        return Answer(future)

    def ask(self, *given: Any, **named: Any) -> Answer:
        """``__event_call__``: as ``emit``, and its answer is what the person said."""
        kind, data = named_event(given, named)
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._loop.call_soon_threadsafe(self._begin_question, kind, plain(data), future)
        return Answer(future)

    def is_asking(self) -> bool:
        return bool(self._questions)

    async def settled(self) -> None:
        """Every event that was handed over before is written, or refused."""
        while self.written < self.handed_over:
            if self._writer is None:
                await asyncio.sleep(0)  # it is handed over, and the loop has not taken it yet
            else:
                await asyncio.wait([self._writer])

    def end(self) -> None:
        """Nobody waits for the call any more: its questions are taken back, and what it has emitted and is not written yet is dropped."""
        for task in self._questions:
            task.cancel()
        self.written += len(self._waiting)
        for _, _, future in self._waiting:
            future.cancel()
        self._waiting.clear()

    def _enqueue(self, name: str, data: Any, future: "concurrent.futures.Future[Any]") -> None:
        self.touched()
        self._waiting.append((name, data, future))
        if self._writer is None:
            self._writer = self._loop.create_task(self._write(), name=f"events of {self._function_id}")

    async def _write(self) -> None:
        try:
            while self._waiting:
                name, data, future = self._waiting.popleft()
                try:
                    if self._context.emit is not None:
                        await self._context.emit(name, data)
                    resolve(future, None, None)
                except StenographError as error:
                    logger.info("event_refused", function=self._function_id, type=name, code=error.code, error=str(error))
                    resolve(future, None, error)
                except Exception as error:
                    logger.exception("event_not_written", function=self._function_id, type=name)
                    resolve(future, None, error)
                finally:
                    self.written += 1
        finally:
            self._writer = None

    def _begin_question(self, kind: str, data: Any, future: "concurrent.futures.Future[Any]") -> None:
        self.touched()

        async def ask() -> None:
            try:
                assert self._context.ask is not None
                resolve(future, await self._context.ask(kind, data, self._context.session_id), None)
            except (StenographError, TimeoutError) as error:
                resolve(future, None, error)
            except asyncio.CancelledError:
                future.cancel()
                raise

        task = self._loop.create_task(ask(), name=f"question of {self._function_id}")
        self._questions.add(task)

        def over(ended: asyncio.Task[None]) -> None:
            self._questions.discard(ended)
            self.touched()

        task.add_done_callback(over)


def named_event(given: tuple[Any, ...], named: dict[str, Any]) -> tuple[str, Any]:
    """``(type, data)`` of what an emitter was called with. Raises ``TypeError``."""
    match given:
        case ({"type": str() as name, **rest},) if not named:
            return name, rest.get("data")
        case (str() as name,):
            return name, named.get("data")
        case (str() as name, data) if not named:
            return name, data
        case () if isinstance(named.get("type"), str):
            return named["type"], named.get("data")
        case (model,) if callable(getattr(model, "model_dump", None)):
            return named_event((model.model_dump(),), named)
        case _:
            raise TypeError('expected {"type": …, "data": …}, or the type and the data')


def resolve(future: "concurrent.futures.Future[Any]", result: Any, error: BaseException | None) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
