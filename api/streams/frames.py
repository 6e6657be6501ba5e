"""The WebSocket protocol as a pure state machine: ``receive`` takes the text of a frame and returns the effects to carry out.

It has no IO and no clock: ``api/streams/socket_reader.py`` reads the socket and carries out the effects (docs/protocol.md §3).
"""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec

from domain.errors import BadRequest, CallNotFound, NotAuthenticated, Refusal, StenographError
from domain.log.cursor import Cursor, parse_cursor
from domain.log.stream import Stream, parse_stream

FRAMES_PER_S: Final = 50
FRAMES_BURST: Final = 2_000  # a client that comes back subscribes to everything it had at once
ID_CHARACTERS_MAX: Final = 200
SEQ_MAX: Final = 2**31 - 1

Id = str | int | None


class FrameIn(msgspec.Struct, tag_field="op", forbid_unknown_fields=True, frozen=True):
    """One object a frame, ``op`` says which."""


class HelloFrame(FrameIn, tag="hello", frozen=True):
    token: str


class SubscribeFrame(FrameIn, tag="subscribe", frozen=True):
    stream: str
    after: str
    id: Id = None
    snapshot: bool = False


class FollowFrame(FrameIn, tag="follow", frozen=True):
    kind: str
    id: Id = None
    cursors: Mapping[str, str] = {}
    snapshot: bool = False


class UnsubscribeFrame(FrameIn, tag="unsubscribe", frozen=True):
    stream: str
    id: Id = None


class TypingFrame(FrameIn, tag="typing", frozen=True):
    stream: str
    typing: bool
    message_id: str | None = None


class ReadFrame(FrameIn, tag="read", frozen=True):
    stream: str
    version: int
    message_id: str | None = None  # the first message of the thread that was read; None: the stream itself


class CallAnswerFrame(FrameIn, tag="answer", frozen=True):
    call_id: str
    data: Any = None


class CallChunkFrame(FrameIn, tag="chunk", frozen=True):
    call_id: str
    seq: Annotated[int, msgspec.Meta(ge=0, le=SEQ_MAX)]
    data: Any = None


class HeartbeatFrame(FrameIn, tag="heartbeat", frozen=True):
    pass


Frame = (
    HelloFrame
    | SubscribeFrame
    | FollowFrame
    | UnsubscribeFrame
    | TypingFrame
    | ReadFrame
    | CallAnswerFrame
    | CallChunkFrame
    | HeartbeatFrame
)
OPS: Final = "hello, subscribe, follow, unsubscribe, typing, read, answer, chunk, heartbeat"
KNOWN_OPS: Final = frozenset(OPS.split(", "))

# ------------------------------------------------------------------------------------------------------------- effects


class Authenticate(msgspec.Struct, frozen=True):
    token: str


class StartSubscription(msgspec.Struct, frozen=True):
    """Subscribe to ``stream`` after ``after``."""

    id: Id
    stream: Stream
    after: Cursor | str
    snapshot: bool


class StartFollow(msgspec.Struct, frozen=True):
    """Subscribe to every channel of the person, now and later: after its cursor, and where there is none to what comes from now on or,
    with ``snapshot``, to its state and what follows.
    """

    id: Id
    cursors: Mapping[Stream, Cursor | str]
    snapshot: bool


class EndSubscription(msgspec.Struct, frozen=True):
    id: Id
    stream: Stream


class SendSignal(msgspec.Struct, frozen=True):
    """Tell the stream's other subscribers that this person types."""

    stream: Stream
    message_id: str | None
    typing: bool


class MarkRead(msgspec.Struct, frozen=True):
    stream: Stream
    version: int


class MarkThreadRead(msgspec.Struct, frozen=True):
    """The thread below this message of a channel was read up to a version."""

    stream: Stream
    message_id: str
    version: int


class AnswerUserCall(msgspec.Struct, frozen=True):
    """Answer a call to this person."""

    call_id: UUID
    data: Any


class RelayChunk(msgspec.Struct, frozen=True):
    """The next chunk of a direct connection."""

    call_id: UUID
    seq: int
    data: Any


