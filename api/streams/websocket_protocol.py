"""uvicorn's WebSocket protocol with a shorter way out: whole frames, made once, straight to the transport of each socket.

A server's frames are not masked (RFC 6455 §5.1), so the bytes for a thousand followers are the same. uvicorn's own ``send`` makes
them anew for each, in a coroutine. The application finds this object in its scope's ``extensions`` under ``FRAMES``; where it is
missing, ``AsgiWire`` does the same over any ASGI server's ``send``.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request

from api.request.server_config import ServerConfig
from api.streams.frames import FRAMES_PER_S, TOO_FAST, FrameRate

FRAMES: Final = "stenograph.frames"
TEXT_FRAME: Final = b"\x81"  # FIN, and the opcode of a text
CLOSE_TIMEOUT_S: Final = 10.0
# What the kernel may hold unsent for one reader. Without a bound it is megabytes, and a ping waits behind them all.
UNSENT_BYTES_MAX: Final = 128 * 1024
FRAMES_BEFORE_HELLO: Final = 20  # of all kinds, also pings and fragments
# Parsed before the rate is looked at again: what arrives at once may be tens of thousands of empty frames.
PARSED_BYTES_MAX: Final = 2048
BAD_REQUEST: Final = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
REASON_BYTES_MAX: Final = 120  # RFC 6455 §5.5: a close frame holds 123

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def text_frame(*pieces: bytes) -> bytes:
    """A WebSocket frame whose text is these pieces, as a server sends it (RFC 6455 §5.2)."""
    length = sum(map(len, pieces))
    if length < 126:
        return b"".join((TEXT_FRAME, length.to_bytes(), *pieces))
    if length < 1 << 16:
        return b"".join((TEXT_FRAME, b"\x7e", length.to_bytes(2), *pieces))
    return b"".join((TEXT_FRAME, b"\x7f", length.to_bytes(8), *pieces))


def payload_of(frame: bytes) -> bytes:
    """The text of what ``text_frame`` made."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


class Wire(Protocol):
    """The way to one client. ``resumed`` is called when it can be written to again, and when it is gone."""

    resumed: Callable[[], None] | None

    @property
    def takes_many(self) -> bool:
        """Whether several small frames may be written as one piece."""
        ...

    @property
    def can_write(self) -> bool:
        """Whether the client has taken what it was sent, but for a transport's buffer."""
        ...

    def write_frame(self, frame: bytes) -> None:
        """One frame of ``text_frame``. Only when ``can_write``: then what waits for a client is that buffer and one frame."""
        ...

    def end(self, code: int, reason: str) -> None:
        """Send a close frame. Whoever does not answer it is cut off. Nothing can be written after it."""
        ...

    def admit(self, frames_per_s: int | None = None) -> None:
        """The client is signed in: from here on it may send frames at the full rate, or at the given one."""
        ...

    async def flushed(self) -> None:
        """Until what was written is with the server, or cannot be."""
        ...


