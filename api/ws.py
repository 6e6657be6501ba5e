"""``/ws``: the thin loop around a ``Connection``. One coroutine reads, one writes; neither holds a queue of events.

What a client has not been sent stands in the log, and its subscriptions are cursors: a slow reader is only further behind.
"""

import asyncio
import contextlib
import json
import random
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import structlog

from adapters.hub import Batch, Hub, Subscription
from api.authentication import bearer_of, require_approved
from api.connection import Authenticate, Close, Connection, Effect, Join, Leave, MarkRead, Say, Signal, error_frame, frame
from api.errors import answer_of
from api.live import Live
from api.settings import Settings
from commands.account import Principal
from commands.ports import EventLog
from domain.cursor import Cursor
from domain.errors import LogUnavailable, NotAuthenticated, StenographError, StreamNotFound
from domain.stream import Stream

log = structlog.get_logger("ws")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
SnapshotOf = Callable[[Stream, Principal], Awaitable[tuple[int, bytes]]]

HELLO_TIMEOUT_S: Final = 5.0
SWEEP_S: Final = 1.0
FRAMES_KEPT_MAX: Final = 512
RECONNECT_SPREAD_MS: Final = (200, 5_000)
LOG_RETRY_S: Final = 0.5
ANSWERS_WAITING_MAX: Final = 2_000
# Who a socket belongs to before its welcome: nobody, who may see nothing.
NOBODY: Final = Principal(UUID(int=0), "", "pending", "", 0, None, None)


