"""Keeps the functions of this process as the log has them: loads what is new, and keeps the last good one where that fails."""

import asyncio
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec
import structlog

from adapters.functions.entry import Entry, describe
from adapters.functions.jobs import Stopped, TooSlow
from adapters.functions.loaded import Loaded
from adapters.functions.running import Running
from adapters.functions.valves import Refused, made, priority_of
from commands.functions.functions import Function, FunctionKind
from commands.metrics import MetricFigure
from domain.errors import FunctionNotFound, FunctionNotLoaded, LogUnavailable
from domain.routing.function import FunctionState, Valves

logger = structlog.get_logger("functions")

RETRY_S: Final = 1.0  # when a source could not be read from the log
TRIED_MAX: Final = 64  # sources that were loaded on trial, and may be what comes next


class Stored(Protocol):
    """What the log and the stores hold of functions."""

    def get(self, stream_id: UUID) -> FunctionState: ...

    def __iter__(self) -> Iterator[tuple[UUID, FunctionState]]: ...


class Keeper(Protocol):
    """Where sources and valves come from."""

    async def source(self, stream_id: UUID, state: FunctionState) -> str:
        """Raises ``LogUnavailable``, ``FunctionNotLoaded``."""
        ...

    async def values(self, valves: Valves) -> Mapping[str, Any]:
        """All values, with the secrets among them. Raises ``LogUnavailable``."""
        ...

    async def user_valves(self, user_id: UUID, function_id: str) -> Valves: ...

    async def person(self, user_id: UUID) -> Mapping[str, Any]:
        """``id``, ``email``, ``name`` and ``role``."""
        ...