class NoteActive(msgspec.Struct, frozen=True):
    """Note that the person is active."""


class SendFrame(msgspec.Struct, frozen=True):
    frame: bytes


class Close(msgspec.Struct, frozen=True):
    code: int
    reason: str


Effect = (
    Authenticate
    | StartSubscription
    | StartFollow
    | EndSubscription
    | SendSignal
    | MarkRead
    | MarkThreadRead
    | AnswerUserCall
    | RelayChunk
    | NoteActive
    | SendFrame
    | Close
)

_decoder: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(Frame)
_encode = msgspec.json.encode


def frame(op: str, **fields: Any) -> bytes:
    """A frame to the client."""
    return _encode({"op": op, **fields})


def error_frame(error: StenographError, request_id: Id = None, **more: Any) -> bytes:
    """``more`` is what a program may want beside the text."""
    about = {} if request_id is None else {"id": request_id}
    return _encode({"op": "error", **about, "code": error.code, "detail": error.detail, **more})


class UnknownOp(BadRequest):
    code = "unknown_op"


class TooMany(Refusal):
    code = "too_many_subscriptions"


class FrameId(msgspec.Struct, frozen=True):
    """The ``id`` of a frame that does not fit its op, for the error that answers it."""

    id: Id = None


class FrameOp(msgspec.Struct, frozen=True):
    """The op of a frame that does not fit it."""

    op: str | msgspec.UnsetType = msgspec.UNSET


_named = msgspec.json.Decoder(FrameId)
_op = msgspec.json.Decoder(FrameOp)


def has_known_op(text: str) -> bool:
    """Whether the frame names one of ``OPS``, or is no object with an op that is text at all: then something else is wrong with it."""
    try:
        return _op.decode(text).op in KNOWN_OPS
    except msgspec.ValidationError:
        return True


def require_id(request_id: Id) -> Id:
    """It is sent back as it came, so it is not for carrying content. Raises ``BadRequest``."""
    if isinstance(request_id, str) and len(request_id) > ID_CHARACTERS_MAX:
        raise BadRequest(f"expected an id of at most {ID_CHARACTERS_MAX} characters")
    return request_id


def parse_call_id(given: str) -> UUID:
    """Raises ``CallNotFound``: the server makes these ids."""
    try:
        return UUID(given)
    except ValueError:
        raise CallNotFound(given) from None


def id_of(text: str) -> Id:
    try:
        return require_id(_named.decode(text).id)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError, BadRequest):
        return None


class FrameRate:
    """How many frames a client may still send. ``burst`` at once, and ``per_s`` for long."""

    __slots__ = ("_allowance", "_allowance_at", "_burst", "_per_s")

    def __init__(self, burst: int = FRAMES_BURST, per_s: int = FRAMES_PER_S) -> None:
        self._burst = burst
        self._per_s = per_s
        self._allowance = float(burst)
        self._allowance_at = 0.0

    def allows(self, now_s: float) -> bool:
        """Count one more. ``now_s`` only goes forward, in seconds."""
        self._allowance = min(self._burst, self._allowance + (now_s - self._allowance_at) * self._per_s)
        self._allowance_at = now_s
        self._allowance -= 1
        return self._allowance >= 0


TOO_FAST: Final = Close(4429, f"more than {FRAMES_PER_S} frames a second")


