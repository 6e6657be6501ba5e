"""What waits between the socket's reader and one consumer: a queue with a bound that its writer keeps."""

import asyncio
import contextlib
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Buffer(Generic[T]):
    """``put`` never blocks; the writer checks ``full`` or waits for ``room`` before it writes more.

    So the buffer holds at most ``items_max`` and what arrived with the frame that filled it.
    """

    def __init__(self, items_max: int) -> None:
        self.items_max = items_max
        self._items: deque[T] = deque()
        self._failure: BaseException | None = None
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def full(self) -> bool:
        return len(self._items) >= self.items_max

    def put(self, item: T) -> None:
        self._items.append(item)
        self._changed.set()
        if self.full:
            self._room.clear()

    def fail(self, failure: BaseException) -> None:
        """Raised to the consumer after everything that was put before."""
        self._failure = failure
        self._changed.set()
        self._room.set()

    async def room(self, timeout_s: float) -> bool:
        """Whether there is room, at the latest after ``timeout_s``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._room.wait()
        # Not the exception: the consumer may have made room after the time was over and before this task runs again.
        return self._room.is_set()

    async def get(self) -> T:
        """The next item. Raises what ``fail`` was given, once nothing is left before it."""
        while not self._items:
            if self._failure is not None:
                raise self._failure
            self._changed.clear()
            await self._changed.wait()
        item = self._items.popleft()
        if len(self._items) <= self.items_max // 2 and self._failure is None:
            # Half empty, not one below the bound: a slow consumer is served in stretches and not event by event.
            self._room.set()
        return item

    @property
    def half_empty(self) -> bool:
        return len(self._items) <= self.items_max // 2
