"""What a WebSocket frame means: a pure state machine. ``receive`` takes a frame's text and gives what is to be done about it.

No IO and no clock: ``api/streams/sockets.py`` reads the socket, does what is asked and writes the answers (docs/protocol.md §3).
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from domain.cursor import Cursor, parse_cursor
from domain.errors import BadRequest, NotAuthenticated, Refusal, StenographError
from domain.stream import Stream, parse_stream

FRAMES_PER_S: Final = 50
FRAMES_BURST: Final = 2_000  # a client that comes back subscribes to everything it had at once
ID_CHARACTERS_MAX: Final = 200

Id = str | int | None


class FrameIn(msgspec.Struct, tag_field="op", forbid_unknown_fields=True, frozen=True):
    """One object a frame, ``op`` says which."""


class Hello(FrameIn, tag="hello", frozen=True):
    token: str


class Subscribe(FrameIn, tag="subscribe", frozen=True):
    stream: str
    after: str
    id: Id = None
    snapshot: bool = False


class Follow(FrameIn, tag="follow", frozen=True):
    kind: str
    id: Id = None
    cursors: Mapping[str, str] = {}


class Unsubscribe(FrameIn, tag="unsubscribe", frozen=True):
    stream: str
    id: Id = None


class Typing(FrameIn, tag="typing", frozen=True):
    stream: str
    typing: bool
    message_id: str | None = None


class Read(FrameIn, tag="read", frozen=True):
    stream: str
    version: int


class Answer(FrameIn, tag="answer", frozen=True):
    call_id: str
    data: Any = None


class Chunk(FrameIn, tag="chunk", frozen=True):
    call_id: str
    seq: int
    data: Any = None


class Heartbeat(FrameIn, tag="heartbeat", frozen=True):
    pass


Frame = Hello | Subscribe | Follow | Unsubscribe | Typing | Read | Answer | Chunk | Heartbeat
OPS: Final = "hello, subscribe, follow, unsubscribe, typing, read, answer, chunk, heartbeat"
KNOWN_OPS: Final = frozenset(OPS.split(", "))

# ------------------------------------------------------------------------------------------------------------- effects


class Authenticate(msgspec.Struct, frozen=True):
    token: str


class Join(msgspec.Struct, frozen=True):
    """Subscribe to ``stream`` after ``after``."""

    id: Id
    stream: Stream
    after: Cursor | str
    snapshot: bool


class Leave(msgspec.Struct, frozen=True):
    id: Id
    stream: Stream


class Signal(msgspec.Struct, frozen=True):
    """Tell the stream's other subscribers that this person types."""

    stream: Stream
    message_id: str | None
    typing: bool


class MarkRead(msgspec.Struct, frozen=True):
    stream: Stream
    version: int


class Alive(msgspec.Struct, frozen=True):
    """Somebody is at the other end."""


class Say(msgspec.Struct, frozen=True):
    frame: bytes


class Close(msgspec.Struct, frozen=True):
    code: int
    reason: str


Effect = Authenticate | Join | Leave | Signal | MarkRead | Alive | Say | Close

_decoder: msgspec.json.Decoder[Frame] = msgspec.json.Decoder(Frame)
_encode = msgspec.json.encode


def frame(op: str, **fields: Any) -> bytes:
    """A frame to the client."""
    return _encode({"op": op, **fields})


def error_frame(error: StenographError, request_id: Id = None) -> bytes:
    about = {} if request_id is None else {"id": request_id}
    return _encode({"op": "error", **about, "code": error.code, "detail": error.detail})


class UnknownOp(BadRequest):
    code = "unknown_op"


class NotAvailable(Refusal):
    code = "not_available"


class TooMany(Refusal):
    code = "too_many_subscriptions"


class Named(msgspec.Struct, frozen=True):
    """What is left of a frame that does not fit its op: who asked."""

    id: Id = None


class FrameOp(msgspec.Struct, frozen=True):
    """The op of a frame that does not fit it."""

    op: str | msgspec.UnsetType = msgspec.UNSET


_named = msgspec.json.Decoder(Named)
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


def id_of(text: str) -> Id:
    try:
        return require_id(_named.decode(text).id)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError, BadRequest):
        return None


class Connection:
    """One client's state. ``receive`` never raises: a frame that cannot be understood is answered with an ``error``."""

    __slots__ = ("_allowance", "_allowance_at", "authenticated", "streams", "subscriptions_max")

    def __init__(self, subscriptions_max: int) -> None:
        self.authenticated = False
        self.subscriptions_max = subscriptions_max
        self.streams: set[Stream] = set()
        self._allowance = float(FRAMES_BURST)
        self._allowance_at = 0.0

    def receive(self, text: str, now_s: float) -> list[Effect]:
        """What the frame asks for. ``now_s`` only goes forward, in seconds."""
        if not self._allowed(now_s):
            return [Close(4429, f"more than {FRAMES_PER_S} frames a second")]
        try:
            return self._meant(self._decode(text))
        except StenographError as error:
            return [Say(error_frame(error, id_of(text)))]

    def _allowed(self, now_s: float) -> bool:
        self._allowance = min(FRAMES_BURST, self._allowance + (now_s - self._allowance_at) * FRAMES_PER_S)
        self._allowance_at = now_s
        self._allowance -= 1
        return self._allowance >= 0

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
        if not self.authenticated and not isinstance(asked, Hello):
            raise NotAuthenticated("expected hello first")
        match asked:
            case Hello(token=token):
                return [Authenticate(token)]
            case Subscribe():
                return [self._join(asked)]
            case Unsubscribe(stream=name, id=request_id):
                stream = self._joined(name)
                self.streams.discard(stream)
                return [Leave(require_id(request_id), stream)]
            case Typing(stream=name, message_id=message_id, typing=typing):
                require_id(message_id)  # it goes to everybody in the stream
                return [Signal(self._joined(name), message_id, typing)]
            case Read(stream=name, version=version):
                return [MarkRead(self._joined(name), version)]
            case Heartbeat():
                return [Alive()]
            case Follow():
                raise NotAvailable("there are no channels to follow on this server")
            case Answer() | Chunk():
                raise NotAvailable("nothing has asked this client anything")

    def _join(self, asked: Subscribe) -> Join:
        request_id = require_id(asked.id)
        stream = parse_stream(asked.stream)
        if stream in self.streams:
            raise BadRequest(f"{stream} is subscribed to already: unsubscribe first")
        if len(self.streams) >= self.subscriptions_max:
            raise TooMany(f"a connection has at most {self.subscriptions_max} subscriptions")
        after = parse_cursor(asked.after)
        self.streams.add(stream)
        return Join(request_id, stream, after, asked.snapshot)

    def _joined(self, name: str) -> Stream:
        """Only what is subscribed to, and so was authorised, can be talked about."""
        stream = parse_stream(name)
        if stream not in self.streams:
            raise BadRequest(f"{stream} is not subscribed to")
        return stream

    def left(self, stream: Stream) -> None:
        """The subscription has ended: the stream can be subscribed to again."""
        self.streams.discard(stream)
