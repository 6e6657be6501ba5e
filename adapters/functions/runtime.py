"""The functions of one process: loaded from the log's sources, and called away from the server's event loop.

A change of a function's stream loads it again, on every process. One that cannot be loaded says why, and the last good one goes on.
"""

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec
import structlog

from adapters.functions.feed import Feed
from adapters.functions.jobs import Job, Stopped, TooSlow, never
from adapters.functions.loops import FunctionLoops, LoopCounts
from adapters.functions.parameters import Signature, arguments_of, injected
from adapters.functions.side import Side
from adapters.functions.threads import Threads
from commands.routing.functions import CallContext, Function, FunctionKind, Sub
from domain.errors import FunctionFailed, FunctionNotFound, FunctionNotLoaded, LogUnavailable, StenographError
from domain.function import FunctionState, Valves

logger = structlog.get_logger("functions")

DETAIL_CHARACTERS_MAX: Final = 1_000
RETRY_S: Final = 1.0  # when a source could not be read from the log


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


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """In seconds, and numbers of threads."""

    call_s: float = 60.0  # one call of a filter or an action, a load, a list of a pipe's models; not counting what a person is asked
    silence_s: float = 300.0  # of a pipe, between two signs of life
    threads_max: int = 32  # for calls that are not asynchronous; and as many again for pipes


class Entry:
    """One function of this process: what runs, and what has become of the newest source."""

    __slots__ = ("failure", "function", "is_wanted", "loaded", "loops", "reading", "seen", "signatures", "state", "stream_id")

    def __init__(self, stream_id: UUID) -> None:
        self.stream_id = stream_id
        self.state = FunctionState()
        self.loaded: Any = None  # ``Loaded``
        self.function: Function | None = None  # None where it is switched off, or was never loaded
        self.is_wanted = False  # also while it is switched off
        self.failure: FunctionNotLoaded | None = None  # why the newest source is not what runs
        self.loops: FunctionLoops | None = None
        self.signatures: dict[str, Signature] = {}
        self.seen: tuple[Any, ...] = ()  # the source that was tried last
        self.reading: asyncio.Task[None] | None = None


