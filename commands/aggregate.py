"""Read, decide, append: the one way in which a command becomes events.

Hot streams are folded once and kept. A kept fold may be stale; the version check on append catches that, and a "no" or an
"already so" that came from a kept fold alone is decided once more on a fresh one.

Commands of one stream are decided in line, but none waits for another's commit: the next one is decided on what those before it will make,
and names the version that they lead to. Where one of them fails, so does every one behind it, and is decided again.

A state may be partial (``PartialReader``). It raises ``NotLoaded`` where a decision reads more of it; the handler loads that and decides
again. The decision is the same as on the whole state, and its cost does not grow with the stream.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import UUID

import msgspec

from commands.futures import retrieve_exception
from commands.kept_stream import KeptStream
from commands.ports import EXISTS, Appended, AppendRequest, Claim, CommandKey, EventLog, LineBroken, StreamAppend
from commands.tracing import CURRENT, CommandSpan
from domain.errors import CommandMismatch, ConcurrencyConflict, Refusal, TooManyLostRaces, Unavailable
from domain.log.codec import decode_event
from domain.log.event import Actor, Event, StoredEvent
from domain.log.stream import Kind, Stream
from domain.log.upcasting import UPCASTS
from domain.values.idmap import NeedsWhole, NotLoaded, UnusualHistory

State = TypeVar("State")
ATTEMPTS_MAX: Final = 32
PAGE_EVENTS: Final = 10_000
OUTLINE_EVENTS: Final = 2_000  # some 20 ms of folding
LOADS_MAX: Final = 32  # of what one decision reads; two or three are usual
MANY_EVENTS: Final = 100  # of one append: from so many on they are folded at once
ANSWER_TYPES: Final = ("message_delta", "content_block")  # what an outline leaves out


class PartialReader(Protocol[State]):
    """Reads a state in part. ``begin`` and ``complete`` raise ``NeedsWhole`` where the whole stream is to be folded."""

    async def begin(self, stream: Stream) -> tuple[int, State]:
        """``(version, state)`` as of now."""
        ...

    async def complete(self, stream: Stream, version: int, state: State, missing: NotLoaded) -> State:
        """``state``, which is held as of ``version``, with what is missing."""
        ...

    def trimmed(self, state: State) -> State:
        """The same, without most of what was loaded where that has become much."""
        ...

    def with_absent(self, state: State, ids: Collection[UUID]) -> State:
        """The same, which knows that there is nothing of these ids."""
        ...


class PendingCommand(msgspec.Struct, Generic[State]):
    """What a caller of ``Aggregate.handle`` asks for: its arguments, as they are the same in each attempt."""

    decide: Callable[[State], Sequence[Event[Any]]]
    actor: Actor | None
    command: CommandKey | None
    claims: Sequence[Claim]
    also: Callable[[State, int], Sequence[StreamAppend]] | None
    expected_version: int | None
    new_ids: Collection[UUID]


class Decision(msgspec.Struct, Generic[State]):
    """What one attempt came to: ``events`` behind ``version``, which lead to the state ``after``, and ``more`` in other streams."""

    kept: KeptStream[State]
    version: int
    events: Sequence[Event[Any]]
    more: Sequence[StreamAppend]
    after: State
    has_lock: bool = True  # of the stream: until the log has queued the events

    def queued(self) -> None:
        """The log has queued the events: the next command may be decided."""
        self.kept.send(self.version + len(self.events), self.after)
        self.has_lock = False


class Aggregate(Generic[State]):
    """All streams of one kind, by their decider.

    ``open_messages``, of streams that hold answers, names the messages whose deltas the state counts, with the version above
    which they stand: a cold fold does not read what ended answers are made of. ``fold`` folds many events at once.
    ``partial_reader`` reads states in part; then the whole stream is folded only where it raises ``NeedsWhole``. ``types`` are those that
    change the state; events of all others are not even decoded where a stream is read.
    """

    def __init__(
        self,
        log: EventLog,
        kind: Kind,
        empty: State,
        evolve: Callable[[State, Event[Any], int], State],
        *,
        kept_max: int = 2048,
        open_messages: Callable[[State], Iterable[tuple[UUID, int]]] | None = None,
        fold: Callable[[State, Iterable[tuple[int, Event[Any]]]], State] | None = None,
        partial_reader: PartialReader[State] | None = None,
        types: Collection[str] | None = None,
    ) -> None:
        self._log = log
        self._kind = kind
        self._empty = empty
        self._evolve = evolve
        self._kept: OrderedDict[int, KeptStream[State]] = OrderedDict()  # by the id's number: an id is hashed in Python, for every token
        self._kept_max = kept_max
        self._open_messages = open_messages
        self._fold = fold or self._one_by_one
        self._partial_reader = partial_reader
        # An old type may have become one of them.
        self._types = None if types is None else frozenset(types) | {name for upcast_kind, name in UPCASTS if upcast_kind == kind}

    def _one_by_one(self, state: State, events: Iterable[tuple[int, Event[Any]]]) -> State:
        for version, event in events:
            state = self._evolve(state, event, version)
        return state

    def stream(self, stream_id: UUID) -> Stream:
        return Stream(self._kind, stream_id)

    def _entry(self, stream_id: UUID) -> KeptStream[State]:
        kept = self._kept.get(stream_id.int)
        if kept is None:
            if len(self._kept) >= self._kept_max:
                self._evict()
            kept = self._kept[stream_id.int] = KeptStream(self.stream(stream_id), self._empty)
        else:
            kept.used = True
        return kept

    def _evict(self) -> None:
        """Drop the first that was not used since its last turn: to note a use has to cost nothing, a token is one.

        An entry in use stays: its lock is what keeps this process's writers in line.
        """
        for _ in range(2 * len(self._kept)):
            stream_id, kept = next(iter(self._kept.items()))
            if not (kept.used or kept.on_way or kept.lock.locked()):
                del self._kept[stream_id]
                return
            kept.used = False
            self._kept.move_to_end(stream_id)

    async def state(self, stream_id: UUID, *, fresh: bool = True, require: Callable[[State], object] | None = None) -> tuple[int, State]:
        """``(version, state)``. With ``fresh`` never older than the call; without, whatever is kept, if anything is.

        ``require`` reads of the state what the caller is going to read: all of that is loaded then.
        """
        kept = self._entry(stream_id)
        if fresh:
            await self._refresh(kept)
        elif kept.version == 0:
            await self._first_reading(kept)
        if require is not None:
            try:
                require(kept.state)
            except NotLoaded as missing:
                async with kept.lock:
                    await kept.settle()  # so that this process's own writers do not move it on meanwhile
                    await self._complete(kept, missing, require)
        return kept.version, kept.state

    async def _complete(self, kept: KeptStream[State], missing: NotLoaded, require: Callable[[State], object]) -> None:
        """Load what is missing, and what ``require`` finds missing then. Raises ``TooManyLostRaces``, and what ``require`` raises."""
        if kept.may_trim and self._partial_reader is not None:
            kept.state = self._partial_reader.trimmed(kept.state)
        for _ in range(LOADS_MAX):
            await self._load(kept, missing)
            try:
                require(kept.state)
            except NotLoaded as more:
                missing = more
            else:
                return
        raise TooManyLostRaces(kept.stream, LOADS_MAX)

    async def _load(self, kept: KeptStream[State], missing: NotLoaded) -> None:
        """Nothing is loaded where a reader refreshed the kept state meanwhile: what was read is of the version before."""
        assert self._partial_reader is not None
        version = kept.version
        try:
            state = await self._partial_reader.complete(kept.stream, version, kept.state, missing)
        except NeedsWhole as reason:
            await self._read_whole(kept, reason)
            return
        if kept.version == version:
            kept.state = state

    async def _read_whole(self, kept: KeptStream[State], reason: NeedsWhole) -> None:
        version, state = await self._whole(kept.stream)
        if version >= kept.version:
            kept.version, kept.state, kept.may_trim = version, state, not isinstance(reason, UnusualHistory)

    async def _first_reading(self, kept: KeptStream[State]) -> None:
        """Read a stream that is not known yet, once for all who ask at the same moment: after a restart that is everybody."""
        reading = kept.reading
        if reading is None:
            reading = kept.reading = asyncio.create_task(self._refresh(kept))

            def over(_: asyncio.Task[None]) -> None:
                kept.reading = None

            reading.add_done_callback(over)
            reading.add_done_callback(retrieve_exception)
        await asyncio.shield(reading)

    async def _refresh(self, kept: KeptStream[State]) -> None:
        if kept.version == 0:
            await self._begin(kept)
            return
        if kept.may_trim and self._partial_reader is not None and not kept.lock.locked():  # who holds it may have loaded what it needs
            kept.state = self._partial_reader.trimmed(kept.state)
        try:
            version, state = await self._read_on(kept.stream, kept.version, kept.state)
        except NotLoaded:  # an event changes what is not loaded: to begin again costs less than to find out what
            await self._begin(kept)
            return
        if version > kept.version:  # somebody else may have read further while this waited
            kept.version, kept.state = version, state

    async def _begin(self, kept: KeptStream[State]) -> None:
        try:
            version, state = await (
                self._partial_reader.begin(kept.stream) if self._partial_reader is not None else self._whole(kept.stream)
            )
        except NeedsWhole as reason:
            await self._read_whole(kept, reason)
            return
        if version > kept.version:  # as above
            kept.version, kept.state, kept.may_trim = version, state, True

    async def _whole(self, stream: Stream) -> tuple[int, State]:
        if self._open_messages is not None:
            return await self._from_outline(stream, self._open_messages)
        return await self._read_on(stream, 0, self._empty)

    async def _read_on(self, stream: Stream, version: int, state: State) -> tuple[int, State]:
        while True:
            page = await self._log.read(stream, after=version, limit=PAGE_EVENTS)
            if page:
                state, version = self._fold(state, decoded(self._relevant(page))), page[-1].version
            if len(page) < PAGE_EVENTS:
                return version, state

    def _relevant(self, page: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
        types = self._types
        return page if types is None else [one for one in page if one.type in types]

    async def _from_outline(self, stream: Stream, open_messages: Callable[[State], Iterable[tuple[UUID, int]]]) -> tuple[int, State]:
        """All of it as of now, but for what ended answers are made of."""
        until = await self._log.version(stream)
        state = self._empty
        async with aclosing(self._outline(stream, until)) as pages:
            async for page in pages:
                state = self._fold(state, decoded(page))
        for message_id, started_version in list(open_messages(state)):
            message = await self._log.read_message(stream, message_id, after=started_version)
            state = self._fold(state, decoded(one for one in message if one.type in ANSWER_TYPES and one.version <= until))
        return until, state

    async def _outline(self, stream: Stream, until: int) -> AsyncGenerator[Sequence[StoredEvent], None]:
        """The next page is read while one is folded; and between two pages it is everybody else's turn."""
        reading = asyncio.create_task(self._log.read_outline(stream, until=until, limit=OUTLINE_EVENTS))
        try:
            while True:
                page = await reading
                is_last = len(page) < OUTLINE_EVENTS
                if not is_last:
                    reading = asyncio.create_task(self._log.read_outline(stream, after=page[-1].version, until=until, limit=OUTLINE_EVENTS))
                    await asyncio.sleep(0)  # it is asked now, not after the fold
                yield page
                if is_last:
                    return
        finally:
            reading.cancel()

    async def handle(
        self,
        stream_id: UUID,
        decide: Callable[[State], Sequence[Event[Any]]],
        *,
        actor: Actor | None = None,
        command: CommandKey | None = None,
        claims: Sequence[Claim] = (),
        also: Callable[[State, int], Sequence[StreamAppend]] | None = None,
        expected_version: int | None = None,
        attempts_max: int | None = ATTEMPTS_MAX,
        new_ids: Collection[UUID] = (),
    ) -> Appended:
        """Decide on the stream's state and append what comes of it, with what ``also`` makes of that state and its version in the same
        commit.

        Returns the versions of this stream first, then of ``also``. ``expected_version`` makes the command conditional:
        ``ConcurrencyConflict`` at once if the stream is elsewhere. Otherwise a lost race is decided again, at most
        ``attempts_max`` times (None: for as long as ``decide`` still has something to say), then ``TooManyLostRaces``.
        ``new_ids`` were drawn at random for this command, so a partial state need not be asked whether they are there.
        Raises what ``decide`` and ``EventLog.append`` raise.
        """
        kept = self._entry(stream_id)
        asked = PendingCommand(decide, actor, command, claims, also, expected_version, new_ids)
        decision: Decision[State] | None = None
        await kept.lock.acquire()  # "async with" costs two calls more, for every token
        span: CommandSpan | None = None
        try:
            if (current := CURRENT.get()) is not None:
                span = current.begin_command(self._kind)
            if command is not None and (known := await self._first_answer(command)) is not None:
                return known
            fresh = kept.version == 0 and not kept.on_way
            if fresh:
                await self._refresh(kept)
            races = 0
            while attempts_max is None or races < attempts_max:
                decided = await self._decide(kept, asked, fresh)
                if isinstance(decided, Appended):
                    return decided
                decision = decided
                if span is not None:
                    span.decided(decision.events)
                try:
                    return await self._send(asked, decision)
                except LineBroken:
                    pass  # it has raced nobody
                except ConcurrencyConflict as lost:
                    if lost.expected == EXISTS:
                        raise  # no fresher look at this stream brings the other one into being
                    races += 1
                fresh = await self._prepare_retry(decision)
            raise TooManyLostRaces(kept.stream, races)
        except BaseException as error:
            if span is not None:
                span.failed(error)
            raise
        finally:
            if span is not None:
                span.end()
            if decision is None or decision.has_lock:
                kept.lock.release()

    async def _decide(self, kept: KeptStream[State], asked: PendingCommand[State], fresh: bool) -> Decision[State] | Appended:
        """What the command comes to on the newest state. With the lock held, and no attempt is counted.

        A refusal or "already so" is decided once more on a state that was read for it, unless ``fresh`` says that this one was. Returns
        ``Appended`` where nothing is to be written: the first answer to the same command, or the present version.
        """
        while True:
            if kept.is_doomed:
                await kept.settle()
            version, state = kept.newest()
            events: Sequence[Event[Any]] = ()
            more: Sequence[StreamAppend] = ()
            after = state
            try:
                if asked.expected_version is not None and version != asked.expected_version:
                    raise ConcurrencyConflict(kept.stream, expected=asked.expected_version, current=version)
                events = asked.decide(state)
                after = self._with(state, version, events)
                if asked.also is not None and events:
                    more = asked.also(state, version)
            except NotLoaded as missing:
                await self._supply(kept, missing, asked.decide, asked.new_ids)
                continue
            except Exception:
                if fresh:
                    if asked.command is not None and (known := await self._first_answer(asked.command)) is not None:
                        return known  # written meanwhile: it is its own doing that is in its way
                    raise
                events = ()
            if events or (fresh and asked.command is not None):  # without events it is the command that is to be remembered
                return Decision(kept, version, events, more, after)
            if fresh:
                return Appended(await self._log.head(), (version,))
            await kept.settle()
            await self._refresh(kept)
            fresh = True

    async def _send(self, asked: PendingCommand[State], decision: Decision[State]) -> Appended:
        """Append what was decided. The lock is released as soon as the log has queued it.

        Raises what ``EventLog.append`` raises. ``LineBroken`` and ``ConcurrencyConflict`` say that it may be decided again.
        """
        kept = decision.kept
        line = kept.next_line()
        try:
            # Where only the command is to be remembered, it is with the version that it found.
            first = StreamAppend(kept.stream, decision.events, decision.version)
            request = AppendRequest([first, *decision.more], asked.actor, asked.command, asked.claims, line)
            appended = await self._log.append(request, decision.queued)
        except BaseException:
            if not decision.has_lock:
                kept.fail()
            raise
        if line.broken or appended.repeated:
            kept.fail()
        else:
            kept.arrive(decision.version + len(decision.events), decision.after)
        if line.broken and not appended.repeated:
            # What it was decided on may not be what the log holds. The caller's own write is to be seen all the same.
            with suppress(Unavailable):
                await self._refresh(kept)
        return appended

    async def _prepare_retry(self, decision: Decision[State]) -> bool:
        """Hold the lock again, and a state newer than the one that the decision was made on. Returns whether it was read for this."""
        kept = decision.kept
        if not decision.has_lock:
            await kept.lock.acquire()
            decision.has_lock = True
        if kept.ahead is not None and not kept.is_doomed:
            return False
        await kept.settle()
        if kept.version > decision.version:  # another one that lost the race has read it since
            return False
        await self._refresh(kept)
        return True

    async def _first_answer(self, command: CommandKey) -> Appended | None:
        """What the same command came to before. Raises ``CommandMismatch``."""
        known = await self._log.find_command(command.actor_id, command.key)
        if known is None:
            return None
        if known.request_hash != command.request_hash:
            raise CommandMismatch(command.key)
        return known.appended

    def _with(self, state: State, version: int, events: Sequence[Event[Any]]) -> State:
        """``state``, which is of ``version``, with what comes behind it."""
        if len(events) < MANY_EVENTS:
            for event in events:
                version += 1
                state = self._evolve(state, event, version)
            return state
        return self._fold(state, enumerate(events, version + 1))

    async def _supply(
        self, kept: KeptStream[State], missing: NotLoaded, decide: Callable[[State], Sequence[Event[Any]]], new_ids: Collection[UUID]
    ) -> None:
        """What a decision did not find loaded. What it comes to is of no interest here: it is made again."""
        absent = [one for one in missing.keys if one in new_ids]
        if absent:
            assert self._partial_reader is not None
            _, state = kept.newest()
            kept.supply(self._partial_reader.with_absent(self._partial_reader.trimmed(state) if kept.may_trim else state, absent))
            return
        await kept.settle()
        with suppress(Refusal):
            await self._complete(kept, missing, decide)


def decoded(page: Iterable[StoredEvent]) -> Iterator[tuple[int, Event[Any]]]:
    return ((stored.version, decode_event(stored)) for stored in page)