class FunctionLoader:
    """Used on the server's loop alone. ``shown`` is what is switched on and loaded, by its kind, in its order."""

    def __init__(self, keeper: Keeper, running: Running) -> None:
        self._keeper = keeper
        self._running = running
        self._stored: Stored | None = None
        self._entries: dict[UUID, Entry] = {}
        self._tried: dict[str, tuple[str, Loaded]] = {}  # by id: the sha256 of a source that was loaded on trial, and what came of it
        self.by_id: dict[str, Entry] = {}
        self.shown: Mapping[FunctionKind, Sequence[Function]] = {"pipe": (), "filter": (), "action": ()}

    async def start(self, stored: Stored, within_s: float = 10.0) -> None:
        """Load what there is. Returns once all of it is loaded, or after ``within_s``: what takes longer is loaded meanwhile."""
        self._stored = stored
        for stream_id, _ in list(stored):
            self.on_changed(stream_id)
        waiting = [entry.reading for entry in self._entries.values() if entry.reading is not None]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=within_s)
            if late:
                logger.warning("functions_load_slowly", loaded=len(waiting) - len(late), waiting=len(late))

    def on_changed(self, stream_id: UUID) -> None:
        """The stream has a new event: load what is new. Does not wait."""
        if self._stored is None:
            return
        entry = self._entries.get(stream_id)
        if entry is None:
            entry = self._entries[stream_id] = Entry(stream_id)
        if entry.reading is None:
            entry.reading = asyncio.create_task(self._keep_up(entry), name=f"load function {stream_id}")

    async def load_now(self, stream_id: UUID) -> Loaded:
        """The ``Loaded``, also of a function that is switched off. Raises ``FunctionNotLoaded``."""
        await self.settled(stream_id)
        entry = self._entries.get(stream_id)
        if entry is not None and entry.loaded is None and entry.failure is None:
            entry.is_wanted, entry.state = True, FunctionState()
            self.on_changed(stream_id)
            await self.settled(stream_id)
        if entry is not None and entry.loaded is not None:
            return entry.loaded
        raise entry.failure if entry is not None and entry.failure is not None else FunctionNotFound(str(stream_id))

    async def settled(self, stream_id: UUID) -> None:
        """All that was known of the stream when this was called is loaded, or has failed to."""
        entry = self._entries.get(stream_id)
        if entry is not None and entry.reading is not None:
            await asyncio.wait([entry.reading])

    async def close(self) -> None:
        tasks = [entry.reading for entry in self._entries.values() if entry.reading is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def try_out(self, function_id: str, source: str, values: Mapping[str, Any]) -> Loaded:
        """Load a source beside what runs. If it is what the log has next, it is not loaded again. Raises ``FunctionNotLoaded``."""
        loaded = await self._load(function_id, source, values)
        if len(self._tried) < TRIED_MAX or function_id in self._tried:
            self._tried[function_id] = (hashlib.sha256(source.encode()).hexdigest(), loaded)
        return loaded

    async def _load(self, function_id: str, source: str, values: Mapping[str, Any]) -> Loaded:
        from adapters.functions.loading import load  # a server without functions never needs it

        work = functools.partial(load, function_id, source, values)
        try:
            loaded: Loaded = await self._running.call_threads().run(work, self._running.limit_s("load"), name=function_id)
        except TooSlow as slow:
            raise FunctionNotLoaded(function_id, "too_slow", f"loading it {slow}") from None
        except Stopped:
            raise FunctionNotLoaded(function_id, "exception", "it was stopped while it loaded") from None
        except FunctionNotLoaded as failure:
            if failure.reason == "exception" and "no running event loop" in str(failure):
                return await self._load_on_a_loop(function_id, work)
            raise
        return loaded

    async def _load_on_a_loop(self, function_id: str, work: Callable[[], Loaded]) -> Loaded:
        """For a function whose ``__init__`` wants a running loop: it gets the one on which it will be called."""

        async def load_there() -> Loaded:
            return work()

        try:
            loaded: Loaded = await self._running.loops(function_id).run(load_there, self._running.limit_s("load"))
        except TooSlow as slow:
            raise FunctionNotLoaded(function_id, "too_slow", f"loading it {slow}") from None
        return loaded

    async def _keep_up(self, entry: Entry) -> None:
        assert self._stored is not None
        try:
            while (state := self._stored.get(entry.stream_id)) is not entry.state:
                try:
                    await self._apply(entry, state)
                except LogUnavailable as error:
                    logger.warning("function_waits", function=state.function_id, error=str(error))
                    await asyncio.sleep(RETRY_S)
                    continue
        except Exception:
            logger.exception("function_not_followed", function=entry.state.function_id)
            raise
        finally:
            entry.reading = None
            self._publish()

    async def _apply(self, entry: Entry, state: FunctionState) -> None:
        if not state.exists:
            self._forget(entry)
            entry.state = state
            return
        self.by_id[state.function_id] = entry
        if not state.active and entry.loaded is None and not entry.is_wanted:
            entry.state = state  # it is loaded when it is switched on, or when an admin asks for its valves
            entry.failure, entry.seen = None, ()
            return
        wanted = (state.source, state.created_version)
        is_new = wanted != entry.seen
        if is_new or state.valves != entry.state.valves:
            values = await self._keeper.values(state.valves)
            try:
                # New valves alone do not make a new instance: it may hold a session, or what it has counted.
                loaded = await self._newest(entry, state, values) if is_new else entry.loaded
                if loaded is not None:
                    await self._set_valves(state.function_id, loaded, values)
                    entry.function = await self._described(state, loaded)
                    if is_new:
                        entry.loaded, entry.failure, entry.signatures = loaded, None, {}
            except FunctionNotLoaded as failure:
                entry.failure = failure
                logger.warning(
                    "function_not_loaded",
                    function=state.function_id,
                    reason=failure.reason,
                    line=failure.line,
                    detail=str(failure),
                    goes_on_with=None if entry.loaded is None else "the last good one",
                )
            entry.seen = wanted
        entry.state = state

    async def _newest(self, entry: Entry, state: FunctionState, values: Mapping[str, Any]) -> Loaded:
        tried = self._tried.pop(state.function_id, None)
        if tried is not None and state.source is not None and tried[0] == state.source.blob:
            return tried[1]
        return await self._load(state.function_id, await self._keeper.source(entry.stream_id, state), values)

    async def _described(self, state: FunctionState, loaded: Any) -> Function:
        assert state.source is not None
        work = functools.partial(describe, state, loaded)
        return await self._running.call_threads().run(work, self._running.limit_s("load"), name=state.function_id)  # type: ignore[no-any-return]

    async def _set_valves(self, function_id: str, loaded: Loaded, values: Mapping[str, Any]) -> None:
        if loaded.declared.valves is None:
            return
        try:
            work = functools.partial(set_valves, loaded, values)
            await self._running.call_threads().run(work, self._running.limit_s("load"), name=function_id)
        except TypeError as error:
            raise FunctionNotLoaded(function_id, "valves", str(error)) from None
        except TooSlow as slow:
            raise FunctionNotLoaded(function_id, "too_slow", f"setting its valves {slow}") from None

    def _forget(self, entry: Entry) -> None:
        function_id = entry.function_id
        if self.by_id.get(function_id) is entry:
            del self.by_id[function_id]
        self._running.forget(function_id)
        entry.loaded = entry.function = entry.failure = None
        entry.seen = ()

    def _publish(self) -> None:
        """What the port shows, made anew. A function that is switched off stays loaded, and is not shown."""
        shown: list[Function] = []
        for entry in self.by_id.values():
            if entry.loaded is not None and entry.function is not None:
                fresh = msgspec.structs.replace(
                    entry.function, is_global=entry.state.everywhere, name=entry.state.name, meta=entry.state.meta
                )
                entry.function = fresh
                if entry.state.active:
                    shown.append(fresh)
        self.shown = {
            kind: sorted((one for one in shown if one.kind == kind), key=lambda one: (0 if kind == "pipe" else one.priority, one.id))
            for kind in ("pipe", "filter", "action")
        }

    @property
    def failures(self) -> Mapping[str, FunctionNotLoaded]:
        """Why the newest source of a function is not what runs here, by its id."""
        return {function_id: entry.failure for function_id, entry in self.by_id.items() if entry.failure is not None}

    def figures(self) -> Iterator[MetricFigure]:
        loaded = sum(entry.loaded is not None for entry in self.by_id.values())
        yield "gauge", "stenograph_functions_loaded", "Functions that this process has loaded.", loaded
        yield "gauge", "stenograph_functions_not_loaded", "Functions whose newest source cannot be loaded.", len(self.failures)


def set_valves(loaded: Loaded, values: Mapping[str, Any]) -> None:
    """Called in a thread of the function's. Raises ``TypeError`` for a priority that is no number."""
    declared = loaded.declared
    try:
        valves = made(declared.valves, values)
    except Refused as refused:
        declared.problem = f"its valves have to be set: {refused}"
        return
    priority_of(declared, valves)
    declared.problem, declared.current = None, valves
    if hasattr(loaded.instance, "valves"):
        loaded.instance.valves = valves