class FunctionRuntime:
    """Satisfies ``Functions``. Used on the server's loop alone. ``changed`` is called after a function was loaded or has gone."""

    def __init__(self, keeper: Keeper, limits: Limits, changed: Callable[[], None] = lambda: None) -> None:
        self._keeper = keeper
        self._limits = limits
        self._changed = changed
        self.stored: Stored | None = None
        self._by_id: dict[str, Entry] = {}
        self._entries: dict[UUID, Entry] = {}
        self._kinds: dict[FunctionKind, Sequence[Function]] = {"pipe": (), "filter": (), "action": ()}
        self._calls: Threads | None = None
        self._pipes: Threads | None = None
        self._counts = LoopCounts()
        self.failed_calls = 0

    # ------------------------------------------------------------------------------------------------ the port

    def get(self, function_id: str) -> Function | None:
        entry = self._by_id.get(function_id)
        return entry.function if entry is not None else None

    def pipes(self) -> Sequence[Function]:
        return self._kinds["pipe"]

    def filters(self) -> Sequence[Function]:
        return self._kinds["filter"]

    def actions(self) -> Sequence[Function]:
        return self._kinds["action"]

    async def bind(self, function: Function, method: str, context: CallContext) -> "BoundCall":
        return await self.bind_with(function, method, context)

    async def bind_with(
        self, function: Function, method: str, context: CallContext, intercept: Callable[[str, Any], bool] | None = None
    ) -> "BoundCall":
        """``intercept`` as in ``Side``."""
        entry = self._by_id.get(function.id)
        if entry is None or entry.function is None or method not in entry.function.methods:
            raise FunctionNotFound(function.id, method)
        loaded = entry.loaded
        signature = entry.signatures.get(method)
        if signature is None:
            signature = entry.signatures[method] = Signature(getattr(loaded.instance, method))
        side = Side(function.id, context, asyncio.get_running_loop(), intercept)
        person: dict[str, Any] = {}
        if "__user__" in signature.names:
            person = {**await self._keeper.person(context.actor.id)}
            if loaded.declared.user_valves is not None:
                person["valves"] = await self._user_valves(entry, context.actor.id)
        fixed = injected(signature, function.id, context, person, side)
        return BoundCall(self, entry, loaded, method, signature, fixed, side)

    async def call(self, function: Function, method: str, arguments: Mapping[str, Any], context: CallContext) -> Any:
        bound = await self.bind(function, method, context)
        return await bound(arguments)

    async def iterate(self, result: Any, function: Function) -> AsyncIterator[Any]:
        entry = self._by_id.get(function.id)
        if entry is None or not is_iterated(result):
            yield result
            return
        async with aclosing(self.batches(entry, result, Feed(asyncio.get_running_loop()))) as batches:
            async for items in batches:
                for item in items:
                    yield item

    # ------------------------------------------------------------------------------------------------ running

    async def batches(self, entry: Entry, result: Any, feed: Feed, side: Side | None = None) -> AsyncGenerator[list[Any], None]:
        """The items of a generator, an asynchronous one, or a streamed response, as many at a time as there are.

        Raises ``FunctionFailed``, after what came before it. Closing this closes the generator.
        """
        may_wait = side.is_asking if side is not None else never
        body, background = streamed(result)
        name = entry.state.function_id
        if hasattr(body, "__aiter__"):
            loops = self.loops(entry)
            job = loops.submit(lambda: _pump_async(body, background, feed), self._limits.silence_s, may_wait=may_wait)
            stop: Callable[[Any], None] = loops.stop
        else:
            threads = self.pipe_threads()
            job = threads.submit(lambda: _pump(body, feed), self._limits.silence_s, name=name, may_wait=may_wait)
            stop = threads.stop
        if side is not None:
            side.touched = job.touch
        job.future.add_done_callback(lambda _: feed.end())
        try:
            while (items := await feed.next_items()) is not None:
                job.touch()
                yield items
            with self.translated(entry):
                await job.future
        finally:
            feed.close()
            if not job.future.done():
                job.future.cancel()
            else:
                job.future.cancelled() or job.future.exception()  # retrieve the exception, so that asyncio does not log a warning
            stop(job)
            if side is not None:
                side.end()

    def call_threads(self) -> Threads:
        if self._calls is None:
            self._calls = Threads("function call", self._limits.threads_max)
        return self._calls

    def pipe_threads(self) -> Threads:
        """Of their own: pipes that wait for their providers take no thread from filters."""
        if self._pipes is None:
            self._pipes = Threads("function pipe", self._limits.threads_max)
        return self._pipes

    def loops(self, entry: Entry) -> FunctionLoops:
        if entry.loops is None:
            entry.loops = FunctionLoops(entry.state.function_id, self._counts)
        return entry.loops

    def limit_s(self, method: str) -> float:
        return self._limits.silence_s if method == "pipe" else self._limits.call_s

    def translated(self, entry: Entry) -> "Translation":
        return Translation(self, entry)

    async def _user_valves(self, entry: Entry, user_id: UUID) -> Any:
        """A person's own, made in a thread. What cannot be made of what is stored is logged, and the defaults count (or None)."""
        from adapters.functions.valves import Refused, made

        function_id, declared = entry.state.function_id, entry.loaded.declared.user_valves
        stored = await self._keeper.values(await self._keeper.user_valves(user_id, function_id))

        def make() -> Any:
            try:
                return made(declared, stored)
            except Refused as refused:
                logger.warning(
                    "user_valves_refused", function=function_id, user=str(user_id), problems=[name for name, _ in refused.problems]
                )
            try:
                return made(declared, {})
            except Refused:
                return None

        return await self.call_threads().run(make, self._limits.call_s, name=function_id)

    # ------------------------------------------------------------------------------------------------ loading

    async def start(self, stored: Stored, within_s: float = 10.0) -> None:
        """Load what there is. Returns once all of it is loaded, or after ``within_s``: what takes longer is loaded meanwhile."""
        self.stored = stored
        for stream_id, _ in list(stored):
            self.on_changed(stream_id)
        waiting = [entry.reading for entry in self._entries.values() if entry.reading is not None]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=within_s)
            if late:
                logger.warning("functions_load_slowly", loaded=len(waiting) - len(late), waiting=len(late))

    def on_changed(self, stream_id: UUID) -> None:
        """The stream has a new event: load what is new. Does not wait."""
        if self.stored is None:
            return
        entry = self._entries.get(stream_id)
        if entry is None:
            entry = self._entries[stream_id] = Entry(stream_id)
        if entry.reading is None:
            entry.reading = asyncio.create_task(self._keep_up(entry), name=f"load function {stream_id}")

    async def load_now(self, stream_id: UUID) -> Any:
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
        for threads in (self._calls, self._pipes):
            if threads is not None:
                threads.close()
        for entry in self._entries.values():
            if entry.loops is not None:
                entry.loops.close()

    async def check(self, function_id: str, source: str, values: Mapping[str, Any]) -> Any:
        """Load a source on trial, beside what runs. Raises ``FunctionNotLoaded``."""
        from adapters.functions.loading import load

        work = functools.partial(load, function_id, source, values)
        try:
            loaded = await self.call_threads().run(work, self._limits.call_s, name=function_id)
        except TooSlow as slow:
            raise FunctionNotLoaded(function_id, "too_slow", f"loading it {slow}") from None
        except Stopped:
            raise FunctionNotLoaded(function_id, "exception", "it was stopped while it loaded") from None
        except FunctionNotLoaded as failure:
            if failure.reason == "exception" and "no running event loop" in str(failure):
                return await self._load_on_a_loop(function_id, work)
            raise
        return loaded

    async def _load_on_a_loop(self, function_id: str, work: Callable[[], Any]) -> Any:
        """For a function whose ``__init__`` wants a running loop: it gets the one on which it will be called."""

        async def load() -> Any:
            return work()

        entry = self._by_id.get(function_id) or Entry(UUID(int=0))
        if entry.loops is None:
            entry.loops = FunctionLoops(function_id, self._counts)
        try:
            return await entry.loops.run(load, self._limits.call_s)
        except TooSlow as slow:
            raise FunctionNotLoaded(function_id, "too_slow", f"loading it {slow}") from None

    async def _keep_up(self, entry: Entry) -> None:
        assert self.stored is not None
        try:
            while (state := self.stored.get(entry.stream_id)) is not entry.state:
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
        self._by_id[state.function_id] = entry
        if not state.active and entry.loaded is None and not entry.is_wanted:
            entry.state = state  # it is loaded when it is switched on, or when an admin asks for its valves
            entry.failure, entry.seen = None, ()
            return
        wanted = (state.source, state.created_version)
        is_new = wanted != entry.seen
        if is_new or state.valves != entry.state.valves:
            values = await self._keeper.values(state.valves)
            source = await self._keeper.source(entry.stream_id, state) if is_new else ""
            entry.seen = wanted
            try:
                # New valves alone do not make a new instance: it may hold a session, or what it has counted.
                loaded = await self.check(state.function_id, source, values) if is_new else entry.loaded
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
        entry.state = state

    async def _described(self, state: FunctionState, loaded: Any) -> Function:
        assert state.source is not None
        work = functools.partial(describe, state, loaded)
        return await self.call_threads().run(work, self._limits.call_s, name=state.function_id)  # type: ignore[no-any-return]

    async def _set_valves(self, function_id: str, loaded: Any, values: Mapping[str, Any]) -> None:
        from adapters.functions.valves import priority_of

        declared = loaded.declared
        if declared.valves is None:
            return

        def put() -> None:
            from adapters.functions.valves import Refused, made

            try:
                valves = made(declared.valves, values)
            except Refused as refused:
                declared.problem = f"its valves have to be set: {refused}"
                return
            priority_of(declared, valves)
            declared.problem, declared.current = None, valves
            if hasattr(loaded.instance, "valves"):
                loaded.instance.valves = valves

        try:
            await self.call_threads().run(put, self._limits.call_s, name=function_id)
        except TypeError as error:
            raise FunctionNotLoaded(function_id, "valves", str(error)) from None
        except TooSlow as slow:
            raise FunctionNotLoaded(function_id, "too_slow", f"setting its valves {slow}") from None

    def _forget(self, entry: Entry) -> None:
        if self._by_id.get(entry.state.function_id) is entry:
            del self._by_id[entry.state.function_id]
        if entry.loops is not None:
            entry.loops.close()
            entry.loops = None
        entry.loaded = entry.function = entry.failure = None
        entry.seen = ()

    def _publish(self) -> None:
        """What the port shows, made anew. A function that is switched off stays loaded, and is not shown."""
        shown: list[Function] = []
        for entry in self._by_id.values():
            if entry.loaded is not None and entry.function is not None:
                fresh = msgspec.structs.replace(
                    entry.function, is_global=entry.state.everywhere, name=entry.state.name, meta=entry.state.meta
                )
                entry.function = fresh
                if entry.state.active:
                    shown.append(fresh)
        self._kinds = {
            kind: sorted((one for one in shown if one.kind == kind), key=lambda one: (0 if kind == "pipe" else one.priority, one.id))
            for kind in ("pipe", "filter", "action")
        }
        self._changed()

    # ------------------------------------------------------------------------------------------------ what can be seen of it

    @property
    def failures(self) -> Mapping[str, FunctionNotLoaded]:
        """Why the newest source of a function is not what runs here, by its id."""
        return {function_id: entry.failure for function_id, entry in self._by_id.items() if entry.failure is not None}

    def loaded(self, function_id: str) -> Any:
        """The ``Loaded`` of a function that runs or is switched off; None where there is none."""
        entry = self._by_id.get(function_id)
        return entry.loaded if entry is not None else None

    def entry(self, function_id: str) -> Entry | None:
        return self._by_id.get(function_id)

    async def in_thread(self, function_id: str, work: Callable[[], Any]) -> Any:
        """Something of the function's own, such as a validator of its valves. Raises ``FunctionFailed``, and what ``work`` raises."""
        try:
            return await self.call_threads().run(work, self._limits.call_s, name=function_id)
        except TooSlow as slow:
            raise FunctionFailed(function_id, str(slow), reason="too_slow") from None

    def figures(self) -> Iterator[tuple[str, str, str, float]]:
        given_up = self._counts.given_up + sum(one.given_up for one in (self._calls, self._pipes) if one is not None)
        timeouts = self._counts.timeouts + sum(one.timeouts for one in (self._calls, self._pipes) if one is not None)
        loaded = sum(entry.loaded is not None for entry in self._by_id.values())
        yield "gauge", "stenograph_functions_loaded", "Functions that this process has loaded.", loaded
        yield "gauge", "stenograph_functions_not_loaded", "Functions whose newest source cannot be loaded.", len(self.failures)
        yield "counter", "stenograph_function_failures", "Calls of functions that raised an exception.", self.failed_calls
        yield "counter", "stenograph_function_timeouts", "Calls of functions that took longer than they may.", timeouts
        yield "counter", "stenograph_function_loops_blocked", "Times that a function blocked its event loop.", self._counts.blocked
        yield "gauge", "stenograph_function_threads_given_up", "Threads in which a function does not come back.", given_up


