"""A log with a projector and a reader, and the events that its histories are made of."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar, cast
from uuid import UUID, uuid4

import msgspec
import psycopg
import uvloop
from hypothesis import HealthCheck, Phase, settings
from psycopg import sql

from adapters.postgres.connections.connection import pool
from adapters.postgres.connections.query_reader import QueryReader
from adapters.postgres.log.log import postgres_log
from adapters.postgres.preparing.migrate import schema_of
from adapters.postgres.reading.chat_queries import PostgresChatQueries
from adapters.projector.writer import Writer, connect
from commands.ports import AppendRequest, StreamAppend
from domain.chat.facts import (
    ChatCreated,
    MessageAdded,
)
from domain.generation import BlockOpened, MessageDelta, MessageStarted
from domain.log.event import Actor, Emitted, Event
from domain.log.stream import chat_stream
from projections.chat import ChatView, view
from projections.chat_list import ChatList
from projections.chat_search import ChatSearch
from projections.chat_tree import ChatTree
from tests.domain.histories import NODE, OWNER, UNHURRIED

T = TypeVar("T")


def itself(chat: ChatView) -> Any:
    """All but the messages."""
    sent = shown(chat)
    chat_only = {key: value for key, value in sent["chat"].items() if key not in ("history", "messages")}
    del sent["open"]  # of the past, only of the messages that a page holds
    return sent | {"chat": chat_only, "current_id": chat.current_id}


TREE_ROWS = "UNION ALL".join(
    f" SELECT '{table} ' || one FROM stenograph_chat_tree.{table} AS one WHERE chat_id = $1 "
    for table in ("chat_heads", "currents", "messages", "noted_changes")
)
NO_WHOLE = -1  # bytes of a chat that is short enough to be read as a whole: none is
# One database for all of them: each history is a chat of its own. Shrinking one takes minutes, and says little more.
IN_ONE_WORLD = settings(
    UNHURRIED,
    max_examples=40,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[*UNHURRIED.suppress_health_check, HealthCheck.function_scoped_fixture],
)


class Folded(NamedTuple):
    """What is expected of one version, made once: it is compared with as many readings as the projector has places to stand."""

    view: ChatView
    shown: Any
    itself: Any
    branch: list[str]


class OneTransaction:
    """A reader of queries whose works all run in the one transaction of its connection: each of its own would take two round trips more."""

    def __init__(self, connection: Any) -> None:
        self._connection = AskedOnce(connection)

    async def in_transaction_snapshot(self, work: Callable[[Any], Awaitable[T]]) -> T:
        return await work(self._connection)


class AskedOnce:
    """A connection in one snapshot, which answers the same to the same query: each is sent once. Most readings of a version begin alike."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._answers: dict[tuple[Any, ...], Any] = {}

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        return list(await self._answer("fetch", query, arguments))  # a list of its own, to which a reading may add

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        return await self._answer("fetchrow", query, arguments)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        return await self._answer("fetchval", query, arguments)

    async def _answer(self, method: str, query: str, arguments: tuple[Any, ...]) -> Any:
        key = method, query, *(tuple(one) if isinstance(one, list) else one for one in arguments)
        if key not in self._answers:
            self._answers[key] = await getattr(self._connection, method)(query, *arguments)
        return self._answers[key]


class World:
    """A log, its projector, and a reader, on one loop of their own."""

    def __init__(self, dsn: str) -> None:
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.dsn = dsn
        self.owner: psycopg.AsyncConnection | None = None
        self.run(self._start())

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    async def _start(self) -> None:
        self.log = postgres_log(self.dsn, lambda _: None)
        await self.log.start()
        self.history = PostgresChatQueries(self.log.reader)
        self.pool = await pool(self.dsn, connections_max=1)
        projections = (ChatList(), ChatSearch(), ChatTree())
        self.schemas = [schema_of(one.name) for one in projections]
        self.connection = await connect(self.dsn, self.schemas)
        self.build = Writer(self.connection, projections, uuid4(), 3600)
        assert await self.build.acquire()

    async def append(self, events: Any) -> UUID:
        chat_id = uuid4()
        await self.log.append(AppendRequest([StreamAppend(chat_stream(chat_id), events, 0)], Actor(OWNER, "Me", "user")))
        return chat_id

    async def project(self, until: int, events_max: int) -> None:
        while self.build.position < until:
            await self.build.advance(events_max, until)

    async def forget(self) -> None:
        """As it was before the first event was projected."""
        if self.owner is None:
            self.owner = await psycopg.AsyncConnection.connect(self.dsn, autocommit=True)
            tables = await self.owner.execute("SELECT schemaname, tablename FROM pg_tables WHERE schemaname = ANY (%s)", (self.schemas,))
            emptied = [sql.SQL("DELETE FROM {}").format(sql.Identifier(*table)) for table in await tables.fetchall()]
            self.forgetting = sql.SQL("; ").join([*emptied, sql.SQL("UPDATE projections SET position = 0")])
        await self.owner.execute(self.forgetting)
        assert await self.build.acquire()

    @asynccontextmanager
    async def at_rest(self) -> AsyncIterator[PostgresChatQueries]:
        """For reading much of what nothing changes meanwhile."""
        async with self.pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            yield PostgresChatQueries(cast(QueryReader, OneTransaction(connection)))

    async def tree_rows(self, chat_id: UUID) -> frozenset[str]:
        """All that a reader finds of the chat outside of the log."""
        return frozenset([row for [row] in await (await self.connection.execute(TREE_ROWS, (chat_id,))).fetchall()])

    async def folded(self, chat_id: UUID) -> list[Folded]:
        """The chat at each of its versions, from its events alone."""
        stored = await self.log.read(chat_stream(chat_id), limit=100_000)
        made = [view(stored[:version]) for version in range(len(stored) + 1)]
        return [Folded(one, shown(one), itself(one), one.branch(one.current_id)) for one in made]

    def close(self) -> None:
        async def close() -> None:
            self.pool.terminate()
            if self.owner is not None:
                await self.owner.close()
            await self.connection.close()
            await self.log.close()

        self.run(close())
        self.runner.close()


def shown(chat: ChatView) -> Any:
    """As it is sent, and what is not sent and yet must be right."""
    sent = msgspec.json.decode(msgspec.json.encode(chat.to_json()))
    return sent | {"listed": chat.listed, "deleted": chat.deleted, "open": chat.open, "position": chat.position, "at": chat.updated_at}


CREATED = Event(None, ChatCreated(OWNER, "a title"))


def asked(message_id: UUID, parent_id: UUID | None = None, text: str = "hello") -> Event[Any]:
    return Event(message_id, MessageAdded(parent_id, "user", text))


def started(message_id: UUID, parent_id: UUID) -> Event[Any]:
    return Event(message_id, MessageStarted(parent_id, "demo", "demo", UUID(int=9), NODE))


def block(message_id: UUID, index: int, type_: Any) -> Event[Any]:
    return Event(message_id, BlockOpened(index, type_))


def said(message_id: UUID, index: int, *pieces: str) -> list[Event[Any]]:
    return [Event(message_id, MessageDelta(index, piece)) for piece in pieces]


def emitted(message_id: UUID, description: str) -> Event[Any]:
    return Event(message_id, Emitted("status", {"description": description}))
