"""A bound on how long one wait after another may take, cheap enough for the way of a token.

``asyncio.timeout`` makes a timer for each wait and cancels it, which costs several microseconds. Here one timer serves many waits: it
fires at the deadline of an earlier one, and moves on to the newest.
"""

import asyncio
from collections.abc import Callable
from typing import Final

NEVER: Final = float("inf")


class Deadline:
    """``passed`` is called once when the deadline is over that was set last. Times are seconds of the loop's clock."""

    __slots__ = ("_at", "_fires_at", "_loop", "_passed", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, passed: Callable[[], None]) -> None:
        self._loop = loop
        self._passed = passed
        self._at = self._fires_at = NEVER
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at: float) -> None:
        """Instead of the deadline before. ``NEVER``: there is none."""
        self._at = at
        if at < self._fires_at:
            if self._timer is not None:
                self._timer.cancel()
            self._start_timer()

    def close(self) -> None:
        """There is none any more, and no timer is left."""
        self._at = NEVER
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._fires_at = NEVER

    def _start_timer(self) -> None:
        self._fires_at = self._at
        self._timer = self._loop.call_at(self._at, self._look)

    def _look(self) -> None:
        self._timer, self._fires_at = None, NEVER
        if self._loop.time() >= self._at:
            self._at = NEVER
            self._passed()
        elif self._at != NEVER:
            self._start_timer()