class Frames:
    """``events`` frames, built once for all who get the same events of a stream."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Stream, int, int], str] = OrderedDict()

    def of(self, stream: Stream, batch: Batch) -> str:
        key = (stream, batch.after, batch.until)
        made = self._kept.get(key)
        if made is None:
            events = b",".join([event.wire for event in batch.events])
            made = self._kept[key] = (b'{"op":"events","stream":"%b","events":[%b]}' % (str(stream).encode(), events)).decode()
            if len(self._kept) > FRAMES_KEPT_MAX:
                self._kept.popitem(last=False)
        return made


class Joined:
    """One subscription of one socket, and what it still owes its client besides events."""

    __slots__ = ("queued", "replaying", "snapshot", "subscription")

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.snapshot: Iterator[str] | None = None
        self.replaying = True
        self.queued = False


class Socket:
    """One connection. It is the ``Reader`` that owns its subscriptions."""

    __slots__ = (
        "_closing",
        "_joined",
        "_receive",
        "_send",
        "_server",
        "_wake",
        "answers",
        "connection",
        "principal",
        "ready",
        "session_id",
    )

    def __init__(self, server: "WebSockets", receive: Receive, send: Send) -> None:
        self._server = server
        self._receive = receive
        self._send = send
        self.connection = Connection(server.settings.subscriptions_max)
        self.session_id = uuid4()
        self.principal = NOBODY
        self.answers: deque[str] = deque()
        self.ready: deque[Joined] = deque()
        self._joined: dict[Stream, Joined] = {}
        self._wake: asyncio.Future[None] | None = None
        self._closing: Close | None = None

    # ------------------------------------------------------------------------------------------------- what wakes it

    def _wake_writer(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def wake(self, subscription: Subscription) -> None:
        """The hub has something for one of our subscriptions."""
        joined = self._joined.get(subscription.stream)
        if joined is not None and not joined.queued:
            joined.queued = True
            self.ready.append(joined)
            self._wake_writer()

    def wake_all(self) -> None:
        for joined in self._joined.values():
            self.wake(joined.subscription)

    def say(self, text: str) -> None:
        if len(self.answers) >= ANSWERS_WAITING_MAX:
            self.close(Close(4429, "more answers wait than are read"))
            return
        self.answers.append(text)
        self._wake_writer()

    def close(self, close: Close) -> None:
        if self._closing is None:
            self._closing = close
            self._wake_writer()

    def account_changed(self) -> None:
        self.ready.clear()
        self.close(Close(4401, "the account or the session has changed: sign in again"))

    # --------------------------------------------------------------------------------------------------------- reading

    async def run(self, principal: Principal | None) -> None:
        """Until either side ends it."""
        writer: asyncio.Task[None] | None = None
        try:
            if principal is None:
                principal = await self._hello()
                if principal is None:
                    return
            if not await self._welcome(principal):
                return
            writer = asyncio.create_task(self._write())
            await self._read(writer)
        finally:
            if writer is not None:
                writer.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await writer
            for joined in self._joined.values():
                self._server.hub.unsubscribe(joined.subscription)
            self._server.live.remove(self)

    async def _hello(self) -> Principal | None:
        """The principal of a first ``hello``, or None once the connection is over."""
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                while True:
                    text = await self._next()
                    if text is None:
                        return None
                    for effect in self.connection.receive(text, self._server.now_s()):
                        match effect:
                            case Authenticate(token=token):
                                return await self._server.principal(token)
                            case Say(frame=said):
                                await self._send({"type": "websocket.send", "text": said.decode()})
                            case Close(code=code, reason=reason):
                                await self._close(code, reason)
                                return None
                            case _:
                                pass
        except TimeoutError:
            await self._close(4408, f"no hello within {HELLO_TIMEOUT_S:g} s")
        except StenographError as error:
            await self._close(answer_of(error).close, error.detail)
        return None

    async def _welcome(self, principal: Principal) -> bool:
        server = self._server
        if server.live.count(principal.user_id) >= server.settings.connections_per_user_max:
            await self._close(4409, f"an account has at most {server.settings.connections_per_user_max} connections")
            return False
        self.principal = principal
        self.connection.authenticated = True
        server.live.add(self)
        await self._send({"type": "websocket.send", "text": self._welcome_frame()})
        own = Stream("user", principal.user_id)
        await self._join(Join(None, own, "now", False))
        return True

    def _welcome_frame(self) -> str:
        who, settings = self.principal, self._server.settings
        return frame(
            "welcome",
            session_id=self.session_id,
            user={"id": who.user_id, "name": who.name, "role": who.role},
            epoch=self._server.epoch,
            heartbeat_s=settings.ping_interval_s,
            expires_at=who.expires_at,
            limits={
                "frame_in_bytes": settings.frame_in_bytes,
                "frame_out_bytes": settings.frame_out_bytes,
                "subscriptions": settings.subscriptions_max,
            },
        ).decode()

    async def _next(self) -> str | None:
        """The next frame's text; None once the connection is over."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            return None
        text = message.get("text")
        if text is None:
            await self._close(1003, "expected text frames")
            return None
        return str(text)

    async def _read(self, writer: "asyncio.Task[None]") -> None:
        while not writer.done():
            text = await self._next()
            if text is None:
                return
            for effect in self.connection.receive(text, self._server.now_s()):
                try:
                    await self._do(effect)
                except StenographError as error:
                    about = effect.id if isinstance(effect, Join) else None
                    if isinstance(effect, Join):
                        self.connection.left(effect.stream)
                    self.say(error_frame(error, about).decode())

    async def _do(self, effect: Effect) -> None:
        match effect:
            case Say(frame=said):
                self.say(said.decode())
            case Close():
                self.close(effect)
            case Authenticate(token=token):
                await self._authenticate_again(token)
            case Join():
                await self._join(effect)
            case Leave(stream=stream):
                joined = self._joined.pop(stream, None)
                if joined is not None:
                    self._server.hub.unsubscribe(joined.subscription)
                self.say(frame("unsubscribed", stream=str(stream), code="asked", reason="you asked for it").decode())
            case Signal():
                self._server.signal(self.principal, effect)
            case MarkRead(stream=stream, version=version):
                self._server.mark_read(self.principal, stream, version)

    async def _authenticate_again(self, token: str) -> None:
        """A fresh token before the old one ends. It must be the same person's."""
        try:
            principal = await self._server.principal(token)
        except StenographError as error:
            self.close(Close(answer_of(error).close, error.detail))
            return
        if principal.user_id != self.principal.user_id:
            self.close(Close(4403, "the token is another person's"))
            return
        self.principal = principal
        self.say(self._welcome_frame())

    async def _join(self, join: Join) -> None:
        server, stream = self._server, join.stream
        may_read, may_write = await server.live.access(self.principal, stream)
        if not may_read:
            raise StreamNotFound(stream)
        earlier = self._joined.pop(stream, None)
        if earlier is not None:  # the own user stream, joined at welcome, is taken up from a cursor
            server.hub.unsubscribe(earlier.subscription)
        subscription = Subscription(stream, 0, self, self.wake)
        joined = Joined(subscription)
        # First the interest, then the head, then the comparison: nothing between the two can be missed.
        server.hub.subscribe(subscription)
        try:
            head = server.hub.know_head(stream, await server.log.version(stream))
            if head == 0:
                raise StreamNotFound(stream)
            # Access may have ended while we waited: what passed before the interest was registered is read again.
            if not (await server.live.access(self.principal, stream))[0]:
                raise StreamNotFound(stream)
            replay, after, reason = where(join, server.epoch, head)
            if replay == "snapshot":
                after, state = await server.snapshot(stream, self.principal)
                joined.snapshot = pages(stream, after, state, server.settings.frame_out_bytes)
        except BaseException:
            server.hub.unsubscribe(subscription)
            raise
        subscription.cursor = after
        self._joined[stream] = joined
        self.connection.streams.discard(stream) if join.id is None and stream.kind == "user" else self.connection.streams.add(stream)
        said: dict[str, Any] = {
            "id": join.id,
            "stream": str(stream),
            "epoch": server.epoch,
            "head": head,
            "replay": replay,
            "from": after + 1,
            "write_access": may_write,
        }
        if reason is not None:
            said["reason"] = reason
        self.say(frame("subscribed", **said).decode())
        self.wake(subscription)

    # --------------------------------------------------------------------------------------------------------- writing

    async def _write(self) -> None:
        """Answers first, then one frame of each subscription in turn."""
        loop = asyncio.get_running_loop()
        while True:
            if self._closing is not None:
                while self.answers:
                    await self._send({"type": "websocket.send", "text": self.answers.popleft()})
                await self._close(self._closing.code, self._closing.reason)
                return
            if self.answers:
                await self._send({"type": "websocket.send", "text": self.answers.popleft()})
            elif self.ready:
                joined = self.ready.popleft()
                joined.queued = False
                await self._serve(joined)
            else:
                self._wake = loop.create_future()
                await self._wake

    async def _serve(self, joined: Joined) -> None:
        server, subscription = self._server, joined.subscription
        if self._joined.get(subscription.stream) is not joined:
            return
        if not server.live.may_send(self.principal):
            if not server.live.accounts.still_valid(self.principal):
                self.account_changed()
            server.stalled.add(self)  # cut off from Postgres: the sweeper wakes us when it is back
            return
        if joined.snapshot is not None:
            page = next(joined.snapshot, None)
            if page is not None:
                await self._send({"type": "websocket.send", "text": page})
                self.wake(subscription)
                return
            joined.snapshot = None
        batch = server.hub.take(subscription, bytes_max=server.settings.frame_out_bytes)
        if batch is not None:
            await self._send({"type": "websocket.send", "text": server.frames.of(subscription.stream, batch)})
        elif server.hub.behind(subscription):
            joined.replaying = True
            try:
                await server.hub.fetch(subscription)
            except LogUnavailable:
                await asyncio.sleep(LOG_RETRY_S)
        if server.hub.behind(subscription):
            self.wake(subscription)
        elif subscription.ended:
            await self._ended(joined)
        elif joined.replaying:
            joined.replaying = False
            said = frame("caught_up", stream=str(subscription.stream), version=subscription.cursor)
            await self._send({"type": "websocket.send", "text": said.decode()})

    async def _ended(self, joined: Joined) -> None:
        subscription = joined.subscription
        self._server.hub.unsubscribe(subscription)
        del self._joined[subscription.stream]
        self.connection.left(subscription.stream)
        code = subscription.ends_because
        said = frame("unsubscribed", stream=str(subscription.stream), code=code, reason=code.replace("_", " "))
        await self._send({"type": "websocket.send", "text": said.decode()})

    async def _close(self, code: int, reason: str) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # it may be gone already
            await self._send({"type": "websocket.close", "code": code, "reason": reason[:120]})


