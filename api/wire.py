"""An event on the wire (docs/protocol.md §2), made once for all who read it. The stored bytes go through as they are."""

from datetime import datetime
from functools import lru_cache

from domain.event import Stored
from domain.stream import Stream


@lru_cache(maxsize=1024)
def timestamp(at: datetime) -> str:
    """RFC 3339 in UTC with microseconds always. Cached, because a batch shares one."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


@lru_cache(maxsize=4096)
def _head(stream: Stream) -> bytes:
    return b'{"stream":"%b","version":' % str(stream).encode()


@lru_cache(maxsize=4096)
def _owner(stream: Stream) -> bytes:
    return b'"%b_id":"%b",' % (stream.kind.encode(), str(stream.id).encode())


def encode_event(stored: Stored) -> bytes:
    """One event as JSON bytes."""
    stream = stored.stream
    message_id = b'"%b"' % str(stored.message_id).encode() if stored.message_id is not None else b"null"
    return b'%b%d,"position":%d,"at":"%b",%b"message_id":%b,"user":%b,"data":{"type":"%b","data":%b}}' % (
        _head(stream),
        stored.version,
        stored.position,
        timestamp(stored.at).encode(),
        _owner(stream),
        message_id,
        stored.actor or b"null",
        stored.type.encode(),
        stored.data,
    )
