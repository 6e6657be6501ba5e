"""One socket of ``/ws``: a loop that reads frames into a ``ProtocolState`` and carries out the effects. ``SocketWriter`` writes for all
sockets.

The log holds what a client has not been sent yet, and its subscriptions are cursors: no socket has a queue of events, and a slow
client is only further behind. The reasons and the cost: docs/decisions/0020-fan-out.md.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import Any, Final
from uuid import UUID, uuid4

import structlog

from adapters.delivery.hub import Batch, Segment, Subscription
from api.formats.event_json import encode_redacted
from api.request.errors import error_status, members
from api.request.scopes import CHAT
from api.request.security_log import record_socket
from api.streams.following import ChannelFollow
from api.streams.frames import (
    AnswerUserCall,
    Authenticate,
    Close,
    Effect,
    EndSubscription,
    MarkRead,
    NoteActive,
    ProtocolState,
    RelayChunk,
    SendFrame,
    SendSignal,
    StartFollow,
    StartSubscription,
    error_frame,
    frame,
)
from api.streams.socket_context import SocketContext
from api.streams.websocket_protocol import Wire, text_frame
from commands.accounts.accounts import Principal, actor_of
from domain.errors import Forbidden, LogUnavailable, NotAuthenticated, StenographError, StreamNotFound
from domain.log.cursor import Cursor
from domain.log.redaction import HidesWords
from domain.log.stream import Stream, user_stream

logger = structlog.get_logger("ws")

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

HELLO_TIMEOUT_S: Final = 5.0
LOG_RETRY_S: Final = 0.5
ANSWERS_WAITING_MAX: Final = 100  # above it nothing more is read from a client until it has read its answers
ANSWERS_BYTES_MAX: Final = 16 * 1024  # of those that go out at once
SIGNALS_WAITING_MAX: Final = 50  # above it typing and presence are lost, as they may be
# The principal of a socket before its welcome. It may read nothing.
NOBODY: Final = Principal(UUID(int=0), "", "pending", "", 0, None, None)


def events_frame(batch: Batch) -> bytes:
    """An ``events`` frame, of the bytes that were made for each event."""
    events = batch.events
    wire = events[0].wire if len(events) == 1 else b",".join([event.wire for event in events])
    return text_frame(_opening(batch.stream), wire, b"]}")


@lru_cache(maxsize=8192)
def _opening(stream: Stream) -> bytes:
    return b'{"op":"events","stream":"%b","events":[' % str(stream).encode()


def caught_up_frame(stream: Stream, version: int) -> bytes:
    return text_frame(b'{"op":"caught_up","stream":"%b","version":%d}' % (str(stream).encode(), version))


class SocketSubscription(Subscription):
    """One subscription of one socket, and what its client still has to get besides events."""

    __slots__ = ("fetching", "gone", "may_write", "page", "pages", "queued", "redaction")

    def __init__(self, stream: Stream, socket: "Socket") -> None:
        super().__init__(stream, 0, socket, wake)
        self.pages: AsyncIterator[bytes] | None = None  # of a snapshot, that is sent before any event
        self.page: bytes | None = None  # the next one, that was made while its client could not take it
        self.fetching: asyncio.Task[None] | None = None
        self.redaction: HidesWords | None = None  # until the cursor has come to where the access began
        self.may_write = False  # as its client was told
        self.queued = True  # not to be woken before it is set up
        self.gone = False

    def redacted(self, batch: Batch, redaction: HidesWords) -> Batch:
        """The batch without what is hidden from this reader."""
        if batch.until >= redaction.since:
            self.redaction = None
        return batch.changed(redaction.of, encode_redacted)


def wake(joined: SocketSubscription) -> None:
    """The hub has events for the subscription. This runs once for each event and socket."""
    if not joined.queued:
        joined.queued = True
        socket: Any = joined.owner
        socket.ready.append(joined)
        if not socket.queued:
            socket.context.writer.add(socket)


class Socket:
    """One connection: the ``ClientConnection`` that owns its subscriptions."""

    __slots__ = (
        "_closing",
        "_drained",
        "_follow",
        "_joined",
        "_receive",
        "_snapshots",
        "answers",
        "context",
        "principal",
        "protocol",
        "queued",
        "ready",
        "session_id",
        "wire",
    )

    counted = True

    def __init__(self, context: SocketContext, receive: Receive, wire: Wire) -> None:
        self.context = context
        self._receive = receive
        self.wire = wire
        self.protocol = ProtocolState(context.settings.subscriptions_max)
        self.session_id = uuid4()
        self.principal = NOBODY
        self.answers: list[bytes] = []
        self.ready: list[SocketSubscription] = []
        self.queued = False  # whether it is in the writer's row
        self._joined: dict[Stream, SocketSubscription] = {}
        self._snapshots: set[SocketSubscription] = set()  # whose snapshot is being sent
        self._drained: asyncio.Future[None] | None = None
        self._follow: ChannelFollow | None = None
        self._closing: Close | None = None
        wire.resumed = self._resumed

    # ------------------------------------------------------------------------------------------------- what wakes it

    def _resumed(self) -> None:
        """The client has taken what it was sent, or it is gone."""
        if not self.wire.can_write:
            self._let_reader_go_on()
        self.context.writer.add(self)

    def wake_all(self) -> None:
        """This process has found Postgres again."""
        self.context.writer.add(self)

    def send_reply(self, payload: bytes) -> None:
        """An answer. It goes before any event."""
        if self._closing is None:
            self.answers.append(text_frame(payload))
            self.context.writer.add(self)

    def write_access_changed(self, subscription: Subscription, may_write: bool) -> None:
        assert isinstance(subscription, SocketSubscription)
        if not subscription.gone and subscription is self._joined.get(subscription.stream) and may_write != subscription.may_write:
            subscription.may_write = may_write
            self.send_reply(frame("access", stream=str(subscription.stream), write_access=may_write))

    def follow_channel(self, channel_id: UUID) -> None:
        if self._follow is not None:
            self._follow.add(channel_id)

    def send_signal(self, framed: bytes) -> None:
        """Something ephemeral: lost where too much waits already."""
        if self._closing is None and len(self.answers) < SIGNALS_WAITING_MAX:
            self.answers.append(framed)
            self.context.writer.add(self)

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

    async def run(self, principal: Principal) -> None:
        """Until either side ends it."""
        try:
            if await self._welcome(principal):
                await self._read()
        finally:
            if self._follow is not None:
                self._follow.end()
            for joined in self._joined.values():
                self._let_go(joined)
            self.context.live.remove(self)
            self.context.typing.connection_ended(self)

    async def hello(self) -> Principal | None:
        """The principal of a ``hello``, or None once the connection is over. The first frame has to be it: nobody else is listened to."""
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                text = await self._next()
                if text is None:
                    return None
                for effect in self.protocol.receive(text, self.context.clock()):
                    if isinstance(effect, Authenticate):
                        return await self.context.authenticate(effect.token)
                    if isinstance(effect, SendFrame):
                        self.send_reply(effect.frame)
            self.close(Close(4408, "expected hello first"))
        except TimeoutError:
            self.close(Close(4408, f"no hello within {HELLO_TIMEOUT_S:g} s"))
        return None

    async def _welcome(self, principal: Principal) -> bool:
        context = self.context
        connections_max = context.live.connections_max(principal)
        if context.live.count(principal.user_id) >= connections_max:
            self.close(Close(4409, f"an account has at most {connections_max} connections"))
            return False
        self.principal = principal
        self.protocol.authenticated = True
        self.wire.admit()
        context.live.add(self)
        context.note_active(principal.user_id)
        self.send_reply(self._welcome_frame())
        await self._do(StartSubscription(None, user_stream(principal.user_id), "now", False))
        return True

    def _welcome_frame(self) -> bytes:
        who, settings = self.principal, self.context.settings
        return frame(
            "welcome",
            session_id=self.session_id,
            user={"id": who.user_id, "name": who.name, "role": who.role},
            epoch=self.context.epoch,
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
            for effect in self.protocol.receive(text, self.context.clock()):
                await self._do(effect)
            await self.room()

    async def room(self) -> None:
        """Returns once the client has taken enough of what it was sent, or is gone."""
        while self._owes_much() and self._closing is None:
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._drained])  # not the future itself: several may wait, and one be cancelled

    def _owes_much(self) -> bool:
        """Whether the client has to read before it may ask for more: else its answers and snapshots would pile up."""
        return len(self.answers) >= ANSWERS_WAITING_MAX or bool(self._snapshots)

    def _let_reader_go_on(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.set_result(None)

    async def _do(self, effect: Effect) -> None:
        """A refusal is answered; it ends nothing."""
        try:
            match effect:
                case SendFrame(frame=reply):
                    self.send_reply(reply)
                case Close():
                    self.close(effect)
                case Authenticate(token=token):
                    await self._authenticate_again(token)
                case StartSubscription():
                    await self._join(effect)
                case StartFollow():
                    await self._follow_channels(effect)
                case EndSubscription():
                    self._leave(effect)
                case SendSignal(stream=stream):
                    self.principal.require_scope(CHAT)
                    joined = self._joined.get(stream)
                    if joined is not None and joined.ends_after is None:  # else it has ended, and the client will hear so
                        if stream.kind == "channel" and not joined.may_write:
                            raise Forbidden("who may not write in a channel does not type there")
                        self.context.send_typing(self, self.principal, effect)
                case MarkRead(stream=stream, version=version):
                    self.principal.require_scope(CHAT)
                    await self._mark_read(stream, version)
                case AnswerUserCall(call_id=call_id, data=data):
                    self._require_writer()
                    await self.context.call_answers.answer(actor_of(self.principal), call_id, data, session_id=str(self.session_id))
                    self.send_reply(frame("answer_ok", call_id=call_id))
                case RelayChunk(call_id=call_id, seq=seq, data=data):
                    self._require_writer()
                    await self.context.call_answers.chunk(actor_of(self.principal), call_id, seq, data, session_id=str(self.session_id))
                    self.send_reply(frame("chunk_ok", call_id=call_id, seq=seq))
                case NoteActive():
                    self.context.note_active(self.principal.user_id)
        except StenographError as error:
            about = effect.id if isinstance(effect, StartSubscription | StartFollow) else None
            more: dict[str, Any] = {}
            if isinstance(effect, AnswerUserCall | RelayChunk):
                more = {"call_id": effect.call_id, **({"seq": effect.seq} if isinstance(effect, RelayChunk) else {}), **members(error)}
            if isinstance(effect, StartSubscription):
                self.protocol.left(effect.stream)
            record_socket(error, self.principal.user_id)
            self.send_reply(error_frame(error, about, **more))

    def _require_writer(self) -> None:
        """Raises ``NotAuthenticated`` and ``ScopeMissing`` unless this principal may write now."""
        if not self.context.still_valid(self.principal) or self.context.live.expired(self.principal):
            raise NotAuthenticated("the account or the session has changed: sign in again")
        self.principal.require_scope(CHAT)

    async def _mark_read(self, stream: Stream, version: int) -> None:
        head = self.context.hub.head(stream)
        if version > head:  # what another process wrote may not have passed here yet
            head = max(head, await self.context.log.version(stream))
        self.context.mark_read(self.principal, stream, version, head)

    async def _authenticate_again(self, token: str) -> None:
        """A fresh token before the old one ends. It must be the same person's."""
        try:
            principal = await self.context.authenticate(token)
        except StenographError as error:
            record_socket(error, self.principal.user_id)
            self.close(Close(error_status(error).close, error.detail))
            return
        if principal.user_id != self.principal.user_id:
            self.close(Close(4403, "the token is another person's"))
            return
        self.principal = principal
        self.send_reply(self._welcome_frame())

    async def _follow_channels(self, follow: StartFollow) -> None:
        """A second follow takes the place of the first, as far as it names other cursors: what is subscribed to stays so."""
        if self._follow is not None:
            self._follow.end()
        self._follow = ChannelFollow(self, follow)
        await self._follow.begin()

    async def join_channel(self, stream: Stream, follow: StartFollow) -> None:
        """Subscribe for a follow. Nothing is said of a channel that may not be read any more. Raises ``TooMany``, ``LogUnavailable``."""
        if self._closing is not None or not self.protocol.claims(stream):
            return
        cursor = follow.cursors.get(stream)
        try:
            await self._join(StartSubscription(follow.id, stream, cursor or "now", follow.snapshot and cursor is None))
        except BaseException as error:
            self.protocol.left(stream)
            if not isinstance(error, StreamNotFound):
                raise

    async def _join(self, join: StartSubscription) -> None:
        """First the interest, then the head, then the access as of that head: what comes after it passes the guard."""
        context, stream = self.context, join.stream
        joined = SocketSubscription(stream, self)
        try:
            head = await context.hub.join(joined, self._head)
            if isinstance(join.after, Cursor) and join.after.number > head and join.after.epoch == context.epoch:
                # Another process may be ahead of what has passed here: its client is not from the future.
                head = max(head, await context.log.version(stream))
            access = await context.live.access(self.principal, stream, at_least=head)
            if head == 0 or not access.may_read:
                raise StreamNotFound(stream)
            replay, after, reason = where(join, context.epoch, head)
            if replay == "snapshot":
                after, joined.pages = await context.snapshots.get(stream, self.principal)
            joined.redaction = await context.live.redaction(access, stream, after)
            if joined.ends_after is not None:  # access ended while we waited
                raise StreamNotFound(stream)
        except BaseException:
            context.hub.unsubscribe(joined)
            raise
        earlier = self._joined.get(stream)
        if earlier is not None:  # the own user stream, joined at welcome, is taken up from a cursor
            self._let_go(earlier)
        joined.cursor = after
        joined.may_write = access.may_write
        self._joined[stream] = joined
        if joined.pages is not None:
            self._snapshots.add(joined)
        said: dict[str, Any] = {
            "id": join.id,
            "stream": str(stream),
            "epoch": context.epoch,
            "head": head,
            "replay": replay,
            "from": after + 1,
            "write_access": access.may_write,
        }
        if reason is not None:
            said["reason"] = reason
        self.send_reply(frame("subscribed", **said))
        joined.queued = False
        wake(joined)

    async def _head(self, stream: Stream) -> int:
        """What is known of the own account has seen whatever has passed here: its stream's head costs no query."""
        standing = self.principal.standing
        if standing is not None and standing.current and stream == user_stream(self.principal.user_id):
            return standing.version
        return await self.context.log.version(stream)

    def _leave(self, leave: EndSubscription) -> None:
        joined = self._joined.pop(leave.stream, None)
        if joined is not None:
            self._let_go(joined)
        if self._follow is not None:
            self._follow.left(leave.stream.id)
        about = {} if leave.id is None else {"id": leave.id}
        self.send_reply(frame("unsubscribed", **about, stream=str(leave.stream), code="asked", reason="you asked for it"))

    def _let_go(self, joined: SocketSubscription) -> None:
        joined.gone = True
        self.context.hub.unsubscribe(joined)
        if joined.fetching is not None:
            joined.fetching.cancel()
        joined.pages = joined.page = None
        self._snapshots.discard(joined)

    # --------------------------------------------------------------------------------------------------------- writing

    def serve(self, has_contact: bool) -> bool:
        """One frame, if the client can take one. Whether there is more for it.

        Frames of events are made here and go out here: nothing waits in between that could go out after access has ended.
        """
        context = self.context
        if self._closing is not None or not self.wire.can_write:
            return False
        principal, answers, ready = self.principal, self.answers, self.ready
        if principal is not NOBODY and not context.still_valid(principal):
            self.account_changed()
            return False
        if answers:
            self.wire.write_frame(self._next_answers())
        elif ready:
            if not has_contact:
                context.live.stalled.add(self)  # cut off from Postgres: it is woken when that is back
                return False
            joined = ready.pop(0)
            joined.queued = False
            self._give(joined, None)
        if self._drained is not None and not self._owes_much():
            self._let_reader_go_on()
        return bool(answers or ready)

    def _next_answers(self) -> bytes:
        """The next answer, and what fits beside it where the wire takes several at once: a follow is many of them."""
        answers, count = self.answers, 1
        if self.wire.takes_many:
            size = len(answers[0])
            while count < len(answers) and (size := size + len(answers[count])) <= ANSWERS_BYTES_MAX:
                count += 1
        taken = answers[:count]
        del answers[:count]
        return taken[0] if count == 1 else b"".join(taken)

    def _give(self, joined: SocketSubscription, segment: Segment | None) -> None:
        """The next of what a subscription has for its client; once more if there is more."""
        if joined.gone or joined.fetching is not None:
            return
        if joined.ends_after is not None and (joined.page is not None or joined.pages is not None):
            self._ended(joined)  # what is left of the snapshot is not for this reader any more
            return
        if joined.page is not None:
            self.wire.write_frame(joined.page)
            joined.page = None
        if joined.pages is not None:
            joined.fetching = asyncio.create_task(self._fetch_page(joined, joined.pages))
            return
        hub = self.context.hub
        batch = hub.next_batch(joined, bytes_max=self.context.frame_bytes, segment=segment)
        if batch is not None:
            if joined.redaction is not None:
                batch = joined.redacted(batch, joined.redaction)
            self.wire.write_frame(batch.form(events_frame))
            if hub.behind(joined):
                wake(joined)
                return
        elif hub.behind(joined):
            joined.replaying = True
            joined.fetching = asyncio.create_task(self._fetch(joined))
            return
        if joined.ends_after is not None and joined.ended:
            self._ended(joined)
        elif joined.replaying:
            joined.replaying = False
            self.answers.append(caught_up_frame(joined.stream, joined.cursor))

    async def _fetch_page(self, joined: SocketSubscription, pages: AsyncIterator[bytes]) -> None:
        """The next page of the snapshot: it waits until the client can take it, and no other is read before."""
        try:
            joined.page = await anext(pages, None)
            if joined.page is None:
                joined.pages = None
                self._snapshots.discard(joined)
        except StenographError as error:
            self.close(Close(error_status(error).close, error.detail))  # its client comes back and asks anew
        except Exception:
            logger.exception("snapshot_not_read", stream=str(joined.stream), session=str(self.session_id))
            self.close(Close(1011, "the server made a mistake"))
        finally:
            joined.fetching = None
        wake(joined)

    async def _fetch(self, joined: SocketSubscription) -> None:
        """What is not in memory, from the log. It is sent at once: under a storm memory may have let it go by the next turn."""
        segment = None
        try:
            segment = await self.context.hub.fetch(joined)
        except LogUnavailable:
            await asyncio.sleep(LOG_RETRY_S)
        except Exception:
            # Our own bug: no caller awaits this task, so close the socket. The client comes back with its cursors.
            logger.exception("segment_not_read", stream=str(joined.stream), session=str(self.session_id))
            self.close(Close(1011, "the server made a mistake"))
            return
        finally:
            joined.fetching = None
        live = self.context.live
        at_once = segment is not None and not self.answers and not joined.queued and self._closing is None and self.wire.can_write
        if at_once and live.may_send(self.principal):
            self._give(joined, segment)
            self.context.writer.add(self)
        else:
            wake(joined)

    def _ended(self, joined: SocketSubscription) -> None:
        del self._joined[joined.stream]
        self._let_go(joined)
        self.protocol.left(joined.stream)
        code = joined.ends_because
        self.answers.append(text_frame(frame("unsubscribed", stream=str(joined.stream), code=code, reason=code.replace("_", " "))))
        if self._follow is not None and joined.stream.kind == "channel":
            self._follow.ended(joined.stream.id)


def where(join: StartSubscription, epoch: UUID, head: int) -> tuple[str, int, str | None]:
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
