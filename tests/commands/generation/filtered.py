"""A process whose answers pass filters, and filters for it."""

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from adapters.memory.accounts.run_slots import MemoryRunSlots
from adapters.memory.chat_queries import MemoryChatQueries
from commands.filters.filters import Filters
from commands.filters.pipelines import Pipeline
from commands.generation.completion import Completions
from commands.generation.filtering import AnswerFilters
from commands.generation.starting import AnswerServices
from commands.generation.turn import StartedTurn
from domain.generation import FilterApplied, GenerationCancelled, GenerationFailed, MessageEnded
from domain.log.stream import chat_stream
from tests.commands.generation.test_completion import KnownModels, turn
from tests.commands.routing.functions import TestFunctions
from tests.commands.world import ME, ToldProvider, World


class TestPipelines:
    """``add`` says what each does; ``down`` are those that can't be reached."""

    __test__ = False

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Any] = {}
        self._listed: list[Pipeline] = []
        self.users: list[Mapping[str, Any]] = []

    @property
    def is_empty(self) -> bool:
        return not self._listed

    def add(self, pipeline_id: str, priority: float = 0, **stages: Any) -> None:
        self._listed.append(Pipeline(id=pipeline_id, server=0, models=["*"], priority=priority))
        self._known |= {(pipeline_id, stage): does for stage, does in stages.items()}

    async def filters(self) -> tuple[Sequence[Pipeline], Mapping[str, str]]:
        return self._listed, {}

    async def call(self, pipeline: Pipeline, stage: Any, body: Mapping[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
        self.users.append(user)
        does = self._known.get((pipeline.id, stage))
        if isinstance(does, BaseException):
            raise does
        made: dict[str, Any] = does(dict(body)) if does is not None else dict(body)
        return made


class There:
    """One process whose answers pass filters."""

    def __init__(self) -> None:
        self.world = World()
        self.functions = TestFunctions()
        self.pipelines = TestPipelines()
        self.models = KnownModels(self.world.provider)
        queries = MemoryChatQueries(self.world.log, self.world.log.blobs)
        filters = Filters(self.functions, self.pipelines)

        async def runs_max(_: UUID) -> int:
            return 8

        services = AnswerServices(
            log=self.world.log,
            blobs=self.world.log.blobs,
            runs=self.world.runs,
            routes=self.models,
            slots=MemoryRunSlots(self.world.log, self.world.log.nodes),
            runs_max=runs_max,
            node_id=self.world.node_id,
            clock=time.monotonic,
            filters=AnswerFilters(filters, self.world.log.blobs, self.models.route),
        )
        self.completions = Completions(services, self.world.chats, queries)

    @property
    def provider(self) -> ToldProvider:
        return self.world.provider

    @property
    def asked(self) -> Any:
        return self.provider.asked[-1]

    async def begin(self, chat_id: UUID | None = None, content: Any = "hello", **more: Any) -> StartedTurn:
        return await self.completions.begin(turn(chat_id, content, **more), ME)

    async def answer(self, *said: Any, chat_id: UUID | None = None, reason: str = "stop", **more: Any) -> StartedTurn:
        """A turn in a chat, and its whole run."""
        started = await self.begin(chat_id or await self.world.chat(), **more)
        for one in said:
            self.provider.say(*one) if isinstance(one, list) else self.provider.say(one)
        self.provider.end(reason)
        await self.finished()
        return started

    async def finished(self) -> None:
        await asyncio.gather(*(run.wait() for run in self.world.runs.all()))

    def facts(self, started: StartedTurn, *kinds: Any) -> list[Any]:
        return [event.data for event in self.world.log.of(started.chat_id) if isinstance(event.data, kinds)]

    def traces(self, started: StartedTurn, stage: str | None = None) -> list[FilterApplied]:
        return [one for one in self.facts(started, FilterApplied) if stage is None or one.stage == stage]

    def ended(self, started: StartedTurn) -> Any:
        return self.facts(started, MessageEnded, GenerationFailed, GenerationCancelled)[-1]

    def message(self, started: StartedTurn) -> Any:
        return self.world.log.view(started.chat_id).messages[str(started.message_ids[0])]

    async def original(self, started: StartedTurn, trace: FilterApplied) -> Any:
        kept = await self.world.log.blobs.get(chat_stream(started.chat_id), trace.original["blob"])
        assert kept is not None
        assert trace.original == {"blob": hashlib.sha256(kept).hexdigest(), "size_bytes": len(kept)}
        return msgspec.json.decode(kept)


def add_system(text: str) -> Any:
    def inlet(body: dict[str, Any]) -> dict[str, Any]:
        body["messages"].insert(0, {"role": "system", "content": text})
        return body

    return inlet


def said_by(event: dict[str, Any]) -> Any:
    return event["choices"][0]["delta"].get("content") if event["choices"] else None


def in_capitals(event: dict[str, Any]) -> dict[str, Any]:
    if said_by(event):
        event["choices"][0]["delta"]["content"] = said_by(event).upper()
    return event


def with_suffix(suffix: str) -> Any:
    def outlet(body: dict[str, Any]) -> dict[str, Any]:
        body["messages"][-1]["content"] += suffix
        return body

    return outlet
