"""``/ws``: who is let in, what all sockets share, and how they are told to go. What one of them does: api/streams/socket.py."""

import asyncio
import contextlib
import json
import random
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from adapters.delivery.hub import Hub
from api.request.authentication import bearer_of, require_approved
from api.request.errors import answer_of
from api.settings import Settings
from api.streams.access import Live
from api.streams.frames import Close, Signal, frame
from api.streams.socket import Receive, Socket, Writer
from api.streams.tailing import Follower
from api.streams.websocket_protocol import FRAMES, AsgiWire, text_frame
from commands.accounts import Principal
from commands.ports import EventLog
from domain.errors import NotAuthenticated, StenographError
from domain.stream import Stream

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
SnapshotOf = Callable[[Stream, Principal], Awaitable[tuple[int, bytes]]]

SWEEP_S: Final = 1.0
RECONNECT_SPREAD_MS: Final = (200, 5_000)
GOODBYE_S: Final = 1.0  # how long the last frames may take
TRANSPORT_BUFFER_BYTES: Final = 64 * 1024  # asyncio's high-water mark: what waits for a slow reader besides one frame
FRAME_OUT_BYTES_MIN: Final = 1024


def pages_of(stream: Stream, version: int, state: bytes, bytes_max: int) -> Iterator[bytes]:
    """A snapshot in as many frames as it needs: ``state`` is cut as text, and the client joins the pieces before it decodes them."""
    if len(state) + 200 <= bytes_max:
        name = str(stream).encode()
        yield text_frame(b'{"op":"snapshot","stream":"%b","version":%d,"state":%b,"page":1,"pages":1}' % (name, version, state))
        return
    text = state.decode()
    step = max(1, bytes_max // 8)  # a character is at most six bytes once it is escaped in a JSON text
    count = -(-len(text) // step)
    for page in range(count):
        piece = json.dumps(text[page * step : (page + 1) * step])
        yield text_frame(
            f'{{"op":"snapshot","stream":"{stream}","version":{version},"state":{piece},"page":{page + 1},"pages":{count}}}'.encode()
        )


async def refuse(send: Send) -> None:
    """The handshake's answer of a server that is going away: come back, to whoever is there then."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"1")]
    await send({"type": "websocket.http.response.start", "status": 503, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"the server is going away"})


class WebSockets:
    """The ASGI handler of ``/ws``, and what all sockets share."""

    def __init__(
        self,
        settings: Settings,
        epoch: UUID,
        log_: EventLog,
        hub: Hub,
        live: Live,
        snapshot: SnapshotOf,
        signalled: Callable[[bytes], None],
        mark_read: Callable[[Principal, Stream, int], None],
        seen: Callable[[UUID], None],
        now_s: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.epoch = epoch
        self.log = log_
        self.hub = hub
        self.live = live
        self.mark_read = mark_read
        self.seen = seen
        self.now_s = now_s
        self.still_valid = live.accounts.still_valid
        self.writer = Writer(lambda: live.fresh())
        # What waits for one slow reader: the transport's buffer, and the frame that filled it.
        self.frame_bytes = max(FRAME_OUT_BYTES_MIN, min(settings.frame_out_bytes, settings.outbound_buffer_bytes - TRANSPORT_BUFFER_BYTES))
        self._snapshot = snapshot
        self._snapshots: dict[Stream, asyncio.Task[tuple[int, Sequence[bytes]]]] = {}
        self._signalled = signalled
        self._sockets: set[Socket] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._going_away = False
        self._all_gone = asyncio.Event()

    def __len__(self) -> int:
        return len(self._sockets)

    async def start(self) -> None:
        self._sweeper = asyncio.create_task(self._sweep(), name="socket sweeper")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if self._going_away:
            # Refused before it is accepted: a socket that is opened and closed at once may be cut before its client reads why.
            await refuse(send)
            return
        await send({"type": "websocket.accept"})
        socket = Socket(self, receive, scope.get("extensions", {}).get(FRAMES) or AsgiWire(send))
        self._sockets.add(socket)
        try:
            if not self._origin_allowed(headers):
                socket.close(Close(1008, "this origin is not on the list"))
            else:
                principal = await self._by_request(headers, scope)
                del headers
                await socket.run(principal)
        except StenographError as error:
            socket.close(Close(answer_of(error).close, error.detail))
        except OSError:
            pass  # the client is gone; what it missed stands in the log
        finally:
            self._sockets.discard(socket)
            self.live.stalled.discard(socket)
            if not self._sockets:
                self._all_gone.set()
            await socket.wire.flushed()

    async def _by_request(self, headers: dict[str, str], scope: Scope) -> Principal | None:
        """By header or ticket; None: a ``hello`` will come."""
        token = bearer_of(headers)
        if token is not None:
            return await self.principal(token)
        tickets = parse_qs(scope["query_string"].decode("latin-1")).get("ticket")
        if tickets:
            principal = await self.live.accounts.redeem(tickets[0])
            require_approved(principal)
            return principal
        return None

    async def principal(self, token: str) -> Principal:
        """Raises ``NotAuthenticated``, ``Forbidden`` for an account that waits for approval."""
        if not token:
            raise NotAuthenticated
        principal = await self.live.accounts.authenticate(token)
        require_approved(principal)
        return principal

    def _origin_allowed(self, headers: dict[str, str]) -> bool:
        """Browsers always send one, programs do not."""
        origin = headers.get("origin")
        allowed = self.settings.allowed_origins
        return origin is None or "*" in allowed or origin in allowed or urlsplit(origin).netloc == headers.get("host")

    def signal(self, principal: Principal, signal: Signal) -> None:
        """Somebody types: to everybody else in the stream, here and on the other processes."""
        data: dict[str, Any] = {"type": "typing", "data": {"typing": signal.typing}, "message_id": signal.message_id}
        user = {"id": str(principal.user_id), "name": principal.name, "role": principal.role}
        said = frame("ephemeral", stream=str(signal.stream), user=user, data=data)
        self.deliver(said)
        self._signalled(said)

    def deliver(self, signal: bytes) -> None:
        """An ephemeral frame, from here or from another process, to the stream's subscribers but its sender."""
        said = json.loads(signal)
        kind, _, stream_id = said["stream"].partition("/")
        framed = text_frame(signal)
        for subscription in self.hub.subscriptions(Stream(kind, UUID(stream_id))):
            owner = subscription.owner
            if subscription.ends_after is None and isinstance(owner, Socket) and str(owner.principal.user_id) != said["user"]["id"]:
                owner.signal(framed)

    async def snapshot_pages(self, stream: Stream, principal: Principal) -> tuple[int, Sequence[bytes]]:
        """``(version, frames)``, made once for all who ask at the same time."""
        making = self._snapshots.get(stream)
        if making is None:
            making = self._snapshots[stream] = asyncio.create_task(self._snapshot_pages(stream, principal))
            making.add_done_callback(lambda done: self._snapshot_made(stream, done))
        return await asyncio.shield(making)

    async def _snapshot_pages(self, stream: Stream, principal: Principal) -> tuple[int, Sequence[bytes]]:
        version, state = await self._snapshot(stream, principal)
        return version, list(pages_of(stream, version, state, self.frame_bytes))

    def _snapshot_made(self, stream: Stream, done: "asyncio.Task[tuple[int, Sequence[bytes]]]") -> None:
        del self._snapshots[stream]
        if not done.cancelled():
            done.exception()  # whoever still waits is told; if nobody does, nobody is

    async def go_away(self) -> None:
        """Each client is told to come back after another delay, so that they do not all come at once; then it is closed."""
        self._going_away = True
        sockets = list(self._sockets)
        followers = [reader for reader in self.live.all() if isinstance(reader, Follower) and reader.counted]
        first_ms, last_ms = RECONNECT_SPREAD_MS
        leaving = len(sockets) + len(followers)
        delays_ms = iter(random.sample(range(first_ms, max(last_ms, first_ms + 2 * leaving)), leaving))  # spreads load, guards nothing
        for follower in followers:
            follower.go_away(next(delays_ms))
        for socket in sockets:
            socket.say(frame("reconnect", after_ms=next(delays_ms)))
            socket.close(Close(1012, "the server restarts"))
        if self._sockets:
            self._all_gone.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    await self._all_gone.wait()
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _sweep(self) -> None:
        """One timer for all: tokens that have ended, and a wake-up for who waited while Postgres was away."""
        while True:
            await asyncio.sleep(SWEEP_S)
            for socket in list(self._sockets):
                if self.live.expired(socket.principal):
                    socket.close(Close(4401, "the token has expired"))
            if self.live.stalled and self.live.fresh():
                stalled, self.live.stalled = self.live.stalled, set()
                for reader in stalled:
                    reader.wake_all()
