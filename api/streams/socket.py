"""One socket of ``/ws``: its subscriptions, and what goes out to its client.

``SocketReader`` (``api/streams/socket_reader.py``) reads what the client says. ``SocketWriter`` asks all sockets in turn for their frames.

The log holds what a client has not been sent yet, and its subscriptions are cursors: no socket has a queue of events, and a slow
client is only further behind. The reasons and the cost: docs/decisions/0020-fan-out.md.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final
from uuid import UUID, uuid4

import structlog

from adapters.delivery.hub import Segment, Subscription
from api.request.errors import error_status
from api.streams.following import ChannelFollow
from api.streams.frames import Close, EndSubscription, ProtocolState, StartFollow, StartSubscription, frame
from api.streams.socket_context import SocketContext
from api.streams.socket_subscription import SocketSubscription, caught_up_frame, events_frame, wake, where
from api.streams.websocket_protocol import Wire, text_frame
from commands.accounts.principal import Principal
from domain.errors import LogUnavailable, StenographError, StreamNotFound
from domain.log.cursor import Cursor
from domain.log.stream import Stream, user_stream

logger = structlog.get_logger("ws")

LOG_RETRY_S: Final = 0.5
ANSWERS_WAITING_MAX: Final = 100  # above it nothing more is read from a client until it has read its answers
ANSWERS_BYTES_MAX: Final = 16 * 1024  # of those that go out at once
FRAMES_BYTES_MAX: Final = 64 * 1024  # of events that go out at once
SIGNALS_WAITING_MAX: Final = 50  # above it typing and presence are lost, as they may be
# The principal of a socket before its welcome. It may read nothing.
NO_PRINCIPAL: Final = Principal(UUID(int=0), "", "pending", "", 0, None, None)


class Socket:
    """One connection: the ``ClientConnection`` that owns its subscriptions."""

    __slots__ = (
        "_closing",
        "_drained",
        "_follow",
        "_joined",
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

    def __init__(self, context: SocketContext, wire: Wire) -> None:
        self.context = context
        self.wire = wire
        self.protocol = ProtocolState(context.settings.subscriptions_max)
        self.session_id = uuid4()
        self.principal = NO_PRINCIPAL
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
            self.context.closed[close.code] += 1
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

    # ------------------------------------------------------------------------------------------------- what its reader needs

    @property
    def is_closing(self) -> bool:
        return self._closing is not None

    def admit(self, principal: Principal) -> None:
        """From now on it is this person's: it may subscribe, and hears of changes of the account."""
        self.principal = principal
        self.protocol.authenticated = True
        self.wire.admit()
        self.context.live.add(self)

    def readable(self, stream: Stream) -> SocketSubscription | None:
        """The subscription to this stream; None as well where access has ended and the client is about to hear so."""
        joined = self._joined.get(stream)
        return joined if joined is not None and joined.ends_after is None else None

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

    # --------------------------------------------------------------------------------------------------- its subscriptions

    async def follow(self, follow: StartFollow) -> None:
        """A second follow takes the place of the first, as far as it names other cursors: what is subscribed to stays so.

        Raises ``TooMany``, ``LogUnavailable``.
        """
        if self._follow is not None:
            self._follow.end()
        self._follow = ChannelFollow(self, follow)
        await self._follow.begin()

    def claimable(self, streams: Iterable[Stream]) -> list[Stream]:
        """The streams that ``join_channel`` would subscribe to, as far as the connection has room for them."""
        return self.protocol.claimable(streams)

    async def join_channel(self, stream: Stream, follow: StartFollow) -> None:
        """Subscribe for a follow. Nothing is said of a channel that may not be read any more. Raises ``TooMany``, ``LogUnavailable``."""
        if self._closing is not None or not self.protocol.claims(stream):
            return
        cursor = follow.cursors.get(stream)
        try:
            await self.join(StartSubscription(follow.id, stream, cursor or "now", follow.snapshot and cursor is None))
        except BaseException as error:
            self.protocol.left(stream)
            if not isinstance(error, StreamNotFound):
                raise

    async def join(self, join: StartSubscription) -> None:
        """Subscribe, and tell the client from where on.

        First the interest, then the head, then the access as of that head: what comes after it passes the guard.
        Raises ``StreamNotFound`` where it may not be read, ``LogUnavailable``.
        """
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
            if after < access.since:
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
        if isinstance(join.after, Cursor):
            if replay == "suffix":
                joined.resuming = context.live.resumes.note("websocket", head - after)
            else:
                context.live.resumes.note_snapshot()
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

    def leave(self, leave: EndSubscription) -> None:
        """End a subscription because the client has asked for it, and tell it so."""
        joined = self._joined.pop(leave.stream, None)
        if joined is not None:
            self._let_go(joined)
        if self._follow is not None:
            self._follow.left(leave.stream.id)
        about = {} if leave.id is None else {"id": leave.id}
        self.send_reply(frame("unsubscribed", **about, stream=str(leave.stream), code="asked", reason="you asked for it"))

    def leave_all(self) -> None:
        """The connection is over."""
        if self._follow is not None:
            self._follow.end()
        for joined in self._joined.values():
            self._let_go(joined)
        self.context.live.remove(self)
        self.context.typing.connection_ended(self)

    def _let_go(self, joined: SocketSubscription) -> None:
        joined.gone = True
        self.context.hub.unsubscribe(joined)
        if joined.fetching is not None:
            joined.fetching.cancel()
        joined.pages = joined.page = None
        self._snapshots.discard(joined)

    # --------------------------------------------------------------------------------------------------------- writing

    def serve(self, has_contact: bool) -> bool:
        """One frame, or some small ones, if the client can take them. Whether there is more for it.

        Frames of events are made here and go out here: nothing waits in between that could go out after access has ended.
        """
        context = self.context
        if self._closing is not None or not self.wire.can_write:
            return False
        principal, answers, ready = self.principal, self.answers, self.ready
        if principal is not NO_PRINCIPAL and not context.still_valid(principal):
            self.account_changed()
            return False
        if answers:
            self.wire.write_frame(self._next_answers())
        elif ready:
            if not has_contact:
                context.live.stalled.add(self)  # cut off from Postgres: it is woken when that is back
                return False
            frames: list[bytes] = []
            size = 0
            try:
                while ready and size < FRAMES_BYTES_MAX and (self.wire.takes_many or not frames):
                    joined = ready.pop(0)
                    joined.queued = False
                    frame = self._next_frame(joined, None)
                    if frame is not None:
                        frames.append(frame)
                        size += len(frame)
            finally:  # also where a bug is met behind them: their subscriptions have moved on
                if frames:
                    self.wire.write_frame(frames[0] if len(frames) == 1 else b"".join(frames))
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

    def _next_frame(self, joined: SocketSubscription, segment: Segment | None) -> bytes | None:
        """The next of what a subscription has for its client, which is asked once more if there is more."""
        if joined.gone or joined.fetching is not None:
            return None
        if joined.ends_after is not None and (joined.page is not None or joined.pages is not None):
            self._ended(joined)  # what is left of the snapshot is not for this reader any more
            return None
        if joined.page is not None or joined.pages is not None:
            page, joined.page = joined.page, None
            if joined.pages is not None:
                joined.fetching = asyncio.create_task(self._fetch_page(joined, joined.pages))
            else:
                wake(joined)
            return page
        hub = self.context.hub
        frame = None
        batch = hub.next_batch(joined, bytes_max=self.context.frame_bytes, segment=segment)
        if batch is not None:
            if joined.resuming:
                joined.resuming = False
                self.context.live.resumes.note_first("websocket", batch.events[0].stored.at)
            if joined.redaction is not None:
                batch = joined.redacted(batch, joined.redaction)
            frame = batch.form(events_frame)
            if hub.behind(joined):
                wake(joined)
                return frame
        elif hub.behind(joined):
            joined.replaying = True
            if joined.waited_at != joined.cursor and hub.wake_when_read(joined):
                joined.waited_at = joined.cursor
            else:
                joined.fetching = asyncio.create_task(self._fetch(joined))
            return None
        if joined.ends_after is not None and joined.ended:
            self._ended(joined)
        elif joined.replaying:
            joined.replaying = False
            self.answers.append(caught_up_frame(joined.stream, joined.cursor))
        return frame

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
            frame = self._next_frame(joined, segment)
            if frame is not None:
                self.wire.write_frame(frame)
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
