"""A bounded number of threads for functions that are not asynchronous, any of which may hang.

A call that takes longer than it may is ended by an exception that is raised in its thread. One that waits in C (``time.sleep``, a socket
without a timeout) does not notice; then its thread is given up, and another takes its place.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final

import structlog

from adapters.functions.jobs import GRACE_S, Job, Stopped, never, raise_in
from domain.errors import Overloaded

logger = structlog.get_logger("functions")

WAITING_MAX: Final = 10_000  # calls that wait for a thread
GIVEN_UP_MAX: Final = 64  # threads that never came back; from then on this process takes no more such calls


class _Task:
    """A job with its work. ``thread_id`` is set while the thread is in it; ``given_up`` tells the thread to end after it."""

    __slots__ = ("given_up", "job", "loop", "name", "thread_id", "work")

    def __init__(self, job: Job, work: Callable[[], Any], loop: asyncio.AbstractEventLoop, name: str) -> None:
        self.job = job
        self.work = work
        self.loop = loop
        self.name = name
        self.thread_id = 0
        self.given_up = False


class Threads:
    """Used on the server's loop alone."""

    def __init__(self, name: str, threads_max: int) -> None:
        self._name = name
        self._threads_max = threads_max
        self._queue: SimpleQueue[_Task | None] = SimpleQueue()
        self._threads = 0
        self._open = 0  # jobs that run or wait
        self._tasks: dict[Job, _Task] = {}
        self.given_up = 0  # threads that do not come back
        self.timeouts = 0

    def submit(self, work: Callable[[], Any], limit_s: float, *, name: str, may_wait: Callable[[], bool] = never) -> Job:
        """Begin ``work`` in a thread. Its result, what it raised, or ``TooSlow`` is in the job's future. Raises ``Overloaded``."""
        if self._open >= WAITING_MAX:
            raise Overloaded("the queue of functions", WAITING_MAX)
        if self.given_up >= GIVEN_UP_MAX:
            raise Overloaded("the number of functions' threads that never came back", GIVEN_UP_MAX)
        loop = asyncio.get_running_loop()
        job = Job(loop, limit_s, self._late, may_wait)
        task = self._tasks[job] = _Task(job, work, loop, name)
        self._open += 1
        if self._open > self._threads and self._threads < self._threads_max:
            self._threads += 1
            threading.Thread(target=self._work, name=f"{self._name} {self._threads}", daemon=True).start()
        self._queue.put(task)
        return job

    async def run(self, work: Callable[[], Any], limit_s: float, *, name: str, may_wait: Callable[[], bool] = never) -> Any:
        """As ``submit``, and wait. A caller that is cancelled ends the work, too."""
        job = self.submit(work, limit_s, name=name, may_wait=may_wait)
        try:
            return await job.future
        except asyncio.CancelledError:
            self.stop(job)
            raise

    def stop(self, job: Job) -> None:
        """Nobody waits for it any more. Nothing happens where it is over."""
        job.leave()
        if job.over:
            return
        job.stopped = True
        task = self._tasks.get(job)
        if task is not None and task.thread_id:
            raise_in(task.thread_id, Stopped)
            asyncio.get_running_loop().call_later(GRACE_S, self._give_up, task)

    def close(self) -> None:
        """End the threads that are idle, and tell the others to stop."""
        for job in list(self._tasks):
            self.stop(job)
        for _ in range(self._threads):
            self._queue.put(None)

    def _late(self, job: Job) -> None:
        self.timeouts += 1
        self.stop(job)

    def _give_up(self, task: _Task) -> None:
        if task.job.over or task.given_up:
            return
        task.given_up = True
        self.given_up += 1
        self._threads -= 1
        self._release(task.job)
        logger.error("function_thread_given_up", function=task.name, given_up=self.given_up, hint="it waits outside of Python, for ever")
        if self._open > self._threads:
            self._threads += 1
            threading.Thread(target=self._work, name=f"{self._name} again", daemon=True).start()

    def _release(self, job: Job) -> None:
        if self._tasks.pop(job, None) is not None:
            self._open -= 1

    def _finish(self, task: _Task, result: Any, error: BaseException | None) -> None:
        self._release(task.job)
        task.job.finish(result, error)

    def _came_back(self) -> None:
        self.given_up -= 1

    def _work(self) -> None:
        while True:
            try:
                task = self._queue.get()
            except Stopped:  # it came too late for its job
                continue
            if task is None or not self._run(task):
                return

    def _run(self, task: _Task) -> bool:
        """Whether the thread goes on to the next task."""
        result: Any = None
        error: BaseException | None = None
        job = task.job
        try:
            try:
                task.thread_id = threading.get_ident()
                if not job.stopped:
                    job.begun = True
                    result = task.work()
            except BaseException as raised:  # noqa: BLE001 - all of it goes to the job; ``Stopped`` and ``SystemExit`` are no ``Exception``
                error = raised
            task.thread_id = 0
            job.over = True
        except Stopped as raised:  # it came when the work was done
            task.thread_id, job.over, error = 0, True, raised
        try:
            task.loop.call_soon_threadsafe(self._finish, task, result, error)
            if task.given_up:
                task.loop.call_soon_threadsafe(self._came_back)
        except RuntimeError:  # the server has ended
            return False
        return not task.given_up
