"""The socket: connects, reads, comes back. What to do about a frame is ``session.py``'s, how long to wait ``backoff.py``'s."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from stenograph_client.backoff import Answer, Backoff, answer_to, answer_to_status
from stenograph_client.buffer import Buffer
from stenograph_client.errors import ApiError, ClientError, ConnectionStopped, FollowFailed, NotSignedIn, ServerUnreachable
from stenograph_client.events import Item, Welcome, decode_frame
from stenograph_client.http import LOOPBACK, Http, error_of, reason_of
from stenograph_client.session import Again, Channels, ComeBack, Consumer, Deliver, End, EpochChange, Out, Ready, Send, Session, Track

Handshake = Literal["header", "ticket", "hello"]

FRAME_BYTES_MAX: Final = 8 * 1024 * 1024  # above any frame that a server sends, below what would hurt
CONNECT_TIMEOUT_S: Final = 10.0
WELCOME_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 2.0
PING_S: Final = 20.0
PATIENCE_S: Final = 5.0  # how long one slow consumer may hold up the others on its socket before its stream is let go
BUFFER_ITEMS: Final = 1024
RENEW_BEFORE: Final = 0.1  # the last part of a token's life, in which a new one is fetched
RENEW_BEFORE_MAX_S: Final = 300.0


class State(NamedTuple):
    """What became of the connection. ``retry_s`` is how long the client waits now; None: it does not wait."""

    connected: bool
    reason: str = ""
    retry_s: float | None = None


class Lost(Exception):
    """A connection has ended."""

    def __init__(self, answer: Answer, code: int, reason: str) -> None:
        self.answer, self.code, self.reason = answer, code, reason
        super().__init__(f"{code} {reason}".strip())


def socket_url(base_url: str) -> str:
    """``http://host/base`` → ``ws://host/base/ws``."""
    return "ws" + base_url.rstrip("/").removeprefix("http") + "/ws"


def ends_at(welcome: Welcome) -> float | None:
    """When the token ends, in seconds since 1970."""
    match welcome.expires_at:
        case int() | float() as seconds:
            return float(seconds)
        case str() as text:
            with contextlib.suppress(ValueError):
                return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
        case None:
            pass
    return None


