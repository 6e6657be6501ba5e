"""The contract of ``Relays``, on both adapters; and what reads calls from a log."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.memory.log import MemoryLog
from adapters.memory.relays import MemoryRelays
from adapters.postgres.log.log import PostgresLog, postgres_log
from adapters.postgres.processes.relays import PostgresRelays
from commands.calls.relays import Relays
from commands.ports import AppendRequest, StreamAppend, WaitingCall
from domain.chat.facts import ChatCreated, MessageAdded, MessageEdited
from domain.log.codec import decode_event
from domain.log.event import Event
from domain.log.stream import Stream, chat_stream
from domain.routing.call import CallAnswered, CallLapsed, CallOpened
from tests.stores import nodes_of

pytestmark = pytest.mark.anyio
ME, OTHER = UUID(int=1), UUID(int=2)
NODE, OTHER_NODE = UUID(int=3), UUID(int=4)
MESSAGE = UUID(int=5)
Log = MemoryLog | PostgresLog


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[Log]:
    made: Log = MemoryLog() if request.param == "memory" else postgres_log(str(request.getfixturevalue("database")))
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def relays(log: Log) -> Relays:
    return PostgresRelays(log.reader) if isinstance(log, PostgresLog) else MemoryRelays()


async def put(relays: Relays, call_id: UUID, seq: int | None, chunk: bytes = b"x", *, user_id: UUID = ME, **bounds: int) -> Any:
    limits = {"waiting_max": 3, "bytes_max": 100, **bounds}
    return await relays.put(call_id, user_id, seq, "tab", chunk, **limits)


async def opened(relays: Relays, node_id: UUID = NODE) -> UUID:
    call_id = uuid4()
    await relays.open(call_id, ME, node_id, b"question")
    return call_id


async def test_chunks_come_out_once_each_in_the_order_of_their_numbers(relays: Relays) -> None:
    call_id = await opened(relays)
    assert [await put(relays, call_id, seq, b"%d" % seq) for seq in range(3)] == [("ok", 1), ("ok", 2), ("ok", 3)]
    first = await relays.take(call_id, -1, 2)
    assert [(one.seq, one.session_id, one.chunk) for one in first] == [(0, "tab", b"0"), (1, "tab", b"1")]
    assert await relays.take(call_id, -1, 2) == first  # safe to repeat
    assert [one.chunk for one in await relays.take(call_id, 1, 10)] == [b"2"]
    assert list(await relays.take(call_id, 2, 10)) == []
    assert await put(relays, call_id, 3) == ("ok", 4)


async def test_a_repeat_is_known_and_a_gap_names_what_is_expected(relays: Relays) -> None:
    call_id = await opened(relays)
    await put(relays, call_id, 0)
    assert await put(relays, call_id, 0, b"again") == ("repeat", 1)
    assert await put(relays, call_id, 2) == ("gap", 1)
    assert await put(relays, call_id, 2**31 - 1) == ("gap", 1)
    assert [one.chunk for one in await relays.take(call_id, -1, 10)] == [b"x"]
    assert await put(relays, call_id, None) == ("ok", 2)


async def test_what_waits_is_bounded_by_number_and_by_bytes_and_goes_on_once_it_is_taken(relays: Relays) -> None:
    call_id = await opened(relays)
    for seq in range(3):
        await put(relays, call_id, seq)
    assert await put(relays, call_id, 3) == ("full", 3)
    await relays.take(call_id, 0, 10)
    assert await put(relays, call_id, 3) == ("ok", 4)
    large = await opened(relays)
    assert await put(relays, large, 0, b"x" * 150) == ("ok", 1)
    assert await put(relays, large, 1) == ("full", 1)
    await relays.take(large, 0, 10)
    assert await put(relays, large, 1) == ("ok", 2)


async def test_a_connection_is_its_accounts_alone(relays: Relays) -> None:
    call_id = await opened(relays)
    assert await put(relays, call_id, 0, user_id=OTHER) == ("unknown", 0)
    assert await put(relays, uuid4(), 0) == ("unknown", 0)
    assert await relays.question(call_id, OTHER) is None
    assert await relays.question(call_id, ME) == b"question"


async def test_nothing_is_left_of_a_connection_that_is_closed_or_whose_node_is_gone(relays: Relays) -> None:
    closed, dead, other = await opened(relays), await opened(relays), await opened(relays, OTHER_NODE)
    for call_id in (closed, dead, other):
        await put(relays, call_id, 0)
    await relays.close(closed)
    await relays.close(closed)
    await relays.close_of_node(NODE)
    assert [await put(relays, one, 1) for one in (closed, dead, other)] == [("unknown", 0), ("unknown", 0), ("ok", 2)]
    assert list(await relays.take(dead, -1, 10)) == []
    assert await relays.question(closed, ME) is None


async def test_of_many_who_send_the_same_chunk_at_once_one_is_taken(relays: Relays) -> None:
    call_id = await opened(relays)
    outcomes = await asyncio.gather(*(put(relays, call_id, 0, b"%d" % number) for number in range(8)))
    assert sorted(one[0] for one in outcomes) == ["ok", *["repeat"] * 7]
    assert len(await relays.take(call_id, -1, 10)) == 1


# ---------------------------------------------------------------------------------------------------------- calls in a log


def call(number: int, node_id: UUID = NODE) -> Event[Any]:
    return Event(MESSAGE, CallOpened(UUID(int=100 + number), "input", ME, node_id))


async def append(log: Log, stream: Stream, *events: Event[Any]) -> None:
    await log.append(AppendRequest([StreamAppend(stream, events, await log.version(stream))]))


async def a_chat(log: Log) -> Stream:
    stream = chat_stream(uuid4())
    await append(log, stream, Event(None, ChatCreated(ME, "t")), Event(MESSAGE, MessageAdded(None, "user", "hi")))
    return stream


async def test_open_calls_are_those_without_an_end_as_of_a_version(log: Log) -> None:
    stream = await a_chat(log)
    await append(log, stream, call(1), call(2), call(3))
    await append(log, stream, Event(MESSAGE, CallAnswered(UUID(int=101), ME)), Event(MESSAGE, CallLapsed(UUID(int=102), "timeout")))

    async def open_at(version: int) -> list[int]:
        return [decode_event(one).data.call_id.int - 100 for one in await log.read_open_calls(stream, until=version)]

    assert [await open_at(version) for version in range(2, 8)] == [[], [1], [1, 2], [1, 2, 3], [2, 3], [3]]
    assert await log.read_open_calls(chat_stream(uuid4()), until=100) == []


async def test_a_call_is_found_by_its_id_alone_with_its_end(log: Log) -> None:
    stream, other = await a_chat(log), await a_chat(log)
    await append(log, other, call(5))
    await append(log, stream, call(1))
    await append(log, stream, Event(MESSAGE, CallAnswered(UUID(int=101), ME, "tab", {"value": 1})))
    found = await log.read_call(UUID(int=101))
    assert [(one.stream, one.type) for one in found] == [(stream, "call"), (stream, "call_answered")]
    assert await log.read_call(uuid4()) == []


async def test_the_open_calls_of_all_nodes_are_found_above_a_position(log: Log) -> None:
    stream = await a_chat(log)
    await append(log, stream, call(1))
    position = await log.head()
    await append(log, stream, call(2), call(3, OTHER_NODE), call(4))
    await append(log, stream, Event(MESSAGE, CallLapsed(UUID(int=104), "cancelled")))
    waiting = await nodes_of(log).open_calls(since=position)
    by_id = sorted(waiting, key=lambda one: one.call_id)
    assert by_id == [WaitingCall(stream, UUID(int=102), NODE), WaitingCall(stream, UUID(int=103), OTHER_NODE)]
    assert len(await nodes_of(log).open_calls(since=0)) == 3


async def test_a_call_does_not_stand_for_what_changed_its_message(log: Log) -> None:
    stream = await a_chat(log)
    await append(log, stream, Event(MESSAGE, MessageEdited({"content": "ho"})), call(1))
    read = await log.read_relatives(stream, [MESSAGE], until=100)
    assert [one.type for one in read] == ["message_added", "message_edited"]