class FramedProtocol(WebSocketsSansIOProtocol):
    """A ``Wire``, and uvicorn's protocol with other rules: a slow reader is not taken for a dead one, a dead one is let go, and frames of
    every kind count against the rate."""

    takes_many = True

    config: ServerConfig

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.config.addresses.add(self.client)
        self._rate = FrameRate(FRAMES_BEFORE_HELLO)
        self._ignores_data = False
        self.resumed: Callable[[], None] | None = None
        self._heard_at = 0.0
        self._full = False  # what ``writable`` says, without a call
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            self.scope["extensions"][FRAMES] = self  # type: ignore[assignment]  # what an extension holds, ASGI leaves open

    @property
    def can_write(self) -> bool:
        return not (self._full or self.close_sent or self.disconnected or self.transport.is_closing())

    def write_frame(self, frame: bytes) -> None:
        self.transport.write(frame)

    def end(self, code: int, reason: str) -> None:
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore"))
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:  # or its answer would not be read
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(CLOSE_TIMEOUT_S, self.transport.abort)

    def admit(self, frames_per_s: int | None = None) -> None:
        self._rate = FrameRate(per_s=frames_per_s or FRAMES_PER_S)

    async def flushed(self) -> None:
        """What was written is with the transport already."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.config.addresses.remove(self.client)
        resumed, self.resumed = self.resumed, None
        if resumed is not None:
            resumed()

    def data_received(self, data: bytes) -> None:
        self._heard_at = self.loop.time()
        if not self.handshake_initiated:
            super().data_received(data)
            self._require_handshake()
            return
        for at in range(0, len(data), PARSED_BYTES_MAX):
            if self._ignores_data:
                return
            super().data_received(data if len(data) <= PARSED_BYTES_MAX else data[at : at + PARSED_BYTES_MAX])

    def handle_events(self) -> None:
        now_s = self.loop.time()
        if all(self._rate.allows(now_s) for event in self.conn.events if isinstance(event, Frame)):
            super().handle_events()
        else:
            self._ignores_data = True
            self.end(TOO_FAST.code, TOO_FAST.reason)
            self.transport.pause_reading()

    def _require_handshake(self) -> None:
        """Send the refusal of a request that the WebSocket library cannot read: uvicorn does not, and the client would wait for ever.

        The first data is the whole head.
        """
        if not self.handshake_initiated:
            self.transport.write(b"".join(self.conn.data_to_send()) or BAD_REQUEST)
            self.transport.close()

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.end(1007, "expected text in UTF-8")
                return
        super().send_receive_event_to_app()

    def pause_writing(self) -> None:
        self._full = True
        super().pause_writing()

    def resume_writing(self) -> None:
        self._full = False
        self._heard_at = self.loop.time()
        super().resume_writing()
        if self.resumed is not None:
            self.resumed()

    def keepalive_timeout(self) -> None:
        """A pong is overdue. Who has taken data since the ping is slow: the ping lies behind what it has not read yet."""
        if self._heard_at > self.ping_sent_at and self.ping_timeout is not None and not self.transport.is_closing():
            self.ping_sent_at = self.loop.time()
            self.pong_timer = self.loop.call_later(self.ping_timeout, self.keepalive_timeout)
            return
        super().keepalive_timeout()
        self.loop.call_later(CLOSE_TIMEOUT_S, self.transport.abort)  # or what it never took would be kept for ever


class AsgiWire:
    """A ``Wire`` over ``send``, for servers that have no ``FRAMES``. A frame waits in a task of its own."""

    takes_many = False

    def __init__(self, send: Send) -> None:
        self.resumed: Callable[[], None] | None = None
        self._send = send
        self._sending: asyncio.Task[None] | None = None
        self._ended = False

    @property
    def can_write(self) -> bool:
        return self._sending is None and not self._ended

    def write_frame(self, frame: bytes) -> None:
        self._start({"type": "websocket.send", "text": payload_of(frame).decode()})

    def end(self, code: int, reason: str) -> None:
        if not self._ended:
            self._ended = True
            self._start({"type": "websocket.close", "code": code, "reason": reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore")})

    def admit(self, frames_per_s: int | None = None) -> None:
        """The server below has its own rules for frames that do not reach the application."""

    async def flushed(self) -> None:
        if self._sending is not None:
            await asyncio.wait((self._sending,), timeout=CLOSE_TIMEOUT_S)

    def _start(self, message: MutableMapping[str, Any]) -> None:
        earlier = self._sending

        async def send() -> None:
            try:
                if earlier is not None:
                    await asyncio.wait((earlier,))
                await self._send(message)
            except (OSError, RuntimeError):
                self._ended = True  # the client is gone; its ``receive`` says so
            finally:
                if self._sending is task:
                    self._sending = None
            if self.resumed is not None:
                self.resumed()

        self._sending = task = asyncio.create_task(send())
