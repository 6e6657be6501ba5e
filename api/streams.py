"""Streams over plain HTTP on the same cursor: pages, SSE and long-poll; and the whole log for auditors (docs/protocol.md §4)."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter, SkipValidation
from litestar.response import Stream as StreamResponse

from adapters.hub import Hub
from api.follow import follow
from api.live import READS_EVERYTHING, Live
from api.wire import encode_event
from commands.account import Principal
from commands.ports import Blobs, EventLog
from domain.cursor import Cursor, parse_cursor
from domain.errors import BadRequest, CursorGone, Forbidden, StreamNotFound
from domain.event import Stored
from domain.stream import Stream, parse_stream

PAGE_EVENTS: Final = 1000
PING_S: Final = 15.0
LONG_POLL_S: Final = 30.0
LONG_POLL_MAX_S: Final = 120.0

Limit = Annotated[int, QueryParameter(ge=1, le=PAGE_EVENTS, required=False)]


class EventsOut(msgspec.Struct):
    """``next`` is the cursor to go on from: it passes over what a filter left out."""

    epoch: UUID
    head: int
    events: list[msgspec.Raw]
    next: str


class Place(NamedTuple):
    """A reader's place in a stream or in the log, checked against what there is."""

    after: int
    head: int


def placed(text: str, epoch: UUID, head: int) -> Place:
    """Raises ``BadCursor``, ``CursorGone`` for one of another history or from the future."""
    match parse_cursor(text):
        case "start":
            return Place(0, head)
        case "now":
            return Place(head, head)
        case Cursor(epoch=known, number=number):
            if known != epoch or number > head:
                raise CursorGone(text, epoch=epoch, head=head)
            return Place(number, head)


def chosen(events: Sequence[Stored], types: frozenset[str] | None) -> list[msgspec.Raw]:
    return [msgspec.Raw(encode_event(event)) for event in events if types is None or event.type in types]


def wanted_types(types: str | None) -> frozenset[str] | None:
    return frozenset(filter(None, types.split(","))) if types else None


