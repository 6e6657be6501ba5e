"""Committed events to whoever is subscribed, in this process.

A subscription owns no queue: it is a cursor into its stream, and the stream's newest events stand in memory once for all.
Memory is segments of ``SEGMENT_VERSIONS`` aligned versions. A live event is added to its segment; a caller who asks for one that is not
there, or not whole, has it read from the log, once for all who ask (single flight). A segment of large events holds only some of
them. The least used segments go when all of them together pass their bound. So a slow reader costs nothing: its segments go, and it
is served from the log again.

The reasons and the measurements: docs/decisions/0020-fan-out.md.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from commands.futures import retrieve_exception
from commands.metrics import MetricFigure
from domain.log.event import StoredEvent
from domain.log.stream import Kind, Stream

SEGMENT_VERSIONS: Final = 512
SEGMENT_BYTES_MAX: Final = 1024 * 1024  # above it a segment is cut short: events may be large
READ_EVENTS: Final = 128  # read at a time, so that a segment of large events is not all in memory before it is cut
EVENT_OVERHEAD_BYTES: Final = 400  # what an event in memory weighs beside its text
BATCH_OVERHEAD_BYTES: Final = 600
BATCHES_BYTES_MAX: Final = 4 * 1024 * 1024  # of one segment
READS_AT_ONCE_MAX: Final = 8

Encode = Callable[[StoredEvent], bytes]
ReadRange = Callable[[Stream, int, int], Awaitable[Sequence[StoredEvent]]]
ReadHead = Callable[[Stream], Awaitable[int]]


class Encoded(msgspec.Struct, gc=False):
    """An event, and its form on the wire once somebody has asked for it: encoded once for all its subscribers."""

    stored: StoredEvent
    encode: Encode
    made: bytes | None = None

    @property
    def wire(self) -> bytes:
        made = self.made
        if made is None:
            made = self.made = self.encode(self.stored)
        return made


class Batch:
    """What a subscription gets next: the events ``after < version <= until``. One object for all who get the same.

    ``fits_in_bytes`` is the least bound on bytes that a reader needs to get the batch: the size of its events on the wire. A batch of one
    event has 0, since a reader gets a single event also where it is larger than the reader's bound.
    """

    __slots__ = ("_forms", "after", "events", "fits_in_bytes", "stream", "until")

    def __init__(self, stream: Stream, after: int, events: Sequence[Encoded], fits_in_bytes: int = 0) -> None:
        self.stream = stream
        self.after = after
        self.until = after + len(events)
        self.events = events
        self.fits_in_bytes = fits_in_bytes
        self._forms: dict[object, bytes] = {}

    def form(self, make: "Callable[[Batch], bytes]") -> bytes:
        """``make(self)``, made once for all who get this batch in that form."""
        made = self._forms.get(make)
        if made is None:
            made = self._forms[make] = make(self)
        return made

    def changed(self, change: "Callable[[StoredEvent], StoredEvent]", encode: Encode) -> "Batch":
        """The batch for one reader: events that ``change`` replaces are encoded by ``encode``, the others keep the bytes that all get."""
        events = [event if (shown := change(event.stored)) is event.stored else Encoded(shown, encode) for event in self.events]
        return Batch(self.stream, self.after, events, self.fits_in_bytes)


class Segment:
    """Consecutive events of one stream, from version ``first`` on, and the batches that were made of them."""

    __slots__ = ("_batches", "batches_bytes", "events", "events_bytes", "first", "kept", "next", "used")

    def __init__(self, first: int) -> None:
        self.first = first
        self.next = first  # the version that would follow
        self.events: list[Encoded] = []
        self.events_bytes = 0
        self.batches_bytes = 0
        self.kept = False  # whether the hub counts it among its memory
        self.used = False  # since it was last looked at for letting go
        self._batches: dict[tuple[int, int, int], Batch] = {}

    @property
    def bytes(self) -> int:
        return self.events_bytes + self.batches_bytes

    def covers(self, version: int) -> bool:
        return self.first <= version < self.next

    def add(self, event: Encoded) -> int:
        """Returns by how many bytes it has grown: less than nothing where batches go."""
        self.events.append(event)
        self.next += 1
        grown = EVENT_OVERHEAD_BYTES + 2 * len(event.stored.data)
        self.events_bytes += grown
        if self._batches:
            grown -= self.batches_bytes
            self._forget_batches()  # everybody's next one ends later
        return grown

    def batch(self, stream: Stream, after: int, until: int, bytes_max: int) -> Batch:
        """The events above ``after``, which the segment covers, that fit: at least one."""
        key = (after, until, bytes_max)
        batch = self._batches.get(key)
        if batch is None:
            events: list[Encoded] = []
            size = 0
            at = after + 1 - self.first
            for event in self.events[at : at + until - after]:
                wire_bytes = len(event.wire) + 1
                if events and size + wire_bytes > bytes_max:
                    break
                events.append(event)
                size += wire_bytes
            weight = BATCH_OVERHEAD_BYTES + 2 * size
            if self.batches_bytes + weight > BATCHES_BYTES_MAX:
                self._forget_batches()
            batch = self._batches[key] = Batch(stream, after, events, size if len(events) > 1 else 0)
            self.batches_bytes += weight
        return batch

    def _forget_batches(self) -> None:
        self._batches.clear()
        self.batches_bytes = 0


class StreamEntry:
    """What the hub knows of one stream that somebody is subscribed to."""

    __slots__ = ("asking", "expected", "head", "known", "newest", "segment", "subscriptions")

    def __init__(self) -> None:
        self.head = 0
        self.known = False  # whether the head was read: from then on every newer event passes here
        self.asking: asyncio.Task[None] | None = None
        self.expected = 0  # how many are about to join: it stays for them
        self.subscriptions: dict[Subscription, None] = {}  # ordered, so that nobody is served last by chance of hashing
        self.newest: Batch | None = None  # of ``segment``, up to the head: what all followers who keep pace get next
        self.segment: Segment | None = None  # the one that was taken from last, so that followers need not look it up


class Subscription:
    """One reader of one stream: a cursor. ``wake(self)`` is called when there may be something to take; it must not block."""

    __slots__ = ("cursor", "ends_after", "ends_because", "entry", "owner", "replaying", "stream", "wake")

    def __init__(self, stream: Stream, cursor: int, owner: object, wake: "Callable[[Any], None]") -> None:
        self.stream = stream
        self.cursor = cursor  # the version of the newest event that was handed out
        self.owner = owner  # whose it is: the hub passes it to the guard, and looks no further
        self.wake = wake
        self.entry: StreamEntry | None = None  # while it is registered
        self.ends_after: int | None = None  # it gets nothing with a higher version
        self.ends_because = ""
        self.replaying = True  # whether it still gets what there was before: set by its owner

    def end(self, version: int, because: str) -> None:
        """Nothing above ``version`` is handed out any more, whatever was already waiting."""
        if self.ends_after is None or version < self.ends_after:
            self.ends_after, self.ends_because = version, because
        self.wake(self)

    @property
    def ended(self) -> bool:
        return self.ends_after is not None and self.cursor >= self.ends_after


class Hub:
    """``read_range(stream, after, until)`` reads from the log; ``encode`` makes an event's form on the wire."""

    def __init__(self, read_range: ReadRange, encode: Encode, *, memory_bytes: int = 64 * 1024 * 1024) -> None:
        self._read_range = read_range
        self._encode = encode
        self._memory_bytes = memory_bytes
        self._segment_bytes = min(SEGMENT_BYTES_MAX, memory_bytes // 8)  # nothing more is read for a segment above it
        self._segment_bytes_most = memory_bytes // 4  # nor kept of what was read
        self._bytes = 0
        self._entries: dict[Stream, StreamEntry] = {}
        self._segments: OrderedDict[tuple[Stream, int], Segment] = OrderedDict()
        self._reading: dict[tuple[Stream, int], asyncio.Task[Segment]] = {}
        self._waiting: dict[tuple[Stream, int], list[Subscription]] = {}  # for what is being read
        self._reads = asyncio.Semaphore(READS_AT_ONCE_MAX)
        self._observers: list[Callable[[StoredEvent], None]] = []
        self.reads = 0

    def add_observer(self, observer: Callable[[StoredEvent], None]) -> None:
        """``observer`` sees every event but deltas as it passes, before any subscriber of it is woken. It must not block."""
        self._observers.append(observer)

    def figures(self) -> Iterator[MetricFigure]:
        """The metrics of the hub (``commands/metrics.py``)."""
        count = sum(len(entry.subscriptions) for entry in self._entries.values())
        yield "gauge", "stenograph_hub_subscriptions", "Subscriptions of this process's clients.", count
        yield "gauge", "stenograph_hub_streams", "Streams that somebody is subscribed to.", len(self._entries)
        yield "gauge", "stenograph_hub_memory_bytes", "Newest events kept in memory for readers.", self._bytes
        yield "counter", "stenograph_hub_page_reads", "Pages of streams read from the log for subscribers.", self.reads

    def publish_from_elsewhere(self, events: Sequence[StoredEvent]) -> None:
        """As ``publish``, of what other processes wrote: remembered only where somebody here is subscribed to its stream.

        Who joins later reads the log. A bulk load elsewhere would put out of memory what this process's readers come back for.
        """
        self.publish(events, remember_all=False)

    def publish(self, events: Sequence[StoredEvent], *, remember_all: bool = True) -> None:
        """Committed events in position order, from the tail."""
        woken: dict[StreamEntry, None] = {}
        for stored in events:
            stream = stored.stream
            entry = self._entries.get(stream)
            segment = entry.segment if entry is not None else None
            # Nearly always the event goes on with the segment that its followers took from last.
            if (
                segment is not None
                and segment.next == stored.version
                and (stored.version - 1) % SEGMENT_VERSIONS
                and segment.events_bytes <= self._segment_bytes
            ):
                self._bytes += segment.add(Encoded(stored, self._encode))
                segment.used = True
            elif remember_all or entry is not None:
                self._remember(stream, stored)
            if entry is not None:
                if stored.version > entry.head:  # the head that was read may be ahead of what has passed here
                    entry.head = stored.version
                entry.newest = None
                woken[entry] = None
            if stored.type != "message_delta":
                for observer in self._observers:
                    observer(stored)
        if self._bytes > self._memory_bytes:
            self._let_go()
        for entry in woken:
            for subscription in entry.subscriptions:
                subscription.wake(subscription)

    # ------------------------------------------------------------------------------------------- who is subscribed

    async def join(self, subscription: Subscription, read_head: ReadHead) -> int:
        """Register the interest, and only then learn the stream's head: what is newer wakes the subscription, what is
        not is read. Returns the head; 0 for a stream without events. The head of a stream that is followed already costs
        no query, and many who join at once cost one. Raises what ``read_head`` raises; unsubscribe then, too.
        """
        entry = self._entry(subscription.stream)
        entry.subscriptions[subscription] = None
        subscription.entry = entry
        while not entry.known:
            await asyncio.shield(self._asking(subscription.stream, entry, read_head))
        return entry.head

    @contextlib.contextmanager
    def expecting(self, streams: Iterable[Stream], read_head: ReadHead) -> Iterator[None]:
        """The heads of these streams are asked for at once, for somebody who joins them one after the other within the block."""
        expected: list[tuple[Stream, StreamEntry]] = []
        for stream in streams:
            entry = self._entry(stream)
            if not entry.known:
                entry.expected += 1
                expected.append((stream, entry))
                self._asking(stream, entry, read_head)
        try:
            yield
        finally:
            for stream, entry in expected:
                entry.expected -= 1
                self._forget_unused(stream, entry)

    def _entry(self, stream: Stream) -> StreamEntry:
        entry = self._entries.get(stream)
        if entry is None:
            entry = self._entries[stream] = StreamEntry()
        return entry

    def _asking(self, stream: Stream, entry: StreamEntry, read_head: ReadHead) -> "asyncio.Task[None]":
        """Of many who ask at once, one reads."""
        if entry.asking is None:
            entry.asking = asyncio.create_task(self._ask_head(stream, entry, read_head))
            entry.asking.add_done_callback(retrieve_exception)
        return entry.asking

    def _forget_unused(self, stream: Stream, entry: StreamEntry) -> None:
        if not entry.subscriptions and not entry.expected:
            del self._entries[stream]

    async def _ask_head(self, stream: Stream, entry: StreamEntry, read_head: ReadHead) -> None:
        try:
            entry.head = max(await read_head(stream), entry.head)
            entry.known = True
        finally:
            entry.asking = None

    def unsubscribe(self, subscription: Subscription) -> None:
        """It gets nothing any more. To repeat it changes nothing."""
        entry, subscription.entry = subscription.entry, None
        if entry is not None:
            del entry.subscriptions[subscription]
            self._forget_unused(subscription.stream, entry)

    def subscriptions(self, stream: Stream) -> Iterator[Subscription]:
        entry = self._entries.get(stream)
        return iter(list(entry.subscriptions)) if entry is not None else iter(())

    def streams(self, kind: Kind) -> Iterator[Stream]:
        """The streams of this kind that somebody here is subscribed to."""
        return iter([stream for stream in self._entries if stream.kind == kind])

    def head(self, stream: Stream) -> int:
        entry = self._entries.get(stream)
        return entry.head if entry is not None else 0

    # ------------------------------------------------------------------------------------------------- what it gets

    def _until(self, subscription: Subscription) -> int:
        head = subscription.entry.head if subscription.entry is not None else 0
        ends = subscription.ends_after
        return head if ends is None or ends > head else ends

    def behind(self, subscription: Subscription) -> bool:
        entry = subscription.entry
        return entry is not None and subscription.cursor < entry.head and subscription.cursor < self._until(subscription)

    def next_batch(self, subscription: Subscription, *, bytes_max: int, segment: Segment | None = None) -> Batch | None:
        """The next events from memory, and the cursor moved past them. None: nothing new, or not in memory (``behind``).

        At least one event, then as many as fit in ``bytes_max``. Never beyond one segment, so batches of followers coincide.
        ``segment`` is what ``fetch`` has just brought, which memory may have let go again.
        """
        after, entry = subscription.cursor, subscription.entry
        if entry is None:
            return None
        batch = entry.newest
        if (
            batch is not None
            and batch.after == after
            and batch.until == entry.head
            and batch.fits_in_bytes <= bytes_max
            and subscription.ends_after is None
        ):
            subscription.cursor = batch.until
            return batch
        until = self._until(subscription)
        if after >= until:
            return None
        if segment is None or not segment.covers(after + 1):
            segment = entry.segment
            if segment is not None and segment.next == until + 1 == entry.head + 1 == after + 2:
                # The usual case, a single new event: the next event replaces this batch, so the entry keeps it and the segment does not.
                # A single event needs no size (``fits_in_bytes``), so it is not encoded here: some readers encode it in another form.
                batch = entry.newest = Batch(subscription.stream, after, (segment.events[-1],))
                subscription.cursor = until
                return batch
            if segment is None or not segment.covers(after + 1):
                segment = self._segments.get((subscription.stream, after // SEGMENT_VERSIONS))
                if segment is None or not segment.covers(after + 1):
                    return None
                segment.used = True
                entry.segment, entry.newest = segment, None
        before = segment.bytes
        batch = segment.batch(subscription.stream, after, min(until, segment.next - 1), bytes_max)
        subscription.cursor = batch.until
        if batch.until == entry.head and segment is entry.segment:  # of no other segment: memory would not know that it is held
            entry.newest = batch
        if segment.kept and segment.bytes != before:
            self._bytes += segment.bytes - before
            self._let_go(segment)
        return batch

    async def fetch(self, subscription: Subscription) -> Segment:
        """The segment that the subscription needs next, or some of it, read from the log once for all who ask.

        Raises ``LogUnavailable``.
        """
        stream, wanted = subscription.stream, subscription.cursor + 1
        key = (stream, (wanted - 1) // SEGMENT_VERSIONS)
        reading = self._reading.get(key)
        if reading is None or reading.done():  # what has failed just now is no answer to who asks after that
            reading = self._reading[key] = asyncio.create_task(self._load(key, wanted))
            reading.add_done_callback(retrieve_exception)
            reading.add_done_callback(lambda done: self._loaded(key, done))
        return await asyncio.shield(reading)

    def wake_when_read(self, subscription: Subscription) -> bool:
        """Whether what the subscription needs next is being read for another one. It is woken after that, also where the reading fails.

        A thousand readers who come back at once wait so without a task for each, and are served together. By then memory may have let it
        go: ``fetch`` is for those who were woken in vain.
        """
        key = (subscription.stream, subscription.cursor // SEGMENT_VERSIONS)
        if key not in self._reading:
            return False
        self._waiting.setdefault(key, []).append(subscription)
        return True

    def _loaded(self, key: tuple[Stream, int], done: "asyncio.Task[Segment]") -> None:
        if self._reading.get(key) is done:
            del self._reading[key]
        for subscription in self._waiting.pop(key, ()):
            subscription.wake(subscription)

    async def _load(self, key: tuple[Stream, int], wanted: int) -> Segment:
        """The segment from its beginning, so that it serves everybody; from ``wanted`` on where it is too large for that."""
        async with self._reads:
            self.reads += 1
            stream, number = key
            segment, until = Segment(number * SEGMENT_VERSIONS + 1), (number + 1) * SEGMENT_VERSIONS
            while segment.next <= until:
                step = await self._read_range(stream, segment.next - 1, min(segment.next - 1 + READ_EVENTS, until))
                for stored in step:
                    if segment.next <= wanted and segment.events_bytes > self._segment_bytes:
                        segment = Segment(stored.version)
                    elif segment.next > wanted and segment.events_bytes > self._segment_bytes_most:
                        break  # what was read for nothing is read again; it is rare, and memory counts for more
                    segment.add(Encoded(stored, self._encode))
                if len(step) < READ_EVENTS or (segment.next > wanted and segment.events_bytes > self._segment_bytes):
                    break
        known = self._segments.get(key)
        if known is not None:
            for event in known.events:  # what came live while we read
                if event.stored.version == segment.next:
                    segment.add(event)
            self._drop(key)
        self._add(key, segment)
        self._let_go(segment)
        return segment

    # ------------------------------------------------------------------------------------------------------- memory

    def _remember(self, stream: Stream, stored: StoredEvent) -> None:
        key = (stream, (stored.version - 1) // SEGMENT_VERSIONS)
        segment = self._segments.get(key)
        if segment is not None and stored.version < segment.next:
            return  # it was read from the log while it was on its way here
        if segment is not None and (stored.version > segment.next or segment.events_bytes > self._segment_bytes):
            # One with a hole is useless, and one that is full begins again with what is newest.
            self._drop(key)
            segment = None
        if segment is None:
            segment = Segment(stored.version)
            self._add(key, segment)
        self._bytes += segment.add(Encoded(stored, self._encode))
        segment.used = True

    def _add(self, key: tuple[Stream, int], segment: Segment) -> None:
        self._segments[key] = segment
        segment.kept = True
        self._bytes += segment.bytes

    def _drop(self, key: tuple[Stream, int]) -> None:
        segment = self._segments.pop(key)
        segment.kept = False
        self._bytes -= segment.bytes
        entry = self._entries.get(key[0])
        if entry is not None and entry.segment is segment:
            entry.segment = entry.newest = None

    def _let_go(self, in_use: Segment | None = None) -> None:
        """Segments that were not used since their last turn, until the rest keep to the bound. The one in use stays."""
        while self._bytes > self._memory_bytes and len(self._segments) > 1:
            key, segment = next(iter(self._segments.items()))
            if segment.used or segment is in_use:
                segment.used = False
                self._segments.move_to_end(key)
            else:
                self._drop(key)
