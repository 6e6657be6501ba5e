"""What is hidden of channels from those whose access began later, read once and kept."""

from typing import Final
from uuid import UUID

from commands.kept_history import KEPT_MAX, KeptHistory
from domain.channel.redaction import ChannelRedaction
from projections.ports import ChannelQueries

PAGE: Final = 2_000


class ChannelRedactions:
    def __init__(self, queries: ChannelQueries, *, kept_max: int = KEPT_MAX) -> None:
        self._queries = queries
        self._known = KeptHistory(self._read, kept_max=kept_max)

    async def redaction(self, channel_id: UUID, since: int) -> ChannelRedaction:
        """For readers whose access began at version ``since``. Raises ``LogUnavailable``."""
        return await self._known.get(channel_id, since)

    async def _read(self, channel_id: UUID, since: int) -> ChannelRedaction:
        made, after = ChannelRedaction(since), 0
        while True:
            page = await self._queries.changes(channel_id, after=after, until=since, limit=PAGE)
            for stored in page:
                made.observe(stored)
            if len(page) < PAGE:
                return made
            after = page[-1].version
