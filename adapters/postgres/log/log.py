"""``EventLog`` on Postgres: appends go through the appender, reads through the pool of the query reader."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import structlog

from adapters.postgres.appending.appender import BATCH_BYTES_MAX, Appender
from adapters.postgres.connections.connection import FAILURES, connect
from adapters.postgres.connections.queries import text
from adapters.postgres.connections.query_reader import QueryReader
from adapters.postgres.log.stream_reads import READ_STREAM, StreamReads, of_stream
from commands.metrics import MetricFigure
from commands.ports import Appended, AppendRequest, KnownCommand, QuotaGuard
from domain.errors import StenographError
from domain.log.codec import OUTLINE_END
from domain.log.event import StoredEvent
from domain.log.stream import Kind, Stream

logger = structlog.get_logger("log")

READ_STREAM_WITHOUT_DELTAS: Final = text("read_stream_without_deltas")
READ_OUTLINE: Final = text("read_outline")
READ_MESSAGE: Final = text("read_message")
READ_HEAD: Final = text("read_head")
READ_RELATIVES: Final = text("read_relatives")
READ_MESSAGES: Final = text("read_messages")
READ_OPEN_STARTS: Final = text("read_open_starts")
READ_OPEN_CALLS: Final = text("read_open_calls")
READ_CALL: Final = text("read_call")
READ_LOG: Final = text("read_log")
STREAM_VERSION: Final = text("stream_version")
VERSION_AT: Final = text("version_at")
VERSION_TIMES: Final = text("version_times")
ORIGINAL_TIMES: Final = text("original_times")
LOG_HEAD: Final = text("log_head")
STREAMS_OF_KIND: Final = text("streams_of_kind")
FIND_COMMAND: Final = text("find_command")
FIND_CLAIM: Final = text("find_claim")
PROBE_APPEND: Final = text("probe_append")
PROBE_S: Final = 2.0
PROBE_BYTES: Final = 12_000
VERSION_MAX: Final = 2**31 - 1  # the largest that the column holds


class LogReads:
    """The reading half of ``EventLog``. What delivers committed events needs no more, so it is made before the appender."""

    def __init__(self, reader: QueryReader) -> None:
        self.reader = reader
        self._stream_reads = StreamReads(reader)

    async def read(
        self, stream: Stream, *, after: int = 0, until: int | None = None, limit: int, without_deltas: bool = False
    ) -> Sequence[StoredEvent]:
        if until is None and not without_deltas:
            return await self._stream_reads.read(stream, min(after, VERSION_MAX), limit)
        query = READ_STREAM_WITHOUT_DELTAS if without_deltas else READ_STREAM
        last = VERSION_MAX if until is None else min(until, VERSION_MAX)
        return of_stream(stream, await self.reader.fetch(query, stream.id, min(after, VERSION_MAX), last, limit))

    async def read_outline(self, stream: Stream, *, after: int = 0, until: int, limit: int) -> Sequence[StoredEvent]:
        return of_stream(stream, await self.reader.fetch(READ_OUTLINE, stream.id, after, until, limit, OUTLINE_END))

    async def read_message(self, stream: Stream, message_id: UUID, *, after: int) -> Sequence[StoredEvent]:
        return of_stream(stream, await self.reader.fetch(READ_MESSAGE, stream.id, message_id, min(after, VERSION_MAX)))

    async def read_head(self, stream: Stream, types: Sequence[str]) -> Sequence[StoredEvent]:
        return of_stream(stream, await self.reader.fetch(READ_HEAD, stream.id, types, OUTLINE_END))

    async def read_relatives(self, stream: Stream, message_ids: Collection[UUID], *, until: int) -> Sequence[StoredEvent]:
        return of_stream(stream, await self.reader.fetch(READ_RELATIVES, stream.id, list(message_ids), until, OUTLINE_END))

    async def read_messages(self, stream: Stream, message_ids: Collection[UUID], *, until: int) -> Sequence[StoredEvent]:
        return of_stream(stream, await self.reader.fetch(READ_MESSAGES, stream.id, list(message_ids), until, OUTLINE_END))

    async def read_open_starts(self, stream: Stream, *, until: int) -> Sequence[StoredEvent]:
        return of_stream(stream, await self.reader.fetch(READ_OPEN_STARTS, stream.id, until))

    async def read_open_calls(self, stream: Stream, *, until: int) -> Sequence[StoredEvent]:
        return of_stream(stream, await self.reader.fetch(READ_OPEN_CALLS, stream.id, until))

    async def read_call(self, call_id: UUID) -> Sequence[StoredEvent]:
        return [stored(row) for row in await self.reader.fetch(READ_CALL, str(call_id))]

    async def read_log(self, *, after: int, limit: int) -> Sequence[StoredEvent]:
        return [stored(row) for row in await self.reader.fetch(READ_LOG, after, limit)]

    async def version(self, stream: Stream) -> int:
        return _number(await self.reader.fetch(STREAM_VERSION, stream.id, stream.kind), "version")

    async def version_at(self, stream: Stream, at: datetime) -> int:
        rows = await self.reader.fetch(VERSION_AT, stream.id, stream.kind, at)
        version: int = rows[0]["version"]
        return version

    async def times(self, stream: Stream, versions: Collection[int]) -> Mapping[int, datetime]:
        return _times(await self.reader.fetch(VERSION_TIMES, stream.id, stream.kind, list(versions)))

    async def original_times(self, stream: Stream, *, after: int, until: int) -> Mapping[int, datetime]:
        return _times(await self.reader.fetch(ORIGINAL_TIMES, stream.id, after, until))

    async def head(self) -> int:
        return _number(await self.reader.fetch(LOG_HEAD), "position")

    async def find_command(self, actor_id: UUID, key: str) -> KnownCommand | None:
        for row in await self.reader.fetch(FIND_COMMAND, actor_id, key):
            first = Appended(row["position"], row["versions"], row["recorded_at"], True, row["answer"])
            return KnownCommand(row["request_hash"], first)
        return None

    async def streams(self, kind: Kind) -> Sequence[Stream]:
        return [Stream(kind, row["stream_id"]) for row in await self.reader.fetch(STREAMS_OF_KIND, kind)]

    async def find_claim(self, kind: str, key: str) -> Stream | None:
        for row in await self.reader.fetch(FIND_CLAIM, kind, key):
            return Stream(row["kind"], row["stream_id"])
        return None


class PostgresLog(LogReads):
    """``EventLog``. ``start`` and ``close`` include the reader and the appender."""

    def __init__(self, reader: QueryReader, appender: Appender) -> None:
        super().__init__(reader)
        self.appender = appender
        self._probing: asyncio.Task[None] | None = None
        self.quota_guard: QuotaGuard | None = None  # asked before what an account appends

    async def start(self) -> None:
        await self.reader.start()
        await self.appender.start()
        self._probing = asyncio.create_task(self._probe(), name="append probe")

    async def close(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait([self._probing])
        await self.appender.close()
        await self.reader.close()

    @property
    def last_success_at(self) -> float:
        """When Postgres last took an append, by the loop's clock in seconds."""
        return self.appender.last_success_at

    @property
    def write_failure(self) -> str | None:
        """Why nothing can be appended; None while appends succeed, and during the first seconds of a failure, which is being retried."""
        appender = self.appender
        failed_s = asyncio.get_running_loop().time() - appender.failing_since
        return appender.failing if failed_s > PROBE_S else None

    async def _probe(self) -> None:
        """After an append failed, ask whether one would succeed: a process that is not ready gets no requests that would show it."""
        while True:
            await asyncio.sleep(PROBE_S)
            if self.appender.failing is not None and not self.appender.waiting_events:
                try:
                    await self.reader.fetch(PROBE_APPEND, b'"%s"' % secrets.token_hex(PROBE_BYTES).encode())
                except (StenographError, *FAILURES) as error:
                    logger.warning("append_probe_failed", error=str(error))
                else:
                    self.appender.failing = None

    def figures(self) -> Iterator[MetricFigure]:
        """The metrics of the log (``commands/metrics.py``)."""
        appender = self.appender
        yield "gauge", "stenograph_log_writable", "1 while Postgres takes appends.", float(self.write_failure is None)
        yield "counter", "stenograph_log_queries", "Queries asked of Postgres, but for appends.", self.reader.queries
        yield "gauge", "stenograph_append_waiting_events", "Events that wait for their batch.", appender.waiting_events
        yield "gauge", "stenograph_append_waiting_bytes", "Bytes of these events.", appender.waiting_bytes
        yield "counter", "stenograph_append_events", "Events committed by this process.", appender.events
        yield "counter", "stenograph_append_batches", "Batches committed by this process.", appender.batches
        yield "histogram", "stenograph_append_batch_events", "Events of a batch.", appender.batch_events
        yield "histogram", "stenograph_append_batch_duration_seconds", "From the call of a batch to its commit.", appender.batch_s
        yield "counter", "stenograph_append_conflicts", "Requests refused because their stream had moved on.", appender.conflicts
        yield "counter", "stenograph_append_retries", "Batches asked again after a failure.", appender.retries

    def append(self, request: AppendRequest, queued: Callable[[], None] | None = None) -> Coroutine[Any, Any, Appended]:
        if self.quota_guard is None or request.actor is None:  # tokens
            return self.appender.append(request, queued)
        return self._append_within(self.quota_guard, request, queued)

    async def _append_within(self, guard: QuotaGuard, request: AppendRequest, queued: Callable[[], None] | None) -> Appended:
        await guard.require(request)
        return await self.appender.append(request, queued)

    async def require_account(self, user_id: UUID) -> None:
        if self.quota_guard is not None:
            await self.quota_guard.require_account(user_id)


