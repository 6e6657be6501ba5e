"""What is hidden of channels from those whose access began later, read once and kept."""

import asyncio
from collections import OrderedDict
from typing import Final
from uuid import UUID
from weakref import WeakValueDictionary

from domain.channel.redaction import ChannelRedaction
from projections.ports import ChannelQueries

KEPT_MAX: Final = 256
PAGE: Final = 2_000

Key = tuple[UUID, int]


class ChannelRedactions:
    def __init__(self, queries: ChannelQueries, *, kept_max: int = KEPT_MAX) -> None:
        self._queries = queries
        self._kept_max = kept_max
        self._known: OrderedDict[Key, ChannelRedaction] = OrderedDict()
        self._reading: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    async def redaction(self, channel_id: UUID, since: int) -> ChannelRedaction:
        """For readers whose access began at version ``since``. History does not change, so it is kept. Raises ``LogUnavailable``."""
        key = channel_id, since
        lock = self._reading.get(key)
        if lock is None:
            lock = self._reading[key] = asyncio.Lock()
        async with lock:  # of many who ask at once, one reads
            known = self._known.get(key)
            if known is None:
                known = self._known[key] = await self._read(channel_id, since)
                if len(self._known) > self._kept_max:
                    self._known.popitem(last=False)
            self._known.move_to_end(key)
            return known

    async def _read(self, channel_id: UUID, since: int) -> ChannelRedaction:
        made, after = ChannelRedaction(since), 0
        while True:
            page = await self._queries.changes(channel_id, after=after, until=since, limit=PAGE)
            for stored in page:
                made.observe(stored)
            if len(page) < PAGE:
                return made
            after = page[-1].version
