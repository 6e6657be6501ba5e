"""What is read of channels by the log's indexes is what all events say, at every version: random histories on both adapters."""

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from adapters.memory.channel_queries import MemoryChannelQueries
from adapters.memory.log import MemoryLog
from adapters.postgres.log.log import PostgresLog, postgres_log
from adapters.postgres.reading.channel_queries import PostgresChannelQueries
from commands.ports import AppendRequest, StreamAppend
from domain.channel.facts import (
    ChannelCreated,
    MessageChanged,
    MessagePinned,
    MessagePosted,
    MessageRemoved,
    MessageUnpinned,
    ReactionAdded,
    ReactionRemoved,
)
from domain.channel.own import Mentioned, MentionRemoved
from domain.generation import BlockOpened, GenerationCancelled, MessageDelta, MessageStarted
from domain.log.event import Actor, Emitted, Event
from domain.log.stream import channel_stream, user_stream
from projections.channel_message import ChannelMessage
from projections.ports import ChannelSummary

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

ANN, BEN = (UUID(int=number) for number in (1, 2))
CHANNEL, OTHER, EMPTY = (UUID(int=0xC0 + number) for number in range(3))
IDS = [UUID(int=0x100 + number) for number in range(20)]
CREATED = Event(None, ChannelCreated("standard", ANN, "general"))


@pytest.fixture
async def logs(database: str) -> AsyncIterator[tuple[MemoryLog, PostgresLog]]:
    on_postgres = postgres_log(database, lambda _: None)
    await on_postgres.start()
    yield MemoryLog(), on_postgres
    await on_postgres.close()


def random_history(choose: random.Random) -> list[Event[Any]]:
    """One that the rules of a channel lead to."""
    events: list[Event[Any]] = [CREATED]
    roots: list[UUID] = []
    posted: list[UUID] = []
    going: dict[UUID, int] = {}
    gone: set[UUID] = set()
    free = list(IDS)
    while len(events) < 120:
        there = [one for one in posted if one not in gone]
        match choose.randrange(9):
            case 0 | 1 if free:
                one, parent = free.pop(), choose.choice([None, *(root for root in roots if root not in gone)])
                roots += [one] if parent is None else []
                posted.append(one)
                if choose.random() < 0.3:
                    going[one] = 0
                    events.append(Event(one, MessageStarted(parent, "m", "m", ANN, ANN, fields={"user_id": str(BEN)})))
                    events.append(Event(one, BlockOpened(0, choose.choice(("text", "reasoning")))))
                else:
                    events.append(Event(one, MessagePosted(choose.choice((ANN, BEN)), f"said {len(events)}", parent, temp_id="t")))
            case 2 if going:
                one = choose.choice(list(going))
                events.append(Event(one, MessageDelta(0, f"token {len(events)} ")))
            case 3 if going and choose.random() < 0.5:
                one = choose.choice(list(going))
                del going[one]
                events.append(Event(one, GenerationCancelled(ANN, "so far")))
            case 4 if there:
                one = choose.choice(there)
                if one not in going:
                    events.append(Event(one, MessageChanged({"content": f"edited {len(events)}", "data": {"a": len(events)}})))
            case 5 if there and choose.random() < 0.4:
                one = choose.choice(there)
                if one not in going:
                    gone.add(one)
                    events.append(Event(one, MessageRemoved()))
            case 6 if there:
                fact = choose.choice((ReactionAdded, ReactionRemoved))
                events.append(Event(choose.choice(there), fact(choose.choice("ab"), choose.choice((ANN, BEN)))))
            case 7 if there:
                events.append(Event(choose.choice(there), choose.choice((MessagePinned(), MessageUnpinned()))))
            case 8 if there:
                events.append(Event(choose.choice(there), Emitted("files", {"files": [{"url": str(len(events))}]})))
            case _:
                continue
    return events


async def write(log: Any, events: Sequence[Event[Any]], channel_id: UUID = CHANNEL) -> None:
    actor = Actor(ANN, "Ann", "user")
    await log.append(AppendRequest([StreamAppend(channel_stream(channel_id), events, 0)], actor))


def timeless(messages: Mapping[UUID, ChannelMessage]) -> Mapping[UUID, ChannelMessage]:
    """The two logs were written at different moments."""
    return {
        one: replace(
            message,
            created_at=None,
            updated_at=None,
            pinned_at=None if message.pinned_at is None else message.pinned_at.replace(2026, 1, 1, 0, 0, 0, 0),
        )
        for one, message in messages.items()
    }


def counts(summaries: Mapping[UUID, ChannelSummary]) -> Mapping[UUID, Any]:
    return {
        one: (its.last_version, its.unread, its.unread_replies, its.unread_mentions, its.created_at is None)
        for one, its in summaries.items()
    }


def mentions(events: Sequence[Event[Any]], choose: random.Random) -> list[Event[Any]]:
    """What some of the messages and their edits say in the stream of a person whom they mention, or mention no more."""
    told: list[Event[Any]] = []
    parents: dict[UUID | None, UUID | None] = {}
    mentioned: set[UUID] = set()
    for version, event in enumerate(events, 1):
        if isinstance(event.data, MessagePosted):
            parents[event.message_id] = event.data.parent_id
        elif not isinstance(event.data, MessageChanged):
            continue
        message_id = event.message_id
        assert message_id is not None
        if message_id not in parents or choose.random() < 0.5:
            continue
        if message_id in mentioned:
            mentioned.discard(message_id)
            told.append(Event(None, MentionRemoved(CHANNEL, message_id, version)))
        else:
            mentioned.add(message_id)
            told.append(Event(None, Mentioned(CHANNEL, message_id, version, parents[message_id])))
    return told


