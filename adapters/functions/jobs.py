"""One piece of work in a function's thread, as the server's event loop sees it."""

import asyncio
import ctypes
from collections.abc import Callable
from typing import Any, Final

GRACE_S: Final = 1.0  # how long a thread that was told to stop may take until it is given up
LOOK_S: Final = 0.1  # between two looks at the time that jobs have taken


class Stopped(BaseException):
    """Raised inside a function's thread to end what runs there. No ``Exception``, so that a function does not catch it by accident."""


class TooSlow(Exception):
    """The work took longer than it may. ``waited``: it had not even begun, since all threads were busy."""

    def __init__(self, limit_s: float, *, waited: bool) -> None:
        self.limit_s, self.waited = limit_s, waited
        super().__init__(f"no thread was free within {limit_s:g} s" if waited else f"took longer than {limit_s:g} s")


class Job:
    """All of it is used on the server's loop alone, but for what the working thread sets (``begun``, ``over``, ``thread_id``) and reads.

    ``limit_s`` bounds the time without a sign of life: ``touch`` is one. ``may_wait`` says whether it waits for a person now.
    """

    __slots__ = ("_loop", "begun", "future", "given_up", "limit_s", "may_wait", "name", "over", "stopped", "thread_id", "touched_s", "work")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limit_s: float, may_wait: Callable[[], bool], work: Callable[[], Any], name: str
    ) -> None:
        self._loop = loop
        self.limit_s = limit_s
        self.may_wait = may_wait
        self.work = work
        self.name = name
        self.touched_s = loop.time()
        self.future: asyncio.Future[Any] = loop.create_future()
        self.begun = False
        self.over = False  # its thread is free again
        self.stopped = False  # the caller has stopped waiting for the result
        self.thread_id = 0  # while it is in one of a pool's threads
        self.given_up = False  # its thread ends after it

    def touch(self) -> None:
        self.touched_s = self._loop.time()

    def finish(self, result: Any, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        elif isinstance(error, StopIteration):  # cannot be raised into a future
            self.future.set_exception(RuntimeError("the function raised StopIteration"))
        else:
            self.future.set_exception(error)

    def is_late(self, now_s: float) -> bool:
        if self.may_wait():
            self.touched_s = now_s
        return now_s - self.touched_s >= self.limit_s


class Watch:
    """Looks at all open jobs of a pool some times a second: a timer for each would cost as much as a short call itself."""

    def __init__(self, late: Callable[[Job], None]) -> None:
        self._late = late
        self._jobs: dict[Job, None] = {}
        self._look_again = False
        self._handle: asyncio.TimerHandle | None = None

    def add(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        self._jobs[job] = None
        self._look_again = True
        if self._handle is None:
            self._handle = loop.call_later(LOOK_S, self._look, loop)

    def remove(self, job: Job) -> None:
        self._jobs.pop(job, None)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        for job in [job for job in self._jobs if job.is_late(now_s)]:
            del self._jobs[job]
            if not job.future.done():
                job.future.set_exception(TooSlow(job.limit_s, waited=not job.begun))
            self._late(job)
        again = self._look_again or bool(self._jobs)  # one more look, since there is traffic: it is not stopped and started all the time
        self._look_again = False
        self._handle = loop.call_later(LOOK_S, self._look, loop) if again else None


def never() -> bool:
    return False


def raise_in(thread_id: int, exception: type[BaseException]) -> None:
    """Raise it in another thread, at the next instruction of Python there. A thread that waits in C does not notice until it is back."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(exception))
