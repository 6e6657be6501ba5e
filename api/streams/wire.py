"""An event on the wire (docs/protocol.md §2), made once for all who read it. The stored bytes go through as they are."""

from datetime import datetime
from functools import lru_cache
from uuid import UUID

from domain.event import Stored
from domain.stream import Stream


@lru_cache(maxsize=1024)
def timestamp(at: datetime) -> bytes:
    """RFC 3339 in UTC with microseconds always. Cached, because a batch shares one."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z").encode()


@lru_cache(maxsize=8192)
def _envelope(stream: Stream, message_id: UUID | None) -> tuple[bytes, bytes]:
    """What the events of one message share, before and after their numbers. Cached, because a token is one of many."""
    message = b'"%b"' % str(message_id).encode() if message_id is not None else b"null"
    before = b'{"stream":"%b","version":' % str(stream).encode()
    return before, b'","%b_id":"%b","message_id":%b,"user":' % (stream.kind.encode(), str(stream.id).encode(), message)


def encode_event(stored: Stored) -> bytes:
    """One event as JSON bytes."""
    before, after = _envelope(stored.stream, stored.message_id)
    return b'%b%d,"position":%d,"at":"%b%b%b,"data":{"type":"%b","data":%b}}' % (
        before,
        stored.version,
        stored.position,
        timestamp(stored.at),
        after,
        stored.actor or b"null",
        stored.type.encode(),
        stored.data,
    )
