"""Event loops for functions that are asynchronous: each function has one of its own, in a thread of its own.

A function that blocks its loop, as many do that use a blocking HTTP client, delays only its own calls. What it keeps between calls (a
client session, a lock) belongs to that one loop. Where the loop has been blocked for a moment, new calls get a second one.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from adapters.functions.jobs import GRACE_S, Job, Stopped, Watch, never, raise_in
from domain.errors import Overloaded

logger = structlog.get_logger("functions")

LOOPS_MAX: Final = 8  # of one function
BLOCKED_S: Final = 1.0  # without an answer to a ping
PING_S: Final = 0.5
GIVEN_UP_MAX: Final = 64


class _Loop:
    """One loop in its thread. ``open`` holds the jobs that run there; ``blocked``: it has not answered for a while."""

    __slots__ = ("asyncio_loop", "blocked", "given_up", "name", "open", "pinged_s", "thread_id")

    def __init__(self, name: str) -> None:
        self.name = name
        self.asyncio_loop = asyncio.SelectorEventLoop()  # not uvloop: packages such as nest_asyncio know only this one
        self.open: dict[Job, asyncio.Task[Any] | None] = {}
        self.pinged_s = 0.0  # when the ping that is under way was sent; 0: none is
        self.blocked = False
        self.given_up = False
        started = threading.Event()
        threading.Thread(target=self._work, args=(started,), name=f"function {name}", daemon=True).start()
        started.wait()
        self.thread_id: int

    def _work(self, started: threading.Event) -> None:
        self.thread_id = threading.get_ident()
        asyncio.set_event_loop(self.asyncio_loop)
        started.set()
        while True:
            try:
                self.asyncio_loop.run_forever()
                break
            except (Stopped, SystemExit, KeyboardInterrupt):  # between two tasks, or out of one that a function has made itself
                continue
        self.asyncio_loop.close()


class FunctionLoops:
    """The loops of one function. Used on the server's loop alone."""

    def __init__(self, function_id: str, counts: "LoopCounts") -> None:
        self._function_id = function_id
        self._counts = counts
        self._loops: list[_Loop] = []
        self._monitor: asyncio.TimerHandle | None = None
        self._watch = Watch(self._late)

    def submit(self, work: Callable[[], Coroutine[Any, Any, Any]], limit_s: float, *, may_wait: Callable[[], bool] = never) -> Job:
        """Begin ``work`` on a loop of the function. As ``Threads.submit``."""
        server_loop = asyncio.get_running_loop()
        at = self._free_loop()
        job = Job(server_loop, limit_s, may_wait, work, self._function_id)
        at.open[job] = None
        self._watch.add(job, server_loop)

        def begin() -> None:
            if job.stopped:
                over(None)
                return
            job.begun = True
            task = at.open[job] = at.asyncio_loop.create_task(contained(work), name=f"function {self._function_id}")
            task.add_done_callback(over)

        def over(task: asyncio.Task[Any] | None) -> None:
            job.over = True
            error: BaseException | None = Stopped()
            result = None
            if task is not None and not task.cancelled():
                error = task.exception()
                result = task.result() if error is None else None
            try:
                server_loop.call_soon_threadsafe(self._finish, at, job, result, error)
            except RuntimeError:  # the server has ended
                at.asyncio_loop.stop()

        at.asyncio_loop.call_soon_threadsafe(begin)
        if self._monitor is None:
            self._monitor = server_loop.call_later(PING_S, self._ping)
        return job

    async def run(self, work: Callable[[], Coroutine[Any, Any, Any]], limit_s: float, *, may_wait: Callable[[], bool] = never) -> Any:
        job = self.submit(work, limit_s, may_wait=may_wait)
        try:
            return await job.future
        except asyncio.CancelledError:
            self.stop(job)
            raise

    def stop(self, job: Job) -> None:
        """Nobody waits for it any more. Nothing happens where it is over."""
        self._watch.remove(job)
        if job.over:
            return
        job.stopped = True
        for at in self._loops:
            if job in at.open:
                self._cancel(at, job)

    def close(self) -> None:
        """End the loops once nothing runs on them; what does is told to stop."""
        if self._monitor is not None:
            self._monitor.cancel()
            self._monitor = None
        self._watch.close()
        for at in self._loops:
            for job in list(at.open):
                self.stop(job)
            at.asyncio_loop.call_soon_threadsafe(at.asyncio_loop.call_later, GRACE_S, at.asyncio_loop.stop)
        self._loops = []

    def _free_loop(self) -> _Loop:
        for at in self._loops:
            if not at.blocked:
                return at
        if len(self._loops) >= LOOPS_MAX:
            return min(self._loops, key=lambda at: len(at.open))
        if self._counts.given_up >= GIVEN_UP_MAX:
            raise Overloaded("the number of functions' threads that never came back", GIVEN_UP_MAX)
        if self._loops:
            self._counts.blocked += 1
            logger.warning("function_blocks", function=self._function_id, hint="it blocks its event loop; new calls get another one")
        at = _Loop(self._function_id)
        self._loops.append(at)
        return at

    def _ping(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()

        def answered(at: _Loop) -> None:
            at.pinged_s, at.blocked = 0.0, False

        for at in self._loops:
            if at.pinged_s:
                at.blocked = at.blocked or now_s - at.pinged_s >= BLOCKED_S
            elif at.open:
                at.pinged_s = now_s

                def pong(at: _Loop = at) -> None:
                    try:
                        loop.call_soon_threadsafe(answered, at)
                    except RuntimeError:  # the server has ended
                        at.asyncio_loop.stop()

                at.asyncio_loop.call_soon_threadsafe(pong)

        busy = any(at.open or at.pinged_s for at in self._loops)
        self._monitor = loop.call_later(PING_S, self._ping) if busy else None

    def _late(self, job: Job) -> None:
        self._counts.timeouts += 1
        self.stop(job)

    def _cancel(self, at: _Loop, job: Job) -> None:
        def cancel() -> None:
            task = at.open.get(job)
            if task is not None:
                task.cancel()

        at.asyncio_loop.call_soon_threadsafe(cancel)
        asyncio.get_running_loop().call_later(GRACE_S, self._insist, at, job)

    def _insist(self, at: _Loop, job: Job) -> None:
        """It did not end when it was cancelled: it blocks the loop, or it has caught that."""
        if job.over or at.given_up or self._is_held_up(at, job):
            return
        if at.blocked or at.pinged_s:
            raise_in(at.thread_id, Stopped)
        asyncio.get_running_loop().call_later(GRACE_S, self._give_up, at, job)

    def _give_up(self, at: _Loop, job: Job) -> None:
        if job.over or at.given_up or self._is_held_up(at, job):
            return
        at.given_up = True
        self._counts.given_up += 1
        if at in self._loops:
            self._loops.remove(at)
        logger.error("function_loop_given_up", function=self._function_id, given_up=self._counts.given_up, calls=len(at.open))

    def _is_held_up(self, at: _Loop, job: Job) -> bool:
        """Whether another call, which may go on, blocks the loop: this one ends when that does."""
        running = asyncio.current_task(at.asyncio_loop)
        return running is not None and any(task is running for other, task in at.open.items() if other is not job and not other.stopped)

    def _finish(self, at: _Loop, job: Job, result: Any, error: BaseException | None) -> None:
        at.open.pop(job, None)
        self._watch.remove(job)
        job.finish(result, error)
        if at.given_up and not at.open:
            self._counts.given_up -= 1
            at.asyncio_loop.call_soon_threadsafe(at.asyncio_loop.stop)


async def contained(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """``work`` without the exceptions that would end its loop."""
    try:
        return await work()
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


class LoopCounts:
    """What the loops of all functions have come to."""

    def __init__(self) -> None:
        self.given_up = 0
        self.blocked = 0
        self.timeouts = 0
