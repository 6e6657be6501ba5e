"""The end of a connection whose client takes nothing of what it is sent.

A response waits in a buffer that is bounded, but a client that never reads would keep it, and what makes the response, for ever. A
client that reads slowly is not ended: it takes something again and again.
"""

import asyncio
from typing import Any

import structlog

logger = structlog.get_logger("serve")


class EndsStalled:
    """To be mixed into a protocol of uvicorn. ``stall_s``: how long a client may take nothing while something waits for it."""

    stall_s: float = 60.0
    transport: Any
    loop: asyncio.AbstractEventLoop
    _stall_timer: asyncio.TimerHandle | None = None
    _waiting_bytes = 0

    def pause_writing(self) -> None:
        super().pause_writing()  # type: ignore[misc]  # of the protocol that this is mixed into
        self._look_later()

    def resume_writing(self) -> None:
        self._look_no_more()
        super().resume_writing()  # type: ignore[misc]  # as above

    def connection_lost(self, exc: Exception | None) -> None:
        self._look_no_more()
        super().connection_lost(exc)  # type: ignore[misc]  # as above

    def _look_later(self) -> None:
        self._waiting_bytes = self.transport.get_write_buffer_size()
        self._stall_timer = self.loop.call_later(self.stall_s, self._look)

    def _look_no_more(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _look(self) -> None:
        waiting_bytes = self.transport.get_write_buffer_size()
        if 0 < self._waiting_bytes <= waiting_bytes:
            logger.info("client_takes_nothing", waiting_bytes=waiting_bytes, for_s=self.stall_s)
            self.transport.abort()
        else:
            self._look_later()


def ending_stalled(protocol: type[Any], stall_s: float) -> type[Any]:
    """The protocol, with ``EndsStalled``."""
    return type(protocol.__name__, (EndsStalled, protocol), {"stall_s": stall_s})
