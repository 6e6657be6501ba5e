"""Items that a function makes one by one in its thread, and that the server's loop takes as many at a time as there are."""

import asyncio
import contextlib
import threading
from collections import deque
from typing import Any, Final

ITEMS_MAX: Final = 256  # that wait: a function that is faster than the log waits for it


class Feed:
    """``put`` and ``end`` are called in a function's thread, ``next_items`` and ``close`` on the server's loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: deque[Any] = deque()
        self._room = threading.Condition()
        self._arrived = asyncio.Event()
        self._wanting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._ended = False
        self.closed = False  # the reader has left

    def put(self, item: Any) -> None:
        """Waits for nothing. ``wait_for_room`` does, and is called between two items."""
        self._items.append(item)
        self._wake()

    def wait_for_room(self) -> bool:
        """Block until there is room. False: the reader has left."""
        if len(self._items) >= ITEMS_MAX:
            with self._room:
                self._room.wait_for(lambda: len(self._items) < ITEMS_MAX or self.closed)
        return not self.closed

    async def wait_for_room_async(self) -> bool:
        """The same for an event loop in the function's thread."""
        while len(self._items) >= ITEMS_MAX and not self.closed:
            loop = asyncio.get_running_loop()
            has_room = asyncio.Event()
            self._wanting = (loop, has_room)
            if len(self._items) >= ITEMS_MAX and not self.closed:  # otherwise they were taken before this was noted
                await has_room.wait()
        return not self.closed

    def end(self) -> None:
        self._ended = True
        self._wake()

    def reopen(self) -> None:
        """What ended was the first part: more follows."""
        self._ended = False

    async def next_items(self) -> list[Any] | None:
        """All that there are, at least one; None at the end."""
        while not self._items:
            if self._ended:
                return None
            await self._arrived.wait()
            self._arrived.clear()
        items: list[Any] = []
        while self._items:
            items.append(self._items.popleft())
        self._tell_room()
        return items

    def close(self) -> None:
        self.closed = True
        self._tell_room()

    def _tell_room(self) -> None:
        with self._room:
            self._room.notify_all()
        if self._wanting is not None:
            (loop, has_room), self._wanting = self._wanting, None
            with contextlib.suppress(RuntimeError):  # that loop has ended
                loop.call_soon_threadsafe(has_room.set)

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:  # the server has ended
            self.closed = True
