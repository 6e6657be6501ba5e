"""Reads streams from a version on. Reads that callers ask for at the same moment go into one query.

At most ``READS_AT_ONCE`` queries run. While all of them do, further reads are collected, and the next query asks for all of these. No timer
delays a read: one that comes alone runs at once. When a thousand people come back together, some dozens of queries read their accounts.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from adapters.postgres.connections.queries import text
from adapters.postgres.connections.query_reader import QueryReader
from domain.errors import LogUnavailable
from domain.log.event import StoredEvent
from domain.log.stream import Stream

READ_STREAM: Final = text("read_stream")
READ_STREAMS: Final = text("read_streams")
READS_AT_ONCE: Final = 6  # of the 8 connections of a pool: what is no such read must not wait behind a storm of them
STREAMS_MAX: Final = 32  # of one query
EVENTS_MAX: Final = 256  # of one stream in such a query, so that it brings fewer events than one read alone may (10,000, of any size)


class ReadRequest:
    """One caller's read in a batch: ``events_max`` events of the stream above ``after``. ``events`` is cancelled with its caller."""

    __slots__ = ("after", "events", "events_max", "stream")

    def __init__(self, stream: Stream, after: int, events_max: int) -> None:
        self.stream = stream
        self.after = after
        self.events_max = events_max
        self.events: asyncio.Future[list[StoredEvent]] = asyncio.get_running_loop().create_future()


class ReadBatch:
    """Reads that go in one query. Its ``task`` waits for a slot, and more reads are added until it has one."""

    __slots__ = ("requests", "task")

    def __init__(self) -> None:
        self.requests: list[ReadRequest] = []
        self.task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> list[ReadRequest]:
        """The reads that have no answer yet and whose callers were not cancelled."""
        return [one for one in self.requests if not one.events.done()]

    def on_done(self, task: "asyncio.Task[None]") -> None:
        """A failure reaches each caller as an exception of its own: a shared one would collect the tracebacks of all."""
        failure = None if task.cancelled() else task.exception()
        for request in self.waiting:
            if failure is None:
                request.events.cancel()
            elif isinstance(failure, LogUnavailable):
                unavailable = LogUnavailable(failure.detail)
                unavailable.__cause__ = failure
                request.events.set_exception(unavailable)
            else:
                request.events.set_exception(failure)


class StreamReads:
    """``EventLog.read`` without an end."""

    def __init__(self, reader: QueryReader) -> None:
        self._reader = reader
        self._slots = asyncio.Semaphore(READS_AT_ONCE)
        self._gathering: ReadBatch | None = None

    async def read(self, stream: Stream, after: int, limit: int) -> list[StoredEvent]:
        """Raises ``LogUnavailable``."""
        found: list[StoredEvent] = []
        while True:
            left = limit - len(found)
            if not self._slots.locked():
                async with self._slots:
                    return found + of_stream(stream, await self._reader.fetch(READ_STREAM, stream.id, after, None, left))
            events_max = min(left, EVENTS_MAX)
            step = await self._in_batch(stream, after, events_max)
            found += step
            if len(step) < events_max or len(found) == limit:
                return found
            after = step[-1].version

    async def _in_batch(self, stream: Stream, after: int, events_max: int) -> list[StoredEvent]:
        batch = self._gathering
        if batch is None or len(batch.requests) >= STREAMS_MAX:
            batch = self._gathering = ReadBatch()
            batch.task = asyncio.create_task(self._read(batch), name="read streams")
            batch.task.add_done_callback(batch.on_done)
        request = ReadRequest(stream, after, events_max)
        batch.requests.append(request)
        return await request.events

    async def _read(self, batch: ReadBatch) -> None:
        async with self._slots:
            if self._gathering is batch:
                self._gathering = None  # a read is never older than its call: the next one goes in a later query
            requests = batch.waiting
            if not requests:
                return
            asked = ([one.stream.id for one in requests], [one.after for one in requests], [one.events_max for one in requests])
            rows: list[list[Any]] = [[] for _ in requests]
            for row in await self._reader.fetch(READ_STREAMS, *asked):
                rows[row[9] - 1].append(row)
        for request, found in zip(requests, rows, strict=True):
            if not request.events.done():
                request.events.set_result(of_stream(request.stream, found))


def of_stream(stream: Stream, rows: Sequence[Any]) -> list[StoredEvent]:
    """The rows of one stream, as far as they are of that kind: one name for all of them.

    By position, since this runs once for each event that is read: the columns are position, kind, stream_id, version, type, message_id,
    actor, data, recorded_at.
    """
    return [StoredEvent(row[0], stream, row[3], row[4], row[5], row[6], row[7], row[8]) for row in rows if row[1] == stream.kind]