class StreamsController(Controller):
    path = "/api/v1"
    tags = ("streams",)

    @get("/streams/{kind:str}/{stream_id:str}/events")
    async def events(
        self,
        kind: FromPath[str],
        stream_id: FromPath[str],
        request: Request[Any, Any, Any],
        principal: NamedDependency[Principal],
        log: NamedDependency[SkipValidation[EventLog]],
        hub: NamedDependency[Hub],
        live: NamedDependency[SkipValidation[Live]],
        epoch: NamedDependency[UUID],
        after: FromQuery[str] = "start",
        limit: Limit = PAGE_EVENTS,
        types: FromQuery[str | None] = None,
        live_mode: Annotated[Literal["long-poll", "sse"] | None, QueryParameter(name="live", required=False)] = None,
        timeout_s: Annotated[float, QueryParameter(gt=0, le=LONG_POLL_MAX_S, required=False)] = LONG_POLL_S,
    ) -> Response[Any]:
        """One stream's events after a cursor: a page; with ``Accept: text/event-stream`` all of them and then live; with
        ``live=long-poll`` a page as soon as there is something in it."""
        stream = parse_stream(f"{kind}/{stream_id}")
        if not (await live.access(principal, stream))[0]:
            raise StreamNotFound(stream)
        head = await log.version(stream)
        if head == 0:
            raise StreamNotFound(stream)
        wanted = wanted_types(types)
        if live_mode == "sse" or "text/event-stream" in request.headers.get("accept", ""):
            # The browser's own reconnection repeats the URL: what it has seen since stands in the header.
            place = placed(request.headers.get("last-event-id") or after, epoch, head)
            return sse_response(sse(hub, log, live, principal, stream, place, wanted, epoch))
        place = placed(after, epoch, head)
        if live_mode == "long-poll" and place.after >= head:
            head = await self._something(hub, log, live, principal, stream, place, timeout_s)
        page = await log.read(stream, after=place.after, limit=limit)
        last = page[-1].version if page else place.after
        return Response(EventsOut(epoch, max(head, last), chosen(page, wanted), str(Cursor(epoch, last))))

    async def _something(
        self, hub: Hub, log: EventLog, live: Live, principal: Principal, stream: Stream, place: Place, timeout_s: float
    ) -> int:
        """The head once the stream is past ``place``, or once the time is over."""
        events = follow(hub, log, live, principal, stream, place.after, idle_s=timeout_s)
        try:
            async for batch in events:
                return batch.until
            raise StreamNotFound(stream)  # access ended while it waited
        finally:
            await events.aclose()

    @get("/streams/{kind:str}/{stream_id:str}/blobs/{sha256:str}")
    async def blob(
        self,
        kind: FromPath[str],
        stream_id: FromPath[str],
        sha256: FromPath[str],
        principal: NamedDependency[Principal],
        blobs: NamedDependency[SkipValidation[Blobs]],
        live: NamedDependency[SkipValidation[Live]],
    ) -> Response[bytes]:
        """Content that an event of the stream refers to, because an event could not hold it."""
        stream = parse_stream(f"{kind}/{stream_id}")
        if len(sha256) != 64 or not all(digit in "0123456789abcdef" for digit in sha256):
            raise BadRequest("expected the sha256 as 64 hexadecimal digits")
        content = await blobs.get(stream, sha256) if (await live.access(principal, stream))[0] else None
        if content is None:
            raise StreamNotFound(f"{stream} with content {sha256}")
        # Somebody wrote it: a browser must not take it for a page.
        return Response(content, media_type="application/octet-stream", headers={"x-content-type-options": "nosniff"})

    @get("/log")
    async def whole_log(
        self,
        principal: NamedDependency[Principal],
        log: NamedDependency[SkipValidation[EventLog]],
        epoch: NamedDependency[UUID],
        after: FromQuery[str] = "start",
        limit: Limit = PAGE_EVENTS,
        types: FromQuery[str | None] = None,
    ) -> EventsOut:
        """The whole log in commit order (auditor, admin). Here a cursor's number is a position."""
        if principal.role not in READS_EVERYTHING:
            raise Forbidden("the whole log is for auditors and admins")
        head = await log.head()
        place = placed(after, epoch, head)
        page = await log.read_log(after=place.after, limit=limit)
        last = page[-1].position if page else place.after
        return EventsOut(epoch, max(head, last), chosen(page, wanted_types(types)), str(Cursor(epoch, last)))


def sse_response(frames: AsyncGenerator[bytes, None]) -> StreamResponse:
    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    return StreamResponse(frames, media_type="text/event-stream", headers=headers)


async def sse(
    hub: Hub,
    log: EventLog,
    live: Live,
    principal: Principal,
    stream: Stream,
    place: Place,
    types: frozenset[str] | None,
    epoch: UUID,
) -> AsyncGenerator[bytes, None]:
    """The stream as server-sent events. Each has its cursor as ``id``; one that a filter left out still moves it."""
    prefix = b"id: %b:" % str(epoch).encode()
    behind = True
    if place.after >= place.head:
        behind = False
        yield caught_up(prefix, place.after)
    events = follow(hub, log, live, principal, stream, place.after, idle_s=PING_S)
    try:
        async for batch in events:
            if not batch.events:
                yield b": ping\n\n"
                continue
            yield b"".join(
                b"%b%d\ndata: %b\n\n" % (prefix, event.stored.version, event.wire)
                if types is None or event.stored.type in types
                else b"%b%d\n\n" % (prefix, event.stored.version)
                for event in batch.events
            )
            if behind and batch.until >= hub.head(stream):
                behind = False
                yield caught_up(prefix, batch.until)
            elif not behind and batch.until < hub.head(stream) - PAGE_EVENTS:
                behind = True
            await asyncio.sleep(0)
    finally:
        await events.aclose()


def caught_up(prefix: bytes, version: int) -> bytes:
    return b'%b%d\nevent: caught_up\ndata: {"version":%d}\n\n' % (prefix, version, version)
