"""A stream as server-sent events (docs/protocol.md §4). Each has its cursor as ``id``; one that a filter left out still moves it."""

from collections.abc import AsyncGenerator, Callable
from functools import lru_cache
from typing import Final
from uuid import UUID

from litestar.response import Stream as StreamResponse

from adapters.delivery.hub import Batch
from api.streams.resumes import Resumes
from api.streams.tailing import StreamTail

PING_S: Final = 15.0
# A comment ends with one newline. With an empty line after it, clients that look at the last id (httpx-sse, OpenAI's) dispatch an event
# without data.
PING: Final = b": ping\n"
SSE_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}


def sse_response(frames: AsyncGenerator[bytes, None]) -> StreamResponse:
    return StreamResponse(frames, media_type="text/event-stream", headers=SSE_HEADERS)


async def event_stream(
    follower: StreamTail, epoch: UUID, types: frozenset[str] | None, resumed: Resumes | None = None
) -> AsyncGenerator[bytes, None]:
    """What there is, ``caught_up``, and then what comes; a comment every ``PING_S``. Ends with the caller's access.

    ``resumed`` is told of the first event where the client came back and has missed some.
    """
    form = form_of(epoch, types)
    async with follower:
        while True:
            if follower.replaying and not follower.behind:
                follower.replaying = False
                yield caught_up(epoch, follower.subscription.cursor)
            # Nothing is sent by this, but it is waited until the client has taken what it was sent: what is made after it goes
            # out at once, and nothing waits that could go out after the caller's access has ended.
            yield b""
            batch = await follower.next(PING_S)
            if batch is None:
                break
            if resumed is not None and batch.events:
                resumed.note_first("sse", batch.events[0].stored.at)
                resumed = None
            yield batch.form(form) if batch.events else PING
        if follower.leaving_ms is not None:
            yield b"retry: %d\n\n" % follower.leaving_ms


@lru_cache(maxsize=64)
def form_of(epoch: UUID, types: frozenset[str] | None) -> Callable[[Batch], bytes]:
    """The same function for the same arguments: a batch is put into this form once for all who get it."""
    prefix = b"id: %b:" % str(epoch).encode()

    def form(batch: Batch) -> bytes:
        return b"".join(
            b"%b%d\ndata: %b\n\n" % (prefix, event.stored.version, event.wire)
            if types is None or event.stored.type in types
            else b"%b%d\n\n" % (prefix, event.stored.version)
            for event in batch.events
        )

    return form


def caught_up(epoch: UUID, version: int) -> bytes:
    return b'id: %b:%d\nevent: caught_up\ndata: {"version":%d}\n\n' % (str(epoch).encode(), version, version)
