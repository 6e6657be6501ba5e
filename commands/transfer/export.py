"""A chat's events as the lines of an export (docs/json-lines.md), page by page, so that memory does not grow with the chat."""

from collections.abc import AsyncIterator
from typing import Final

from commands.ports import Blobs, EventLog
from domain.log.jsonlines import encode_blob, encode_event, microseconds, redacted_line, references
from domain.log.redaction import HidesWords
from domain.log.stream import Stream

PAGE_EVENTS: Final = 200  # of 256 KiB at most


async def lines(
    log: EventLog, blobs: Blobs, stream: Stream, *, after: int, until: int, redaction: HidesWords | None = None
) -> AsyncIterator[bytes]:
    """The events with ``after < version <= until``, in pages. Blobs precede the first event that refers to them.

    ``redaction``: what is hidden from the reader for whom they are.
    """
    name = str(stream).encode()
    before_us: int | None = None
    if after:
        [last_read] = await log.read(stream, after=after - 1, until=after, limit=1)
        times = await log.original_times(stream, after=after - 1, until=after)
        before_us = microseconds(times.get(after, last_read.at))
    kept: set[str] = set()
    while after < until:
        page = await log.read(stream, after=after, until=until, limit=PAGE_EVENTS)
        if not page:
            return
        last = page[-1].version
        times = await log.original_times(stream, after=after, until=last)
        made: list[bytes] = []
        for stored in page:
            event = redaction.of(stored) if redaction is not None else stored
            for digest in references(event.data):
                if digest in kept:
                    continue
                kept.add(digest)
                content = await blobs.get(stream, digest)
                if content is not None:
                    yield b"".join(made)
                    made.clear()
                    yield encode_blob(name, content)
            at_us = microseconds(times.get(event.version, event.at))
            message_id = str(event.message_id) if event.message_id is not None else None
            line = encode_event(name, event.version, at_us, before_us, event.type, message_id, event.actor, event.data)
            made.append(line if event is stored else redacted_line(line))
            before_us = at_us
        yield b"".join(made)
        after = last
