"""Writes to all sockets of this process, in turns."""

import asyncio
from collections import deque
from typing import Final, Protocol
from uuid import UUID

import structlog

from api.streams.access import LiveConnections
from api.streams.frames import Close

logger = structlog.get_logger("ws")

TURN_SOCKETS: Final = 64  # sockets that are written to before the event loop runs anything else


class WritableSocket(Protocol):
    """What the writer needs of a socket."""

    queued: bool  # whether it waits for its turn: only the writer sets it
    session_id: UUID

    def serve(self, has_contact: bool) -> bool:
        """Write one frame, if the client can take one. Returns whether the socket has more to write."""
        ...

    def close(self, close: Close) -> None: ...


class SocketWriter:
    """One callback of the event loop for all sockets instead of one task for each: an event for a thousand sockets causes no thousand
    task switches. A socket writes one frame in its turn. While it waits for the next, more events gather for that frame.

    Whether Postgres answered lately is asked once before each round.
    """

    def __init__(self, live: LiveConnections) -> None:
        self._live = live
        self._waiting: deque[WritableSocket] = deque()
        self._called = False

    def add(self, socket: WritableSocket) -> None:
        """Give the socket a turn, unless it waits for one already."""
        if not socket.queued:
            socket.queued = True
            self._waiting.append(socket)
            if not self._called:
                self._called = True
                asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        waiting, has_contact = self._waiting, self._live.has_recent_contact()
        for _ in range(min(len(waiting), TURN_SOCKETS)):
            socket = waiting.popleft()
            try:
                again = socket.serve(has_contact)
            except Exception:
                # A bug that one socket meets must not end the others. Its client reconnects and resumes from its cursors.
                logger.exception("socket_not_served", session=str(socket.session_id))
                socket.close(Close(1011, "the server made a mistake"))
                again = False
            if again:
                waiting.append(socket)
            else:
                socket.queued = False
        self._called = bool(waiting)
        if self._called:
            asyncio.get_running_loop().call_soon(self._turn)