def where(join: Join, epoch: UUID, head: int) -> tuple[str, int, str | None]:
    """``(replay, after, reason)``: what the subscriber gets next."""
    if join.snapshot:
        return "snapshot", 0, "asked"
    match join.after:
        case "start":
            return "full", 0, None
        case Cursor(epoch=known, number=number):
            if known != epoch:
                return "snapshot", 0, "epoch"
            if number > head:
                return "snapshot", 0, "above_head"
            return "suffix", number, None
        case _:
            return "suffix", head, None


def pages(stream: Stream, version: int, state: bytes, bytes_max: int) -> Iterator[str]:
    """A snapshot in as many frames as it needs: ``state`` is cut as text, and the client joins the pieces before it decodes them."""
    text = state.decode()
    if len(state) + 200 <= bytes_max:
        yield f'{{"op":"snapshot","stream":"{stream}","version":{version},"state":{text},"page":1,"pages":1}}'
        return
    step = bytes_max // 8  # a character is at most six bytes once it is escaped in a JSON text
    count = -(-len(text) // step)
    for page in range(count):
        piece = json.dumps(text[page * step : (page + 1) * step])
        yield f'{{"op":"snapshot","stream":"{stream}","version":{version},"state":{piece},"page":{page + 1},"pages":{count}}}'


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
        now_s: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.epoch = epoch
        self.log = log_
        self.hub = hub
        self.live = live
        self.snapshot = snapshot
        self.mark_read = mark_read
        self.now_s = now_s
        self.frames = Frames()
        self._signalled = signalled
        self._sockets: set[Socket] = set()
        self.stalled: set[Socket] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._going_away = False

    def __len__(self) -> int:
        return len(self._sockets)

    async def start(self) -> None:
        self._sweeper = asyncio.create_task(self._sweep(), name="socket sweeper")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        await send({"type": "websocket.accept"})
        socket = Socket(self, receive, send)
        self._sockets.add(socket)
        try:
            if not self._origin_allowed(headers):
                await socket._close(1008, "this origin is not on the list")
                return
            if self._going_away:
                await socket._close(1012, "the server is going away")
                return
            await socket.run(await self._by_request(headers, scope))
        except StenographError as error:
            await socket._close(answer_of(error).close, error.detail)
        except OSError:
            pass  # the client is gone; what it missed stands in the log
        finally:
            self._sockets.discard(socket)
            self.stalled.discard(socket)

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
        text = signal.decode()
        for subscription in self.hub.subscriptions(Stream(kind, UUID(stream_id))):
            owner = subscription.owner
            if isinstance(owner, Socket) and str(owner.principal.user_id) != said["user"]["id"]:
                owner.say(text)

    async def go_away(self) -> None:
        """Each client is told to come back after another delay, so that they do not all come at once; then it is closed."""
        self._going_away = True
        sockets: Sequence[Socket] = list(self._sockets)
        for socket in sockets:
            delay_ms = random.randint(*RECONNECT_SPREAD_MS)  # noqa: S311  # spreads load, guards nothing
            socket.answers.append(frame("reconnect", after_ms=delay_ms).decode())
            socket.close(Close(1012, "the server restarts"))
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _sweep(self) -> None:
        """One timer for all: tokens that have ended, and a wake-up for who waited while Postgres was away."""
        while True:
            await asyncio.sleep(SWEEP_S)
            for socket in list(self._sockets):
                if self.live.expired(socket.principal):
                    socket.close(Close(4401, "the token has expired"))
            if self.stalled and self.live.fresh():
                stalled, self.stalled = self.stalled, set()
                for socket in stalled:
                    socket.wake_all()