@pytest.mark.parametrize("seed", range(4))
async def test_the_indexes_answer_as_all_events_do(logs: tuple[MemoryLog, PostgresLog], seed: int) -> None:
    choose = random.Random(seed)
    events = random_history(choose)
    told_ann = mentions(events, choose)
    for log in logs:
        await write(log, events)
        await log.append(AppendRequest([StreamAppend(user_stream(ANN), told_ann, 0)]))
        await write(log, [CREATED, Event(UUID(int=9), MessagePosted(BEN, "elsewhere", IDS[0]))], OTHER)
    memory, indexed = MemoryChannelQueries(logs[0]), PostgresChannelQueries(logs[1].reader)
    threads = [None, *IDS]
    for _ in range(60):
        asked: dict[str, Any] = {"at": choose.choice([None, choose.randint(1, len(events))])}
        where = choose.choice(threads)
        before, offset, limit = choose.choice([None, choose.randint(1, len(events))]), choose.choice([0, 0, 2]), choose.choice([3, 50])
        page = {**asked, "parent_id": where, "before": before, "offset": offset, "limit": limit}
        assert await indexed.page(CHANNEL, **page) == await memory.page(CHANNEL, **page)
        assert timeless(await indexed.messages(CHANNEL, IDS, **asked)) == timeless(await memory.messages(CHANNEL, IDS, **asked))
        replies, expected = await indexed.replies(CHANNEL, IDS, **asked), await memory.replies(CHANNEL, IDS, **asked)
        assert {one: its.count for one, its in replies.items()} == {one: its.count for one, its in expected.items()}
        pins = {**asked, "offset": offset, "limit": limit}
        assert await indexed.pinned(CHANNEL, **pins) == await memory.pinned(CHANNEL, **pins)
        below = {"version": choose.randint(1, len(events) + 1), "limit": limit}
        lower, expected_lower = await indexed.events_below(CHANNEL, **below), await memory.events_below(CHANNEL, **below)
        assert [(one.version, one.type, one.data) for one in lower] == [(one.version, one.type, one.data) for one in expected_lower]
        told_of, expected_of = await indexed.histories(CHANNEL, IDS, **asked), await memory.histories(CHANNEL, IDS, **asked)
        assert {key: [one.version for one in own] for key, own in told_of.items()} == {
            key: [one.version for one in own] for key, own in expected_of.items()
        }
        span = {"after": choose.randint(0, 60), "until": choose.randint(40, len(events)), "limit": limit}
        changes, told_changes = await indexed.changes(CHANNEL, **span), await memory.changes(CHANNEL, **span)
        assert [(one.version, one.type, one.data) for one in changes] == [(one.version, one.type, one.data) for one in told_changes]
        read = {CHANNEL: choose.randint(0, len(events)), OTHER: 0, EMPTY: 0}
        for user_id in (ANN, BEN):
            seen = {one: choose.randint(0, len(events)) for one in choose.sample(IDS, 5)}
            found, told = await indexed.summaries(user_id, read, seen), await memory.summaries(user_id, read, seen)
            assert counts(found) == counts(told)
    for message_id in IDS:
        assert await indexed.mentioned(CHANNEL, message_id) == await memory.mentioned(CHANNEL, message_id)
    assert set(await indexed.standard_channels()) == set(await memory.standard_channels()) == {CHANNEL, OTHER}


async def test_every_question_goes_by_its_index(logs: tuple[MemoryLog, PostgresLog]) -> None:
    """With other channels and chats beside it, no question reads the whole stream."""
    from adapters.postgres.connections.queries import text

    _, log = logs
    many = [CREATED]
    for number in range(3_000):
        many.append(Event(UUID(int=0x1000 + number), MessagePosted(BEN, "x" * 50, UUID(int=0x1000) if number % 3 else None)))
    await write(log, many[:1000])
    for at in range(1000, len(many), 1000):
        append = StreamAppend(channel_stream(CHANNEL), many[at : at + 1000], at)
        await log.append(AppendRequest([append], Actor(ANN, "Ann", "user")))
    await log.reader.execute("SELECT 1")
    asked: dict[str, Sequence[Any]] = {
        "channel_page": (CHANNEL, "", 2**31 - 1, 2**31 - 1, 0, 50),
        "channel_messages": (CHANNEL, [UUID(int=0x1000 + number) for number in range(50)], 2**31 - 1),
        "channel_pinned": (CHANNEL, 2**31 - 1, 0, 20),
        "channel_summaries": ([CHANNEL], [len(many) - 20], ANN, [], []),
        "channel_changes": (CHANNEL, 0, 2**31 - 1, 2_000),
        "channel_events_below": (CHANNEL, 2_000, 50),
        "channel_mentioned": (str(CHANNEL), str(UUID(int=0x1001))),
        "standard_channels": (),
    }
    for name, arguments in asked.items():

        async def explained(connection: Any, name: str = name, arguments: Sequence[Any] = arguments) -> str:
            await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            rows = await connection.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) {text(name)}", *arguments)
            return "\n".join(row[0] for row in rows)

        plan = await log.reader.in_transaction_snapshot(explained)
        assert "Seq Scan on events" not in plan, f"{name}\n{plan}"
        assert "Sort Key: m.version" not in plan, f"{name}\n{plan}"
