"""An event on the wire (docs/protocol.md §2), made once for all who read it. The stored bytes go through as they are."""

from datetime import datetime
from functools import lru_cache
from uuid import UUID

from domain.log.event import StoredEvent
from domain.log.redaction import HidesWords
from domain.log.stream import Stream


@lru_cache(maxsize=1024)
def timestamp(at: datetime) -> str:
    """RFC 3339 in UTC with microseconds always. Cached, because a batch shares one."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


@lru_cache(maxsize=8192)
def _envelope(stream: Stream, message_id: UUID | None) -> tuple[str, str]:
    """What the events of one message share, before and after their numbers. Cached, because a token is one of many."""
    message = f'"{message_id}"' if message_id is not None else "null"
    return f'{{"stream":"{stream}","version":', f'","{stream.kind}_id":"{stream.id}","message_id":{message},"user":'


def encode_event(stored: StoredEvent) -> bytes:
    """One event as JSON bytes. Put together as text, which takes a third of the time of ``bytes % …``."""
    before, after = _envelope(stored.stream, stored.message_id)
    actor = stored.actor.decode() if stored.actor is not None else "null"
    return (
        f'{before}{stored.version},"position":{stored.position},"at":"{timestamp(stored.at)}{after}{actor}'
        f',"data":{{"type":"{stored.type}","data":{stored.data.decode()}}}}}'
    ).encode()


def encode_redacted(stored: StoredEvent) -> bytes:
    """An event of which something is left out for its reader: the key ``redacted`` says so."""
    return encode_event(stored)[:-1] + b',"redacted":true}'


def encode_for_reader(stored: StoredEvent, redaction: HidesWords | None) -> bytes:
    """One event as a reader with this redaction gets it."""
    shown = redaction.of(stored) if redaction is not None else stored
    return encode_event(stored) if shown is stored else encode_redacted(shown)
