"""What a person has not read, by the rows of ``channel_counts`` and the log above them: exact wherever the rows end."""

import json
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.memory.channel_queries import MemoryChannelQueries
from adapters.memory.log import MemoryLog
from adapters.postgres.connections.queries import text
from adapters.postgres.log.log import PostgresLog, postgres_log
from adapters.postgres.preparing.migrate import schema_of
from adapters.postgres.reading.channel_queries import PostgresChannelQueries
from adapters.projector.writer import Writer, connect
from commands.ports import ANY, AppendRequest, StreamAppend
from domain.channel.facts import ChannelCreated, MessageChanged, MessagePosted, MessageRemoved
from domain.generation import BlockOpened, GenerationCancelled, MessageDelta, MessageStarted
from domain.log.event import Actor, Event
from domain.log.stream import channel_stream
from projections.channel_counts import EVERYBODY, STRETCH, ChannelCounts

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

ANN, BEN, CAT = (UUID(int=number) for number in (1, 2, 3))
CHANNEL, OTHER = UUID(int=0xC0), UUID(int=0xC1)
CREATED = Event(None, ChannelCreated("standard", ANN, "general"))
EVENTS = 5 * STRETCH
COUNTS = "message_counts"


class Place:
    """One log on Postgres with the projection beside it, which moves on when it is told to."""

    def __init__(self, log: PostgresLog, connection: Any, writer: Writer) -> None:
        self.log = log
        self.queries = PostgresChannelQueries(log.reader)
        self.connection = connection
        self._writer = writer

    async def project(self, events_max: int = 100, *, until: int | None = None) -> None:
        """Up to a position, by itself all that there is."""
        head = await self.log.head() if until is None else until
        while self._writer.position < head:
            await self._writer.advance(min(events_max, head - self._writer.position), head)

    async def rows(self, table: str) -> list[tuple[Any, ...]]:
        found = await self.log.reader.fetch(f"SELECT * FROM {schema_of('channel_counts')}.{table}")
        return sorted(tuple(row) for row in found)


@pytest.fixture
async def place(database: str) -> AsyncIterator[Place]:
    log = postgres_log(database, lambda _: None)
    await log.start()
    connection = await connect(database, [schema_of("channel_counts")])
    writer = Writer(connection, [ChannelCounts()], uuid4(), 3600)
    assert await writer.acquire()
    yield Place(log, connection, writer)
    await connection.close()
    await log.close()


def random_history(choose: random.Random) -> list[Event[Any]]:
    """Posts, threads, answers with their tokens, edits and deletions, over several stretches."""
    events: list[Event[Any]] = [CREATED]
    roots: list[UUID] = []
    there: list[UUID] = []
    while len(events) < EVENTS:
        what, one = choose.random(), UUID(int=choose.getrandbits(100) + 0x1000)
        parent = choose.choice(roots) if roots and choose.random() < 0.4 else None
        if what < 0.65:
            events.append(Event(one, MessagePosted(choose.choice((ANN, BEN, CAT, None)), "said", parent)))
        elif what < 0.7:
            events.append(Event(one, MessageStarted(parent, "m", "m", ANN, ANN, fields={"user_id": str(BEN)})))
            events.append(Event(one, BlockOpened(0, "text")))
            events += [Event(one, MessageDelta(0, "token "))] * choose.randint(1, 30)
            events.append(Event(one, GenerationCancelled(ANN, "so far")))
        elif there:
            gone = choose.choice(there[-40:]) if choose.random() < 0.5 else choose.choice(there)
            if what < 0.85:
                events.append(Event(gone, MessageChanged({"content": "edited"})))
            else:
                there.remove(gone)
                roots = [root for root in roots if root != gone]
                events.append(Event(gone, MessageRemoved()))
            continue
        else:
            continue
        there.append(one)
        roots += [one] if parent is None and choose.random() < 0.2 else []
    return events


async def write(log: Any, events: Sequence[Event[Any]], channel_id: UUID = CHANNEL) -> None:
    await log.append(AppendRequest([StreamAppend(channel_stream(channel_id), events, ANY)], Actor(ANN, "Ann", "user")))


