"""One Socket.IO socket of Open WebUI's page: a subscriber like any other, to the chat that its page shows.

The page says ``events:chat join`` with the chat that it has opened. From then on it gets that chat's events as envelopes, after what it may
have missed of the answers that are being written. What it has not been sent stands in the log: a page that reads slowly is further behind.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import structlog

from adapters.delivery.hub import Subscription
from api.dialects.open_webui import packets
from api.dialects.open_webui.envelopes import ChatEnvelopes
from api.dialects.open_webui.page_context import PageContext
from api.request.authentication import require_approved
from api.request.errors import error_status
from api.request.scopes import CHAT, READ
from api.streams.frames import Close
from api.streams.tailing import StreamTail
from api.streams.websocket_protocol import Wire, text_frame
from commands.accounts.accounts import Principal
from commands.ids import bound_id
from domain.errors import BadRequest, LogUnavailable, NotAuthenticated, StenographError
from domain.log.stream import chat_stream

logger = structlog.get_logger("page")

PING_INTERVAL_S: Final = 25.0
PING_TIMEOUT_S: Final = 20.0
PAYLOAD_BYTES_MAX: Final = 1_000_000
ANONYMOUS_S: Final = 600.0  # a page that nobody has signed in to comes back by itself
# A page that joins reads the chat once more after that, and then forgets what it has heard meanwhile. So long it gets whole texts, not more
# often than so.
SETTLING_S: Final = 5.0
SETTLING_TURN_S: Final = 0.1

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class PageSocket:
    """``principal`` is None until the page has sent a token that is good: until then only that is listened to."""

    counted = True

    def __init__(self, context: PageContext, receive: Receive, wire: Wire) -> None:
        self._context = context
        self._receive = receive
        self._wire = wire
        self._writable = asyncio.Event()
        self._writable.set()
        wire.resumed = self._writable.set
        self.session_id = uuid4()
        self.principal: Any = None
        self._closed = False
        self._pinged = False
        self._following: asyncio.Task[None] | None = None

    # --------------------------------------------------------------------------------------------- the client connection

    def account_changed(self) -> None:
        self.close(Close(4401, "the account or the session has changed: sign in again"))

    def wake_all(self) -> None:
        """Nothing: the tail of the chat wakes by itself."""

    def send_signal(self, framed: bytes) -> None:
        """Nothing: signals of our own protocol are not the page's."""

    def write_access_changed(self, subscription: Subscription, may_write: bool) -> None:
        """Nothing: the page asks what it may do when it opens a chat."""

    def close(self, close: Close) -> None:
        if not self._closed:
            self._closed = True
            self._wire.end(close.code, close.reason)
            self._writable.set()

    def _send(self, packet: bytes) -> None:
        if not self._closed and self._wire.can_write:
            self._wire.write_frame(text_frame(packet))

    async def _room(self) -> None:
        """Until the page has taken what it was sent. Ends also when the socket does."""
        while not self._closed and not self._wire.can_write:
            self._writable.clear()
            await self._writable.wait()

    # ------------------------------------------------------------------------------------------------------- reading

    async def run(self) -> None:
        """Until either side ends it."""
        loop = asyncio.get_running_loop()
        self._send(packets.opening(str(self.session_id), PING_INTERVAL_S, PING_TIMEOUT_S, PAYLOAD_BYTES_MAX))
        opened, ping_at = loop.time(), loop.time() + PING_INTERVAL_S
        try:
            while not self._closed:
                try:
                    async with asyncio.timeout_at(ping_at):
                        text = await self._next()
                except TimeoutError:
                    if not self._still_there(loop.time() - opened):
                        return
                    ping_at = loop.time() + (PING_TIMEOUT_S if self._pinged else PING_INTERVAL_S)
                    continue
                if text is None:
                    return
                await self._take(packets.parse(text))
        except StenographError as error:
            self.close(Close(error_status(error).close, error.detail))
        finally:
            await self._leave()
            if self.principal is not None:
                self._context.live.remove(self)

    def _still_there(self, open_s: float) -> bool:
        """A turn of the clock: whether the socket goes on. An unanswered ping, a token that has ended and a page without one end it."""
        if self._pinged:
            self.close(Close(1001, "no answer to a ping"))
        elif self.principal is None and open_s > ANONYMOUS_S:
            self.close(Close(1001, "nobody has signed in"))
        elif self.principal is not None and self._context.live.expired(self.principal):
            self.close(Close(4401, "the token has expired"))
        else:
            self._pinged = True
            self._send(packets.PING)
        return not self._closed

    async def _next(self) -> str | None:
        message = await self._receive()
        if message["type"] == "websocket.disconnect" or self._closed:
            return None
        text = message.get("text")
        if text is None:
            raise BadRequest("expected text, received bytes")
        return str(text)

    async def _take(self, packet: packets.Packet) -> None:
        match packet:
            case packets.Ping(probe=probe):
                self._send(packets.PONG + probe.encode())
            case packets.Pong():
                self._pinged = False
            case packets.Connect(auth=auth):
                await self._sign_in(auth)
                self._send(packets.connected(str(self.session_id)))
            case packets.OtherNamespace(namespace=namespace):
                self._send(packets.refused(namespace))
            case packets.Disconnect():
                self.close(Close(1000, ""))
            case packets.Event():
                try:
                    await self._heard(packet)
                except StenographError as error:
                    logger.info("page_refused", event_name=packet.name[:40], code=error.code, session=str(self.session_id))
            case packets.Ack():
                pass  # nothing is asked of the page yet

    async def _sign_in(self, auth: Any) -> None:
        """With a token that is good. Without one the socket stays and hears nothing: the page has one before and after its sign-in."""
        token = auth.get("token") if isinstance(auth, dict) else None
        if not isinstance(token, str) or not token:
            return
        context = self._context
        try:
            principal = await context.live.accounts.authenticate(token)
            require_approved(principal)
            principal.require_scope(READ)
        except LogUnavailable:
            raise
        except StenographError as error:
            if self.principal is not None:
                self.close(Close(error_status(error).close, error.detail))
            return
        known = self.principal
        if known is None and context.live.count(principal.user_id) >= context.live.connections_max(principal):
            self.close(Close(4409, "the account has as many connections as it may have"))
            return
        if known is not None:
            if known.user_id != principal.user_id:
                await self._leave()  # else it has just joined a chat: a page says both each time it has connected
            context.live.remove(self)
        self.principal = principal
        self._wire.admit()
        context.live.add(self)
        context.signed_in(self)
        context.note_active(principal.user_id)

    def _who(self) -> Principal:
        """Raises ``NotAuthenticated``."""
        principal: Principal | None = self.principal
        if principal is None or not self._context.live.accounts.still_valid(principal) or self._context.live.expired(principal):
            raise NotAuthenticated
        return principal

    async def _heard(self, event: packets.Event) -> None:
        data = event.data if isinstance(event.data, dict) else {}
        match event.name:
            case "user-join":
                await self._sign_in(data.get("auth"))
            case "heartbeat":
                self._context.note_active(self._who().user_id)
            case "events:chat":
                about = data.get("data")
                kind = about.get("type") if isinstance(about, dict) else None
                given = data.get("chat_id")
                if isinstance(given, str) and given:
                    await self._about_chat(kind, given, event.ack)
            case _:
                pass

    async def _about_chat(self, kind: Any, given: str, ack: int | None) -> None:
        principal = self._who()
        chat_id, _ = bound_id(principal.user_id, given)
        match kind:
            case "join":
                await self._leave()
                view = await self._context.chat_reader.unfinished(principal, chat_id)
                if ack is not None:
                    self._send(packets.acknowledged(ack, True))
                envelopes = ChatEnvelopes(chat_id, view)
                self._following = asyncio.create_task(self._follow(principal, envelopes, chat_id), name="page socket")
            case "leave":
                await self._leave()
            case "last_read_at":
                principal.require_scope(CHAT)
                stream = chat_stream(chat_id)
                head = self._context.hub.head(stream)  # of a chat that is followed
                if head:
                    self._context.mark_read(principal, stream, head, head)
            case _:
                pass

    # ------------------------------------------------------------------------------------------------------- writing

    async def _leave(self) -> None:
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    async def _follow(self, principal: Principal, envelopes: ChatEnvelopes, chat_id: Any) -> None:
        """What the page may have missed, then every event, until the access or the socket ends."""
        context = self._context
        try:
            await self._room()
            if not context.live.may_send(principal):
                return
            for envelope in envelopes.so_far(datetime.now(UTC)):
                self._write(envelope)
            async with StreamTail(context.hub, context.log, context.live, principal, chat_stream(chat_id), envelopes.version) as tail:
                settled_at = asyncio.get_running_loop().time() + SETTLING_S
                settling = True
                while True:
                    await self._room()
                    batch = await tail.next(SETTLING_TURN_S if settling else None)
                    if batch is None or self._closed:
                        return
                    for envelope in envelopes.of((event.stored for event in batch.events), whole_texts=settling):
                        self._write(envelope)
                    if settling:
                        settling = asyncio.get_running_loop().time() < settled_at
                        await asyncio.sleep(SETTLING_TURN_S)
        except LogUnavailable:
            self.close(Close(1013, "the log does not answer now"))  # the page comes back and joins again
        except Exception:
            logger.exception("page_not_served", session=str(self.session_id))
            self.close(Close(1011, "the server made a mistake"))

    def _write(self, envelope: dict[str, Any]) -> None:
        """Nothing waits between the check of the access and this."""
        if not self._closed:
            self._wire.write_frame(text_frame(packets.event("events", envelope)))
