"""``/ws/socket.io/``: the open sockets of Open WebUI's page in this process, and their end."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qs

from api.dialects.open_webui.page_channels import ChannelRooms
from api.dialects.open_webui.page_context import PageContext
from api.dialects.open_webui.page_direct import DirectSessions
from api.dialects.open_webui.page_lists import PageLists
from api.dialects.open_webui.page_socket import PageSocket, Receive
from api.request import security_log
from api.request.origins import origin_allowed
from api.streams.frames import Close
from api.streams.sockets import refuse
from api.streams.websocket_protocol import FRAMES, AsgiWire
from commands.security_log import record

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

GOODBYE_S: Final = 1.0  # how long the last frames may take


class PageSockets:
    """The ASGI handler of ``/ws/socket.io``. Of sockets that nobody has signed in to it keeps the newest ``anonymous_max``."""

    def __init__(self, context: PageContext, *, allowed_origins: Sequence[str], anonymous_max: int) -> None:
        self._context = replace(context, signed_in=self._signed_in)
        self.rooms = ChannelRooms(self._context)
        self.lists = PageLists(context.live)
        self.directs = DirectSessions(context.call_answers)
        self._allowed_origins = allowed_origins
        self._anonymous_max = anonymous_max
        self._sockets: set[PageSocket] = set()
        self._anonymous: dict[PageSocket, None] = {}  # the oldest first
        self._going_away = False
        self._all_gone = asyncio.Event()

    def __len__(self) -> int:
        return len(self._sockets)

    def _signed_in(self, socket: PageSocket) -> None:
        self._anonymous.pop(socket, None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await no_polling(send)
            return
        await receive()  # websocket.connect
        security_log.begin(scope)
        if self._going_away:
            await refuse(send)
            return
        await send({"type": "websocket.accept"})
        wire = scope.get("extensions", {}).get(FRAMES) or AsgiWire(send)
        socket = PageSocket(self._context, self.rooms, self.directs, receive, wire)
        self._sockets.add(socket)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = parse_qs(scope["query_string"].decode("latin-1"))
        try:
            if not origin_allowed(headers, self._allowed_origins):
                record("refused", code="origin_refused", origin=headers.get("origin"))
                socket.close(Close(1008, "this origin is not on the list"))
            elif query.get("EIO") != ["4"] or query.get("transport") != ["websocket"]:
                socket.close(Close(1002, "expected EIO=4 and transport=websocket"))
            else:
                del headers, query
                self._anonymous[socket] = None
                if len(self._anonymous) > self._anonymous_max:
                    oldest = next(iter(self._anonymous))
                    del self._anonymous[oldest]
                    oldest.close(Close(1013, "too many connections wait for a sign-in"))
                await socket.run()
        except OSError:
            pass  # the page is gone; what it missed stands in the log
        finally:
            self._anonymous.pop(socket, None)
            self._sockets.discard(socket)
            self._context.live.stalled.discard(socket)
            if not self._sockets:
                self._all_gone.set()
            await wire.flushed()

    async def go_away(self) -> None:
        """Close all of them: a page comes back by itself after one to five seconds, and joins its chat again."""
        self._going_away = True
        for socket in list(self._sockets):
            socket.close(Close(1012, "the server restarts"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                if self._sockets:
                    self._all_gone.clear()
                    await self._all_gone.wait()
                await self.directs.settled()


async def no_polling(send: Send) -> None:
    """As the original answers a page that was not told to use WebSocket alone."""
    body = b'{"code":3,"message":"Bad request"}'
    await send({"type": "http.response.start", "status": 400, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})