@pytest.mark.parametrize("seed", range(3))
async def test_counts_are_exact_wherever_the_rows_end(place: Place, seed: int) -> None:
    choose = random.Random(seed)
    events, memory_log = random_history(choose), MemoryLog()
    memory = MemoryChannelQueries(memory_log)
    at = 0
    while at < len(events):
        more = events[at : at + choose.randint(1, 120)]
        for log in (place.log, memory_log):
            await write(log, more)
        at += len(more)
        if choose.random() < 0.6:
            head = await place.log.head()
            await place.project(choose.choice([1, 7, 100]), until=choose.randint(max(0, head - 150), head))
        for user_id in (ANN, BEN, UUID(int=99)):
            some = choose.sample(more, min(3, len(more)))
            threads = {one.message_id: choose.randint(1, at) for one in some if one.message_id is not None}
            read = {CHANNEL: choose.choice([0, STRETCH, at, choose.randint(0, at)]), OTHER: 0}
            found, expected = await place.queries.summaries(user_id, read, threads), await memory.summaries(user_id, read, threads)
            assert [(one.unread, one.unread_replies, one.last_version) for one in found.values()] == [
                (one.unread, one.unread_replies, one.last_version) for one in expected.values()
            ], (seed, at, read, threads)


@pytest.mark.parametrize("batch", [1, 13, 1_000])
async def test_rows_are_the_same_however_the_log_is_cut(place: Place, batch: int) -> None:
    events = random_history(random.Random(7))
    await write(place.log, events)
    await write(place.log, [CREATED, Event(UUID(int=9), MessagePosted(BEN, "elsewhere"))], OTHER)
    await place.project(batch)
    expected: dict[tuple[UUID, UUID, int], list[int]] = {}
    begun: dict[UUID, list[tuple[tuple[UUID, UUID, int], int]]] = {}
    for channel_id, own in ((CHANNEL, events), (OTHER, [CREATED, Event(UUID(int=9), MessagePosted(BEN, "elsewhere"))])):
        for version, event in enumerate(own, 1):
            fact, message_id = event.data, event.message_id
            if isinstance(fact, MessagePosted | MessageStarted):
                assert message_id is not None
                writer = fact.user_id if isinstance(fact, MessagePosted) else BEN
                column = 0 if fact.parent_id is None else 1
                places = [(channel_id, one, (version - 1) // STRETCH) for one in (EVERYBODY, writer) if one is not None]
                begun[message_id] = [(one, column) for one in places]
                for one in places:
                    expected.setdefault(one, [0, 0])[column] += 1
            elif isinstance(fact, MessageRemoved):
                assert message_id is not None
                for one, column in begun[message_id]:
                    expected[one][column] -= 1
    assert await place.rows(COUNTS) == sorted((*key, *counts) for key, counts in expected.items())
    heads = dict(await place.rows("channel_heads"))
    assert heads[OTHER] == 2
    last = max(version for version, event in enumerate(events, 1) if not isinstance(event.data, MessageDelta))
    assert heads[CHANNEL] == last


async def test_what_was_never_read_is_not_read_for_its_number(place: Place) -> None:
    """With as many messages as you like: stretches are summed, and at most one stretch is read."""
    touched: list[int] = []
    for number in range(2):
        channel_id = UUID(int=0xD0 + number)
        many = [CREATED, *(Event(uuid4(), MessagePosted(BEN, "x", None)) for _ in range((400, 4_000)[number]))]
        for at in range(0, len(many), 1_000):
            await write(place.log, many[at : at + 1_000], channel_id)
        await place.project(1_000)

        async def buffers(connection: Any, channel_id: UUID = channel_id) -> int:
            asked = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text('channel_summaries')}"
            [[plan]] = await connection.fetch(asked, [channel_id], [0], ANN, [], [])
            return int(json.loads(plan)[0]["Plan"]["Shared Hit Blocks"])

        summary = (await place.queries.summaries(ANN, {channel_id: 0}))[channel_id]
        assert summary.unread == len(many) - 1
        touched.append(await place.log.reader.in_transaction_snapshot(buffers))
    assert touched[1] < touched[0] + 100, touched
