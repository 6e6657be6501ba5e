"""Events as JSON Lines, the format of exports (docs/json-lines.md): encoding, and decoding to the same bytes.

A line is an event, or a blob: content that is too large for an event. A blob's line precedes the first event that refers to it. The
lines of one stream stand together, in order of their versions.
"""

import base64
import binascii
import hashlib
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec

from domain.errors import BadLine, BadStreamName
from domain.log.codec import UNREADABLE
from domain.log.stream import Stream, parse_stream

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
REFERENCE: Final = re.compile(rb'"blob":"([0-9a-f]{64})"')


class EventLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    stream: str
    version: Annotated[int, msgspec.Meta(ge=1, lt=2**31)]
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    interval_s: float  # since the event before it in its stream; 0 for the first
    type: str
    message_id: UUID | None
    user: msgspec.Raw
    data: msgspec.Raw
    redacted: bool = False  # something is left out for the reader whose export it is

    @property
    def at_us(self) -> int:
        return microseconds(self.at)


class BlobLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``text`` where the content is UTF-8, else ``base64``."""

    stream: str
    blob: str  # its sha256, in hex
    size_bytes: int
    text: str | None = None
    base64: str | None = None

    def content(self) -> bytes:
        """The bytes. Raises ``ValueError`` if they differ from ``blob`` or ``size_bytes``."""
        if (self.text is None) == (self.base64 is None):
            raise ValueError("text, base64: expected one of the two")
        try:
            kept = self.text.encode() if self.text is not None else base64.b64decode(self.base64 or "", validate=True)
        except (UnicodeEncodeError, binascii.Error) as error:
            raise ValueError(f"text, base64: {error}") from None
        if len(kept) != self.size_bytes:
            raise ValueError(f"size_bytes: expected {self.size_bytes}, the content has {len(kept)}")
        found = hashlib.sha256(kept).hexdigest()
        if found != self.blob:
            raise ValueError(f"blob: expected content with the sha256 {self.blob[:80]}, found {found}")
        return kept


Line = EventLine | BlobLine
_events: Final = msgspec.json.Decoder(EventLine)
_blobs: Final = msgspec.json.Decoder(BlobLine)
_keys: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def microseconds(at: datetime) -> int:
    """Since 1970."""
    return (at - EPOCH) // MICROSECOND


@lru_cache(maxsize=1024)
def _second(seconds: int) -> bytes:
    return (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S").encode()


def encode_event(
    stream: bytes, version: int, at_us: int, before_us: int | None, name: str, message_id: str | None, actor: bytes | None, data: bytes
) -> bytes:
    """One event as a line. ``stream`` is ``kind/uuid``; times are microseconds since 1970, ``before_us`` that of the event before."""
    interval_us = at_us - before_us if before_us is not None else 0
    sign = b"-" if interval_us < 0 else b""
    return b'{"stream":"%b","version":%d,"at":"%b.%06dZ","interval_s":%b%d.%06d,"type":"%b","message_id":%b,"user":%b,"data":%b}\n' % (
        stream,
        version,
        _second(at_us // 1_000_000),
        at_us % 1_000_000,
        sign,
        abs(interval_us) // 1_000_000,
        abs(interval_us) % 1_000_000,
        name.encode(),
        b'"%b"' % message_id.encode() if message_id is not None else b"null",
        actor or b"null",
        data,
    )


def redacted_line(line: bytes) -> bytes:
    """The line of an event of which something is left out for its reader."""
    return line[:-2] + b',"redacted":true}\n'


def encode_blob(stream: bytes, content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    kept: Any
    try:
        kept = {"text": content.decode()}
    except UnicodeDecodeError:
        kept = {"base64": base64.b64encode(content).decode()}
    return msgspec.json.encode({"stream": stream.decode(), "blob": digest, "size_bytes": len(content), **kept}) + b"\n"


def references(data: bytes) -> list[str]:
    """The blobs that an event's data seems to refer to, by sha256 in hex. A person may have typed such a text, so a blob may not exist."""
    return [found.decode() for found in REFERENCE.findall(data)] if b'"blob":"' in data else []


def parse_line(raw: bytes) -> Line:
    """Raises ``BadLine``, which names the key."""
    try:
        return _events.decode(raw)
    except msgspec.ValidationError as error:
        reason = str(error)
    except UNREADABLE as error:
        raise BadLine(f"it is not JSON: {error}") from None
    try:
        if "blob" in _keys.decode(raw):
            return _blobs.decode(raw)
    except msgspec.ValidationError as error:
        reason = str(error)
    except UNREADABLE as error:  # what the event's decoder had not come to
        reason = f"it is not JSON: {error}"
    raise BadLine(reason)


def stream_of(line: Line) -> Stream:
    """Raises ``BadLine``."""
    try:
        return parse_stream(line.stream)
    except BadStreamName as error:
        raise BadLine(f"{error} - at `$.stream`") from None
