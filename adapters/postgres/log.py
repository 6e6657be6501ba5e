"""``EventLog``, ``Blobs``, ``Nodes``, ``Activity`` and the lists on Postgres. Appends go through the appender, reads through a pool."""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

import asyncpg

from adapters.postgres.appender import BATCH_BYTES_MAX, Appender
from adapters.postgres.connection import FAILURES, connect, passes, pool, refuses_data
from adapters.postgres.queries import text
from commands.ports import Appended, AppendRequest, KnownCommand, NodeBeat, OpenGeneration
from domain.codec import OUTLINE_END
from domain.errors import BadRequest, LogUnavailable
from domain.event import Stored
from domain.stream import Stream, chat_stream

READ_STREAM: Final = text("read_stream")
READ_STREAM_WITHOUT_DELTAS: Final = text("read_stream_without_deltas")
READ_OUTLINE: Final = text("read_outline")
READ_MESSAGE: Final = text("read_message")
READ_HEAD: Final = text("read_head")
READ_RELATIVES: Final = text("read_relatives")
READ_OPEN_STARTS: Final = text("read_open_starts")
READ_LOG: Final = text("read_log")
STREAM_VERSION: Final = text("stream_version")
VERSION_AT: Final = text("version_at")
VERSION_TIMES: Final = text("version_times")
ORIGINAL_TIMES: Final = text("original_times")
LOG_HEAD: Final = text("log_head")
FIND_COMMAND: Final = text("find_command")
FIND_CLAIM: Final = text("find_claim")
PUT_BLOB: Final = text("put_blob")
GET_BLOB: Final = text("get_blob")
BEAT: Final = text("beat")
BEATS: Final = text("beats")
LEAVE: Final = text("leave")
OPEN_GENERATIONS: Final = text("open_generations")
USERS: Final = text("users")
NOTE_ACTIVE: Final = text("note_active")
LAST_ACTIVE: Final = text("last_active")

T = TypeVar("T")
READERS_MAX: Final = 8  # connections
READ_TIMEOUT_S: Final = 10.0
READ_ATTEMPTS_MAX: Final = 6
READ_RETRY_FIRST_S: Final = 0.05
VERSION_MAX: Final = 2**31 - 1  # of the column; whoever asks for more asks for what can't be there


