"""Streams over plain HTTP on the same cursor: pages, SSE and long-poll; and the whole log for auditors (docs/protocol.md §4)."""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter, SkipValidation

from adapters.delivery.hub import Hub
from api.formats.event_json import encode_for_reader
from api.request.caller import Caller
from api.streams.access import LiveConnections
from api.streams.sse import event_stream, sse_response
from api.streams.tailing import StreamTail
from commands.accounts.principal import Principal
from commands.event_pages import bounded
from commands.ports import Blobs, EventLog
from commands.security_log import read_by_role
from domain.errors import BadRequest, Forbidden, RateReached, StreamNotFound
from domain.log.cursor import Cursor, parse_cursor, resume_point
from domain.log.event import StoredEvent
from domain.log.redaction import HidesWords
from domain.log.stream import Stream, parse_stream

PAGE_EVENTS: Final = 1000
LONG_POLL_S: Final = 30.0
LONG_POLL_MAX_S: Final = 120.0
CONNECTIONS_RETRY_S: Final = 5

Limit = Annotated[int, QueryParameter(ge=1, le=PAGE_EVENTS, required=False)]


class EventsOut(msgspec.Struct):
    """``next`` is the cursor to go on from: it passes over what a filter left out."""

    epoch: UUID
    head: int
    events: list[msgspec.Raw]
    next: str


def chosen(events: Sequence[StoredEvent], types: frozenset[str] | None, redaction: HidesWords | None = None) -> list[msgspec.Raw]:
    return [msgspec.Raw(encode_for_reader(event, redaction)) for event in events if types is None or event.type in types]


def require_free(live: LiveConnections, principal: Principal) -> None:
    """Raises ``RateReached`` where the account has as many live connections as it may."""
    used, limit = live.count(principal.user_id), live.connections_max(principal)
    if used >= limit:
        raise RateReached("connections", used=used, limit=limit, retry_after_s=CONNECTIONS_RETRY_S)


async def hung_up(request: Request[Any, Any, Any]) -> None:
    """Returns when the caller is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def is_cursor(text: str) -> bool:
    """Whether it names an event, and not an end of the stream. Raises ``BadCursor``."""
    return isinstance(parse_cursor(text), Cursor)


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
        caller: NamedDependency[Caller],
        log: NamedDependency[SkipValidation[EventLog]],
        hub: NamedDependency[Hub],
        live: NamedDependency[SkipValidation[LiveConnections]],
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
        head = await log.version(stream)
        access = await live.access(caller.principal, stream, at_least=head)
        if head == 0 or not access.may_read:
            raise StreamNotFound(stream)
        wanted = wanted_types(types)
        if live_mode == "sse" or "text/event-stream" in request.headers.get("accept", ""):
            # The browser's own reconnection repeats the URL: what it has seen since stands in the header.
            given = request.headers.get("last-event-id") or after
            point = resume_point(given, epoch, head)
            require_free(live, caller.principal)
            follower = StreamTail(hub, log, live, caller.principal, stream, point.after, counted=True)
            resumed = live.resumes if is_cursor(given) and live.resumes.note("sse", head - point.after) else None
            return sse_response(event_stream(follower, epoch, wanted, resumed))
        point = resume_point(after, epoch, head)
        after_version = point.after
        redaction = await live.redaction(access, stream, after_version)
        until_s = time.monotonic() + timeout_s if live_mode == "long-poll" else 0.0
        while True:
            page = bounded(await log.read(stream, after=after_version, limit=limit))
            if page and live_mode == "long-poll" and after_version == point.after and is_cursor(after):
                live.resumes.note("long-poll", head - after_version)
                live.resumes.note_first("long-poll", page[0].at)
            last = page[-1].version if page else after_version
            events = chosen(page, wanted, redaction)
            left_s = until_s - time.monotonic()
            if (
                events
                or left_s <= 0
                or not (page or await self._something(request, hub, log, live, caller.principal, stream, last, left_s))
            ):
                return Response(EventsOut(epoch, max(head, last), events, str(Cursor(epoch, last))))
            after_version = last  # what there was, the filter left out: it waits on for what is wanted

    async def _something(
        self,
        request: Request[Any, Any, Any],
        hub: Hub,
        log: EventLog,
        live: LiveConnections,
        principal: Principal,
        stream: Stream,
        after: int,
        timeout_s: float,
    ) -> bool:
        """Whether there was something above version ``after`` within the time. Not, if the caller hung up."""
        require_free(live, principal)
        async with StreamTail(hub, log, live, principal, stream, after, counted=True) as follower:
            asked = [asyncio.ensure_future(follower.next(timeout_s)), asyncio.ensure_future(hung_up(request))]
            try:
                await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in asked:
                    one.cancel()
                await asyncio.gather(*asked, return_exceptions=True)
            if asked[0].cancelled():
                return False
            batch = asked[0].result()
            if batch is None and follower.leaving_ms is None:
                raise StreamNotFound(stream)  # access ended while it waited
            return bool(batch is not None and batch.events)

    @get("/streams/{kind:str}/{stream_id:str}/blobs/{sha256:str}")
    async def blob(
        self,
        kind: FromPath[str],
        stream_id: FromPath[str],
        sha256: FromPath[str],
        caller: NamedDependency[Caller],
        blobs: NamedDependency[SkipValidation[Blobs]],
        live: NamedDependency[SkipValidation[LiveConnections]],
    ) -> Response[bytes]:
        """Content that an event of the stream refers to, because an event could not hold it."""
        stream = parse_stream(f"{kind}/{stream_id}")
        if len(sha256) != 64 or not all(digit in "0123456789abcdef" for digit in sha256):
            raise BadRequest("expected the sha256 as 64 hexadecimal digits")
        content = await blobs.get(stream, sha256) if (await live.access(caller.principal, stream)).may_read else None
        if content is None:
            raise StreamNotFound(f"{stream} with content {sha256}")
        # Somebody wrote it: a browser must not take it for a page.
        return Response(content, media_type="application/octet-stream", headers={"x-content-type-options": "nosniff"})

    @get("/log")
    async def whole_log(
        self,
        caller: NamedDependency[Caller],
        log: NamedDependency[SkipValidation[EventLog]],
        epoch: NamedDependency[UUID],
        after: FromQuery[str] = "start",
        limit: Limit = PAGE_EVENTS,
        types: FromQuery[str | None] = None,
    ) -> EventsOut:
        """The whole log in commit order (auditor, admin). Here a cursor's number is a position."""
        if not caller.principal.reads_everything:
            raise Forbidden("the whole log is for auditors and admins")
        read_by_role(caller.user_id, caller.principal.role, "the whole log")
        head = await log.head()
        point = resume_point(after, epoch, head)
        page = bounded(await log.read_log(after=point.after, limit=limit))
        last = page[-1].position if page else point.after
        return EventsOut(epoch, max(head, last), chosen(page, wanted_types(types)), str(Cursor(epoch, last)))
