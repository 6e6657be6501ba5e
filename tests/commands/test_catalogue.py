"""A catalogue holds what the log says, whenever it began to listen and whatever it missed."""

import asyncio
import random
from uuid import UUID, uuid4

import pytest

from adapters.memory.log import MemoryLog
from commands.catalogue import Catalogue
from commands.ports import ANY, AppendRequest, StreamAppend
from domain.chat.facts import ChatRenamed
from domain.errors import LogUnavailable
from domain.log.event import Emitted, Event, StoredEvent
from domain.log.stream import Stream, model_stream

pytestmark = pytest.mark.anyio


def evolve(titles: tuple[str, ...], event: Event[object], version: int) -> tuple[str, ...]:
    assert version == len(titles) + 1
    fact = event.data
    assert isinstance(fact, Emitted)
    return (*titles, fact.data["title"])


async def write(log: MemoryLog, stream: Stream, title: str) -> None:
    await log.append(AppendRequest([StreamAppend(stream, [Event(None, Emitted("titled", {"title": title}))], ANY)]))


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


def catalogue(log: MemoryLog, changes: list[UUID] | None = None) -> Catalogue[tuple[str, ...]]:
    return Catalogue(log, "model", (), evolve, (changes if changes is not None else []).append)


async def test_it_reads_what_was_there_and_follows_what_comes(log: MemoryLog) -> None:
    one, two = model_stream(uuid4()), model_stream(uuid4())
    changes: list[UUID] = []
    await write(log, one, "a")
    known = catalogue(log, changes)
    log.on_committed = lambda events: [known.observe(event) for event in events] and None
    await known.start()
    await write(log, one, "b")
    await write(log, two, "c")
    assert dict(known) == {one.id: ("a", "b"), two.id: ("c",)}
    assert (known.version(one.id), known.version(uuid4()), known.get(uuid4())) == (2, 0, ())
    assert changes == [one.id, one.id, two.id]


async def test_streams_of_another_kind_are_not_its_concern(log: MemoryLog) -> None:
    known = catalogue(log)
    log.on_committed = lambda events: [known.observe(event) for event in events] and None
    await log.append(AppendRequest([StreamAppend(Stream("chat", uuid4()), [Event(None, ChatRenamed("a"))], 0)]))
    await known.start()
    assert dict(known) == {}


@pytest.mark.parametrize("seed", range(50))
async def test_whatever_passes_while_it_reads_is_held_once_and_in_order(seed: int) -> None:
    """Random moments of events, of the start and of reads that fail, against the log itself."""
    choose = random.Random(seed)
    held: list[StoredEvent] = []
    log = MemoryLog(held.extend)
    streams = [model_stream(uuid4()) for _ in range(3)]
    known = catalogue(log)
    for number in range(choose.randrange(10)):
        await write(log, choose.choice(streams), str(number))
    held.clear()  # they passed before it listened
    failures = choose.randrange(3)
    read = log.read

    async def busy(stream: Stream, *, after: int = 0, until: int | None = None, limit: int, without_deltas: bool = False) -> object:
        nonlocal failures
        if choose.random() < 0.5:
            await write(log, choose.choice(streams), "meanwhile")
        if held and choose.random() < 0.5:
            known.observe(held.pop(0))
        if failures and asyncio.current_task() in known._reading.values():
            failures -= 1
            raise LogUnavailable("away")
        return await read(stream, after=after, until=until, limit=limit, without_deltas=without_deltas)

    log.read = busy  # type: ignore[method-assign, assignment]
    if choose.random() < 0.5:
        await write(log, choose.choice(streams), "before the start")
    await known.start()
    while held:
        known.observe(held.pop(0))
    log.read = read  # type: ignore[method-assign]
    while known._reading:
        await asyncio.gather(*known._reading.values())
    while held:  # written by a read that was under way
        known.observe(held.pop(0))
    while known._reading:
        await asyncio.gather(*known._reading.values())
    assert {stream.id: len(known.get(stream.id)) for stream in streams} == {stream.id: await log.version(stream) for stream in streams}


async def test_it_stops_reading_when_it_is_closed(log: MemoryLog) -> None:
    known, stream, held = catalogue(log), model_stream(uuid4()), []
    log.on_committed = held.extend
    await write(log, stream, "a")
    await write(log, stream, "b")

    async def away(*_: object, **__: object) -> None:
        raise LogUnavailable("away")

    log.read = away  # type: ignore[method-assign, assignment]
    known.observe(held[1])
    await asyncio.sleep(0)
    await known.close()
    assert not known._reading
