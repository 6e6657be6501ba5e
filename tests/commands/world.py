"""What the tests of commands stand on: a log in memory that can be made to fail, and a provider that says what a test tells it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

from adapters.memory.blobs import MemoryBlobs
from adapters.memory.log import MemoryLog
from adapters.memory.nodes import MemoryNodes
from adapters.memory.relays import MemoryRelays
from commands.calls.calls import Calls
from commands.calls.relays import Relaying, Relays
from commands.chats.chat_calls import ChatCalls
from commands.chats.chats import Chats
from commands.generation.run import Run
from commands.generation.runs import Runs
from commands.ports import Appended, AppendRequest, NodeBeat
from commands.providers.provider import Finish, Model, Part, ProviderRequest, Text
from domain.chat.commands import AddMessage, CreateChat
from domain.generation import StartGeneration
from domain.log.codec import decode_event
from domain.log.event import Actor, Event, StoredEvent
from domain.log.stream import Stream, chat_stream
from projections.chat import ChatView, view

ME, SOMEBODY = Actor(UUID(int=0xA1), "Me", "user"), Actor(UUID(int=0xA2), "Somebody", "user")
NODE = UUID(int=0xD1)
PATIENCE_S = 30.0  # only a test that fails waits so long


async def until(is_so: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110  # a condition on somebody else's state has no event
            await asyncio.sleep(0)


class FailingBlobs(MemoryBlobs):
    before_put: Callable[[], Awaitable[None]] | None = None

    async def put(self, stream: Stream, content: bytes) -> str:
        if self.before_put is not None:
            await self.before_put()
        return await super().put(stream, content)


class FailingNodes(MemoryNodes):
    before_beat: Callable[[], Awaitable[None]] | None = None

    async def beat(self, node_id: UUID, beat: NodeBeat) -> None:
        if self.before_beat is not None:
            await self.before_beat()
        await super().beat(node_id, beat)


class FailingLog(MemoryLog):
    """``before_append`` and ``after_append`` run around each append: they may wait, or raise. ``reads`` is counted."""

    def __init__(self, committed: Callable[[Sequence[StoredEvent]], None] = lambda _: None) -> None:
        super().__init__(committed)
        self.before_append: Callable[[AppendRequest], Awaitable[None]] | None = None
        self.after_append: Callable[[AppendRequest], Awaitable[None]] | None = None
        self.before_read: Callable[[], Awaitable[None]] | None = None
        self.blobs = FailingBlobs()
        self.nodes = FailingNodes(self)
        self.relays: Relays = MemoryRelays()
        self.reads = 0
        self.appends = 0

    async def append(self, request: AppendRequest, queued: Callable[[], None] | None = None) -> Appended:
        self.appends += 1
        if queued is not None:
            queued()
        if self.before_append is not None:
            await self.before_append(request)
        appended = await super().append(request)
        if self.after_append is not None:
            await self.after_append(request)
        return appended

    async def read(self, stream: Stream, **asked: Any) -> Sequence[StoredEvent]:
        self.reads += 1
        if self.before_read is not None:
            await self.before_read()
        return await super().read(stream, **asked)

    def of(self, chat_id: UUID) -> list[Event[Any]]:
        return [decode_event(stored) for stored in self._streams.get(chat_stream(chat_id), [])]

    def types(self, chat_id: UUID) -> list[str]:
        return [stored.type for stored in self._streams.get(chat_stream(chat_id), [])]

    def view(self, chat_id: UUID) -> ChatView:
        return view(self._streams[chat_stream(chat_id)])


class ToldProvider:
    """Says what ``say`` is told, one read after the other, until it is told a ``Finish`` or an exception."""

    def __init__(self) -> None:
        self._told: asyncio.Queue[list[Part] | BaseException] = asyncio.Queue()
        self.asked: list[ProviderRequest] = []
        self.reading = 0  # how many wait for the next read
        self.left = 0  # how many have been closed

    def say(self, *parts: Part | str) -> None:
        self._told.put_nowait([Text(part) if isinstance(part, str) else part for part in parts])

    def end(self, reason: str = "stop") -> None:
        self.say(Finish(reason))

    def fail(self, error: BaseException) -> None:
        self._told.put_nowait(error)

    async def models(self) -> Sequence[Model]:
        return [Model(id="demo", name="Demo", owned_by="demo")]

    async def stream(self, ask: ProviderRequest) -> AsyncGenerator[list[Part], None]:
        self.asked.append(ask)
        try:
            while True:
                self.reading += 1
                try:
                    told = await self._told.get()
                finally:
                    self.reading -= 1
                if isinstance(told, BaseException):
                    raise told
                yield told
                if any(isinstance(part, Finish) for part in told):
                    return
        finally:
            self.left += 1


class World:
    """One process with its chats and runs, on a log that others may share."""

    def __init__(self, log: FailingLog | None = None) -> None:
        self.log = log or FailingLog()
        self.chats = Chats(self.log)
        self.runs = Runs({"chat": self.chats}, self.log.blobs)
        self.provider = ToldProvider()
        self.node_id = NODE if log is None else uuid4()
        self.relaying = Relaying(self.log.relays, self.node_id, lambda _signal: None)
        self.calls = Calls(self.log, self.log.blobs, {"chat": ChatCalls(self.chats)}, self.relaying, self.node_id)
        heard = self.log.on_committed  # of the other worlds on this log

        def committed(events: Sequence[StoredEvent]) -> None:
            heard(events)
            for event in events:
                self.calls.observe(event)

        self.log.on_committed = committed

    async def chat(self, **more: Any) -> UUID:
        chat_id = uuid4()
        await self.chats.handle(CreateChat(chat_id=chat_id, by=ME.id, title="t", **more), actor=ME)
        return chat_id

    async def message(self, chat_id: UUID, content: Any = "hello", parent_id: UUID | None = None) -> UUID:
        message_id = uuid4()
        added = AddMessage(chat_id=chat_id, by=ME.id, message_id=message_id, parent_id=parent_id, role="user", content=content)
        await self.chats.handle(added, actor=ME)
        return message_id

    async def started(self, chat_id: UUID, provider: Any = None) -> Run:
        """A generation in the log, and its run, which is not going yet."""
        message_id, task_id = uuid4(), uuid4()
        start = StartGeneration(
            stream_id=chat_id,
            by=ME.id,
            message_id=message_id,
            parent_id=None,
            model="demo",
            requested_model="demo",
            task_id=task_id,
            node_id=self.node_id,
        )
        appended = await self.chats.handle(start, actor=ME)
        return Run(
            self.chats,
            self.log.blobs,
            provider or self.provider,
            ProviderRequest(model="demo", messages=[]),
            stream=chat_stream(chat_id),
            message_id=message_id,
            task_id=task_id,
            node_id=self.node_id,
            user_id=ME.id,
            started_position=appended.position,
            clock=time.monotonic,
        )

    async def going(self, chat_id: UUID | None = None, provider: Any = None) -> Run:
        """A run that reads its provider."""
        run = await self.started(chat_id or await self.chat(), provider)
        self.runs.start(run)
        return run


def end_of(world: World, chat_id: Any) -> Any:
    return world.log.of(chat_id)[-1].data
