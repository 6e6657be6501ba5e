"""``/ws``: the thin loop around a ``Connection``. A coroutine for each socket reads; one callback for all of them writes.

What a client has not been sent stands in the log, and its subscriptions are cursors: no socket owns a queue of events, and a
slow reader is only further behind. Why it is so, and what it costs: docs/decisions/0020-fan-out.md.
"""

import asyncio
import contextlib
import json
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import structlog

from adapters.hub import Batch, Hub, Page, Subscription
from api.authentication import bearer_of, require_approved
from api.connection import Alive, Authenticate, Close, Connection, Effect, Join, Leave, MarkRead, Say, Signal, error_frame, frame
from api.errors import answer_of
from api.follow import Follower
from api.live import Live
from api.settings import Settings
from api.ws_protocol import FRAMES, AsgiWire, Wire, text_frame
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
RECONNECT_SPREAD_MS: Final = (200, 5_000)
GOODBYE_S: Final = 1.0  # how long the last frames may take
LOG_RETRY_S: Final = 0.5
TURN_SOCKETS: Final = 64  # served before the loop sees to everything else again
ANSWERS_WAITING_MAX: Final = 100  # above it nothing more is read from a client until it has read its answers
SIGNALS_WAITING_MAX: Final = 50  # above it typing and presence are lost, as they may be
TRANSPORT_BUFFER_BYTES: Final = 64 * 1024  # asyncio's high-water mark: what waits for a slow reader besides one frame
FRAME_OUT_BYTES_MIN: Final = 1024
# Who a socket belongs to before its welcome: nobody, who may see nothing.
NOBODY: Final = Principal(UUID(int=0), "", "pending", "", 0, None, None)


def events_frame(batch: Batch) -> bytes:
    """An ``events`` frame, of the bytes that were made for each event."""
    events = b",".join([event.wire for event in batch.events])
    return text_frame(b"%b%b]}" % (_opening(batch.stream), events))


@lru_cache(maxsize=8192)
def _opening(stream: Stream) -> bytes:
    return b'{"op":"events","stream":"%b","events":[' % str(stream).encode()


def caught_up_frame(stream: Stream, version: int) -> bytes:
    return text_frame(b'{"op":"caught_up","stream":"%b","version":%d}' % (str(stream).encode(), version))


class Joined(Subscription):
    """One subscription of one socket, and what it still owes its client besides events."""

    __slots__ = ("fetching", "gone", "pages", "queued", "replaying")

    def __init__(self, stream: Stream, socket: "Socket") -> None:
        super().__init__(stream, 0, socket, wake)
        self.pages: Iterator[bytes] | None = None  # of a snapshot, that is sent before any event
        self.fetching: asyncio.Task[None] | None = None
        self.replaying = True
        self.queued = True  # not to be woken before it is set up
        self.gone = False


def wake(joined: Joined) -> None:
    """The hub has something for it. This is on the way of every event to every socket."""
    if not joined.queued:
        joined.queued = True
        socket: Any = joined.owner
        socket.ready.append(joined)
        if not socket.queued:
            socket.server.writer.add(socket)


class Writer:
    """Writes to all sockets, in turns: a callback of the loop instead of a task for each, so that an event for a thousand
    sockets costs no thousand task switches. One frame for a socket, then it is the next one's turn; after ``TURN_SOCKETS`` the
    loop's. While they wait, more events come together for a frame."""

    def __init__(self, fresh: Callable[[], bool]) -> None:
        self._fresh = fresh
        self._waiting: deque[Socket] = deque()
        self._called = False

    def add(self, socket: "Socket") -> None:
        if not socket.queued:
            socket.queued = True
            self._waiting.append(socket)
            if not self._called:
                self._called = True
                asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        waiting, fresh = self._waiting, self._fresh()
        for _ in range(min(len(waiting), TURN_SOCKETS)):
            socket = waiting.popleft()
            try:
                again = socket.serve(fresh)
            except Exception:
                # A mistake of ours with one socket must not end all others. It comes back and goes on from its cursors.
                log.exception("socket_not_served", session=str(socket.session_id))
                socket.close(Close(1011, "the server made a mistake"))
                again = False
            if again:
                waiting.append(socket)
            else:
                socket.queued = False
        self._called = bool(waiting)
        if self._called:
            asyncio.get_running_loop().call_soon(self._turn)


