"""One thing of a catalogue as of a version, with the times at which it was made and last changed."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

import msgspec

from commands.ports import EventLog
from domain.log.codec import decode_event
from domain.log.event import Event
from domain.log.stream import Stream

State = TypeVar("State")
PAGE_EVENTS: Final = 10_000


class Known(msgspec.Struct, Generic[State], frozen=True):
    id: UUID  # of the stream
    version: int
    state: State
    created_at: datetime
    changed_at: datetime


async def known_at(
    log: EventLog, stream: Stream, version: int, empty: State, evolve: Callable[[State, Event[Any], int], State]
) -> Known[State]:
    """An existing stream as it was at that version: as a command has made it, without what was written after it."""
    state, read, created_at, changed_at = empty, 0, None, None
    while read < version:
        page = await log.read(stream, after=read, until=version, limit=PAGE_EVENTS)
        if not page:
            break
        for stored in page:
            state = evolve(state, decode_event(stored), stored.version)
            created_at, changed_at = created_at or stored.at, stored.at
        read = page[-1].version
    assert created_at is not None and changed_at is not None, f"nothing was written to {stream}"
    return Known(stream.id, read, state, created_at, changed_at)
