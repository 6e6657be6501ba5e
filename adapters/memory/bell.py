"""A bell with nobody to hear it: one process in memory is all there is."""


class MemoryBell:
    notifications = 0

    async def start(self) -> None:
        """Nothing to listen to."""

    async def close(self) -> None:
        """Nothing to stop."""

    def ring(self, head: int) -> None:
        """There is no other process."""

    def signal(self, signal: bytes) -> None:
        """There is no other process."""