class Reader:
    """Queries through a pool. A connection that fails is replaced and the query asked again: reading twice is harmless."""

    def __init__(self, dsn: str, *, connections_max: int = READERS_MAX, statement_cache: int = 100) -> None:
        self._dsn = dsn
        self._connections_max = connections_max
        self._statement_cache = statement_cache
        self._pool: asyncpg.Pool[Any] | None = None
        self.queries = 0

    async def start(self) -> None:
        self._pool = await pool(self._dsn, connections_max=self._connections_max, statement_cache=self._statement_cache)

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.terminate()

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """All rows. Raises ``LogUnavailable`` when Postgres does not answer within the bound."""
        rows: list[Any] = await self._asked(lambda connection: connection.fetch(query, *arguments))
        return rows

    async def execute(self, query: str, *arguments: Any) -> None:
        await self._asked(lambda connection: connection.execute(query, *arguments))

    async def _asked(self, ask: Callable[[Any], Any]) -> Any:
        assert self._pool is not None
        pause_s = READ_RETRY_FIRST_S
        for attempt in range(READ_ATTEMPTS_MAX):
            try:
                async with asyncio.timeout(READ_TIMEOUT_S), self._pool.acquire() as connection:
                    self.queries += 1
                    return await ask(connection)
            except FAILURES as error:
                if not passes(error):
                    if isinstance(error, asyncpg.PostgresError) and refuses_data(error):
                        raise BadRequest(f"Postgres refused the request's data: {error.args[0]}") from error
                    raise
                if attempt == READ_ATTEMPTS_MAX - 1:
                    raise LogUnavailable(f"Postgres did not answer: {type(error).__name__}: {error}") from error
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311  # spreads retries, guards nothing
            pause_s *= 2
        raise AssertionError("unreachable")

    async def snapshot(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """``work`` on one connection whose statements all see the same moment. Asked again as a whole where it fails."""

        async def within(connection: Any) -> T:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await work(connection)

        made: T = await self._asked(within)
        return made


class PostgresLog:
    """``EventLog``, ``Blobs``, ``Nodes``, ``Activity`` and ``UserList``. See the ports for what each method promises."""

    def __init__(
        self,
        dsn: str,
        committed: Callable[[Sequence[Stored]], None],
        *,
        batch_events_max: int = 1000,
        batch_bytes_max: int = BATCH_BYTES_MAX,
        hold_s: float = 40.0,
        opened: Callable[[Any], Awaitable[None]] | None = None,
        gives_way: bool = False,
    ) -> None:
        """``opened`` may look at each new connection of the appender, and refuse it by raising. With ``gives_way`` what others append
        comes first.
        """

        async def connect_appender() -> Any:
            return await connect(dsn, application="appender", opened=opened)

        self.reader = Reader(dsn)
        self.appender = Appender(
            connect_appender,
            committed,
            batch_events_max=batch_events_max,
            batch_bytes_max=batch_bytes_max,
            hold_s=hold_s,
            gives_way=gives_way,
        )

    async def start(self) -> None:
        await self.reader.start()
        await self.appender.start()

    async def close(self) -> None:
        await self.appender.close()
        await self.reader.close()

    @property
    def last_success_at(self) -> float:
        """When Postgres last took an append, by the loop's clock in seconds."""
        return self.appender.last_success_at

    def figures(self) -> Iterator[tuple[str, str, str, float]]:
        """``(kind, name, help, value)`` for whoever watches."""
        appender = self.appender
        yield "gauge", "stenograph_append_waiting_events", "Events that wait for their batch.", appender.waiting_events
        yield "counter", "stenograph_append_batches", "Batches committed by this process.", appender.batches
        yield "counter", "stenograph_append_retries", "Appends asked again after a failure.", appender.retries
        yield "counter", "stenograph_log_queries", "Queries asked of Postgres, but for appends.", self.reader.queries

    def append(self, request: AppendRequest) -> Coroutine[Any, Any, Appended]:
        return self.appender.append(request)

    async def read(
        self, stream: Stream, *, after: int = 0, until: int | None = None, limit: int, without_deltas: bool = False
    ) -> Sequence[Stored]:
        query = READ_STREAM_WITHOUT_DELTAS if without_deltas else READ_STREAM
        last = VERSION_MAX if until is None else min(until, VERSION_MAX)
        return _of(stream, await self.reader.fetch(query, stream.id, min(after, VERSION_MAX), last, limit))

    async def read_outline(self, stream: Stream, *, after: int = 0, until: int, limit: int) -> Sequence[Stored]:
        return _of(stream, await self.reader.fetch(READ_OUTLINE, stream.id, after, until, limit, OUTLINE_END))

    async def read_message(self, stream: Stream, message_id: UUID, *, after: int) -> Sequence[Stored]:
        return _of(stream, await self.reader.fetch(READ_MESSAGE, stream.id, message_id, min(after, VERSION_MAX)))

    async def read_head(self, stream: Stream, types: Sequence[str]) -> Sequence[Stored]:
        return _of(stream, await self.reader.fetch(READ_HEAD, stream.id, types, OUTLINE_END))

    async def read_relatives(self, stream: Stream, message_ids: Collection[UUID], *, until: int) -> Sequence[Stored]:
        return _of(stream, await self.reader.fetch(READ_RELATIVES, stream.id, list(message_ids), until, OUTLINE_END))

    async def read_open_starts(self, stream: Stream, *, until: int) -> Sequence[Stored]:
        return _of(stream, await self.reader.fetch(READ_OPEN_STARTS, stream.id, until))

    async def read_log(self, *, after: int, limit: int) -> Sequence[Stored]:
        return [stored(row) for row in await self.reader.fetch(READ_LOG, after, limit)]

    async def version(self, stream: Stream) -> int:
        return _first(await self.reader.fetch(STREAM_VERSION, stream.id, stream.kind))

    async def version_at(self, stream: Stream, at: datetime) -> int:
        rows = await self.reader.fetch(VERSION_AT, stream.id, stream.kind, at)
        version: int = rows[0][0]
        return version

    async def times(self, stream: Stream, versions: Collection[int]) -> Mapping[int, datetime]:
        return {row[0]: row[1] for row in await self.reader.fetch(VERSION_TIMES, stream.id, stream.kind, list(versions))}

    async def original_times(self, stream: Stream, *, after: int, until: int) -> Mapping[int, datetime]:
        return {row[0]: row[1] for row in await self.reader.fetch(ORIGINAL_TIMES, stream.id, after, until)}

    async def head(self) -> int:
        return _first(await self.reader.fetch(LOG_HEAD))

    async def find_command(self, actor_id: UUID, key: str) -> KnownCommand | None:
        for row in await self.reader.fetch(FIND_COMMAND, actor_id, key):
            return KnownCommand(row[0], Appended(row[1], row[2], row[4], True, row[3]))
        return None

    async def find_claim(self, kind: str, key: str) -> Stream | None:
        for row in await self.reader.fetch(FIND_CLAIM, kind, key):
            return Stream(row[1], row[0])
        return None

    async def put(self, stream: Stream, content: bytes) -> str:
        digest = hashlib.sha256(content)
        await self.reader.execute(PUT_BLOB, stream.id, digest.digest(), content)
        return digest.hexdigest()

    async def get(self, stream: Stream, sha256: str) -> bytes | None:
        for row in await self.reader.fetch(GET_BLOB, stream.id, bytes.fromhex(sha256)):
            content: bytes = row[0]
            return content
        return None

    async def beat(self, node_id: UUID, beat: NodeBeat) -> None:
        await self.reader.execute(BEAT, node_id, beat.beat, beat.open_since)

    async def beats(self) -> Mapping[UUID, NodeBeat]:
        return {row[0]: NodeBeat(row[1], row[2]) for row in await self.reader.fetch(BEATS)}

    async def leave(self, node_id: UUID) -> None:
        await self.reader.execute(LEAVE, node_id)

    async def open_generations(self, *, since: int) -> Sequence[OpenGeneration]:
        rows = await self.reader.fetch(OPEN_GENERATIONS, since)
        return [OpenGeneration(chat_stream(row[0]), row[1], row[2], row[3], row[4]) for row in rows]

    async def users(self, *, offset: int, limit: int) -> tuple[Sequence[UUID], int]:
        rows = await self.reader.fetch(USERS, offset, limit)
        return [row[0] for row in rows], rows[0][1] if rows else 0

    async def note_active(self, user_ids: Sequence[UUID]) -> None:
        await self.reader.execute(NOTE_ACTIVE, user_ids)

    async def last_active(self, user_ids: Sequence[UUID]) -> Mapping[UUID, datetime]:
        return {row[0]: row[1] for row in await self.reader.fetch(LAST_ACTIVE, user_ids)}


def _of(stream: Stream, rows: Sequence[Any]) -> list[Stored]:
    """The rows of one stream, as far as they are of that kind: one name for all of them."""
    return [Stored(row[0], stream, row[3], row[4], row[5], row[6], row[7], row[8]) for row in rows if row[1] == stream.kind]


def stored(row: Any) -> Stored:
    position, kind, stream_id, version, name, message_id, actor, data, at = row
    return Stored(position, Stream(kind, stream_id), version, name, message_id, actor, data, at)


def _first(rows: list[Any]) -> int:
    number: int = rows[0][0] if rows else 0
    return number
