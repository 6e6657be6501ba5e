"""Searches in channels: both adapters find the same, and the rows are those of what everything says, however it is cut into batches."""

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.memory.channel_queries import MemoryChannelQueries
from adapters.memory.log import MemoryLog
from adapters.postgres.log.log import postgres_log
from adapters.postgres.preparing.migrate import schema_of
from adapters.postgres.reading.channel_queries import PostgresChannelQueries
from adapters.projector.writer import Writer, connect
from commands.ports import ANY, AppendRequest, Origin, StreamAppend
from domain.channel.facts import ChannelCreated, MessageChanged, MessagePosted, MessageRemoved
from domain.errors import BadSearch
from domain.generation import GenerationCancelled, MessageDelta, MessageEnded, MessageStarted, Timings
from domain.log.event import Actor, Emitted, Event
from domain.log.stream import channel_stream
from projections.channel_search import ChannelSearchRows
from projections.channel_search_words import parsed

ANN, BEN = UUID(int=1), UUID(int=2)
ann, ben = Actor(ANN, "Ann Müller", "user"), Actor(BEN, "Ben", "user")
CHANNEL, OTHER = UUID(int=0xC0), UUID(int=0xC1)
TASK, NODE, HOOK = (UUID(int=0xD0 + number) for number in range(3))


class Place:
    def __init__(self, dsn: str | None) -> None:
        self.runner = asyncio.Runner()
        self.dsn = dsn
        self.run(self._start())

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    async def _start(self) -> None:
        self.connection: Any = None
        if self.dsn is None:
            self.log: Any = MemoryLog()
            self.queries: Any = MemoryChannelQueries(self.log)
        else:
            self.log = postgres_log(self.dsn, lambda _: None)
            await self.log.start()
            self.queries = PostgresChannelQueries(self.log.reader)
            self.connection = await connect(self.dsn, [schema_of("channel_search")])
            self.build = Writer(self.connection, [ChannelSearchRows()], uuid4(), 3600)
            assert await self.build.acquire()
        for channel_id in (CHANNEL, OTHER):
            await self.append([Event(None, ChannelCreated("standard", ANN, "general"))], channel_id=channel_id)

    async def append(self, events: list[Event[Any]], by: Actor | None = ann, channel_id: UUID = CHANNEL, **more: Any) -> None:
        await self.log.append(AppendRequest([StreamAppend(channel_stream(channel_id), events, ANY, **more)], by))

    async def say(self, text: Any, by: Actor = ann, channel_id: UUID = CHANNEL, **more: Any) -> UUID:
        message_id = uuid4()
        await self.append([Event(message_id, MessagePosted(by.id, text, **more))], by, channel_id)
        return message_id

    async def then(self, message_id: UUID, *facts: Any) -> None:
        await self.append([Event(message_id, fact) for fact in facts])

    async def project(self, events_max: int = 100) -> None:
        if self.connection is not None:
            head = await self.log.head()
            while self.build.position < head:
                await self.build.advance(events_max, head)

    async def found(self, text: str, *channels: UUID, **more: Any) -> list[UUID]:
        await self.project()
        hits = await self.queries.search(parsed(text), channels or (CHANNEL, OTHER), ANN, **{"offset": 0, "limit": 60, **more})
        return [one.message_id for one in hits]

    def close(self) -> None:
        async def close() -> None:
            if self.connection is not None:
                await self.connection.close()
                await self.log.close()

        self.run(close())
        self.runner.close()


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    made = Place(None if request.param == "memory" else str(request.getfixturevalue("database")))
    yield made
    made.close()


def ended(text: str) -> MessageEnded:
    return MessageEnded(text, [], "00", "stop", None, Timings(None, 1.0), 1)


def test_messages_are_found_by_words_writers_and_what_they_have(place: Place) -> None:
    async def check() -> None:
        first = await place.say("Let us go to Zürich by train")
        image = {"data": {"files": [{"type": "image", "url": "/x.png"}]}}
        second = await place.say("to zurich, see https://example.org", ben, fields=image)
        third = await place.say("zurich elsewhere", ann, OTHER)
        assert await place.found("ZURICH ") == [third, second, first]
        assert await place.found("zurich ", CHANNEL) == [second, first]
        assert await place.found('"by train"') == [first]
        assert await place.found("zur tra") == []
        assert await place.found("zurich tra") == [first]
        assert await place.found("zurich from:me ") == [third, first]
        assert await place.found('from:"ann muller"') == [third, first]
        assert await place.found(f"from:{BEN}") == await place.found("from:BEN") == [second]
        assert await place.found("from:ben from:me") == [third, second, first]
        assert await place.found("has:image has:link") == await place.found("has:file") == [second]
        assert await place.found("has:link train") == []
        assert await place.found("") == [third, second, first]
        assert await place.found("from:nobody") == await place.found("zurich", uuid4()) == []
        assert await place.found("", limit=1, offset=1) == [second]
        [newest] = await place.queries.search(parsed(""), [CHANNEL, OTHER], ANN, offset=0, limit=1)
        assert await place.found("", below=newest.position) == [second, first]

    place.run(check())


