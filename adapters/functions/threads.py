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

from adapters.functions.jobs import GRACE_S, Job, Stopped, Watch, never, raise_in
from domain.errors import Overloaded

logger = structlog.get_logger("functions")

WAITING_MAX: Final = 10_000  # calls that wait for a thread
GIVEN_UP_MAX: Final = 64  # threads that never came back; from then on this process takes no more such calls


class Threads:
    """Made, and used, on the server's loop alone."""

    def __init__(self, name: str, threads_max: int) -> None:
        self._name = name
        self._threads_max = threads_max
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._threads = 0
        self._open: dict[Job, None] = {}  # they run or wait
        self._watch = Watch(self._late)
        self.given_up = 0  # threads that do not come back
        self.timeouts = 0

    def submit(self, work: Callable[[], Any], limit_s: float, *, name: str, may_wait: Callable[[], bool] = never) -> Job:
        """Begin ``work`` in a thread. Its result, what it raised, or ``TooSlow`` is in the job's future. Raises ``Overloaded``."""
        if len(self._open) >= WAITING_MAX:
            raise Overloaded("the queue of functions", WAITING_MAX)
        if self.given_up >= GIVEN_UP_MAX:
            raise Overloaded("the number of functions' threads that never came back", GIVEN_UP_MAX)
        job = Job(self._loop, limit_s, may_wait, work, name)
        self._open[job] = None
        self._watch.add(job, self._loop)
        if len(self._open) > self._threads and self._threads < self._threads_max:
            self._begin_thread()
        self._queue.put(job)
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
        self._watch.remove(job)
        if job.over:
            return
        job.stopped = True
        if job in self._open and job.thread_id:
            raise_in(job.thread_id, Stopped)
            self._loop.call_later(GRACE_S, self._give_up, job)

    def close(self) -> None:
        """End the threads that are idle, and tell the others to stop."""
        for job in list(self._open):
            self.stop(job)
        for _ in range(self._threads):
            self._queue.put(None)
        self._watch.close()

    def _begin_thread(self) -> None:
        self._threads += 1
        threading.Thread(target=self._work, name=f"{self._name} {self._threads}", daemon=True).start()

    def _late(self, job: Job) -> None:
        self.timeouts += 1
        self.stop(job)

    def _give_up(self, job: Job) -> None:
        if job.over or job.given_up:
            return
        job.given_up = True
        self.given_up += 1
        self._threads -= 1
        self._open.pop(job, None)
        logger.error("function_thread_given_up", function=job.name, given_up=self.given_up, hint="it waits outside of Python, for ever")
        if len(self._open) > self._threads:
            self._begin_thread()

    def _finish(self, job: Job, result: Any, error: BaseException | None) -> None:
        self._open.pop(job, None)
        self._watch.remove(job)
        job.finish(result, error)
        if job.given_up:
            self.given_up -= 1

    def _work(self) -> None:
        while True:
            try:
                job = self._queue.get()
            except Stopped:  # it came too late for its job
                continue
            if job is None or not self._run(job):
                return

    def _run(self, job: Job) -> bool:
        """Whether the thread goes on to the next job."""
        result: Any = None
        error: BaseException | None = None
        try:
            try:
                job.thread_id = threading.get_ident()
                if not job.stopped:
                    job.begun = True
                    result = job.work()
            except BaseException as raised:  # noqa: BLE001 - all of it goes to the job; ``Stopped`` and ``SystemExit`` are no ``Exception``
                error = raised
            job.thread_id, job.over = 0, True
        except Stopped as raised:  # it came when the work was done
            job.thread_id, job.over, error = 0, True, raised
        try:
            self._loop.call_soon_threadsafe(self._finish, job, result, error)
        except RuntimeError:  # the server has ended
            return False
        return not job.given_up
