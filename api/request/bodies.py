"""What bodies of requests may take: each by its route, each by its shape, and all that are in flight together.

Litestar refuses a body beyond its route's size before it reads it; a guard has asked before that who sends it
(``authentication.py``). The rest is told from the bytes as they come in: nothing is decoded that would be refused.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Literal

from litestar.types import ASGIApp, HTTPRequestEvent, Receive, ReceiveMessage, Scope, Send
from litestar.types import Message as SentMessage

from api.request.json_shape import VALUE_BYTES, JsonShape
from domain.errors import BadRequest, Overloaded

# The size of a body by what its route is for.
SMALL_BYTES: Final = 128 * 1024  # a route that says nothing has this
FIELDS_BYTES: Final = 1024 * 1024  # settings, folders, parameters, lists of people
CONTENT_BYTES: Final = 16 * 1024 * 1024  # messages and whole chats

COSTLY_VALUES: Final = 10_000  # of one body; one with fewer is decoded at once
VALUE_S: Final = 0.5e-6  # of the event loop, for one value that is decoded and looked through
SHARE_MAX: Final = 0.2  # of the event loop, for all costly bodies together

_NOTHING: Final[HTTPRequestEvent] = {"type": "http.request", "body": b"", "more_body": False}


class BodyMemory:
    """The memory that the bodies of one process take while they are read and decoded."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.held_bytes = 0
        self._next_s = 0.0  # when the next costly body may be decoded

    def reserve(self, size: int) -> None:
        """Raises ``Overloaded`` when there is no room beside the others. A body that is alone has room."""
        if self.held_bytes and self.held_bytes + size > self.bytes_max:
            raise Overloaded("the memory for bodies of requests", self.bytes_max)
        self.held_bytes += size

    def release(self, size: int) -> None:
        self.held_bytes -= size

    def delay_s(self, values: int, now_s: float) -> float:
        """How long a body with so many values has to wait, so that everything else gets its turns between one costly body and the next.

        Nothing decodes in a thread beside the event loop: the decoder holds Python's lock. ``now_s`` only goes forward.
        """
        if values < COSTLY_VALUES:
            return 0.0
        begin_s = max(now_s, self._next_s)
        self._next_s = begin_s + values * VALUE_S / SHARE_MAX
        return begin_s - now_s


class BoundedBody:
    """The ``receive`` of one request. ``held_bytes`` is what it has reserved."""

    def __init__(self, memory: BodyMemory, scope: Scope, receive: Receive) -> None:
        headers = dict(scope["headers"])
        chunked = b"transfer-encoding" in headers
        declared = b"" if chunked else headers.get(b"content-length", b"")
        self._memory = memory
        self._receive = receive
        self._declared_bytes = int(declared) if declared.isdigit() else 0
        self._state: Literal["unread", "reading", "read"] = "unread"
        self._has_body = chunked or self._declared_bytes > 0
        self._reserved_bytes = 0  # of the declared ones, those that have not come yet
        self._shape = JsonShape()
        self.held_bytes = 0

    async def __call__(self) -> ReceiveMessage:
        """Raises ``Overloaded``, ``BodyTooLarge`` or ``BadRequest`` as soon as what has come says so."""
        if self._state == "read":
            return await self._receive()
        if not self._has_body:
            self._state = "read"
            return _NOTHING
        if self._state == "unread":
            self._state = "reading"
            self._reserve(self._declared_bytes)
            self._reserved_bytes = self._declared_bytes
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("the connection ended before the body did")
        if message["type"] == "http.request":
            self._add(message["body"])
            if not message["more_body"]:
                self._state = "read"
                delay_s = self._memory.delay_s(self._shape.values, asyncio.get_running_loop().time())
                if delay_s:
                    await asyncio.sleep(delay_s)
        return message

    def _add(self, piece: bytes) -> None:
        values = self._shape.values
        self._shape.feed(piece)
        reserved = min(self._reserved_bytes, len(piece))
        self._reserved_bytes -= reserved
        self._reserve(len(piece) - reserved + VALUE_BYTES * (self._shape.values - values))

    def _reserve(self, size: int) -> None:
        self._memory.reserve(size)
        self.held_bytes += size

    def release(self) -> None:
        self._memory.release(self.held_bytes)
        self.held_bytes = 0


def bounded_bodies(memory: Callable[[], BodyMemory]) -> Callable[[ASGIApp], ASGIApp]:
    """A middleware. ``memory`` is asked at each request."""

    def middleware(app: ASGIApp) -> ASGIApp:
        async def bounded(scope: Scope, receive: Receive, send: Send) -> None:
            body = BoundedBody(memory(), scope, receive)

            async def releasing(message: SentMessage) -> None:
                # The handler is done with its body. A response that streams for minutes must not keep others out.
                body.release()
                await send(message)

            try:
                await app(scope, body, releasing)
            finally:
                body.release()

        return bounded

    return middleware