def test_what_is_found_follows_edits_deletions_and_files(place: Place) -> None:
    async def check() -> None:
        message = await place.say("first words", fields={"data": {"files": [{"type": "file", "name": "a"}]}})
        await place.project()
        await place.then(message, MessageChanged({"content": "other words"}))
        assert await place.found("first ") == []
        assert await place.found("other has:file") == [message]
        await place.then(message, MessageChanged({"data": {"files": None}}))
        assert await place.found("other has:file") == []
        assert await place.found("other ") == [message]
        await place.then(message, MessageRemoved())
        assert await place.found("") == []
        gone = await place.say("now here")
        await place.then(gone, MessageRemoved())
        assert await place.found("") == []

    place.run(check())


def test_an_answer_is_found_once_it_has_ended_by_its_model(place: Place) -> None:
    async def check() -> None:
        answer = uuid4()
        start = MessageStarted(None, "demo", "demo", TASK, NODE, fields={"user_id": str(ANN)})
        await place.then(answer, start, MessageDelta(0, "certainly"))
        assert await place.found("certainly") == []
        await place.then(answer, Emitted("files", {"files": [{"type": "image", "url": "/y"}]}), ended("certainly not"))
        assert await place.found("certainly from:demo has:image") == [answer]
        assert await place.found("certainly from:me") == []
        cut_off = uuid4()
        await place.then(cut_off, start, GenerationCancelled(ANN, "certainly, but"))
        assert await place.found("certainly") == [cut_off, answer]

    place.run(check())


def test_what_a_service_says_is_found_by_its_name(place: Place) -> None:
    async def check() -> None:
        message = uuid4()
        said = MessagePosted(None, "built", webhook_id=HOOK, fields={"meta": {"webhook": {"id": str(HOOK), "name": "CI"}}})
        await place.append([Event(message, said)], None)
        assert await place.found("from:ci") == [message]

    place.run(check())


def test_when_something_was_written_is_when_it_was_written_first(place: Place) -> None:
    async def check() -> None:
        now = await place.say("now")
        old = uuid4()
        at = datetime(2020, 5, 17, 12, tzinfo=UTC)
        await place.append([Event(old, MessagePosted(ANN, "then"))], origins=[Origin(None, at)])
        assert await place.found("before:2020-05-18") == await place.found("before:2020-05-18 after:2020-05-17T12:00:00Z") == [old]
        assert await place.found("before:2020-05-17") == []
        assert await place.found("after:2020-05-17T14:00:01+02:00") == [now]

    place.run(check())


@pytest.mark.parametrize("text", ["has:nothing", "before:yesterday", "in:", "from:", "after:2020-13-01", "x" * 501])
def test_what_cannot_be_asked_is_said(text: str) -> None:
    with pytest.raises(BadSearch):
        parsed(text)


@pytest.mark.postgres
@pytest.mark.parametrize("seed", range(4))
def test_rows_are_the_same_however_the_log_is_cut(database: str, seed: int) -> None:
    choose = random.Random(seed)  # random on purpose
    on_postgres, in_memory = Place(database), Place(None)

    async def do(place: Place, choose: random.Random) -> list[UUID]:
        known: list[UUID] = []
        for number in range(60):
            what = choose.random()
            one = choose.choice(known) if known else None
            if what < 0.4 or one is None:
                one = UUID(int=0x100 + number)
                await place.append([Event(one, MessagePosted(ANN, choose.choice(["red", "green", "red green"])))])
                known.append(one)
            elif what < 0.6:
                await place.then(one, MessageChanged({"content": choose.choice(["red", "blue", "https://x.org"])}))
            elif what < 0.7:
                await place.then(one, MessageChanged({"data": {"files": choose.choice([None, [{"type": "file"}]])}}))
            elif what < 0.8:
                await place.then(one, MessageRemoved())
            if choose.random() < 0.3:
                await place.project(choose.choice([1, 2, 5, 100]))
        return known

    try:
        assert on_postgres.run(do(on_postgres, random.Random(choose.random()))) is not None
        choose = random.Random(seed)
        in_memory.run(do(in_memory, random.Random(choose.random())))
        for text in ("", "red ", "blue ", "green red ", "has:file", "has:link"):
            assert on_postgres.run(on_postgres.found(text)) == in_memory.run(in_memory.found(text)), text
    finally:
        on_postgres.close()
        in_memory.close()
