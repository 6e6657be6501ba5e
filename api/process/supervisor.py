"""Several server processes on one listening socket, and their parent: it starts them, restarts a worker that died, passes signals to
end on to them, and waits until all have ended.

The parent serves no requests and holds no connection to Postgres. It is synchronous and has one thread, so that it can fork at any
moment; each worker makes a loop of its own. Why it is not uvicorn's: docs/decisions/0021-several-processes.md.
"""

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Final, NamedTuple, NoReturn

import structlog

logger = structlog.get_logger("workers")

EXIT_FAILED: Final = 1
RESTART_FIRST_S: Final = 0.5
RESTART_MOST_S: Final = 15.0
STEADY_S: Final = 30.0  # a worker that ran this long after it was ready is restarted without a pause
FAILED_STARTS_MAX: Final = 5  # of each worker in a row, before the parent gives up if none of them serves
KILL_AFTER_ASKED_TWICE_S: Final = 10.0
ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
ALL_DRAINED: Final = signal.SIGUSR1  # to the workers: no answer runs in any of them any more
READY: Final = b"r"
DRAINED: Final = b"d"


class WorkerSlot(NamedTuple):
    """What the parent gives to a worker."""

    number: int  # from 1; a restarted worker keeps it
    lifeline: int  # a file descriptor that becomes readable when the parent ends
    channel: int  # a pipe on which the worker reports its state

    def ready(self) -> None:
        """Report that this worker accepts connections."""
        self._notify_parent(READY)

    def drained(self) -> None:
        """Report that no answer runs here any more. The parent sends ``ALL_DRAINED`` once all workers have reported it."""
        self._notify_parent(DRAINED)

    def _notify_parent(self, what: bytes) -> None:
        with contextlib.suppress(OSError):  # the parent is gone; the lifeline says so too
            os.write(self.channel, what)


