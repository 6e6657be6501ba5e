"""The tail of the log: every committed event once, in position order, to one place in this process.

This process's own commits come straight from memory, and those of other processes from what they announce. Positions are dense, so what
is missing in between is seen as a hole. Nearly always it is on its way and comes in a moment; otherwise it is read from the log. A bell may
also say only that there is something to read; a poll makes up for a lost bell.
"""

import asyncio
import contextlib
import time
from bisect import insort
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, NamedTuple

import structlog

from commands.metrics import SHORT_SECONDS, Histogram, MetricFigure
from domain.errors import LogUnavailable
from domain.log.event import StoredEvent

logger = structlog.get_logger("tail")

PAGE_EVENTS: Final = 250  # a millisecond or two of the loop: tokens of this process wait for a page of others' events
HELD_BATCHES_MAX: Final = 256
HOLE_S: Final = 0.005  # what fills a hole from memory comes within a millisecond or two
RETRY_S: Final = 0.25

ReadLog = Callable[[int, int], Awaitable[Sequence[StoredEvent]]]
Deliver = Callable[[Sequence[StoredEvent]], None]


class Held(NamedTuple):
    """Events above a hole."""

    first: int  # position
    events: Sequence[StoredEvent]
    deliver: Deliver


class LogTail:
    """``read(after, limit)`` reads the log; ``deliver`` gets each run of events, without a gap or a repeat.

    ``deliver_foreign``, where it is given, gets instead of it what other processes wrote.
    """

    def __init__(
        self,
        read: ReadLog,
        deliver: Deliver,
        *,
        deliver_foreign: Deliver | None = None,
        poll_s: float = 0.25,
    ) -> None:
        self._read = read
        self._deliver_own = deliver
        self._deliver_foreign = deliver_foreign or deliver
        self._poll_s = poll_s
        self._held: list[Held] = []  # in the order of positions
        self._heard = 0  # a position that the log is known to have
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()
        self.position = 0
        self.holes = 0
        self.stumbles = 0
        self.lag_s = Histogram(SHORT_SECONDS)  # by two clocks: that of Postgres, and this machine's
        self.seen_at = 0.0  # when the log was last seen to answer, by the loop's clock in seconds

    async def start(self, position: int) -> None:
        """Begin after ``position``: what stands below is read by whoever asks for it."""
        self.position = position
        self.seen_at = asyncio.get_running_loop().time()
        self._task = asyncio.create_task(self._run(), name="tail")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def add_committed(self, events: Sequence[StoredEvent]) -> None:
        """One commit of this process."""
        self._add(events, self._deliver_own)

    def add_announced(self, events: Sequence[StoredEvent]) -> None:
        """One commit of another process."""
        self._add(events, self._deliver_foreign)

    def _add(self, events: Sequence[StoredEvent], deliver: Deliver) -> None:
        first = events[0].position
        if first == self.position + 1:
            self._deliver(events, deliver)
            if self._held:
                self._drain()
            return
        insort(self._held, Held(first, events, deliver), key=_first)
        self._drain()
        if first > self.position:
            self.holes += 1
            if len(self._held) <= HELD_BATCHES_MAX:
                asyncio.get_running_loop().call_later(HOLE_S, self.on_head, first - 1)
            else:
                self.on_head(self._held.pop().events[-1].position)  # it is read from the log like the rest

    def on_head(self, head: int) -> None:
        """Somebody says that the log goes up to ``head``."""
        if head > self.position:
            self._heard = max(self._heard, head)
            self._wake.set()

    def figures(self) -> Iterator[MetricFigure]:
        """The metrics of the tail (``commands/metrics.py``)."""
        yield "gauge", "stenograph_log_head", "Newest position of the log seen here.", self.position
        yield "counter", "stenograph_tail_holes", "Times that another process's commits had to be read from the log.", self.holes
        yield "counter", "stenograph_tail_failures", "Deliveries and readings of the log that met a mistake.", self.stumbles
        yield "histogram", "stenograph_delivery_lag_seconds", "From an event's record to its delivery in this process.", self.lag_s

    async def wait_for(self, position: int) -> None:
        """Returns once everything up to ``position`` was delivered."""
        while self.position < position:
            self._moved.clear()
            self._heard = max(self._heard, position)
            self._wake.set()
            await self._moved.wait()

    def _deliver(self, events: Sequence[StoredEvent], deliver: Deliver) -> None:
        self.position = events[-1].position
        self.seen_at = asyncio.get_running_loop().time()
        self.lag_s.observe(max(0.0, time.time() - events[-1].at.timestamp()))
        try:
            deliver(events)
        except Exception:
            # A mistake of whoever is told must end neither the tail, or nobody here is told anything any more, nor the append
            # that this came from.
            self.stumbles += 1
            logger.exception("delivery_failed", position=events[0].position)
        self._moved.set()

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._wake.wait()
            except TimeoutError:
                self._look_again()  # a bell may be lost
            self._wake.clear()
            try:
                await self._catch_up()
            except LogUnavailable as error:
                logger.warning("tail_waits", error=str(error))
                await asyncio.sleep(RETRY_S)
                self._look_again()
                self._wake.set()
            except Exception:
                self.stumbles += 1
                logger.exception("tail_stumbled", position=self.position)
                await asyncio.sleep(RETRY_S)
                self._look_again()
                self._wake.set()

    async def _catch_up(self) -> None:
        while self._heard > self.position:
            # Of commits that wait above the hole nothing is read again.
            limit = min(PAGE_EVENTS, self._held[0].first - self.position - 1) if self._held else PAGE_EVENTS
            heard, self._heard = self._heard, self.position  # who says more while we read is heard
            page = await self._read(self.position, limit)
            self.seen_at = asyncio.get_running_loop().time()
            new = [event for event in page if event.position > self.position]
            if new:
                assert new[0].position == self.position + 1, f"the log has a hole below {new[0].position}"
                self._deliver(new, self._deliver_foreign)
            self._drain()
            if len(page) == PAGE_EVENTS:
                self._look_again()
            elif len(page) == limit:
                self._heard = max(self._heard, heard)

    def _look_again(self) -> None:
        """There may be more than anybody has said."""
        self._heard = max(self._heard, self.position + 1)

    def _drain(self) -> None:
        while self._held and self._held[0].first <= self.position + 1:
            _, events, deliver = self._held.pop(0)
            if events[-1].position > self.position:
                self._deliver([event for event in events if event.position > self.position], deliver)


def _first(held: Held) -> int:
    return held.first
