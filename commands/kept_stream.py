"""What is known of one stream between commands, and what the appends that are on their way will make of it."""

import asyncio
from typing import Generic, TypeVar

from commands.ports import Line
from domain.log.stream import Stream

State = TypeVar("State")


class KeptStream(Generic[State]):
    """One stream's newest known state, and what the appends that are on their way will make of it.

    The lock puts this process's own deciders in line, so that they never race each other.
    """

    __slots__ = ("_settled", "ahead", "line", "lock", "may_trim", "on_way", "reading", "state", "stream", "used", "version")

    def __init__(self, stream: Stream, state: State) -> None:
        self.stream = stream
        self.lock = asyncio.Lock()
        self.line = Line()
        self.used = False  # again, since it was last looked at for eviction
        self.version = 0  # of ``state``: both are committed
        self.state = state
        self.on_way = 0  # appends that were asked for and have no answer yet
        # The version and the state once all of those are committed. None where there are none, or one of them has failed: what the
        # others come to is not known then.
        self.ahead: tuple[int, State] | None = None
        self.may_trim = True  # False: only the whole state is exact
        self.reading: asyncio.Task[None] | None = None  # the first reading, for all who wait for it
        self._settled: asyncio.Future[None] | None = None

    def newest(self) -> tuple[int, State]:
        """``(version, state)`` to decide on. Read with the lock held."""
        return self.ahead or (self.version, self.state)

    def supply(self, state: State) -> None:
        """The newest state, with more of it loaded."""
        if self.ahead is not None:
            self.ahead = self.ahead[0], state
        else:
            self.state = state

    def send(self, version: int, state: State) -> None:
        """An append that leads there has its place in the log's queue: the next one may be decided."""
        self.ahead = version, state
        self.on_way += 1
        self.lock.release()

    def arrive(self, version: int, state: State) -> None:
        """An append was committed that led there: all that it was decided on holds."""
        if version > self.version:  # a reader may have read further
            self.version, self.state = version, state
        self._back()

    def fail(self) -> None:
        """An append did not come to what was said when it set out."""
        self.ahead = None
        self.line.broken = True
        self._back()

    def _back(self) -> None:
        self.on_way -= 1
        if self.on_way == 0:
            self.ahead = None
            if self._settled is not None and not self._settled.done():
                self._settled.set_result(None)

    @property
    def is_doomed(self) -> bool:
        """Whether some are on their way that will fail, since one before them has."""
        return self.on_way > 0 and (self.ahead is None or self.line.broken)

    async def settle(self) -> None:
        """Wait until nothing is on its way. With the lock held, so that nothing more sets out."""
        if self.on_way:
            self._settled = asyncio.get_running_loop().create_future()
            await self._settled

    def next_line(self) -> Line:
        """The line for the next append. A broken one goes on until all of it has failed: what was decided on it is not to be written."""
        if self.line.broken and not self.on_way:
            self.line = Line()
        return self.line
