"""Pipes as models: each pipe is one, or several where it lists them, and answers like a provider."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from time import monotonic
from typing import Any, Final
from uuid import UUID

import structlog

from adapters.functions.feed import Feed
from adapters.functions.parameters import Signature
from adapters.functions.pipe_answer import TEXT_EVENTS, PipeAnswer
from adapters.functions.running import is_iterated
from adapters.functions.runtime import FunctionRuntime
from adapters.functions.valves import plain
from adapters.providers.openai.openai import OPTION_KEYS
from commands.functions.call_context import CallContext
from commands.functions.functions import Function, Sub
from commands.futures import retrieve_exception
from commands.providers.provider import Model, Part, ProviderRequest, Text
from commands.routing.route import Route
from domain.errors import FunctionFailed, ProviderFailed
from domain.log.event import Actor

logger = structlog.get_logger("functions")

OWNED_BY: Final = "pipe"
LISTED_S: Final = 10.0  # how long a pipe's list of models is believed
WAIT_S: Final = 1.0  # how long a list of all models waits for one pipe's
MODELS_MAX: Final = 1_000  # of one pipe
NO_ACTOR: Final = Actor(UUID(int=0), "", "user")  # for whom a pipe lists its models


class _Listing:
    """What one pipe has listed. ``sha256``: of the source that did."""

    __slots__ = ("asking", "at_s", "failed", "sha256", "subs")

    def __init__(self) -> None:
        self.subs: Sequence[Sub] = ()
        self.at_s = float("-inf")
        self.sha256 = ""
        self.failed = False
        self.asking: asyncio.Task[None] | None = None


class PipeModels:
    """Satisfies ``ModelSource``."""

    def __init__(self, runtime: FunctionRuntime, *, clock: Callable[[], float] = monotonic) -> None:
        self._runtime = runtime
        self._clock = clock
        self._listings: dict[str, _Listing] = {}

    async def models(self) -> list[Model]:
        pipes = self._runtime.pipes()
        if not pipes:
            return []
        await self._all_listed([pipe for pipe in pipes if "pipes" in pipe.methods], WAIT_S)
        return [model for pipe in pipes for model in self._models_of(pipe)]

    async def find(self, model: str) -> Route | None:
        pipe = self._runtime.get(model.partition(".")[0])
        if pipe is None or pipe not in self._runtime.pipes():
            return None
        if "pipes" not in pipe.methods:
            return self._route(pipe, model) if model == pipe.id else None
        listing = self._listings.get(pipe.id)
        if listing is None or not any(f"{pipe.id}.{sub.id}" == model for sub in listing.subs):
            await self._all_listed([pipe], self._runtime.running.limit_s("pipes"))
            listing = self._listings[pipe.id]
        return self._route(pipe, model) if any(f"{pipe.id}.{sub.id}" == model for sub in listing.subs) else None

    async def close(self) -> None:
        tasks = [listing.asking for listing in self._listings.values() if listing.asking is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _route(self, pipe: Function, model: str) -> Route:
        return Route(provider=PipeProvider(self._runtime, pipe), upstream=model, owned_by=OWNED_BY, provider_name=pipe.id)

    def _models_of(self, pipe: Function) -> list[Model]:
        if "pipes" not in pipe.methods:
            return [Model(id=pipe.id, name=pipe.name, owned_by=OWNED_BY, details={"pipe": {"type": "pipe"}})]
        subs = self._listings[pipe.id].subs
        return [Model(id=f"{pipe.id}.{sub.id}", name=sub.name, owned_by=OWNED_BY, details={"pipe": {"type": "pipe"}}) for sub in subs]

    async def _all_listed(self, pipes: Sequence[Function], wait_s: float) -> None:
        asked: list[asyncio.Task[None]] = []
        for pipe in pipes:
            listing = self._listings.setdefault(pipe.id, _Listing())
            if listing.sha256 != pipe.sha256 or self._clock() - listing.at_s >= LISTED_S:
                if listing.asking is None:
                    listing.asking = asyncio.create_task(self._list(pipe, listing), name=f"models of {pipe.id}")
                asked.append(listing.asking)
        if asked:
            await asyncio.wait(asked, timeout=wait_s)

    async def _list(self, pipe: Function, listing: _Listing) -> None:
        try:
            listing.subs = await self._subs(pipe)
            listing.failed = False
        except FunctionFailed as error:
            if not listing.failed:  # once, not at every listing
                logger.warning("pipe_models_failed", function=pipe.id, detail=str(error))
            listing.subs, listing.failed = (), True
        finally:
            listing.at_s, listing.sha256, listing.asking = self._clock(), pipe.sha256, None

    async def _subs(self, pipe: Function) -> list[Sub]:
        entry = self._runtime.entry(pipe.id)
        if entry is None or entry.loaded is None:
            return []
        instance = entry.loaded.instance

        def listed() -> Any:
            """A list, a method, or an asynchronous one."""
            pipes = instance.pipes
            if not callable(pipes):
                return named_subs(pipes, instance)
            if Signature(pipes).is_async:
                return None
            return named_subs(pipes(), instance)

        async def listed_later() -> Any:
            return named_subs(await instance.pipes(), instance)

        limit_s = self._runtime.running.limit_s("pipes")
        found: list[Sub] | None
        with self._runtime.running.translated(entry):
            found = await self._runtime.running.call_threads().run(listed, limit_s, name=pipe.id)
            if found is None:
                found = await self._runtime.running.loops(pipe.id).run(listed_later, limit_s)
        return found or []


def named_subs(listed: Any, instance: Any) -> list[Sub]:
    """The entries of a pipe's list, with the pipe's own name before theirs. Called in a thread of the function."""
    prefix = getattr(instance, "name", "")
    prefix = prefix if isinstance(prefix, str) else ""
    found: dict[str, Sub] = {}
    for one in listed or ():
        if isinstance(one, Mapping) and one.get("id") is not None and len(found) < MODELS_MAX:
            found[str(one["id"])] = Sub(str(one["id"]), f"{prefix}{one.get('name') or one['id']}")
    return list(found.values())


class PipeProvider:
    """Satisfies ``Provider`` for one pipe. Without a context (a call of another function) nobody's name is in it, and it emits nothing."""

    def __init__(self, runtime: FunctionRuntime, pipe: Function) -> None:
        self._runtime = runtime
        self._pipe = pipe

    async def models(self) -> Sequence[Model]:
        return [Model(id=self._pipe.id, name=self._pipe.name, owned_by=OWNED_BY)]

    async def stream(self, ask: ProviderRequest) -> AsyncGenerator[list[Part], None]:
        """Raises ``FunctionFailed``; ``ProviderFailed`` for an error that the pipe reports in its stream."""
        context = ask.context or CallContext(actor=NO_ACTOR)
        entry = self._runtime.entry(self._pipe.id)
        if entry is None or entry.function is None:
            raise FunctionFailed(self._pipe.id, "it was taken out", reason="stopped")
        loop = asyncio.get_running_loop()
        answer, feed = PipeAnswer(), Feed(loop)

        def intercept(name: str, data: Any) -> bool:
            """What it emits as text of the message is text of the answer, in its place among what it yields."""
            if name not in TEXT_EVENTS or not isinstance(data, Mapping) or not isinstance(data.get("content"), str):
                return False
            feed.put(Text(data["content"]))
            return True

        bound = await self._runtime.bind_with(self._pipe, "pipe", context, intercept)
        calling = asyncio.create_task(bound({"body": body_of(ask)}), name=f"pipe {self._pipe.id}")
        calling.add_done_callback(lambda _: feed.end())
        parts: list[Part]
        try:
            # While the pipe's method itself runs, only what it emits can come.
            while (items := await feed.next_items()) is not None:
                bound.side.touched()
                if parts := [item for item in items if item.text]:
                    yield parts
            result = await calling
            if is_iterated(result):
                feed.reopen()
                async with aclosing(self._runtime.running.batches(entry, result, feed, bound.side)) as batches:
                    async for items in batches:
                        if parts := self._parts(answer, items, bound.side.emit):
                            yield parts
                        if answer.failure is not None:
                            break
            elif parts := self._parts(answer, [result], bound.side.emit):
                yield parts
        finally:
            feed.close()
            if not calling.done():
                calling.cancel()
            await asyncio.wait([calling])
            retrieve_exception(calling)
        if parts := answer.finish():
            yield parts
        if answer.failure is not None:
            raise ProviderFailed(answer.failure.code, f"{self._pipe.name}: {answer.failure}", answer.failure.said)

    def _parts(self, answer: PipeAnswer, items: Sequence[Any], emit: Callable[..., Any]) -> list[Part]:
        parts: list[Part] = []
        for item in items:
            if isinstance(item, Text):
                if item.text:
                    parts.append(item)
            else:
                parts += answer.add(item)
            for name, data in answer.events:
                emit(name, data)
            answer.events.clear()
        return parts


def body_of(ask: ProviderRequest) -> dict[str, Any]:
    """The body that a pipe gets: its own, to be changed as it likes."""
    options = {name: ask.options[name] for name in OPTION_KEYS if name in ask.options}
    made: dict[str, Any] = plain({**options, **ask.params, "model": ask.model, "messages": list(ask.messages), "stream": True})
    return made
