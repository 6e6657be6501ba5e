"""The channels that this process has been asked about, folded without their messages and kept as of what has passed here.

``ChannelDirectory.observe`` sees every event of the log but deltas, so who may read a channel is known here without a query, and is known
to have changed at the very event that changes it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Final
from uuid import UUID

from commands.channels.partial_channel import PartialChannelReader
from commands.futures import retrieve_exception
from commands.ports import EventLog
from domain.channel.evolve import evolve
from domain.channel.facts import ChannelEvent
from domain.channel.rights import Asker, may_read
from domain.channel.state import NOTHING_LOADED, Channel
from domain.log.codec import decode_event
from domain.log.event import StoredEvent
from domain.log.stream import channel_stream
from projections.ports import ChannelQueries

KEPT_MAX: Final = 20_000
READS_AT_ONCE: Final = 32


class Entry:
    """One channel. ``version`` 0: it was not read yet, and ``passed`` gathers what passes meanwhile."""

    __slots__ = ("channel", "passed", "reading", "used", "version")

    def __init__(self) -> None:
        self.version = 0
        self.channel: Channel = NOTHING_LOADED
        self.passed: list[tuple[int, ChannelEvent | None]] = []
        self.reading: asyncio.Task[None] | None = None
        self.used = True

    def advance(self, version: int, event: ChannelEvent | None) -> None:
        """``event`` None: it is about a message."""
        if version > self.version:
            self.channel = evolve(self.channel, event, version) if event is not None else self.channel
            self.version = version


class ChannelDirectory:
    """``in_use(channel_id)`` says whether this process has a subscription to the channel; those with one are never forgotten."""

    def __init__(self, log: EventLog, queries: ChannelQueries, in_use: Callable[[UUID], bool], *, kept_max: int = KEPT_MAX) -> None:
        self._reader = PartialChannelReader(log)
        self._queries = queries
        self._in_use = in_use
        self._kept_max = kept_max
        self._entries: OrderedDict[UUID, Entry] = OrderedDict()
        self._reads = asyncio.Semaphore(READS_AT_ONCE)
        self._standard: dict[UUID, None] | None = None  # the channels that go by grants; None: not asked for yet
        self._made: dict[UUID, None] = {}  # those that passed here, in case they are asked for
        self._asking: asyncio.Lock = asyncio.Lock()

    def get(self, channel_id: UUID) -> Channel | None:
        """As of what has passed here, or of later. None: it was not asked for, or is being read."""
        entry = self._entries.get(channel_id)
        return entry.channel if entry is not None and entry.version else None

    async def known(self, channel_id: UUID, *, at_least: int = 0) -> tuple[int, Channel]:
        """``(version, channel)`` as of version ``at_least`` or later; version 0 where there is no such channel.

        Raises ``LogUnavailable``.
        """
        entry = self._entry(channel_id)
        for _ in range(2):  # the first time a reading that began before the call may be the one that is waited for
            if entry.version and entry.version >= at_least:
                break
            await asyncio.shield(self._reading(channel_id, entry))
        return entry.version, entry.channel

    def _entry(self, channel_id: UUID) -> Entry:
        entry = self._entries.get(channel_id)
        if entry is None:
            self._make_room()
            entry = self._entries[channel_id] = Entry()
        entry.used = True
        return entry

    def _reading(self, channel_id: UUID, entry: Entry) -> "asyncio.Task[None]":
        """Of many who ask at once, one reads."""
        if entry.reading is None:
            entry.reading = asyncio.create_task(self._read(channel_id, entry), name=f"read channel/{channel_id}")
            entry.reading.add_done_callback(retrieve_exception)
        return entry.reading

    async def _read(self, channel_id: UUID, entry: Entry) -> None:
        try:
            async with self._reads:
                version, channel = await self._reader.begin(channel_stream(channel_id))
            if version > entry.version:
                entry.version, entry.channel = version, channel
            passed, entry.passed = entry.passed, []
            for at, event in passed:
                entry.advance(at, event)
        finally:
            entry.reading = None
            if entry.version == 0 and self._entries.get(channel_id) is entry:
                del self._entries[channel_id]

    def _make_room(self) -> None:
        for _ in range(2 * len(self._entries)):
            if len(self._entries) < self._kept_max:
                return
            channel_id, entry = next(iter(self._entries.items()))
            if entry.used or entry.reading is not None or self._in_use(channel_id):
                entry.used = False
                self._entries.move_to_end(channel_id)
            else:
                del self._entries[channel_id]

    def observe(self, stored: StoredEvent) -> None:
        """An event passes in the tail of the log."""
        if stored.stream.kind != "channel":
            return
        channel_id = stored.stream.id
        if stored.type == "channel:created":
            self._passed_new(channel_id, stored)
        entry = self._entries.get(channel_id)
        if entry is None:
            return
        event = decode_event(stored) if stored.message_id is None else None
        if entry.version == 0:
            entry.passed.append((stored.version, event))
        else:
            entry.advance(stored.version, event)

    def _passed_new(self, channel_id: UUID, stored: StoredEvent) -> None:
        """A channel begins: it is known from here on without being read."""
        fact = decode_event(stored).data
        if fact.type == "standard":
            (self._made if self._standard is None else self._standard)[channel_id] = None
            if channel_id not in self._entries:
                self._make_room()
                self._entries[channel_id] = Entry()
                self._entries[channel_id].advance(stored.version, decode_event(stored))

    async def standard(self) -> Iterable[UUID]:
        """The channels that go by grants, also deleted ones: all that had passed here at the call. Raises ``LogUnavailable``."""
        if self._standard is None:
            async with self._asking:
                if self._standard is None:
                    found = dict.fromkeys(await self._queries.standard_channels())
                    self._standard, self._made = found | self._made, {}
        return list(self._standard)

    async def readable(self, asker: Asker, joined: Iterable[UUID]) -> list[UUID]:
        """The channels that this person may read, of those that they have ``joined`` and those that go by grants.

        Raises ``LogUnavailable``.
        """
        candidates = list(dict.fromkeys([*joined, *await self.standard()]))
        unknown = [one for one in candidates if self.get(one) is None]
        for one in unknown:
            self._reading(one, self._entry(one))  # all at once, and without a task for each who asks
        for one in unknown:
            if self.get(one) is None:
                await self.known(one)
        return [one for one in candidates if (channel := self.get(one)) is not None and may_read(channel, asker)]

    def standard_known(self) -> Iterator[tuple[UUID, Channel]]:
        """Those that go by grants, as far as they are known here."""
        for channel_id in list(self._standard or self._made):
            channel = self.get(channel_id)
            if channel is not None:
                yield channel_id, channel