class Connection:
    """One socket for all follows of a client. It opens with the first and stays until ``aclose``."""

    def __init__(
        self,
        http: Http,
        *,
        handshake: Handshake = "header",
        backoff: Backoff | None = None,
        buffer_items: int = BUFFER_ITEMS,
        patience_s: float = PATIENCE_S,
        on_state: Callable[[State], None] | None = None,
    ) -> None:
        self._http = http
        self._handshake = handshake
        self._backoff = backoff or Backoff()
        self._buffer_items = buffer_items
        self._patience_s = patience_s
        self._on_state = on_state or (lambda _: None)
        self.session = Session()
        self._buffers: dict[Consumer, Buffer[Item]] = {}
        self._socket: ClientConnection | None = None
        self._running: asyncio.Task[None] | None = None
        self._side: set[asyncio.Task[None]] = set()
        self._come_back_at: float | None = None  # on the loop's clock, as the server wished
        self._token: str | None = None

    # ----------------------------------------------------------------------------------------------------- for follows

    async def follow(self, stream: str, after: str, *, snapshot: bool, epoch_change: EpochChange, signals: bool = False) -> Track:
        """Raises ``AlreadyFollowed``, ``ValueError``."""
        track, outs = self.session.follow(stream, after, snapshot=snapshot, signals=signals, epoch_change=epoch_change)
        await self._begin_consumer(track, outs)
        return track

    async def follow_channels(
        self, cursors: Mapping[str, str], *, snapshot: bool, epoch_change: EpochChange, signals: bool = False
    ) -> Channels:
        """Raises ``AlreadyFollowed``, ``ValueError``."""
        channels, outs = self.session.follow_channels(cursors, snapshot=snapshot, signals=signals, epoch_change=epoch_change)
        await self._begin_consumer(channels, outs)
        return channels

    async def _begin_consumer(self, consumer: Consumer, outs: Iterable[Out]) -> None:
        self._buffers[consumer] = Buffer(self._buffer_items)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(), name="stenograph client")
        await self._perform(outs)

    async def next(self, consumer: Consumer) -> Item:
        """Raises ``FollowFailed``, ``ConnectionStopped``, ``NotSignedIn``."""
        buffer = self._buffers[consumer]
        item = await buffer.get()
        if buffer.half_empty:
            tracks = [consumer] if isinstance(consumer, Track) else self.session.tracks_of(consumer)
            for track in tracks:
                if not track.wanted and not track.over:
                    await self._perform(self.session.take_up(track))
        return item

    async def leave(self, consumer: Consumer) -> None:
        buffer = self._buffers.pop(consumer, None)
        if buffer is not None:
            buffer.fail(asyncio.CancelledError())  # the reader may be waiting for room in it
        session = self.session
        await self._perform(session.unfollow(consumer) if isinstance(consumer, Track) else session.unfollow_channels(consumer))

    async def say(self, frame: Mapping[str, Any], about: str) -> None:
        """Send a frame about a stream that is followed now; where it is not, nothing is sent."""
        if self.session.is_live(about):
            await self._perform([Send(frame)])

    async def aclose(self) -> None:
        tasks = [task for task in (self._running, *self._side) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---------------------------------------------------------------------------------------------------------- coming

    async def _run(self) -> None:
        try:
            while True:
                began = asyncio.get_running_loop().time()
                try:
                    await self._connect_and_talk()
                except Lost as lost:
                    self._backoff.was_connected(asyncio.get_running_loop().time() - began)
                    await self._after(lost)
        except ClientError as failure:
            for buffer in self._buffers.values():
                buffer.fail(failure)
            self.session.tracks.clear()
            self.session.channels = None
            self._on_state(State(False, str(failure)))

    async def _after(self, lost: Lost) -> None:
        """Wait as the loss asks for. Raises what ends the client's connection for good."""
        wait_s = self._backoff.pause_s() if lost.answer is Answer.PAUSE else self._backoff.next_s()
        match lost.answer:
            case Answer.STOP:
                raise ConnectionStopped(lost.code, lost.reason)
            case Answer.NEW_TOKEN if self._handshake != "ticket":  # a ticket is fetched anew for every connection
                await self._new_token()
            case _:
                if self._come_back_at is not None:
                    wait_s = max(0.0, self._come_back_at - asyncio.get_running_loop().time())
        self._come_back_at = None
        self._on_state(State(False, lost.reason or f"connection lost ({lost.code})", wait_s))
        await asyncio.sleep(wait_s)

    async def _new_token(self) -> None:
        """Raises ``NotSignedIn`` if there is none to be had; a server that is away is asked again later, by the next connection."""
        try:
            await self._http.credentials.renew(self._token)
        except ServerUnreachable:
            return
        except ApiError as refused:
            if refused.status < 500:
                raise

    async def _connect_and_talk(self) -> None:
        """Raises ``Lost`` always, ``NotSignedIn`` and the like if there is no way in."""
        url = socket_url(self._http.base_url)
        headers = {}
        try:
            self._token = await self._http.credentials.current()
            if self._handshake == "ticket":
                ticket = await self._http.post("/api/v1/auths/ticket")
                url = f"{url}?ticket={quote(str(ticket['ticket']), safe='')}"
            elif self._handshake == "header" and self._token is not None:
                headers["Authorization"] = f"Bearer {self._token}"
        except ServerUnreachable as error:
            raise Lost(Answer.COME_BACK, 1006, error.reason) from error
        except ApiError as error:
            if error.status >= 500 or error.status == 429:
                raise Lost(Answer.PAUSE if error.status == 429 else Answer.COME_BACK, error.status, error.detail) from error
            raise
        try:
            socket = await connect(
                url,
                additional_headers=headers,
                compression=None,
                max_size=FRAME_BYTES_MAX,
                open_timeout=CONNECT_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                ping_interval=PING_S,
                ping_timeout=PING_S,
                proxy=None if urlsplit(url).hostname in LOOPBACK else True,
            )
        except InvalidStatus as refused:
            status = refused.response.status_code
            detail = error_of(status, bytes(refused.response.body or b"")).detail
            raise Lost(answer_to_status(status), status, detail) from refused
        except InvalidURI as error:
            raise Lost(Answer.STOP, 1008, reason_of(error)) from error
        except (OSError, TimeoutError, InvalidHandshake, ConnectionClosed, EOFError) as error:
            raise Lost(Answer.COME_BACK, 1006, reason_of(error)) from error
        try:
            await self._talk(socket)
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd is not None else 1006
            reason = closed.rcvd.reason if closed.rcvd is not None else ""
            raise Lost(answer_to(code), code, reason) from closed
        except TimeoutError as error:
            raise Lost(Answer.COME_BACK, 1006, "connected, but the server did not say welcome in time") from error
        except msgspec.DecodeError as error:
            raise Lost(Answer.COME_BACK, 1002, f"the server sent a frame that is none: {error}") from error
        finally:
            self._socket = None
            self.session.cut()
            for task in self._side:
                task.cancel()
            await socket.close()

    # ---------------------------------------------------------------------------------------------------------- talking

    async def _talk(self, socket: ClientConnection) -> None:
        """Read until the connection ends, as ``ConnectionClosed``."""
        self._socket = socket
        if self._handshake == "hello":
            await self._send({"op": "hello", "token": self._token})
        async with asyncio.timeout(WELCOME_TIMEOUT_S):
            while not self.session.connected:
                await self._read_one(socket)
        while True:
            await self._read_one(socket)

    async def _read_one(self, socket: ClientConnection) -> None:
        frame = decode_frame(await socket.recv())
        if frame is not None:
            # As a list, so that the session is done with the frame before anybody else gets a turn.
            await self._perform(list(self.session.receive(frame)))

    async def _perform(self, outs: Iterable[Out]) -> None:
        filled: dict[Track, Buffer[Item]] = {}
        for out in outs:
            match out:
                case Deliver(track=track, item=item):
                    buffer = self._buffers.get(track.consumer)
                    if buffer is not None:
                        buffer.put(item)
                        if buffer.full:
                            filled[track] = buffer
                case Send(frame=frame):
                    await self._send(frame)
                case End(track=consumer, error=error):
                    self._fail(consumer, error)
                case ComeBack(after_s=after_s):
                    self._come_back_at = asyncio.get_running_loop().time() + after_s
                case Again(track=consumer):
                    self._begin(self._ask_again(consumer))
                case Ready(welcome=welcome):
                    self._on_state(State(True))
                    self._begin(self._renew_in_time(welcome))
        for track, buffer in filled.items():
            # Not reading slows the server down, which is right for a while. For longer it would keep the other follows waiting,
            # perhaps for each other: then this one stream is let go, and taken up again from its cursor when there is room.
            if not await buffer.room(self._patience_s) and not track.over:
                await self._perform(self.session.let_go(track))

    def _fail(self, consumer: Consumer, error: FollowFailed) -> None:
        buffer = self._buffers.get(consumer)
        if buffer is not None:
            buffer.fail(error)

    async def _send(self, frame: Any) -> None:
        if self._socket is not None:
            with contextlib.suppress(ConnectionClosed):  # the reader finds out, and asks for everything anew
                await self._socket.send(msgspec.json.encode(frame).decode())

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._side.add(task)
        task.add_done_callback(self._side.discard)

    async def _ask_again(self, consumer: Consumer) -> None:
        await asyncio.sleep(self._backoff.next_s())
        await self._perform(self.session.ask_again(consumer))

    async def _renew_in_time(self, welcome: Welcome) -> None:
        """A fresh token by ``hello``, before the old one ends. If there is none, the server's 4401 says so in time."""
        ends = ends_at(welcome)
        if ends is None or not self._http.credentials.renewable:
            return
        left_s = ends - time.time()
        await asyncio.sleep(max(0.0, left_s - min(RENEW_BEFORE_MAX_S, left_s * RENEW_BEFORE)))
        with contextlib.suppress(ServerUnreachable, ApiError, NotSignedIn):
            self._token = await self._http.credentials.renew(self._token)
            await self._send({"op": "hello", "token": self._token})
