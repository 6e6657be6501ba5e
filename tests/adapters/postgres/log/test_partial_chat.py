"""What Postgres reads of a chat in part is what its events fold to, for random histories; and it is read by index."""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies

from adapters.postgres.connections.connection import connect
from adapters.postgres.log.log import READ_HEAD, READ_RELATIVES, postgres_log
from commands.chats.chats import Chats
from commands.chats.partial_chat import PartialChatReader
from commands.ports import AppendRequest, StreamAppend
from domain.chat.evolve import changed, fold
from domain.chat.facts import ChatCreated, MessageAdded
from domain.chat.partial import LOOKED_AT_TYPES
from domain.chat.state import EMPTY
from domain.log.codec import decode_event
from domain.log.event import Event
from domain.log.stream import chat_stream
from tests.domain.histories import MESSAGES, OWNER, UNHURRIED, History, histories

pytestmark = pytest.mark.postgres

# One database for all examples: each has a chat of its own in it.
IN_ONE_WORLD = settings(
    UNHURRIED,
    max_examples=40,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[*UNHURRIED.suppress_health_check, HealthCheck.function_scoped_fixture],
)


class World:
    """A log on a loop of its own, which lasts for all examples."""

    def __init__(self, dsn: str) -> None:
        self._runner = asyncio.Runner()
        self.log = postgres_log(dsn)
        self.run(self.log.start())

    def run(self, work: Any) -> Any:
        return self._runner.run(work)

    def close(self) -> None:
        self.run(self.log.close())
        self._runner.close()


@pytest.fixture
def world(database: str) -> Iterator[World]:
    made = World(database)
    yield made
    made.close()


@settings(IN_ONE_WORLD)
@given(history=histories(steps_max=40), random=strategies.randoms(use_true_random=False), shuffled=strategies.booleans())
def test_a_part_is_the_fold_of_everything(world: World, history: History, random: Any, shuffled: bool) -> None:
    events = list(history.events)
    if shuffled:
        random.shuffle(events)  # the fold is total: the part is exact for a history that could not have happened, too

    async def check() -> None:
        chat_id = uuid4()
        await world.log.append(AppendRequest([StreamAppend(chat_stream(chat_id), events, 0)]))
        stored = await world.log.read(chat_stream(chat_id), limit=10_000)
        expected = fold(EMPTY, [(one.version, decode_event(one)) for one in stored])
        chats = Chats(world.log, partial_reader=PartialChatReader(world.log, short_events=0))
        version, found = await chats.state(chat_id, messages=MESSAGES, generations=True, calls=True)
        assert version == len(events)
        assert {one: found.messages.get(one) for one in MESSAGES} == {one: expected.messages.get(one) for one in MESSAGES}
        assert changed(found, messages=EMPTY.messages) == changed(expected, messages=EMPTY.messages)

    world.run(check())


def test_a_long_chat_among_short_ones_is_read_by_index(world: World, database: str) -> None:
    """The planner knows how many events a stream has on average, and must not read a long one as a whole for that."""

    async def check() -> None:
        created, ids = ChatCreated(OWNER, "t"), [uuid4() for _ in range(3_000)]
        added = [Event(one, MessageAdded(above, "user", "x")) for one, above in zip(ids, [None, *ids], strict=False)]
        long_id = uuid4()
        for at in range(0, len(added), 1_000):
            await world.log.append(AppendRequest([StreamAppend(chat_stream(long_id), added[at : at + 1_000], at)]))
        for _ in range(300):
            first = [Event[Any](None, created), *(Event[Any](uuid4(), MessageAdded(None, "user", "x")) for _ in range(3))]
            await world.log.append(AppendRequest([StreamAppend(chat_stream(uuid4()), first, 0)]))
        for analyzed in (False, True):
            if analyzed:
                with psycopg.connect(database, autocommit=True) as owner:
                    owner.execute("ANALYZE events")
            for plan in ("force_generic_plan", "force_custom_plan"):
                head = f"'{long_id}', '{{{','.join(LOOKED_AT_TYPES)}}}', '{{}}'"
                relatives = f"'{long_id}', '{{{ids[1500]},{ids[1501]}}}', {len(added)}, '{{}}'"
                assert await pages_read(database, plan, READ_HEAD, head) < 60
                assert await pages_read(database, plan, READ_RELATIVES, relatives) < 120

    world.run(check())


async def pages_read(dsn: str, plan: str, query: str, arguments: str) -> int:
    """How many pages the query looks into."""
    connection: Any = await connect(dsn, application="test")
    try:
        await connection.execute(f"SET plan_cache_mode = {plan}")
        await connection.execute(f"PREPARE asked AS {query}")
        for _ in range(2):  # the first one reads the catalogue, too
            [explained] = msgspec.json.decode(
                await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE asked ({arguments})")
            )
        read: int = explained["Plan"]["Shared Hit Blocks"] + explained["Plan"]["Shared Read Blocks"]
        return read
    finally:
        await connection.close()
