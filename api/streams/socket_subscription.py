"""One subscription of one socket: where it begins, what its client is still to get, and the frames of its events."""

import asyncio
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Any, Protocol
from uuid import UUID

from adapters.delivery.hub import Batch, Subscription
from api.formats.event_json import encode_redacted
from api.streams.frames import StartSubscription
from api.streams.socket_context import SocketContext
from api.streams.socket_writer import WritableSocket
from api.streams.websocket_protocol import text_frame
from domain.log.cursor import Cursor
from domain.log.redaction import HidesWords
from domain.log.stream import Stream


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


class QueuedSocket(WritableSocket, Protocol):
    """What a subscription needs of its socket."""

    context: SocketContext
    ready: "list[SocketSubscription]"  # those that may have something for the client


class SocketSubscription(Subscription):
    """One subscription of one socket, and what its client still has to get besides events."""

    __slots__ = ("fetching", "gone", "may_write", "page", "pages", "queued", "redaction", "resuming", "waited_at")

    def __init__(self, stream: Stream, socket: QueuedSocket) -> None:
        super().__init__(stream, 0, socket, wake)
        self.pages: AsyncIterator[bytes] | None = None  # of a snapshot, that is sent before any event
        self.page: bytes | None = None  # the next one, that was made while its client could not take it
        self.fetching: asyncio.Task[None] | None = None
        self.redaction: HidesWords | None = None  # until the cursor has come to where the access began
        self.may_write = False  # as its client was told
        self.waited_at = -1  # the cursor at which it waited for what was being read for another one
        self.queued = True  # not to be woken before it is set up
        self.gone = False
        self.resuming = False  # its client came back with a cursor and has not got the first event that it missed

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
