"""Committed events to whoever is subscribed, in this process.

A subscription owns no queue: it is a cursor into its stream, and the stream's newest events stand in memory once for all.
Memory is pages of ``PAGE_VERSIONS`` aligned versions. A live event lands in its page; whoever asks for a page that is not
there, or not whole, has it read from the log, once for all who ask (single flight). A page of large events holds only some of
them. The least used pages go when all of them together pass their bound. So a slow reader costs nothing: its pages go, and it
is served from the log again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, NamedTuple

from domain.event import Stored
from domain.stream import Stream

PAGE_VERSIONS: Final = 512
PAGE_BYTES_MAX: Final = 1024 * 1024  # above it a page is cut short: events may be large
READ_EVENTS: Final = 128  # read at a time, so that a page of large events is not all in memory before it is cut
EVENT_OVERHEAD_BYTES: Final = 400  # what an event in memory weighs beside its text

Encode = Callable[[Stored], bytes]
ReadRange = Callable[[Stream, int, int], Awaitable[Sequence[Stored]]]


class Encoded:
    """An event, and its form on the wire once somebody has asked for it: encoded once for all its subscribers."""

    __slots__ = ("_encode", "_wire", "stored")

    def __init__(self, stored: Stored, encode: Encode) -> None:
        self.stored = stored
        self._encode = encode
        self._wire: bytes | None = None

    @property
    def wire(self) -> bytes:
        if self._wire is None:
            self._wire = self._encode(self.stored)
        return self._wire


class Page:
    """Consecutive events of one stream, from version ``first`` on."""

    __slots__ = ("bytes", "events", "first")

    def __init__(self, first: int) -> None:
        self.first = first
        self.events: list[Encoded] = []
        self.bytes = 0

    @property
    def next(self) -> int:
        return self.first + len(self.events)

    def add(self, event: Encoded) -> int:
        self.events.append(event)
        weight = EVENT_OVERHEAD_BYTES + 2 * len(event.stored.data)
        self.bytes += weight
        return weight


class Batch(NamedTuple):
    """What a subscription gets next: the events ``after < version <= until``."""

    after: int
    until: int
    events: Sequence[Encoded]


class Subscription:
    """One reader of one stream: a cursor. ``wake(self)`` is called when there may be something to take; it must not block."""

    __slots__ = ("cursor", "ends_after", "ends_because", "from_log", "owner", "stream", "wake")

    def __init__(self, stream: Stream, cursor: int, owner: object, wake: "Callable[[Subscription], None]") -> None:
        self.stream = stream
        self.cursor = cursor  # the version of the newest event that was handed out
        self.owner = owner  # whose it is: the hub passes it to the guard, and looks no further
        self.wake = wake
        self.from_log = True  # whether its next batch comes from before what it has followed live
        self.ends_after: int | None = None  # it gets nothing with a higher version
        self.ends_because = ""

    def end(self, version: int, because: str) -> None:
        """Nothing above ``version`` is handed out any more, whatever was already waiting."""
        if self.ends_after is None or version < self.ends_after:
            self.ends_after, self.ends_because = version, because
        self.wake(self)

    @property
    def ended(self) -> bool:
        return self.ends_after is not None and self.cursor >= self.ends_after


class StreamEntry:
    """What the hub knows of one stream."""

    __slots__ = ("head", "subscriptions")

    def __init__(self) -> None:
        self.head = 0
        self.subscriptions: dict[Subscription, None] = {}  # ordered, so that nobody is served last by chance of hashing


class Hub:
    """``read_range(stream, after, until)`` reads from the log; ``encode`` makes an event's form on the wire."""

    def __init__(self, read_range: ReadRange, encode: Encode, *, memory_bytes: int = 64 * 1024 * 1024) -> None:
        self._read_range = read_range
        self._encode = encode
        self._memory_bytes = memory_bytes
        self._page_bytes = min(PAGE_BYTES_MAX, memory_bytes // 8)
        self._bytes = 0
        self._entries: dict[Stream, StreamEntry] = {}
        self._pages: OrderedDict[tuple[Stream, int], Page] = OrderedDict()
        self._reading: dict[tuple[Stream, int], asyncio.Task[Page]] = {}
        self._watchers: list[Callable[[Stored], None]] = []
        self.reads = 0

    def watch(self, watcher: Callable[[Stored], None]) -> None:
        """``watcher`` sees every event but deltas as it passes, before any subscriber of it is woken. It must not block."""
        self._watchers.append(watcher)

    def offer(self, events: Sequence[Stored]) -> None:
        """Committed events in position order, from the tail."""
        woken: dict[StreamEntry, None] = {}
        for stored in events:
            stream = stored.stream
            self._remember(stream, stored)
            entry = self._entries.get(stream)
            if entry is not None:
                entry.head = stored.version
                woken[entry] = None
            if stored.type != "message_delta":
                for watcher in self._watchers:
                    watcher(stored)
        for entry in woken:
            for subscription in entry.subscriptions:
                subscription.wake(subscription)

    def subscribe(self, subscription: Subscription) -> None:
        """Register the interest. The caller reads the stream's head after this, and says so with ``know_head``."""
        entry = self._entries.get(subscription.stream)
        if entry is None:
            entry = self._entries[subscription.stream] = StreamEntry()
        entry.subscriptions[subscription] = None

    def unsubscribe(self, subscription: Subscription) -> None:
        entry = self._entries.get(subscription.stream)
        if entry is not None:
            entry.subscriptions.pop(subscription, None)
            if not entry.subscriptions:
                del self._entries[subscription.stream]

    def subscriptions(self, stream: Stream) -> Iterator[Subscription]:
        entry = self._entries.get(stream)
        return iter(list(entry.subscriptions)) if entry is not None else iter(())

    def know_head(self, stream: Stream, version: int) -> int:
        """Somebody has read that the stream is at ``version``. Returns the newest version known."""
        entry = self._entries.get(stream)
        if entry is None:
            return version
        entry.head = max(entry.head, version)
        return entry.head

    def head(self, stream: Stream) -> int:
        entry = self._entries.get(stream)
        return entry.head if entry is not None else 0

    def take(self, subscription: Subscription, *, bytes_max: int) -> Batch | None:
        """The next events from memory, and the cursor moved past them. None: nothing new, or not in memory (``behind``).

        At least one event, then as many as fit in ``bytes_max``. Never beyond one page, so frames of followers coincide.
        """
        head = self.head(subscription.stream)
        if subscription.ends_after is not None and subscription.ends_after < head:
            head = subscription.ends_after
        after = subscription.cursor
        if after >= head:
            return None
        key = (subscription.stream, after // PAGE_VERSIONS)
        page = self._pages.get(key)
        if page is None or not page.first <= after + 1 < page.next:
            subscription.from_log = True
            return None
        at = after + 1 - page.first
        size = 0
        taken: list[Encoded] = []
        for event in page.events[at : at + head - after]:
            size += len(event.wire) + 1
            if taken and size > bytes_max:
                break
            taken.append(event)
        subscription.cursor = until = after + len(taken)
        return Batch(after, until, taken)

    def behind(self, subscription: Subscription) -> bool:
        head = self.head(subscription.stream)
        if subscription.ends_after is not None:
            head = min(head, subscription.ends_after)
        return subscription.cursor < head

    async def fetch(self, subscription: Subscription) -> None:
        """Bring the page that the subscription needs next into memory, or some of it. Raises ``LogUnavailable``."""
        stream, wanted = subscription.stream, subscription.cursor + 1
        key = (stream, (wanted - 1) // PAGE_VERSIONS)
        reading = self._reading.get(key)
        if reading is None:
            reading = self._reading[key] = asyncio.create_task(self._load(key, wanted))
            reading.add_done_callback(lambda _: self._reading.pop(key, None))
        page = await asyncio.shield(reading)
        if key not in self._pages and page.events:
            # It was let go between the reading and our turn: more is asked for at once than memory holds.
            self._put(key, page)

    async def _load(self, key: tuple[Stream, int], wanted: int) -> Page:
        """The page from its beginning, so that it serves everybody; from ``wanted`` on where it is too large for that."""
        self.reads += 1
        stream, number = key
        first, until = number * PAGE_VERSIONS + 1, (number + 1) * PAGE_VERSIONS
        page = Page(first)
        while page.next <= until:
            step = await self._read_range(stream, page.next - 1, min(page.next - 1 + READ_EVENTS, until))
            for stored in step:
                if page.bytes > self._page_bytes and page.next <= wanted:
                    page = Page(stored.version)
                page.add(Encoded(stored, self._encode))
            if len(step) < READ_EVENTS or (page.bytes > self._page_bytes and page.next > wanted):
                break
        known = self._pages.pop(key, None)
        if known is not None:
            self._bytes -= known.bytes
            for event in known.events:  # what came live while we read
                if event.stored.version == page.next:
                    page.add(event)
        self._put(key, page)
        return page

    def _put(self, key: tuple[Stream, int], page: Page) -> None:
        self._pages[key] = page
        self._bytes += page.bytes
        self._let_go(key)

    def _remember(self, stream: Stream, stored: Stored) -> None:
        key = (stream, (stored.version - 1) // PAGE_VERSIONS)
        page = self._pages.get(key)
        if page is not None and stored.version < page.next:
            return  # it was read from the log while it was on its way here
        if page is not None and (stored.version > page.next or page.bytes > self._page_bytes):
            # One with a hole is useless, and one that is full begins again with what is newest.
            self._bytes -= self._pages.pop(key).bytes
            page = None
        if page is None:
            page = self._pages[key] = Page(stored.version)
        else:
            self._pages.move_to_end(key)
        self._bytes += page.add(Encoded(stored, self._encode))
        if self._bytes > self._memory_bytes:
            self._let_go(key)

    def _let_go(self, keep: tuple[Stream, int]) -> None:
        while self._bytes > self._memory_bytes and len(self._pages) > 1:
            key, page = self._pages.popitem(last=False)
            if key == keep:
                self._pages[key] = page
                continue
            self._bytes -= page.bytes
