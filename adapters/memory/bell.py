"""The bell of a single process: it has no other process to wake."""


class MemoryBell:
    notifications = 0

    async def start(self) -> None:
        """Nothing to listen to."""

    async def close(self) -> None:
        """Nothing to stop."""

    def signal(self, signal: bytes) -> None:
        """There is no other process."""
