"""Streams that are asked for together are read by few queries, and everybody gets exactly what a read alone would have brought."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from adapters.postgres.connections.query_reader import QueryReader
from adapters.postgres.log.log import PostgresLog, postgres_log
from adapters.postgres.log.stream_reads import EVENTS_MAX, READS_AT_ONCE, STREAMS_MAX
from commands.ports import AppendRequest, StreamAppend
from domain.chat.facts import ChatRenamed
from domain.errors import LogUnavailable
from domain.log.event import Event
from domain.log.stream import Stream, chat_stream

pytestmark = pytest.mark.anyio
MANY = 100


class FailingReader(QueryReader):
    """Refuses queries of several streams while ``fails`` is set. It counts the queries that run, and those there are at once."""

    fails = False
    running = 0
    running_most = 0

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        if self.fails and isinstance(arguments[0], list):
            await asyncio.sleep(0)
            raise LogUnavailable("away")
        self.running += 1
        self.running_most = max(self.running_most, self.running)
        try:
            return await super().fetch(query, *arguments)
        finally:
            self.running -= 1


@pytest.fixture
async def reader(database: str) -> AsyncIterator[FailingReader]:
    yield FailingReader(database)


@pytest.fixture
async def log(database: str, reader: FailingReader) -> AsyncIterator[PostgresLog]:
    made = postgres_log(database, reader=reader)
    await made.start()
    yield made
    await made.close()


async def written(log: PostgresLog, *titles: str) -> Stream:
    stream = chat_stream(uuid4())
    await log.append(AppendRequest([StreamAppend(stream, [Event(None, ChatRenamed(title)) for title in titles], 0)]))
    return stream


async def titles(log: PostgresLog, stream: Stream, **asked: Any) -> list[str]:
    return [msgspec.json.decode(stored.data)["title"] for stored in await log.read(stream, **{"limit": 10_000, **asked})]


async def test_many_reads_at_once_are_few_queries_and_each_gets_its_own(log: PostgresLog, reader: FailingReader) -> None:
    streams = [await written(log, f"{number} a", f"{number} b", f"{number} c") for number in range(MANY)]
    before = reader.queries
    found = await asyncio.gather(*(titles(log, stream, after=number % 3) for number, stream in enumerate(streams)))
    assert found == [[f"{number} {letter}" for letter in "abc"[number % 3 :]] for number in range(MANY)]
    assert reader.queries - before == READS_AT_ONCE + -(-(MANY - READS_AT_ONCE) // STREAMS_MAX)


async def test_a_read_among_many_is_bounded_by_its_limit_and_by_nothing_else(log: PostgresLog) -> None:
    numbers = [str(number) for number in range(2 * EVENTS_MAX + 7)]
    long = await written(log, *numbers)
    nothing = Stream("user", long.id)  # a stream of that name, but of another kind, is not there
    fill = [long] * READS_AT_ONCE  # what comes after them goes together
    asked: list[tuple[Stream, dict[str, Any]]] = [
        (long, {}),
        (long, {"after": 5, "limit": EVENTS_MAX + 1}),
        (long, {"after": 5, "limit": EVENTS_MAX}),
        (long, {"limit": 3}),
        (long, {"after": len(numbers)}),
        (long, {"after": len(numbers) - EVENTS_MAX}),
        (nothing, {}),
        (chat_stream(uuid4()), {}),
    ]
    found = await asyncio.gather(*(titles(log, one) for one in fill), *(titles(log, stream, **more) for stream, more in asked))
    assert found[len(fill) :] == [
        numbers,
        numbers[5 : EVENTS_MAX + 6],
        numbers[5 : EVENTS_MAX + 5],
        numbers[:3],
        [],
        numbers[-EVENTS_MAX:],
        [],
        [],
    ]


async def test_long_streams_are_read_to_their_end_within_the_same_bound(log: PostgresLog, reader: FailingReader) -> None:
    numbers = [str(number) for number in range(EVENTS_MAX + 7)]
    long = await written(log, *numbers)
    reader.running_most, before = 0, reader.queries
    assert await asyncio.gather(*(titles(log, long) for _ in range(MANY))) == [numbers] * MANY
    assert reader.running_most <= READS_AT_ONCE
    assert reader.queries - before < MANY // 2


async def test_a_read_among_many_sees_what_was_committed_before_its_call(log: PostgresLog) -> None:
    async def write_and_read(number: int) -> list[str]:
        return await titles(log, await written(log, f"{number}"))

    assert await asyncio.gather(*map(write_and_read, range(MANY))) == [[f"{number}"] for number in range(MANY)]


async def test_a_query_that_fails_fails_for_all_its_readers_and_for_no_later_one(log: PostgresLog, reader: FailingReader) -> None:
    stream = await written(log, "a")
    reader.fails = True
    found = await asyncio.gather(*(titles(log, stream) for _ in range(READS_AT_ONCE + 3)), return_exceptions=True)
    assert [type(one) for one in found[READS_AT_ONCE:]] == [LogUnavailable] * 3
    assert len({id(one) for one in found[READS_AT_ONCE:]}) == 3  # an exception collects the traceback of whoever raises it
    assert found[:READS_AT_ONCE] == [["a"]] * READS_AT_ONCE
    reader.fails = False
    assert await asyncio.gather(*(titles(log, stream) for _ in range(MANY))) == [["a"]] * MANY


async def test_a_reader_that_is_cancelled_ends_nothing_for_the_others(log: PostgresLog) -> None:
    stream = await written(log, "a")
    reads = [asyncio.create_task(titles(log, stream)) for _ in range(MANY)]
    await asyncio.sleep(0)
    for one in reads[::2]:
        one.cancel()
    found = await asyncio.gather(*reads, return_exceptions=True)
    assert found[1::2] == [["a"]] * (MANY // 2)
    assert {type(one) for one in found[::2]} == {asyncio.CancelledError}
    assert await asyncio.gather(*(titles(log, stream) for _ in range(MANY))) == [["a"]] * MANY


async def test_a_read_whose_caller_was_cancelled_costs_no_query(log: PostgresLog, reader: FailingReader) -> None:
    stream = await written(log, "a")
    before = reader.queries
    reads = [asyncio.create_task(titles(log, stream)) for _ in range(MANY)]
    await asyncio.sleep(0)
    for one in reads[READS_AT_ONCE:]:
        one.cancel()
    assert await asyncio.gather(*reads[:READS_AT_ONCE]) == [["a"]] * READS_AT_ONCE
    await asyncio.gather(*reads, return_exceptions=True)
    assert await titles(log, stream) == ["a"]
    assert reader.queries - before == READS_AT_ONCE + 1
