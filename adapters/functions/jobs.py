"""One piece of work in a function's thread, as the server's event loop sees it."""

import asyncio
import ctypes
from collections.abc import Callable
from typing import Any, Final

GRACE_S: Final = 1.0  # how long a thread that was told to stop may take until it is given up


class Stopped(BaseException):
    """Raised inside a function's thread to end what runs there. No ``Exception``, so that a function does not catch it by accident."""


class TooSlow(Exception):
    """The work took longer than it may. ``waited``: it had not even begun, since all threads were busy."""

    def __init__(self, limit_s: float, *, waited: bool) -> None:
        self.limit_s, self.waited = limit_s, waited
        super().__init__(f"no thread was free within {limit_s:g} s" if waited else f"took longer than {limit_s:g} s")


class Job:
    """All of it is used on the server's loop alone, but for ``over`` and ``stopped``, which the working thread sets and reads.

    ``limit_s`` bounds the time without a sign of life: ``touch`` is one. ``may_wait`` says whether it waits for a person now.
    """

    __slots__ = ("_handle", "_late", "_limit_s", "_loop", "_may_wait", "_touched_s", "begun", "future", "over", "stopped")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limit_s: float, late: Callable[["Job"], None], may_wait: Callable[[], bool]
    ) -> None:
        self._loop = loop
        self._limit_s = limit_s
        self._late = late
        self._may_wait = may_wait
        self._touched_s = loop.time()
        self._handle: asyncio.TimerHandle | None = loop.call_later(limit_s, self._check)
        self.future: asyncio.Future[Any] = loop.create_future()
        self.begun = False
        self.over = False  # its thread is free again
        self.stopped = False  # nobody waits for it any more

    def touch(self) -> None:
        self._touched_s = self._loop.time()

    def finish(self, result: Any, error: BaseException | None) -> None:
        self.leave()
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        elif isinstance(error, StopIteration):  # cannot be raised into a future
            self.future.set_exception(RuntimeError("the function raised StopIteration"))
        else:
            self.future.set_exception(error)

    def leave(self) -> None:
        """Its time is not watched any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _check(self) -> None:
        now_s = self._loop.time()
        if self._may_wait():
            self._touched_s = now_s
        left_s = self._touched_s + self._limit_s - now_s
        if left_s > 0.001:
            self._handle = self._loop.call_later(left_s, self._check)
            return
        self._handle = None
        if not self.future.done():
            self.future.set_exception(TooSlow(self._limit_s, waited=not self.begun))
        self._late(self)


def never() -> bool:
    return False


def raise_in(thread_id: int, exception: type[BaseException]) -> None:
    """Raise it in another thread, at the next instruction of Python there. A thread that waits in C does not notice until it is back."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(exception))