class ProtocolState:
    """One client's state. ``receive`` never raises: a frame that cannot be understood is answered with an ``error``."""

    __slots__ = ("_rate", "authenticated", "streams", "subscriptions_max")

    def __init__(self, subscriptions_max: int) -> None:
        self.authenticated = False
        self.subscriptions_max = subscriptions_max
        self.streams: set[Stream] = set()
        self._rate = FrameRate()

    def receive(self, text: str, now_s: float) -> list[Effect]:
        """What the frame asks for. ``now_s`` only goes forward, in seconds."""
        if not self._rate.allows(now_s):
            return [TOO_FAST]
        try:
            return self._meant(self._decode(text))
        except StenographError as error:
            return [SendFrame(error_frame(error, id_of(text)))]

    def _decode(self, text: str) -> Frame:
        try:
            return _decoder.decode(text)
        except msgspec.ValidationError as error:
            if not has_known_op(text):
                raise UnknownOp(f"expected op to be one of {OPS}: {error}") from None
            raise BadRequest(f"the frame does not fit its op: {error}") from None
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
            raise BadRequest(f"expected one JSON object a frame: {error}") from None

    def _meant(self, asked: Frame) -> list[Effect]:
        if not self.authenticated and not isinstance(asked, HelloFrame):
            raise NotAuthenticated("expected hello first")
        match asked:
            case HelloFrame(token=token):
                return [Authenticate(token)]
            case SubscribeFrame():
                return [self._join(asked)]
            case UnsubscribeFrame(stream=name, id=request_id):
                stream = self._joined(name)
                self.streams.discard(stream)
                return [EndSubscription(require_id(request_id), stream)]
            case TypingFrame(stream=name, message_id=message_id, typing=typing):
                require_id(message_id)  # it goes to everybody in the stream
                return [SendSignal(self._joined(name), message_id, typing)]
            case ReadFrame(stream=name, version=version, message_id=message_id):
                return [self._read(self._joined(name), version, message_id)]
            case HeartbeatFrame():
                return [NoteActive()]
            case FollowFrame():
                return [self._follow(asked)]
            case CallAnswerFrame(call_id=call_id, data=data):
                return [AnswerUserCall(parse_call_id(call_id), data)]
            case CallChunkFrame(call_id=call_id, seq=seq, data=data):
                return [RelayChunk(parse_call_id(call_id), seq, data)]

    def _read(self, stream: Stream, version: int, message_id: str | None) -> MarkRead | MarkThreadRead:
        if message_id is None:
            return MarkRead(stream, version)
        if stream.kind != "channel":
            raise BadRequest("expected a message_id only of a channel: a chat has no threads")
        require_id(message_id)
        return MarkThreadRead(stream, message_id, version)

    def _join(self, asked: SubscribeFrame) -> StartSubscription:
        request_id = require_id(asked.id)
        stream = parse_stream(asked.stream)
        if stream in self.streams:
            raise BadRequest(f"{stream} is subscribed to already: unsubscribe first")
        if len(self.streams) >= self.subscriptions_max:
            raise TooMany(f"a connection has at most {self.subscriptions_max} subscriptions")
        after = parse_cursor(asked.after)
        self.streams.add(stream)
        return StartSubscription(request_id, stream, after, asked.snapshot)

    def _follow(self, asked: FollowFrame) -> StartFollow:
        request_id = require_id(asked.id)
        if asked.kind != "channel":
            raise BadRequest(f"expected channel as the kind to follow, received {asked.kind[:80]!r}")
        cursors = {parse_stream(name): parse_cursor(cursor) for name, cursor in asked.cursors.items()}
        if any(stream.kind != "channel" for stream in cursors):
            raise BadRequest("expected cursors of channels only")
        return StartFollow(request_id, cursors, asked.snapshot)

    def claims(self, stream: Stream) -> bool:
        """Count the stream as subscribed to, for a follow. False: it is so already. Raises ``TooMany``."""
        if stream in self.streams:
            return False
        if len(self.streams) >= self.subscriptions_max:
            raise TooMany(f"a connection has at most {self.subscriptions_max} subscriptions")
        self.streams.add(stream)
        return True

    def claimable(self, streams: Iterable[Stream]) -> list[Stream]:
        """Those that ``claims`` would count one after the other: not subscribed to yet, and no more than there is room for."""
        return list(islice((one for one in streams if one not in self.streams), self.subscriptions_max - len(self.streams)))

    def _joined(self, name: str) -> Stream:
        """Only what is subscribed to, and so was authorised, can be talked about."""
        stream = parse_stream(name)
        if stream not in self.streams:
            raise BadRequest(f"{stream} is not subscribed to")
        return stream

    def left(self, stream: Stream) -> None:
        """The subscription has ended: the stream can be subscribed to again."""
        self.streams.discard(stream)
