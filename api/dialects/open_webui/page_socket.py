"""One Socket.IO socket of Open WebUI's page: a subscriber like any other, to the chat that its page shows and to its user's channels.

The page says ``events:chat join`` with the chat that it has opened. From then on it gets that chat's events as envelopes, after what it may
have missed of the answers that are being written. What it has not been sent stands in the log: a page that reads slowly is further behind.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

import structlog

from adapters.delivery.hub import Subscription
from api.dialects.open_webui import packets
from api.dialects.open_webui.channel_offset import ChannelOffset, parse_offset
from api.dialects.open_webui.envelopes import PIECES, ChatEnvelopes
from api.dialects.open_webui.page_calls import Numbers, PageCalls
from api.dialects.open_webui.page_channels import ChannelRooms, PageChannels
from api.dialects.open_webui.page_context import PageContext
from api.dialects.open_webui.page_direct import DirectSessions, PageDirect
from api.request.authentication import require_approved
from api.request.errors import error_status
from api.request.scopes import CHAT, READ
from api.streams.frames import Close
from api.streams.tailing import StreamTail
from api.streams.websocket_protocol import Wire, text_frame
from commands.accounts.principal import Principal
from commands.ids import bound_id
from domain.errors import BadRequest, LogUnavailable, NotAuthenticated, StenographError
from domain.log.stream import chat_stream
from domain.routing.call import CALL_TYPES

logger = structlog.get_logger("page")

PING_INTERVAL_S: Final = 25.0
PING_TIMEOUT_S: Final = 20.0
PAYLOAD_BYTES_MAX: Final = 1_000_000
ANONYMOUS_S: Final = 600.0  # a page that nobody has signed in to comes back by itself
# A page that joins reads the chat once more after that, and then forgets what it has heard meanwhile. So long it gets whole texts, not more
# often than so.
SETTLING_S: Final = 5.0
SETTLING_TURN_S: Final = 0.1

UUID_TEXT: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class PageSocket:
    """``principal`` is None until the page has sent a token that is good: until then only that is listened to."""

    counted = True

    def __init__(self, context: PageContext, rooms: ChannelRooms, directs: DirectSessions, receive: Receive, wire: Wire) -> None:
        self._context = context
        self._rooms = rooms
        self._directs = directs
        self._direct: PageDirect | None = None  # of who is signed in, where they may write
        self._channels: PageChannels | None = None
        self._calls: PageCalls | None = None  # of the chat that is followed
        self._chat_id: UUID | None = None  # that is followed
        self._envelopes: ChatEnvelopes | None = None  # of that chat: they know up to where it was sent
        self._numbers = Numbers()
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

    @property
    def can_write(self) -> bool:
        return not self._closed and self._wire.can_write

    def write(self, *pieces: bytes) -> None:
        """One packet. Nothing waits between the check of the access and this."""
        if not self._closed:
            self._wire.write_frame(text_frame(*pieces))

    async def room(self) -> None:
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
            await self._leave_channels()
            self._end_direct()
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
                given = auth if isinstance(auth, dict) else {}
                self._send(packets.connected(str(self.session_id), str(self.session_id)))
                self._begin_channels(parse_offset(given.get("offset")))
            case packets.OtherNamespace(namespace=namespace):
                self._send(packets.refused(namespace))
            case packets.Disconnect():
                self.close(Close(1000, ""))
            case packets.Event():
                try:
                    await self._heard(packet)
                except StenographError as error:
                    logger.info("page_refused", event_name=packet.name[:40], code=error.code, session=str(self.session_id))
            case packets.Ack(number=number, data=data):
                try:
                    self._who().require_scope(CHAT)
                    if self._direct is not None:
                        await self._direct.acknowledge(number, data)
                    if self._calls is not None:
                        await self._calls.answer(number, data)
                except StenographError as error:
                    logger.info("page_refused", event_name="ack", code=error.code, session=str(self.session_id))

    async def _sign_in(self, auth: Any) -> None:
        """With a token that is good. Without one the socket stays and hears nothing: the page has one before and after its sign-in."""
        token = auth.get("token") if isinstance(auth, dict) else None
        if not isinstance(token, str) or not token:
            return
        context = self._context
        try:
            principal = await context.live.authentication.authenticate(token)
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
                await self._leave_channels()
                await self._leave()  # else it has just joined a chat: a page says both each time it has connected
            context.live.remove(self)
        self._begin_direct(principal)
        self.principal = principal
        if known is None:  # else it keeps the rate that it has: it may be relaying
            self._wire.admit()
        context.live.add(self)
        context.signed_in(self)
        context.note_active(principal.user_id)

    def _begin_direct(self, principal: Principal) -> None:
        """The page may be asked for this account's providers. What it was asked for another one ends."""
        may_relay = principal.may("chat")
        if self._direct is not None and not (may_relay and self._direct.session[1] == principal.user_id):
            self._end_direct()
        if self._direct is None and may_relay:
            self._direct = self._directs.begin(principal, self.session_id, self._wire.admit)

    def _end_direct(self) -> None:
        direct, self._direct = self._direct, None
        if direct is not None:
            self._directs.end(direct)

    def _who(self) -> Principal:
        """Raises ``NotAuthenticated``."""
        principal: Principal | None = self.principal
        if principal is None or not self._context.live.authentication.still_valid(principal) or self._context.live.expired(principal):
            raise NotAuthenticated
        return principal

    async def _heard(self, event: packets.Event) -> None:
        data = event.data if isinstance(event.data, dict) else {}
        match event.name:
            case "user-join" | "join-channels":
                await self._sign_in(data.get("auth"))
                self._begin_channels(None)
            case "heartbeat":
                self._context.note_active(self._who().user_id)
            case "events:chat":
                about = data.get("data")
                kind = about.get("type") if isinstance(about, dict) else None
                given = data.get("chat_id")
                if isinstance(given, str) and given:
                    await self._about_chat(kind, given, event.ack)
            case "events:channel":
                about = data.get("data")
                if isinstance(about, dict):
                    self._about_channel(about, data.get("channel_id"), data.get("message_id"))
            case name:
                self._who().require_scope(CHAT)
                if self._direct is not None:
                    await self._direct.hear(name, event.data)

    def _begin_channels(self, offset: ChannelOffset | None) -> None:
        """Once: a page that signs in again follows its channels already."""
        if self.principal is not None and self._channels is None and not self._closed:
            self._channels = PageChannels(self._context, self._rooms, self)
            self._channels.begin(offset)

    async def _leave_channels(self) -> None:
        channels, self._channels = self._channels, None
        if channels is not None:
            channels.end()
            await channels.ended()

    def _about_channel(self, about: dict[str, Any], given: Any, thread: Any) -> None:
        self._who()
        if self._channels is None or not isinstance(given, str) or not UUID_TEXT.fullmatch(given):
            return
        match about.get("type"):
            case "typing":
                said = about.get("data")
                typing = isinstance(said, dict) and said.get("typing") is True
                in_thread = thread if isinstance(thread, str) and UUID_TEXT.fullmatch(thread) else None
                self._channels.types(UUID(given), in_thread, typing=typing)
            case "last_read_at":
                self._channels.opened(UUID(given))
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
                self._chat_id, self._envelopes = chat_id, envelopes
                self._calls = PageCalls(self._context, principal, chat_id, self.session_id, self._numbers, self._direct, self._write)
                self._following = asyncio.create_task(self._follow(principal, envelopes, self._calls, chat_id), name="page socket")
            case "leave" if chat_id == self._chat_id:
                try:
                    self._mark_read(principal)  # it has shown what its user did last: a tag, a link, what an action wrote
                finally:
                    await self._leave()
            case "last_read_at" if chat_id == self._chat_id:
                self._mark_read(principal)
            case _:
                pass

    def _mark_read(self, principal: Principal) -> None:
        """The chat that is followed, up to what the page was sent of it. Nothing once its user may no longer read it."""
        principal.require_scope(CHAT)
        chat_id, envelopes, following = self._chat_id, self._envelopes, self._following
        if chat_id is None or envelopes is None or following is None or following.done():
            return
        self._context.mark_read(principal, chat_stream(chat_id), envelopes.version, envelopes.version)
        read = {"chat_id": str(chat_id), "last_read_at": int(time.time())}
        self._write({"chat_id": str(chat_id), "message_id": None, "data": {"type": "chat:list", "data": read}})

    # ------------------------------------------------------------------------------------------------------- writing

    async def _leave(self) -> None:
        if self._calls is not None:
            self._calls.end()
            self._calls = None
        self._chat_id = self._envelopes = None
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    async def _follow(self, principal: Principal, envelopes: ChatEnvelopes, calls: PageCalls, chat_id: Any) -> None:
        """What the page may have missed, then every event, until the access or the socket ends."""
        context = self._context
        try:
            await self.room()
            if not context.live.may_send(principal):
                return
            for envelope in envelopes.so_far(datetime.now(UTC)):
                self._write(envelope)
            async with StreamTail(context.hub, context.log, context.live, principal, chat_stream(chat_id), envelopes.version) as tail:
                settled_at = asyncio.get_running_loop().time() + SETTLING_S
                settling = True
                await calls.begin()
                while True:
                    if not self.can_write:
                        await self.room()
                    batch = await tail.next(SETTLING_TURN_S if settling else None)
                    if batch is None or self._closed:
                        return
                    for envelope in envelopes.of((event.stored for event in batch.events), whole_texts=settling):
                        self._write(envelope)
                    for event in batch.events:
                        if event.stored.type in CALL_TYPES:
                            calls.observe(event.stored)
                    if settling:
                        settling = asyncio.get_running_loop().time() < settled_at
                        if not settling:  # not before: the page reads its lists then, and of two readings it keeps only one
                            for envelope in envelopes.title(datetime.now(UTC)):
                                self._write(envelope)
                        if any(event.stored.type in PIECES for event in batch.events):
                            await asyncio.sleep(SETTLING_TURN_S)
        except LogUnavailable:
            self.close(Close(1013, "the log does not answer now"))  # the page comes back and joins again
        except Exception:
            logger.exception("page_not_served", session=str(self.session_id))
            self.close(Close(1011, "the server made a mistake"))

    def _write(self, envelope: dict[str, Any], ack: int | None = None) -> None:
        """Nothing waits between the check of the access and this."""
        self.write(packets.event("events", envelope, ack))
