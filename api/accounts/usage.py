"""What each account uses: counted as it is committed, added to the table of all processes about once a second."""

from typing import Final

import structlog

from api.periodic import Periodic
from commands.usage import UsageBook
from domain.errors import StenographError

logger = structlog.get_logger("usage")

EVERY_S: Final = 1.0


class UsageWriter(Periodic):
    def __init__(self, book: UsageBook) -> None:
        super().__init__(EVERY_S, "usage")
        self._book = book

    async def _write(self) -> None:
        try:
            await self._book.flush()
        except StenographError as error:
            logger.warning("usage_not_added", error=str(error))