class Socket:
    """One connection. It is the ``Reader`` that owns its subscriptions."""

    __slots__ = (
        "_closing",
        "_drained",
        "_joined",
        "_receive",
        "answers",
        "connection",
        "principal",
        "queued",
        "ready",
        "server",
        "session_id",
        "wire",
    )

    counted = True

    def __init__(self, server: "WebSockets", receive: Receive, wire: Wire) -> None:
        self.server = server
        self._receive = receive
        self.wire = wire
        self.connection = Connection(server.settings.subscriptions_max)
        self.session_id = uuid4()
        self.principal = NOBODY
        self.answers: list[bytes] = []
        self.ready: list[Joined] = []
        self.queued = False  # whether it is in the writer's row
        self._joined: dict[Stream, Joined] = {}
        self._drained: asyncio.Future[None] | None = None
        self._closing: Close | None = None
        wire.resumed = self._resumed

    # ------------------------------------------------------------------------------------------------- what wakes it

    def _resumed(self) -> None:
        """The client has taken what it was sent, or it is gone."""
        if not self.wire.can_write:
            self._let_reader_go_on()
        self.server.writer.add(self)

    def wake_all(self) -> None:
        """This process has found Postgres again."""
        self.server.writer.add(self)

    def say(self, payload: bytes) -> None:
        """An answer. It goes before any event."""
        if self._closing is None:
            self.answers.append(text_frame(payload))
            self.server.writer.add(self)

    def signal(self, framed: bytes) -> None:
        """Something ephemeral: lost where too much waits already."""
        if self._closing is None and len(self.answers) < SIGNALS_WAITING_MAX:
            self.answers.append(framed)
            self.server.writer.add(self)

    def close(self, close: Close) -> None:
        """Answers that wait go out, and nothing else."""
        if self._closing is None:
            self._closing = close
            if self.wire.can_write:
                for answer in self.answers:
                    self.wire.write_frame(answer)
            self.answers.clear()
            self.ready.clear()
            self.wire.end(close.code, close.reason)
            self._let_reader_go_on()

    def account_changed(self) -> None:
        self.answers.clear()
        self.close(Close(4401, "the account or the session has changed: sign in again"))

    # --------------------------------------------------------------------------------------------------------- reading

    async def run(self, principal: Principal | None) -> None:
        """Until either side ends it."""
        try:
            if principal is None:
                principal = await self._hello()
            if principal is not None and await self._welcome(principal):
                await self._read()
        finally:
            for joined in self._joined.values():
                self._let_go(joined)
            self.server.live.remove(self)

    async def _hello(self) -> Principal | None:
        """The principal of a first ``hello``, or None once the connection is over."""
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                while (text := await self._next()) is not None:
                    for effect in self.connection.receive(text, self.server.now_s()):
                        match effect:
                            case Authenticate(token=token):
                                return await self.server.principal(token)
                            case Say(frame=said):
                                self.say(said)
                            case Close():
                                self.close(effect)
                            case _:
                                pass
        except TimeoutError:
            self.close(Close(4408, f"no hello within {HELLO_TIMEOUT_S:g} s"))
        return None

    async def _welcome(self, principal: Principal) -> bool:
        server = self.server
        if server.live.count(principal.user_id) >= server.settings.connections_per_user_max:
            self.close(Close(4409, f"an account has at most {server.settings.connections_per_user_max} connections"))
            return False
        self.principal = principal
        self.connection.authenticated = True
        server.live.add(self)
        server.seen(principal.user_id)
        self.say(self._welcome_frame())
        await self._do(Join(None, Stream("user", principal.user_id), "now", False))
        return True

    def _welcome_frame(self) -> bytes:
        who, settings = self.principal, self.server.settings
        return frame(
            "welcome",
            session_id=self.session_id,
            user={"id": who.user_id, "name": who.name, "role": who.role},
            epoch=self.server.epoch,
            heartbeat_s=settings.ping_interval_s,
            expires_at=who.expires_at,
            limits={
                "frame_in_bytes": settings.frame_in_bytes,
                "frame_out_bytes": settings.frame_out_bytes,
                "subscriptions": settings.subscriptions_max,
            },
        )

    async def _next(self) -> str | None:
        """The next frame's text; None once the connection is over."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect" or self._closing is not None:
            return None
        text = message.get("text")
        if text is None:
            self.close(Close(1003, "expected text frames"))
            return None
        return str(text)

    async def _read(self) -> None:
        while (text := await self._next()) is not None:
            for effect in self.connection.receive(text, self.server.now_s()):
                await self._do(effect)
            if self._owes_much():
                self._drained = asyncio.get_running_loop().create_future()
                await self._drained
                self._drained = None

    def _owes_much(self) -> bool:
        """Whether the client has to read before it may ask for more: else its answers and snapshots would pile up."""
        return len(self.answers) >= ANSWERS_WAITING_MAX or any(joined.pages is not None for joined in self.ready)

    def _let_reader_go_on(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def _do(self, effect: Effect) -> None:
        """A refusal is answered; it ends nothing."""
        try:
            match effect:
                case Say(frame=said):
                    self.say(said)
                case Close():
                    self.close(effect)
                case Authenticate(token=token):
                    await self._authenticate_again(token)
                case Join():
                    await self._join(effect)
                case Leave():
                    self._leave(effect)
                case Signal(stream=stream):
                    joined = self._joined.get(stream)
                    if joined is not None and joined.ends_after is None:  # else it has ended, and the client will hear so
                        self.server.signal(self.principal, effect)
                case MarkRead(stream=stream, version=version):
                    self.server.mark_read(self.principal, stream, version)
                case Alive():
                    self.server.seen(self.principal.user_id)
        except StenographError as error:
            about = effect.id if isinstance(effect, Join) else None
            if isinstance(effect, Join):
                self.connection.left(effect.stream)
            self.say(error_frame(error, about))

    async def _authenticate_again(self, token: str) -> None:
        """A fresh token before the old one ends. It must be the same person's."""
        try:
            principal = await self.server.principal(token)
        except StenographError as error:
            self.close(Close(answer_of(error).close, error.detail))
            return
        if principal.user_id != self.principal.user_id:
            self.close(Close(4403, "the token is another person's"))
            return
        self.principal = principal
        self.say(self._welcome_frame())

    async def _join(self, join: Join) -> None:
        """First the interest, then the head, then the access as of that head: what comes after it passes the guard."""
        server, stream = self.server, join.stream
        joined = Joined(stream, self)
        try:
            head = await server.hub.join(joined, self._head)
            if isinstance(join.after, Cursor) and join.after.number > head and join.after.epoch == server.epoch:
                # Another process may be ahead of what has passed here: its client is not from the future.
                head = max(head, await server.log.version(stream))
            may_read, may_write = await server.live.access(self.principal, stream, at_least=head)
            if head == 0 or not may_read:
                raise StreamNotFound(stream)
            replay, after, reason = where(join, server.epoch, head)
            if replay == "snapshot":
                after, pages = await server.snapshot_pages(stream, self.principal)
                joined.pages = iter(pages)
            if joined.ends_after is not None:  # access ended while we waited
                raise StreamNotFound(stream)
        except BaseException:
            server.hub.unsubscribe(joined)
            raise
        earlier = self._joined.get(stream)
        if earlier is not None:  # the own user stream, joined at welcome, is taken up from a cursor
            self._let_go(earlier)
        joined.cursor = after
        self._joined[stream] = joined
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
        self.say(frame("subscribed", **said))
        joined.queued = False
        wake(joined)

    async def _head(self, stream: Stream) -> int:
        """What is known of the own account has seen whatever has passed here: its stream's head costs no query."""
        standing = self.principal.standing
        if standing is not None and standing.current and stream == Stream("user", self.principal.user_id):
            return standing.version
        return await self.server.log.version(stream)

    def _leave(self, leave: Leave) -> None:
        joined = self._joined.pop(leave.stream, None)
        if joined is not None:
            self._let_go(joined)
        about = {} if leave.id is None else {"id": leave.id}
        self.say(frame("unsubscribed", **about, stream=str(leave.stream), code="asked", reason="you asked for it"))

    def _let_go(self, joined: Joined) -> None:
        joined.gone = True
        self.server.hub.unsubscribe(joined)
        if joined.fetching is not None:
            joined.fetching.cancel()

    # --------------------------------------------------------------------------------------------------------- writing

    def serve(self, fresh: bool) -> bool:
        """One frame, if the client can take one. Whether there is more for it.

        Frames of events are made here and go out here: nothing waits in between that could go out after access has ended.
        """
        server = self.server
        if self._closing is not None or not self.wire.can_write:
            return False
        if self.principal is not NOBODY and not server.still_valid(self.principal):
            self.account_changed()
            return False
        if self.answers:
            self.wire.write_frame(self.answers.pop(0))
        elif self.ready:
            if not fresh:
                server.live.stalled.add(self)  # cut off from Postgres: it is woken when that is back
                return False
            joined = self.ready.pop(0)
            joined.queued = False
            self._give(joined, None)
        if self._drained is not None and not self._owes_much():
            self._let_reader_go_on()
        return bool(self.answers or self.ready)

    def _give(self, joined: Joined, page: Page | None) -> None:
        """The next of what a subscription has for its client; once more if there is more."""
        if joined.gone or joined.fetching is not None:
            return
        if joined.pages is not None:
            snapshot_page = next(joined.pages, None)
            if snapshot_page is not None:
                self.wire.write_frame(snapshot_page)
                wake(joined)
                return
            joined.pages = None
        hub = self.server.hub
        batch = hub.take(joined, bytes_max=self.server.frame_bytes, page=page)
        if batch is not None:
            self.wire.write_frame(batch.form(events_frame))
            if hub.behind(joined):
                wake(joined)
                return
        elif hub.behind(joined):
            joined.replaying = True
            joined.fetching = asyncio.create_task(self._fetch(joined))
            return
        if joined.ended:
            self._ended(joined)
        elif joined.replaying:
            joined.replaying = False
            self.answers.append(caught_up_frame(joined.stream, joined.cursor))

    async def _fetch(self, joined: Joined) -> None:
        """What is not in memory, from the log. It is sent at once: under a storm memory may have let it go by the next turn."""
        page = None
        try:
            page = await self.server.hub.fetch(joined)
        except LogUnavailable:
            await asyncio.sleep(LOG_RETRY_S)
        except Exception:
            # A mistake of ours: nobody waits for this task, and the client must not wait for ever. It comes back with its cursors.
            log.exception("page_not_read", stream=str(joined.stream), session=str(self.session_id))
            self.close(Close(1011, "the server made a mistake"))
            return
        finally:
            joined.fetching = None
        live = self.server.live
        at_once = page is not None and not self.answers and not joined.queued and self._closing is None and self.wire.can_write
        if at_once and live.may_send(self.principal):
            self._give(joined, page)
            self.server.writer.add(self)
        else:
            wake(joined)

    def _ended(self, joined: Joined) -> None:
        del self._joined[joined.stream]
        self._let_go(joined)
        self.connection.left(joined.stream)
        code = joined.ends_because
        self.answers.append(text_frame(frame("unsubscribed", stream=str(joined.stream), code=code, reason=code.replace("_", " "))))


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