class Translation:
    """What a function raises, as ``FunctionFailed``. Its traceback goes to the server's log."""

    __slots__ = ("_entry", "_runtime")

    def __init__(self, runtime: FunctionRuntime, entry: Entry) -> None:
        self._runtime = runtime
        self._entry = entry

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _traceback: object) -> None:
        if error is None or isinstance(error, FunctionFailed | GeneratorExit | asyncio.CancelledError):
            return
        function_id = self._entry.state.function_id
        if isinstance(error, TooSlow):
            logger.warning("function_too_slow", function=function_id, detail=str(error))
            raise FunctionFailed(function_id, str(error), reason="too_slow") from None
        if isinstance(error, Stopped):
            raise FunctionFailed(function_id, "it was stopped", reason="stopped") from None
        self._runtime.failed_calls += 1
        logger.warning("function_raised", function=function_id, exc_info=error)
        detail = str(error) if isinstance(error, StenographError) else f"{type(error).__name__}: {error}"
        raise FunctionFailed(function_id, detail[:DETAIL_CHARACTERS_MAX]) from None


class BoundCall:
    """``Bound``. ``fixed`` are the parameters that stay the same."""

    __slots__ = ("_entry", "_fixed", "_limit_s", "_loaded", "_method", "_runtime", "_signature", "side")

    def __init__(
        self, runtime: FunctionRuntime, entry: Entry, loaded: Any, method: str, signature: Signature, fixed: dict[str, Any], side: Side
    ) -> None:
        self._runtime = runtime
        self._entry = entry
        self._loaded = loaded
        self._method = getattr(loaded.instance, method)
        self._signature = signature
        self._fixed = fixed
        self._limit_s = runtime.limit_s(method)
        self.side = side

    async def __call__(self, arguments: Mapping[str, Any]) -> Any:
        entry, side, function_id = self._entry, self.side, self._entry.state.function_id
        if self._loaded.declared.problem is not None:
            raise FunctionFailed(function_id, self._loaded.declared.problem)
        taken = {**self._fixed, **arguments_of(self._signature, arguments)}
        method = self._method
        with self._runtime.translated(entry):
            try:
                if self._signature.is_async:
                    result = await self._on_loop(lambda: _awaited(method, taken))
                else:
                    threads = self._runtime.pipe_threads() if method.__name__ == "pipe" else self._runtime.call_threads()
                    job = threads.submit(lambda: _called(method, taken), self._limit_s, name=function_id, may_wait=side.is_asking)
                    result = await self._outcome(job, threads)
                    if isinstance(result, Awaitable):
                        result = await self._on_loop(lambda: _resumed(result))
            except BaseException:
                side.end()
                raise
        if side.handed_over != side.written:
            await side.settled()
        return result

    async def _on_loop(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        loops = self._runtime.loops(self._entry)
        return await self._outcome(loops.submit(work, self._limit_s, may_wait=self.side.is_asking), loops)

    async def _outcome(self, job: Job, where: Threads | FunctionLoops) -> Any:
        self.side.touched = job.touch
        try:
            return await job.future
        except asyncio.CancelledError:
            where.stop(job)
            raise


def describe(state: FunctionState, loaded: Any) -> Function:
    """What the rest of the server sees of it. Called in a thread: the instance's attributes may be properties."""
    from adapters.functions.loading import METHODS
    from adapters.functions.valves import priority_of

    assert state.source is not None
    instance = loaded.instance
    absent = frozenset() if hasattr(instance, "pipes") else frozenset({"pipes"})  # which may be a list as well as a method
    icon = next((one for name in ("icon", "icon_url") if isinstance(one := getattr(instance, name, None), str)), None)
    return Function(
        id=state.function_id,
        kind=loaded.kind,
        name=state.name,
        sha256=state.source.blob,
        is_global=state.everywhere,
        has_toggle=loaded.has_toggle,
        priority=priority_of(loaded.declared, loaded.declared.current),
        icon=icon or loaded.manifest.get("icon_url"),
        methods=frozenset(name for name in METHODS[loaded.kind] if name == "pipes" or callable(getattr(instance, name, None))) - absent,
        subs=subs_of(getattr(instance, "actions", ()), state.name) if loaded.kind == "action" else (),
        handles_files=bool(getattr(instance, "file_handler", False)),
        meta=state.meta,
    )


def subs_of(listed: Any, name: str) -> list[Sub]:
    """The entries of an action with several buttons. One without a name is called after the action."""
    found: list[Sub] = []
    for one in listed if isinstance(listed, Sequence) and not isinstance(listed, str) else ():
        if isinstance(one, Mapping) and one.get("id") is not None:
            icon = next((one[key] for key in ("icon_url", "icon") if isinstance(one.get(key), str)), None)
            found.append(Sub(str(one["id"]), str(one.get("name") or f"{name} ({one['id']})"), icon))
    return found


def is_iterated(result: Any) -> bool:
    """Whether a result is made item by item."""
    if hasattr(result, "body_iterator") or hasattr(result, "__anext__"):
        return True
    return hasattr(result, "__next__")


def streamed(result: Any) -> tuple[Any, Any]:
    """``(what is iterated, what is called after it)``."""
    body = getattr(result, "body_iterator", None)
    return (result, None) if body is None else (body, getattr(result, "background", None))


async def _awaited(method: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    made = method(**arguments)
    return _copied(await made) if isinstance(made, Awaitable) else made


def _called(method: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    made = method(**arguments)
    return made if isinstance(made, Awaitable) else _copied(made)


async def _resumed(made: Awaitable[Any]) -> Any:
    return _copied(await made)


def _copied(result: Any) -> Any:
    """What leaves the thread: a copy, unless it is made item by item or is an answer in a class of its own."""
    from adapters.functions.valves import plain

    if result is None or type(result) in (str, bytes, bool, int, float) or is_iterated(result) or hasattr(result, "status_code"):
        return result
    return plain(result)


def _pump(body: Any, feed: Feed) -> None:
    """All items of an iterator, in its thread."""
    try:
        for item in body:
            feed.put(_copied(item))
            if not feed.wait_for_room():
                break
    finally:
        close = getattr(body, "close", None)
        if callable(close):
            close()


async def _pump_async(body: Any, background: Any, feed: Feed) -> None:
    try:
        async for item in body:
            feed.put(_copied(item))
            if not await feed.wait_for_room_async():
                break
    finally:
        close = getattr(body, "aclose", None)
        if callable(close):
            await close()
        if background is not None:
            await background()
