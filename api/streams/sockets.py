"""``/ws``: authentication at the handshake, the set of open sockets, and their end.

One socket is in ``socket.py``, and its reader in ``socket_reader.py``.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qs

from api.request import security_log
from api.request.authentication import bearer_of
from api.request.errors import error_status
from api.request.origins import origin_allowed
from api.request.security_headers import HEADERS
from api.streams.frames import Close, frame
from api.streams.socket import Socket
from api.streams.socket_context import SocketContext
from api.streams.socket_reader import Receive, SocketReader
from api.streams.tailing import StreamTail
from api.streams.websocket_protocol import FRAMES, AsgiWire
from commands.accounts.principal import Principal
from commands.metrics import Labelled, MetricFigure
from commands.security_log import record
from domain.errors import StenographError

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

SWEEP_S: Final = 1.0
RECONNECT_SPREAD_MS: Final = (200, 5_000)
GOODBYE_S: Final = 1.0  # how long the last frames may take


async def refuse(send: Send) -> None:
    """Refuse the handshake while the server goes away: the client is to come back soon."""
    headers = [*HEADERS.items(), (b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"1")]
    await send({"type": "websocket.http.response.start", "status": 503, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"the server is going away"})


class WebSockets:
    """The ASGI handler of ``/ws``, and the open sockets of this process."""

    def __init__(self, context: SocketContext) -> None:
        self._context = context
        self._sockets: set[Socket] = set()
        self._before_hello: dict[Socket, None] = {}  # the oldest first
        self._sweeper: asyncio.Task[None] | None = None
        self._opened = 0
        self._going_away = False
        self._all_gone = asyncio.Event()

    def __len__(self) -> int:
        return len(self._sockets)

    def figures(self) -> Iterator[MetricFigure]:
        """The metrics of WebSockets (``commands/metrics.py``)."""
        closed = Labelled("code", {str(code): count for code, count in sorted(self._context.closed.items())})
        yield "gauge", "stenograph_sockets", "Open WebSockets.", len(self)
        yield "counter", "stenograph_sockets_opened", "WebSockets that were accepted.", self._opened
        yield "counter", "stenograph_sockets_closed", "WebSockets that the server closed, by close code.", closed

    async def start(self) -> None:
        self._sweeper = asyncio.create_task(self._sweep(), name="socket sweeper")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        security_log.begin(scope)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if self._going_away:
            # Refused before it is accepted: a socket that is opened and closed at once may be cut before its client reads why.
            await refuse(send)
            return
        await send({"type": "websocket.accept"})
        socket = Socket(self._context, scope.get("extensions", {}).get(FRAMES) or AsgiWire(send))
        reader = SocketReader(socket, receive)
        self._sockets.add(socket)
        self._opened += 1
        try:
            if not origin_allowed(headers, self._context.settings.allowed_origins):
                record("refused", code="origin_refused", origin=headers.get("origin"))
                socket.close(Close(1008, "this origin is not on the list"))
            else:
                principal = await self._by_request(headers, scope)
                del headers
                if principal is None:
                    principal = await self._by_hello(reader)
                if principal is not None:
                    await reader.run(principal)
        except StenographError as error:
            security_log.record_socket(error, None)
            socket.close(Close(error_status(error).close, error.detail))
        except OSError:
            pass  # the client is gone; what it missed stands in the log
        finally:
            self._sockets.discard(socket)
            self._context.live.stalled.discard(socket)
            if not self._sockets:
                self._all_gone.set()
            await socket.wire.flushed()

    async def _by_request(self, headers: dict[str, str], scope: Scope) -> Principal | None:
        """The principal named by header or ticket; None if a ``hello`` has to come first."""
        token = bearer_of(headers)
        if token is not None:
            return await self._context.authenticate(token)
        tickets = parse_qs(scope["query_string"].decode("latin-1")).get("ticket")
        if tickets:
            return await self._context.redeem(tickets[0])
        return None

    async def _by_hello(self, reader: SocketReader) -> Principal | None:
        """The principal of a ``hello``; None once the connection is over.

        Where too many wait, the oldest is closed: an honest client says who it is at once, so it is the one that least deserves its room.
        """
        waiting, socket = self._before_hello, reader.socket
        waiting[socket] = None
        if len(waiting) > self._context.settings.sockets_before_hello_max:
            oldest = next(iter(waiting))
            del waiting[oldest]
            oldest.close(Close(4408, "too many connections wait for a hello"))
        try:
            return await reader.hello()
        finally:
            waiting.pop(socket, None)

    async def go_away(self) -> None:
        """Each client is told to come back after another delay, so that they do not all come at once; then it is closed."""
        self._going_away = True
        sockets = list(self._sockets)
        followers = [reader for reader in self._context.live.all() if isinstance(reader, StreamTail) and reader.counted]
        first_ms, last_ms = RECONNECT_SPREAD_MS
        leaving = len(sockets) + len(followers)
        delays_ms = iter(random.sample(range(first_ms, max(last_ms, first_ms + 2 * leaving)), leaving))  # spreads load, guards nothing
        for follower in followers:
            follower.go_away(next(delays_ms))
        for socket in sockets:
            socket.send_reply(frame("reconnect", after_ms=next(delays_ms)))
            socket.close(Close(1012, "the server restarts"))
        if self._sockets:
            self._all_gone.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    await self._all_gone.wait()
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _sweep(self) -> None:
        """One timer for all sockets: close those whose token has expired, and wake the stalled ones once Postgres answers again."""
        live = self._context.live
        while True:
            await asyncio.sleep(SWEEP_S)
            for socket in list(self._sockets):
                if live.expired(socket.principal):
                    socket.close(Close(4401, "the token has expired"))
            if live.stalled and live.has_recent_contact():
                stalled, live.stalled = live.stalled, set()
                for reader in stalled:
                    reader.wake_all()
