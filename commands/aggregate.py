"""Read, decide, append: the one way in which a command becomes events.

Hot streams are folded once and kept. A kept fold may be stale; the version check on append catches that, and a "no" or an
"already so" that came from a kept fold alone is decided once more on a fresh one.

A state may be partial (``PartialReader``). It raises ``NotLoaded`` where a decision reads more of it; the handler loads that and decides
again. The decision is the same as on the whole state, and its cost does not grow with the stream.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import UUID

from commands.ports import EXISTS, Appended, AppendRequest, Claim, CommandKey, EventLog, StreamAppend
from domain.errors import CommandMismatch, ConcurrencyConflict, Refusal, TooManyLostRaces
from domain.log.codec import decode_event
from domain.log.event import Actor, Event, StoredEvent
from domain.log.stream import Kind, Stream
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


class Kept(Generic[State]):
    """One stream's newest known state. The lock puts this process's own writers in line, so that they never race each other."""

    __slots__ = ("lock", "may_trim", "reading", "state", "stream", "used", "version")

    def __init__(self, stream: Stream, state: State) -> None:
        self.stream = stream
        self.lock = asyncio.Lock()
        self.used = False  # again, since it was last looked at for eviction
        self.version = 0
        self.state = state
        self.may_trim = True  # False: only the whole state is exact
        self.reading: asyncio.Task[None] | None = None  # the first reading, for all who wait for it


class Aggregate(Generic[State]):
    """All streams of one kind, by their decider.

    ``open_messages``, of streams that hold answers, names the messages whose deltas the state counts, with the version above
    which they stand: a cold fold does not read what ended answers are made of. ``fold`` folds many events at once.
    ``partial_reader`` reads states in part; then the whole stream is folded only where it raises ``NeedsWhole``.
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
    ) -> None:
        self._log = log
        self._kind = kind
        self._empty = empty
        self._evolve = evolve
        self._kept: OrderedDict[int, Kept[State]] = OrderedDict()  # by the id's number: an id is hashed in Python, for every token
        self._kept_max = kept_max
        self._open_messages = open_messages
        self._fold = fold or self._one_by_one
        self._partial_reader = partial_reader

    def _one_by_one(self, state: State, events: Iterable[tuple[int, Event[Any]]]) -> State:
        for version, event in events:
            state = self._evolve(state, event, version)
        return state

    def stream(self, stream_id: UUID) -> Stream:
        return Stream(self._kind, stream_id)

    def _entry(self, stream_id: UUID) -> Kept[State]:
        kept = self._kept.get(stream_id.int)
        if kept is None:
            if len(self._kept) >= self._kept_max:
                self._evict()
            kept = self._kept[stream_id.int] = Kept(self.stream(stream_id), self._empty)
        else:
            kept.used = True
        return kept

    def _evict(self) -> None:
        """Drop the first that was not used since its last turn: to note a use has to cost nothing, a token is one.

        An entry in use stays: its lock is what keeps this process's writers in line.
        """
        for _ in range(2 * len(self._kept)):
            stream_id, kept = next(iter(self._kept.items()))
            if not (kept.used or kept.lock.locked()):
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
            await self._refresh(stream_id, kept)
        elif kept.version == 0:
            await self._first_reading(stream_id, kept)
        if require is not None:
            try:
                require(kept.state)
            except NotLoaded as missing:
                async with kept.lock:  # so that this process's own writers do not move it on meanwhile
                    await self._complete(kept, missing, require)
        return kept.version, kept.state

    async def _complete(self, kept: Kept[State], missing: NotLoaded, require: Callable[[State], object]) -> None:
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

    async def _load(self, kept: Kept[State], missing: NotLoaded) -> None:
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

    async def _read_whole(self, kept: Kept[State], reason: NeedsWhole) -> None:
        version, state = await self._whole(kept.stream)
        if version >= kept.version:
            kept.version, kept.state, kept.may_trim = version, state, not isinstance(reason, UnusualHistory)

    async def _first_reading(self, stream_id: UUID, kept: Kept[State]) -> None:
        """Read a stream that is not known yet, once for all who ask at the same moment: after a restart that is everybody."""
        reading = kept.reading
        if reading is None:
            reading = kept.reading = asyncio.create_task(self._refresh(stream_id, kept))

            def over(task: asyncio.Task[None]) -> None:
                kept.reading = None
                if not task.cancelled():
                    task.exception()  # retrieve the exception, so that asyncio does not log a warning

            reading.add_done_callback(over)
        await asyncio.shield(reading)

    async def _refresh(self, stream_id: UUID, kept: Kept[State]) -> None:
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

    async def _begin(self, kept: Kept[State]) -> None:
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
                state, version = self._fold(state, decoded(page)), page[-1].version
            if len(page) < PAGE_EVENTS:
                return version, state

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
    ) -> Appended:
        """Decide on the stream's state and append what comes of it, with what ``also`` makes of that state and its version in the same
        commit.

        Returns the versions of this stream first, then of ``also``. ``expected_version`` makes the command conditional:
        ``ConcurrencyConflict`` at once if the stream is elsewhere. Otherwise a lost race is decided again, at most
        ``attempts_max`` times (None: for as long as ``decide`` still has something to say), then ``TooManyLostRaces``.
        Raises what ``decide`` and ``EventLog.append`` raise.
        """
        kept = self._entry(stream_id)
        stream = kept.stream
        await kept.lock.acquire()  # "async with" costs two calls more, for every token
        try:
            if command is not None:
                known = await self._log.find_command(command.actor_id, command.key)
                if known is not None:
                    if known.request_hash != command.request_hash:
                        raise CommandMismatch(command.key)
                    return known.appended
            fresh = kept.version == 0
            if fresh:
                await self._refresh(stream_id, kept)
            attempt = 0
            while attempts_max is None or attempt < attempts_max:
                version, state = kept.version, kept.state
                if expected_version is not None and version != expected_version:
                    if fresh:
                        raise ConcurrencyConflict(stream, expected=expected_version, current=version)
                    events: Sequence[Event[Any]] = ()
                else:
                    try:
                        events = decide(state)
                    except NotLoaded as missing:
                        with suppress(Refusal):  # it is decided again below
                            await self._complete(kept, missing, decide)
                        continue
                    except Refusal:
                        if fresh:
                            raise
                        events = ()
                if not events and not fresh:
                    await self._refresh(stream_id, kept)
                    fresh = True
                    continue
                attempt += 1
                if not events and command is None:
                    return Appended(await self._log.head(), (version,))
                # Where only the command is to be remembered, it is with the version that it found.
                appends = [StreamAppend(stream, events, version)]
                if also is not None and events:
                    appends += also(state, version)
                try:
                    appended = await self._log.append(AppendRequest(appends, actor, command, claims))
                except ConcurrencyConflict as conflict:
                    if conflict.expected == EXISTS:
                        raise  # no fresher look at this stream brings the other one into being
                    await self._refresh(stream_id, kept)
                    fresh = True
                    continue
                if appended.repeated:
                    return appended
                if kept.version == version:  # a reader may have refreshed past us while we waited for the commit
                    if len(events) < MANY_EVENTS:
                        for event in events:
                            version += 1
                            state = self._evolve(state, event, version)
                    else:
                        state = self._fold(state, enumerate(events, version + 1))
                        version += len(events)
                    kept.version, kept.state = version, state
                return appended
            raise TooManyLostRaces(stream, attempt)
        finally:
            kept.lock.release()


def decoded(page: Iterable[StoredEvent]) -> Iterator[tuple[int, Event[Any]]]:
    return ((stored.version, decode_event(stored)) for stored in page)
