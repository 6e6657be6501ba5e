"""The clock of what is ephemeral: typing that ends by itself, and who is there."""

from typing import Final

from api.periodic import Periodic
from api.streams.presence import TICK_S, Presence
from api.streams.typing import Typing

EVERY_S: Final = 0.5


class EphemeralTicks(Periodic):
    def __init__(self, typing: Typing, presence: Presence) -> None:
        super().__init__(EVERY_S, "ephemeral")
        self.typing = typing
        self.presence = presence
        self._count = 0

    async def _write(self) -> None:
        self.typing.tick()
        if self._count % round(TICK_S / EVERY_S) == 0:
            self.presence.tick()
        self._count += 1

    async def close(self) -> None:
        await super().close()
        self.presence.close()
