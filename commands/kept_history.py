"""What was computed from a stream's past, which does not change: computed once and kept."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

Value = TypeVar("Value")
KEPT_MAX: Final = 256


class KeptHistory(Generic[Value]):
    """By stream and version. At most ``kept_max`` values: the one that was used longest ago goes first."""

    def __init__(self, read: Callable[[UUID, int], Awaitable[Value]], *, kept_max: int = KEPT_MAX) -> None:
        self._read = read
        self._kept_max = kept_max
        self._known: OrderedDict[tuple[UUID, int], Value] = OrderedDict()
        self._reading: WeakValueDictionary[tuple[UUID, int], asyncio.Lock] = WeakValueDictionary()

    async def get(self, stream_id: UUID, version: int) -> Value:
        """The value that ``read`` computed. Raises what ``read`` raises; nothing is kept then."""
        key = stream_id, version
        lock = self._reading.get(key)
        if lock is None:
            lock = self._reading[key] = asyncio.Lock()
        async with lock:  # of many who ask at once, one reads
            known = self._known.get(key)
            if known is None:
                known = self._known[key] = await self._read(stream_id, version)
                if len(self._known) > self._kept_max:
                    self._known.popitem(last=False)
            self._known.move_to_end(key)
            return known