class Worker:
    """One slot and the process that has it now, if any."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid: int | None = None
        self.channel = -1  # on which it reports its state; it ends with the worker
        self.ready_at: float | None = None
        self.drained = False
        self.start_at = 0.0
        self.starts = 0
        self.failures = 0  # in a row

    def pause_s(self, now_s: float) -> float:
        """How long to wait before the restart, in seconds. Call it once for each end of the process: it counts failures."""
        if self.ready_at is not None and now_s - self.ready_at >= STEADY_S:
            self.failures = 0
            return 0.0
        self.failures += 1
        return float(min(RESTART_FIRST_S * 2 ** (self.failures - 1), RESTART_MOST_S))


class Workers:
    """``work(slot)`` is what each of them does, in a process of its own; what it raises is logged, and ends that process alone.

    ``ready`` is called when the first takes connections; ``changed(workers)`` after each start and each end; ``ending`` when it is
    time to end, before the workers are told. ``ends_all`` are exit codes with which one worker ends them all.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[WorkerSlot], None],
        *,
        stop_within_s: float,
        ready: Callable[[], None],
        changed: Callable[[Sequence[Worker]], None],
        ending: Callable[[], None],
        ends_all: frozenset[int] = frozenset(),
    ) -> None:
        self._workers = [Worker(number) for number in range(1, count + 1)]
        self._work = work
        self._stop_within_s = stop_within_s
        self._ready = ready
        self._changed = changed
        self._ending = ending
        self._ends_all = ends_all
        self._selector = selectors.DefaultSelector()
        self._lifeline, self._lifeline_end = os.pipe()
        self._asked, self._asked_end = socket.socketpair()
        self._asks = 0
        self._kill_at: float | None = None
        self._announced = False
        self._exit_code = 0

    @property
    def _stopping(self) -> bool:
        return self._kill_at is not None

    def run(self) -> int:
        """Until all have ended. The exit code: 0 where that was asked for."""
        for end in (self._asked, self._asked_end):
            end.setblocking(False)
        self._selector.register(self._asked, selectors.EVENT_READ, None)
        earlier = {number: signal.getsignal(number) for number in ENDING}
        signal.set_wakeup_fd(self._asked_end.fileno(), warn_on_full_buffer=False)
        for number in ENDING:
            # Under nohup the server outlives the terminal.
            if not (number == signal.SIGHUP and earlier[number] == signal.SIG_IGN):
                signal.signal(number, _heard)
        try:
            while self._due():
                for key, _ in self._selector.select(self._timeout_s()):
                    if key.data is None:
                        self._hear()
                    else:
                        self._look_at(key.data)
            return self._exit_code
        finally:
            for worker in self._workers:
                if worker.pid is not None:
                    self._send(worker, signal.SIGKILL)
            signal.set_wakeup_fd(-1)
            for number, handler in earlier.items():
                signal.signal(number, handler)
            self._close_parents_ends()

    # ------------------------------------------------------------------------------------------------------ time

    def _due(self) -> bool:
        """Start or kill the workers whose time has come. Returns whether any worker runs or will be started."""
        now_s = time.monotonic()
        if not self._stopping:
            for worker in self._workers:
                if worker.pid is None and worker.start_at <= now_s:
                    self._start(worker)
            return True
        assert self._kill_at is not None
        living = [worker for worker in self._workers if worker.pid is not None]
        if now_s >= self._kill_at and living:
            logger.error("workers_killed", workers=[worker.number for worker in living], reason="they did not end in time")
            for worker in living:
                self._send(worker, signal.SIGKILL)
            self._kill_at = float("inf")
            self._exit_code = self._exit_code or EXIT_FAILED
        return bool(living)

    def _timeout_s(self) -> float | None:
        if self._stopping:
            times = [self._kill_at] if self._kill_at != float("inf") else []
        else:
            times = [worker.start_at for worker in self._workers if worker.pid is None]
        return max(0.0, min(at for at in times if at is not None) - time.monotonic()) if times else None

    # --------------------------------------------------------------------------------------------------- signals

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._asked.recv(64):
                if number in ENDING:
                    self._asks += 1
                    self._stop(signal.Signals(number).name)

    def _stop(self, reason: str) -> None:
        """Once: each ends in good order. Asked again: without waiting for answers."""
        now_s = time.monotonic()
        if not self._stopping:
            logger.info("stopping", reason=reason, workers=sum(worker.pid is not None for worker in self._workers))
            self._ending()
            self._kill_at = now_s + self._stop_within_s
        elif self._asks > 1 and self._kill_at is not None:
            self._kill_at = min(self._kill_at, now_s + KILL_AFTER_ASKED_TWICE_S)
        for worker in self._workers:
            if worker.pid is not None:
                # Always SIGTERM: a terminal's Ctrl-C reaches the workers as well as us, and they leave it to us.
                self._send(worker, signal.SIGTERM)

    def _send(self, worker: Worker, number: signal.Signals) -> None:
        assert worker.pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, number)

    # --------------------------------------------------------------------------------------------------- workers

    def _look_at(self, worker: Worker) -> None:
        """Handle a report of the worker, or its end."""
        match os.read(worker.channel, 1):
            case said if said == READY:
                worker.ready_at = time.monotonic()
                logger.info("worker_ready", worker=worker.number, pid=worker.pid)
                if not self._announced:
                    self._announced = True
                    self._ready()
            case said if said == DRAINED:
                worker.drained = True
                self._tell_that_all_are_drained()
            case _:
                assert worker.pid is not None
                _, status = os.waitpid(worker.pid, 0)
                self._ended(worker, os.waitstatus_to_exitcode(status))

    def _tell_that_all_are_drained(self) -> None:
        """Sockets stay open until then: what runs in one process is followed through all."""
        living = [worker for worker in self._workers if worker.pid is not None]
        if self._stopping and all(worker.drained for worker in living):
            for worker in living:
                self._send(worker, ALL_DRAINED)

    def _ended(self, worker: Worker, code: int) -> None:
        pid, worker.pid = worker.pid, None
        self._selector.unregister(worker.channel)
        os.close(worker.channel)
        now_s = time.monotonic()
        if code in self._ends_all and not self._stopping:
            self._exit_code = code
            self._stop(f"worker {worker.number} ended with {code}")
        if self._stopping:
            logger.info("worker_ended", worker=worker.number, pid=pid, how=_how(code))
            self._tell_that_all_are_drained()
        else:
            pause_s = worker.pause_s(now_s)
            worker.start_at = now_s + pause_s
            logger.error("worker_died", worker=worker.number, pid=pid, how=_how(code), started_again_in_s=pause_s)
            self._give_up_if_hopeless()
        worker.ready_at = None
        self._changed(self._workers)

    def _give_up_if_hopeless(self) -> None:
        """End with a failure if no worker serves and none will, so that a service manager notices it instead of waiting clients."""
        serving = any(worker.pid is not None and worker.ready_at is not None for worker in self._workers)
        if not serving and all(worker.failures >= FAILED_STARTS_MAX for worker in self._workers):
            logger.critical("no_worker_stays", starts=sum(worker.starts for worker in self._workers))
            self._exit_code = EXIT_FAILED
            self._stop("no worker stays alive")

    def _start(self, worker: Worker) -> None:
        channel, channel_end = os.pipe()
        # What is sent to the child before it has its own handlers waits for them, and is not taken for a signal to us.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            sys.stdout.flush()
            sys.stderr.flush()
            pid = os.fork()
            if pid == 0:
                os.close(channel)
                self._be(WorkerSlot(worker.number, self._lifeline, channel_end))
        except OSError as error:  # no process or no memory to be had: not now
            logger.error("worker_not_started", worker=worker.number, error=str(error))
            os.close(channel)
            os.close(channel_end)
            worker.start_at = time.monotonic() + RESTART_MOST_S
            return
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        os.close(channel_end)
        worker.pid, worker.channel = pid, channel
        worker.ready_at, worker.drained = None, False
        worker.starts += 1
        self._selector.register(channel, selectors.EVENT_READ, worker)
        self._changed(self._workers)

    def _be(self, slot: WorkerSlot) -> NoReturn:
        """Run the child process. It never returns into the parent's code."""
        code = EXIT_FAILED
        try:
            signal.set_wakeup_fd(-1)
            self._close_parents_ends()
            for worker in self._workers:
                if worker.pid is not None:
                    os.close(worker.channel)
            self._selector.close()  # ours of it: the parent's goes on
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            for number in (signal.SIGINT, signal.SIGHUP, ALL_DRAINED):
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
            structlog.contextvars.bind_contextvars(worker=slot.number)
            self._work(slot)
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else EXIT_FAILED
        except BaseException:
            logger.exception("worker_failed")
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _close_parents_ends(self) -> None:
        os.close(self._lifeline_end)
        self._asked.close()
        self._asked_end.close()


def _heard(_number: int, _frame: FrameType | None) -> None:
    """The number is read from the wake-up socket."""


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
