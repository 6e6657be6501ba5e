"""All streams of one kind, folded and kept in memory: for kinds of which there are few, and which nearly every request reads.

``Catalogue.observe`` must see every event of the log but deltas: then what is known here is current on every process, and a look costs
no query. What a process has just written itself is known once ``LogTail.wait_for`` has returned for its position.
"""

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import structlog

from commands.aggregate import PAGE_EVENTS
from commands.ports import EventLog
from domain.errors import LogUnavailable
from domain.log.codec import decode_event
from domain.log.event import Event, StoredEvent
from domain.log.stream import Kind, Stream

State = TypeVar("State")
RETRY_S = 0.25

logger = structlog.get_logger("catalogue")


class Entry(Generic[State]):
    """One stream. ``missed`` is the newest version that passed while something before it was not known."""

    __slots__ = ("changed_at", "created_at", "missed", "state", "version")

    def __init__(self, state: State) -> None:
        self.state = state
        self.version = 0
        self.missed = 0
        self.created_at: datetime | None = None  # of the first event
        self.changed_at: datetime | None = None  # of the newest


class Catalogue(Generic[State]):
    """``changed`` is called with the id of a stream after each change of its state, from ``observe`` too: it must not block."""

    def __init__(
        self,
        log: EventLog,
        kind: Kind,
        empty: State,
        evolve: Callable[[State, Event[Any], int], State],
        changed: Callable[[UUID], None] = lambda _: None,
    ) -> None:
        self._log = log
        self._kind = kind
        self._empty = empty
        self._evolve = evolve
        self._changed = changed
        self._entries: dict[UUID, Entry[State]] = {}
        self._reading: dict[UUID, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Read what there is. To be called once the tail of the log is followed. Raises ``LogUnavailable``."""
        for stream in await self._log.streams(self._kind):
            await self._read(stream)

    async def close(self) -> None:
        for task in list(self._reading.values()):
            task.cancel()
        await asyncio.gather(*self._reading.values(), return_exceptions=True)

    def get(self, stream_id: UUID) -> State:
        """The state; the empty one where there is no such stream."""
        entry = self._entries.get(stream_id)
        return self._empty if entry is None else entry.state

    def version(self, stream_id: UUID) -> int:
        """The version of ``get``'s state; 0 where there is no such stream."""
        entry = self._entries.get(stream_id)
        return 0 if entry is None else entry.version

    def times(self, stream_id: UUID) -> tuple[datetime, datetime]:
        """When the first event and the newest one were written. Only of a stream that there is."""
        entry = self._entries[stream_id]
        assert entry.created_at is not None and entry.changed_at is not None
        return entry.created_at, entry.changed_at

    def __iter__(self) -> Iterator[tuple[UUID, State]]:
        """Every stream with its state, also those whose thing was deleted."""
        return ((stream_id, entry.state) for stream_id, entry in self._entries.items())

    def observe(self, stored: StoredEvent) -> None:
        """An event passes in the tail of the log."""
        if stored.stream.kind != self._kind:
            return
        entry = self._entry(stored.stream.id)
        if stored.version == entry.version + 1:
            self._advance(entry, stored)
        elif stored.version > entry.version:
            entry.missed = stored.version
            if stored.stream.id not in self._reading:
                task = asyncio.create_task(self._catch_up(stored.stream, entry), name=f"read {stored.stream}")
                self._reading[stored.stream.id] = task

    def _entry(self, stream_id: UUID) -> Entry[State]:
        entry = self._entries.get(stream_id)
        if entry is None:
            entry = self._entries[stream_id] = Entry(self._empty)
        return entry

    def _advance(self, entry: Entry[State], stored: StoredEvent) -> None:
        entry.state, entry.version = self._evolve(entry.state, decode_event(stored), stored.version), stored.version
        entry.created_at, entry.changed_at = entry.created_at or stored.at, stored.at
        self._changed(stored.stream.id)

    async def _catch_up(self, stream: Stream, entry: Entry[State]) -> None:
        """Read what was missed, for as long as Postgres is away."""
        try:
            while entry.missed > entry.version:
                try:
                    await self._read(stream)
                except LogUnavailable as error:
                    logger.warning("catalogue_waits", stream=str(stream), error=str(error))
                    await asyncio.sleep(RETRY_S)
        finally:
            del self._reading[stream.id]

    async def _read(self, stream: Stream) -> None:
        """What passes meanwhile is taken up by ``observe`` where it fits; here only what is next counts."""
        entry = self._entry(stream.id)
        while True:
            page = await self._log.read(stream, after=entry.version, limit=PAGE_EVENTS)
            for stored in page:
                if stored.version == entry.version + 1:
                    self._advance(entry, stored)
            if len(page) < PAGE_EVENTS:
                return
