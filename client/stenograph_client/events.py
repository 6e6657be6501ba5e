"""What a follow yields, and the frames it is made of (docs/protocol.md §2 and §3)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

START = "start"
NOW = "now"


class Cursor(NamedTuple):
    """The last event that was applied: ``epoch:version``."""

    epoch: str
    version: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.version}"


def parse_cursor(text: str) -> Cursor:
    """Raises ``ValueError`` for anything but ``epoch:version``.

    >>> parse_cursor("0190aaaa-0000-7000-8000-000000000001:42").version
    42
    """
    epoch, colon, version = text.rpartition(":")
    if not (colon and epoch and version.isascii() and version.isdecimal()):
        raise ValueError(f"expected a cursor as epoch:version, received {text[:100]!r}")
    return Cursor(epoch, int(version))


class User(msgspec.Struct, frozen=True):
    """Who caused an event, as they were then."""

    id: str
    name: str = ""
    role: str = ""


class Event(msgspec.Struct, frozen=True):
    """One event of a stream. Save ``cursor`` once it is applied: following on from it misses and repeats nothing."""

    stream: str  # kind/uuid
    epoch: str
    version: int  # in its stream, from 1
    position: int  # in the whole log, from 1
    at: datetime  # UTC
    user: User | None  # None: the server itself
    message_id: str | None
    type: str
    data: Any  # the facts; an object for every type of ours
    redacted: bool = False  # something of it is left out: words that were gone when this account's access began

    @property
    def cursor(self) -> str:
        return f"{self.epoch}:{self.version}"


class Snapshot(msgspec.Struct, frozen=True):
    """A stream's state as of ``version``, in place of the events up to it. The events after it follow.

    ``reason`` says why there is one: ``asked``, or ``epoch`` or ``above_head`` where the cursor is not of the server's history.
    """

    stream: str
    epoch: str
    version: int
    state: Any  # what GET answers for that chat
    reason: str = ""

    @property
    def cursor(self) -> str:
        return f"{self.epoch}:{self.version}"


class CaughtUp(msgspec.Struct, frozen=True):
    """Replay is over: what follows is live. Said again each time after falling behind or coming back."""

    stream: str
    epoch: str
    version: int

    @property
    def cursor(self) -> str:
        return f"{self.epoch}:{self.version}"


class Signal(msgspec.Struct, frozen=True):
    """Something that is never stored: ``typing``, with ``data["typing"]``, by ``user``, in the thread below ``message_id``."""

    stream: str
    user: User | None
    type: str
    data: Any
    message_id: str | None = None


class ChannelLeft(msgspec.Struct, frozen=True):
    """Of ``Client.follow_channels``: nothing more comes of this channel, since the account may not read it any more. ``code`` says why."""

    stream: str
    code: str
    reason: str


Item = Event | Snapshot | CaughtUp | Signal | ChannelLeft


# ------------------------------------------------------------------------------------------------------ frames received


class Fact(msgspec.Struct, frozen=True):
    type: str
    data: Any = None


class WireEvent(msgspec.Struct, frozen=True):
    stream: str
    version: int
    position: int
    at: datetime
    data: Fact
    message_id: str | None = None
    user: User | None = None
    redacted: bool = False

    def seen_in(self, epoch: str) -> Event:
        fact = self.data
        return Event(
            self.stream, epoch, self.version, self.position, self.at, self.user, self.message_id, fact.type, fact.data, self.redacted
        )


class Welcome(msgspec.Struct, frozen=True, tag_field="op", tag="welcome"):
    session_id: str = ""
    epoch: str = ""
    user: Mapping[str, Any] | None = None
    heartbeat_s: float | None = None
    expires_at: float | str | None = None  # of the token: seconds since 1970, or RFC 3339; None: it does not end


class Subscribed(msgspec.Struct, frozen=True, tag_field="op", tag="subscribed"):
    stream: str
    epoch: str
    head: int
    id: str | int | None = None
    replay: str = "suffix"  # suffix, full, snapshot
    reason: str | None = None


class SnapshotPage(msgspec.Struct, frozen=True, tag_field="op", tag="snapshot"):
    stream: str
    version: int
    state: Any  # with more than one page: a piece of the state's JSON text
    page: int = 1
    pages: int = 1


class Events(msgspec.Struct, frozen=True, tag_field="op", tag="events"):
    stream: str
    events: Sequence[WireEvent]


class CaughtUpFrame(msgspec.Struct, frozen=True, tag_field="op", tag="caught_up"):
    stream: str
    version: int


class Unsubscribed(msgspec.Struct, frozen=True, tag_field="op", tag="unsubscribed"):
    stream: str
    code: str | int | None = None
    reason: str | None = None


class Reconnect(msgspec.Struct, frozen=True, tag_field="op", tag="reconnect"):
    after_ms: float


class Refused(msgspec.Struct, frozen=True, tag_field="op", tag="error"):
    code: str = ""
    detail: str = ""
    id: str | int | None = None


class SignalFact(msgspec.Struct, frozen=True):
    type: str = ""
    data: Any = None
    message_id: str | None = None


class Ephemeral(msgspec.Struct, frozen=True, tag_field="op", tag="ephemeral"):
    stream: str = ""
    user: Any = None
    data: Any = None

    def signal(self) -> Signal | None:
        """None for one that this client does not understand."""
        try:
            user, fact = msgspec.convert(self.user, User | None), msgspec.convert(self.data, SignalFact)
        except msgspec.ValidationError:
            return None
        return Signal(self.stream, user, fact.type, fact.data, fact.message_id)


Frame = Welcome | Subscribed | SnapshotPage | Events | CaughtUpFrame | Unsubscribed | Reconnect | Refused | Ephemeral


class _Op(msgspec.Struct, frozen=True):
    op: str = ""


_frames: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(Frame)
_ops = msgspec.json.Decoder(_Op)
_KNOWN = frozenset(
    str(kind.__struct_config__.tag)
    for kind in (Welcome, Subscribed, SnapshotPage, Events, CaughtUpFrame, Unsubscribed, Reconnect, Refused, Ephemeral)
)


def decode_frame(raw: str | bytes) -> Frame | None:
    """One frame; None for an ``op`` that this client does not know, since servers may learn new ones.

    Raises ``msgspec.DecodeError`` for what is no frame at all.
    """
    try:
        return _frames.decode(raw)
    except msgspec.ValidationError:
        if _ops.decode(raw).op in _KNOWN:
            raise
        return None


_event = msgspec.json.Decoder(WireEvent)


def decode_event(raw: str | bytes) -> WireEvent:
    return _event.decode(raw)
