"""Which event comes next, and what to do when another one does: no IO, no clock.

A ``Track`` is one followed stream. It accepts version after version, drops a repeat, and answers a gap by asking again
from its cursor, so each event comes out once and in order, also after the connection was lost. ``Channels`` is a consumer of
all channels of the account: the server begins a track for each. A ``Session`` is all tracks on one socket: frames in, ``Out`` values
out (frames to send, items to hand on, ends).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final, Literal

import msgspec

from stenograph_client.errors import AccessEnded, AlreadyFollowed, EpochChanged, FollowFailed, GapNotRepaired, SubscriptionRefused
from stenograph_client.events import (
    NOW,
    START,
    CaughtUp,
    CaughtUpFrame,
    ChannelLeft,
    Cursor,
    Ephemeral,
    Events,
    Frame,
    Item,
    Reconnect,
    Refused,
    Snapshot,
    SnapshotPage,
    Subscribed,
    Unsubscribed,
    Welcome,
    parse_cursor,
)

EpochChange = Literal["raise", "snapshot"]
GAPS_MAX: Final = 3  # in a row, without one good event between
FOLLOW: Final = "f"  # how the id of a ``follow`` begins, and no other
REFUSED_AGAIN: Final = frozenset({"unavailable", "log_unavailable", "overloaded", "rate_reached"})  # not now, but soon

# ------------------------------------------------------------------------------------------------------------- outputs


@dataclass(frozen=True)
class Send:
    frame: Mapping[str, Any]


@dataclass(frozen=True)
class Deliver:
    track: "Track"
    item: Item


@dataclass(frozen=True)
class End:
    """The consumer is over: nothing is delivered to it any more."""

    track: "Consumer"
    error: FollowFailed


@dataclass(frozen=True)
class ComeBack:
    """The server is going away and says when to come back."""

    after_s: float


@dataclass(frozen=True)
class Again:
    """The server cannot serve this just now: call ``Session.ask_again`` after a backoff."""

    track: "Consumer"


@dataclass(frozen=True)
class Ready:
    welcome: Welcome


Out = Send | Deliver | End | ComeBack | Again | Ready

# --------------------------------------------------------------------------------------------------------------- track


class Phase(Enum):
    AWAY = auto()  # nothing is asked of the server: no socket, or let go
    ASKED = auto()  # subscribe was sent
    LIVE = auto()  # subscribed came: events are ours
    LEAVING = auto()  # unsubscribe was sent; what still arrives was meant for the subscription before


@dataclass(eq=False)
class Channels:
    """Every channel that the account may read, now and later."""

    snapshot: bool = False  # a channel that begins later begins with its state
    signals: bool = False
    epoch_change: EpochChange = "raise"
    asked_id: str = ""
    over: bool = False


@dataclass(eq=False)
class Track:
    """One stream and how far it was taken. ``cursor`` is None until the first ``subscribed`` names the history.

    Compared by identity: what was meant for one follow never reaches its successor on the same stream.
    """

    stream: str
    after: str  # what was asked for at first: start, now or a cursor
    snapshot: bool = False  # begin with the stream's state
    signals: bool = False  # whether what is never stored is wanted too
    epoch_change: EpochChange = "raise"  # or "snapshot": accept another history and begin it with its state
    cursor: Cursor | None = None
    phase: Phase = Phase.AWAY
    wanted: bool = True  # False: the consumer is slow or gone, do not ask again by yourself
    over: bool = False  # forget it as soon as the server has confirmed
    asked_id: str = ""
    gaps: int = 0
    repeats: int = 0  # dropped ones, all in all
    pages: list[Any] | None = None  # of a snapshot that is arriving; None: none is
    pages_epoch: str = ""
    reason: str = ""  # of that snapshot
    channels: Channels | None = None  # who takes what comes, where it is one of many

    def __post_init__(self) -> None:
        if self.after not in (START, NOW):
            self.cursor = parse_cursor(self.after)

    @property
    def consumer(self) -> "Consumer":
        return self if self.channels is None else self.channels

    @property
    def asked_after(self) -> str:
        if self.cursor is None:
            return self.after
        # Version 0 is before the first event in every history, so that nothing can be lost by saying it so.
        return str(self.cursor) if self.cursor.version > 0 else START

    def subscribed(self, frame: Subscribed) -> FollowFailed | None:
        """The server has said what comes next."""
        self.phase = Phase.LIVE
        self.pages = None
        had = self.cursor
        foreign = had is not None and had.version > 0 and (had.epoch != frame.epoch or frame.head < had.version)
        if frame.replay == "snapshot" and (self.snapshot or self.epoch_change == "snapshot"):
            # Until its last page the old cursor stands: a cut in between begins the snapshot anew.
            self.pages, self.pages_epoch, self.reason = [], frame.epoch, frame.reason or ""
        elif foreign or frame.replay == "snapshot":
            return EpochChanged(self.stream, had=self.asked_after, epoch=frame.epoch, head=frame.head)
        elif had is None:
            self.cursor = Cursor(frame.epoch, frame.head if self.after == NOW else 0)
        elif had.version == 0:
            self.cursor = Cursor(frame.epoch, 0)
        return None

    def page(self, frame: SnapshotPage) -> Snapshot | None:
        """The whole snapshot with its last page."""
        if self.pages is None:
            return None
        self.pages.append(frame.state)
        if len(self.pages) < frame.pages:
            return None
        state = self.pages[0] if frame.pages == 1 else msgspec.json.decode("".join(self.pages))
        snapshot = Snapshot(self.stream, self.pages_epoch, frame.version, state, self.reason)
        self.cursor, self.pages, self.snapshot = Cursor(self.pages_epoch, frame.version), None, False
        return snapshot


Consumer = Track | Channels

# ------------------------------------------------------------------------------------------------------------- session


@dataclass
class Session:
    """Every track of one client. Feed it what the socket says; do what it answers."""

    tracks: dict[str, Track] = field(default_factory=dict)
    channels: Channels | None = None
    connected: bool = False
    _ids: int = 0

    def follow(
        self, stream: str, after: str, *, snapshot: bool = False, signals: bool = False, epoch_change: EpochChange = "raise"
    ) -> tuple[Track, list[Out]]:
        """Raises ``AlreadyFollowed``, and ``ValueError`` for a malformed cursor."""
        known = self.tracks.get(stream)
        if known is not None and not known.over:
            raise AlreadyFollowed(stream)
        track = Track(stream, after, snapshot, signals, epoch_change)
        if known is not None:
            # Its predecessor's end is not confirmed yet: a subscribe now would be refused as a second one.
            track.phase, track.asked_id = known.phase, known.asked_id
        self.tracks[stream] = track
        return track, self._ask(track)

    def follow_channels(
        self, cursors: Mapping[str, str], *, snapshot: bool = False, signals: bool = False, epoch_change: EpochChange = "raise"
    ) -> tuple[Channels, list[Out]]:
        """Every channel of the account: those in ``cursors`` from there on. Raises as ``follow``, before anything is asked."""
        if self.channels is not None:
            raise AlreadyFollowed("channels")
        for stream in cursors:
            if stream in self.tracks and not self.tracks[stream].over:
                raise AlreadyFollowed(stream)
        channels = Channels(snapshot, signals, epoch_change)
        tracks = [Track(stream, after, False, signals, epoch_change, channels=channels) for stream, after in cursors.items()]
        self.channels, outs = channels, list[Out]()
        for track in tracks:
            known = self.tracks.get(track.stream)
            if known is not None:
                track.phase, track.asked_id = known.phase, known.asked_id
            self.tracks[track.stream] = track
            outs += self._ask(track)
        return channels, [*outs, *self._ask_for_channels()]

    def tracks_of(self, channels: Channels) -> list[Track]:
        return [track for track in self.tracks.values() if track.channels is channels]

    def unfollow_channels(self, channels: Channels) -> list[Out]:
        """The follow is cancelled. The server goes on to begin channels; they are left as they come."""
        if self.channels is channels:
            self.channels = None
        channels.over = True
        return [out for track in self.tracks_of(channels) for out in self.unfollow(track)]

    def unfollow(self, track: Track) -> list[Out]:
        """The follow is cancelled."""
        if track.over:
            return []
        track.over, track.wanted = True, False
        return self._leave(track)

    def let_go(self, track: Track) -> list[Out]:
        """Its consumer is slow: stop receiving it for now. The cursor stays, ``take_up`` goes on from there."""
        track.wanted = False
        return self._leave(track)

    def take_up(self, track: Track) -> list[Out]:
        """The opposite of ``let_go``."""
        track.wanted = not track.over
        return self._ask(track)

    def ask_again(self, track: Consumer) -> list[Out]:
        """After ``Again`` and a wait."""
        if isinstance(track, Track):
            return self._ask(track)
        return self._ask_for_channels() if track is self.channels else []

    def cut(self) -> None:
        """The socket is gone, and with it every subscription."""
        self.connected = False
        for stream, track in list(self.tracks.items()):
            track.phase, track.pages = Phase.AWAY, None
            if track.over:
                del self.tracks[stream]

    def receive(self, frame: Frame) -> Iterator[Out]:
        """What follows from one frame. Raises ``msgspec.DecodeError`` for a snapshot that is none, else nothing."""
        match frame:
            case Events():
                yield from self._events(frame)
            case Welcome():
                yield Ready(frame)
                if not self.connected:  # a second welcome answers a fresh token
                    self.connected = True
                    for track in list(self.tracks.values()):
                        yield from self._ask(track)
                    yield from self._ask_for_channels()  # after those that have a cursor: what is subscribed to stays as it is
            case Subscribed():
                yield from self._subscribed(frame)
            case SnapshotPage():
                yield from self._page(frame)
            case CaughtUpFrame():
                yield from self._caught_up(frame)
            case Unsubscribed():
                yield from self._unsubscribed(frame)
            case Refused():
                yield from self._refused(frame)
            case Reconnect():
                yield ComeBack(max(0.0, frame.after_ms / 1000))
            case Ephemeral():
                yield from self._signal(frame)

    def is_live(self, stream: str) -> bool:
        return self._live(stream) is not None

    # ------------------------------------------------------------------------------------------------------ inside

    def _live(self, stream: str) -> Track | None:
        track = self.tracks.get(stream)
        return track if track is not None and track.phase is Phase.LIVE else None

    def _ask(self, track: Track) -> list[Out]:
        if not (self.connected and track.wanted and track.phase is Phase.AWAY):
            return []
        self._ids += 1
        track.asked_id, track.phase = f"s{self._ids}", Phase.ASKED
        frame: dict[str, Any] = {"op": "subscribe", "id": track.asked_id, "stream": track.stream, "after": track.asked_after}
        if track.snapshot:
            frame["snapshot"] = True
        return [Send(frame)]

    def _ask_for_channels(self) -> list[Out]:
        if self.channels is None or not self.connected:
            return []
        self._ids += 1
        self.channels.asked_id = f"{FOLLOW}{self._ids}"
        return [Send({"op": "follow", "id": self.channels.asked_id, "kind": "channel", "snapshot": self.channels.snapshot})]

    def _leave(self, track: Track) -> list[Out]:
        if track.phase in (Phase.ASKED, Phase.LIVE):
            self._ids += 1
            track.asked_id, track.phase, track.pages = f"u{self._ids}", Phase.LEAVING, None
            return [Send({"op": "unsubscribe", "id": track.asked_id, "stream": track.stream})]
        if track.phase is Phase.AWAY and track.over:
            self._forget(track)
        return []

    def _left(self, track: Track) -> list[Out]:
        """The server has confirmed that nothing of the old subscription comes any more."""
        track.phase = Phase.AWAY
        if track.over:
            self._forget(track)
            return []
        return self._ask(track)

    def _forget(self, track: Track) -> None:
        if self.tracks.get(track.stream) is track:
            del self.tracks[track.stream]

    def _end(self, track: Track, error: FollowFailed) -> Out:
        """One channel of many that may not be read any more ends nothing but itself."""
        track.over, track.wanted = True, False
        if track.channels is not None and isinstance(error, AccessEnded):
            return Deliver(track, ChannelLeft(track.stream, error.code, error.reason))
        if track.channels is not None and isinstance(error, SubscriptionRefused):
            return Deliver(track, ChannelLeft(track.stream, error.code, error.detail))
        return End(track.consumer, error)

    def _subscribed(self, frame: Subscribed) -> Iterator[Out]:
        track = self.tracks.get(frame.stream)
        if track is None and str(frame.id).startswith(FOLLOW):
            channels = self.channels
            if channels is None or channels.asked_id != frame.id:  # of a follow that was cancelled
                yield Send({"op": "unsubscribe", "stream": frame.stream})
                return
            first = START if channels.snapshot else NOW
            track = Track(frame.stream, first, channels.snapshot, channels.signals, channels.epoch_change, channels=channels)
            track.phase, track.asked_id = Phase.ASKED, channels.asked_id
            self.tracks[frame.stream] = track
        # Another id: the server joined us by itself, as it does for the own user stream; its events are not ours to take.
        if track is None or track.phase is not Phase.ASKED or str(frame.id) != track.asked_id:
            return
        failed = track.subscribed(frame)
        if failed is not None:
            yield self._end(track, failed)
            yield from self._leave(track)

    def _events(self, frame: Events) -> Iterator[Out]:
        track = self._live(frame.stream)
        if track is None or track.cursor is None or track.pages is not None:
            return
        for wire in frame.events:
            epoch, have = track.cursor
            if wire.version <= have:
                track.repeats += 1
            elif wire.version == have + 1:
                track.cursor, track.gaps = Cursor(epoch, wire.version), 0
                yield Deliver(track, wire.seen_in(epoch))
            else:
                yield from self._gap(track, have + 1, wire.version)
                return

    def _signal(self, frame: Ephemeral) -> Iterator[Out]:
        track = self._live(frame.stream)
        signal = frame.signal() if track is not None and track.signals else None
        if track is not None and signal is not None:
            yield Deliver(track, signal)

    def _page(self, frame: SnapshotPage) -> Iterator[Out]:
        track = self._live(frame.stream)
        whole = track.page(frame) if track is not None else None
        if track is not None and whole is not None:
            yield Deliver(track, whole)

    def _caught_up(self, frame: CaughtUpFrame) -> Iterator[Out]:
        track = self._live(frame.stream)
        cursor = track.cursor if track is not None and track.pages is None else None
        if track is None or cursor is None:
            return
        if frame.version > cursor.version:  # the events up to it were left out
            yield from self._gap(track, cursor.version + 1, frame.version)
        else:
            yield Deliver(track, CaughtUp(track.stream, cursor.epoch, cursor.version))

    def _gap(self, track: Track, expected: int, received: int) -> Iterator[Out]:
        track.gaps += 1
        if track.gaps > GAPS_MAX:
            yield self._end(track, GapNotRepaired(track.stream, expected=expected, received=received))
        yield from self._leave(track)

    def _unsubscribed(self, frame: Unsubscribed) -> Iterator[Out]:
        track = self.tracks.get(frame.stream)
        if track is None:
            return
        if track.phase is Phase.LEAVING:
            yield from self._left(track)
        elif track.phase in (Phase.ASKED, Phase.LIVE):
            track.phase = Phase.AWAY
            yield self._end(track, AccessEnded(frame.stream, str(frame.code or ""), frame.reason or ""))
            self._forget(track)

    def _refused(self, frame: Refused) -> Iterator[Out]:
        channels = self.channels
        if channels is not None and frame.id is not None and channels.asked_id == str(frame.id):
            again = frame.code in REFUSED_AGAIN
            yield Again(channels) if again else End(channels, SubscriptionRefused("channels", frame.code, frame.detail))
            return
        track = next((one for one in self.tracks.values() if frame.id is not None and one.asked_id == str(frame.id)), None)
        if track is None:
            return
        if track.phase is Phase.LEAVING:  # it had ended by itself already: there is nothing left to end
            yield from self._left(track)
        elif track.phase is Phase.ASKED:
            track.phase = Phase.AWAY
            if frame.code in REFUSED_AGAIN:
                yield Again(track)
            else:
                yield self._end(track, SubscriptionRefused(track.stream, frame.code, frame.detail))
                self._forget(track)