def postgres_log(
    dsn: str,
    on_committed: Callable[[Sequence[StoredEvent]], None] = lambda _: None,
    *,
    batch_events_max: int = 1000,
    batch_bytes_max: int = BATCH_BYTES_MAX,
    hold_s: float = 40.0,
    check_connection: Callable[[Any], Awaitable[None]] | None = None,
    yields_to_others: bool = False,
    announce_as: Callable[[], UUID | None] = lambda: None,
    reader: QueryReader | None = None,
) -> PostgresLog:
    """The log at ``dsn`` with an appender of its own, not started yet. ``reader`` is a pool that exists already, not started either.

    ``check_connection`` may refuse each new connection of the appender by raising. With ``yields_to_others`` the appender leaves the append
    lock to other writers first. ``announce_as`` says in which process's name commits are announced (``Appender``).
    """

    async def connect_appender() -> Any:
        return await connect(dsn, application="appender", opened=check_connection)

    appender = Appender(
        connect_appender,
        on_committed,
        batch_events_max=batch_events_max,
        batch_bytes_max=batch_bytes_max,
        hold_s=hold_s,
        yields_to_others=yields_to_others,
        announce_as=announce_as,
    )
    return PostgresLog(reader or QueryReader(dsn), appender)


def stored(row: Any) -> StoredEvent:
    """One row of ``read_log``. It is unpacked by position, since this runs once for each event that is read."""
    position, kind, stream_id, version, type_, message_id, actor, data, recorded_at = row
    return StoredEvent(position, Stream(kind, stream_id), version, type_, message_id, actor, data, recorded_at)


def _number(rows: Sequence[Any], column: str) -> int:
    number: int = rows[0][column] if rows else 0
    return number


def _times(rows: Sequence[Any]) -> dict[int, datetime]:
    return {row["version"]: row["recorded_at"] for row in rows}
