"""The same follow over server-sent events, for networks that let no WebSocket through.

Each connection is told to a ``Session`` as if it were a socket with one stream: so repeats, gaps and changes of history are
decided in one place.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Final, NamedTuple

import httpx
import msgspec

from stenograph_client.backoff import Answer, Backoff, answer_to_status
from stenograph_client.connection import Lost, State
from stenograph_client.errors import ApiError, ConnectionStopped, CursorGone, ServerUnreachable
from stenograph_client.events import CaughtUpFrame, Events, Frame, Item, SnapshotPage, Subscribed, Unsubscribed, Welcome, decode_event
from stenograph_client.http import Http, reason_of
from stenograph_client.session import Deliver, End, EpochChange, Send, Session, Track

SILENCE_S: Final = 45.0  # three comment pings that did not come
LINE_CHARACTERS_MAX: Final = 8 * 1024 * 1024


class Message(NamedTuple):
    """One dispatched message. ``data`` is "" where only the id moved."""

    event: str
    data: str
    id: str


class SseParser:
    """Lines in, messages out (https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream)."""

    def __init__(self) -> None:
        self._event, self._id = "", ""
        self._data: list[str] = []

    def feed(self, line: str) -> Message | None:
        if not line:
            message = Message(self._event or "message", "\n".join(self._data), self._id)
            self._event, self._data = "", []
            return message
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._event = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
            case _:
                pass  # a comment, or a field of a later version
        return None


async def follow_sse(
    http: Http,
    stream: str,
    after: str,
    *,
    snapshot: bool,
    epoch_change: EpochChange,
    backoff: Backoff,
    on_state: Callable[[State], None],
) -> AsyncGenerator[Item, None]:
    """Raises ``FollowFailed``, ``ApiError`` for a refusal, ``ConnectionStopped``; ``ValueError`` for a malformed cursor."""
    session = Session()
    track, _ = session.follow(stream, after, snapshot=snapshot, epoch_change=epoch_change)
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            items(session, Welcome())
            for frame in await opening(http, track):
                for item in items(session, frame):
                    yield item
            if session.connected and track.cursor is not None:
                on_state(State(True))
                frames = received(http, track)
                try:
                    async for frame in frames:
                        for item in items(session, frame):
                            yield item
                        if gone(session):
                            break  # a gap: begin again from the cursor
                finally:
                    await frames.aclose()
            raise Lost(Answer.COME_BACK, 1006, "the stream ended")
        except Lost as lost:
            session.cut()
            backoff.was_connected(loop.time() - began)
            if lost.answer is Answer.STOP:
                raise ConnectionStopped(lost.code, lost.reason) from lost
            wait_s = backoff.pause_s() if lost.answer is Answer.PAUSE else backoff.next_s()
            on_state(State(False, lost.reason, wait_s))
            await asyncio.sleep(wait_s)


def gone(session: Session) -> bool:
    return not session.connected


def items(session: Session, frame: Frame) -> list[Item]:
    """What a frame brings. Raises the ``FollowFailed`` that ends the follow."""
    found: list[Item] = []
    for out in session.receive(frame):
        match out:
            case Deliver(item=item):
                found.append(item)
            case End(error=error):
                raise error
            case Send(frame={"op": "unsubscribe"}):
                session.cut()
            case _:
                pass
    return found


async def opening(http: Http, track: Track) -> list[Frame]:
    """What a socket would be told by ``subscribed``: the history, its head, and a snapshot where there is one.

    Raises ``Lost``, ``ApiError``.
    """
    path = f"/api/v1/streams/{track.stream}/events"
    try:
        try:
            page = await http.get(path, after=track.asked_after, limit=1)
            epoch, head, reason = str(page["epoch"]), int(page["head"]), ""
        except CursorGone as gone:
            epoch, head, reason = gone.epoch, gone.head, gone.detail
        if not (track.snapshot or reason):
            return [Subscribed(track.stream, epoch, head, track.asked_id)]
        said: list[Frame] = [Subscribed(track.stream, epoch, head, track.asked_id, "snapshot", reason or "asked")]
        if track.snapshot or track.epoch_change == "snapshot":
            kind, _, stream_id = track.stream.partition("/")
            state: Any = await http.get(f"/api/v1/{kind}s/{stream_id}")
            said.append(SnapshotPage(track.stream, int(state["version"]), state))
        return said
    except ServerUnreachable as error:
        raise Lost(Answer.COME_BACK, 1006, error.reason) from error
    except ApiError as error:
        raise lost_by(error) from error


def lost_by(error: ApiError) -> Exception:
    """A passing trouble, or the refusal itself. A refused token was already renewed, where that can be done."""
    answer = answer_to_status(error.status)
    return Lost(answer, error.status, error.detail) if answer in (Answer.COME_BACK, Answer.PAUSE) else error


async def received(http: Http, track: Track) -> AsyncGenerator[Frame, None]:
    """Frames until the stream ends. Raises ``Lost``, ``ApiError``."""
    path = f"/api/v1/streams/{track.stream}/events"
    try:
        answer = await http.open_stream(path, {"after": track.asked_after}, read_timeout_s=SILENCE_S)
    except ServerUnreachable as error:
        raise Lost(Answer.COME_BACK, 1006, error.reason) from error
    except CursorGone:
        return  # the history changed between the two requests: begin again
    except ApiError as error:
        if error.status == 401 and http.credentials.renewable:
            return  # the next opening renews the token
        raise lost_by(error) from error
    parser = SseParser()
    try:
        async for line in lines(answer):
            message = parser.feed(line)
            frame = frame_of(track, message) if message is not None else None
            if frame is not None:
                yield frame
    except httpx.TransportError as error:
        raise Lost(Answer.COME_BACK, 1006, reason_of(error)) from error
    except msgspec.DecodeError as error:
        raise Lost(Answer.COME_BACK, 1002, f"the server sent an event that is none: {error}") from error
    finally:
        await answer.aclose()


async def lines(answer: httpx.Response) -> AsyncIterator[str]:
    """By LF or CRLF only: ``str.splitlines`` would also cut at U+2028 within a token. Raises ``Lost`` for a line without end."""
    rest = ""
    async for text in answer.aiter_text():
        rest += text
        *whole, rest = rest.split("\n")
        if len(rest) > LINE_CHARACTERS_MAX:
            raise Lost(Answer.STOP, 1009, f"a line of more than {LINE_CHARACTERS_MAX} characters")
        for line in whole:
            yield line.removesuffix("\r")


def frame_of(track: Track, message: Message) -> Frame | None:
    if not message.data:
        return None
    match message.event:
        case "caught_up":
            return CaughtUpFrame(track.stream, version_of(message))
        case "unsubscribed":
            return Unsubscribed(track.stream, **msgspec.json.decode(message.data, type=dict[str, str]))
        case _:
            return Events(track.stream, [decode_event(message.data)])


def version_of(message: Message) -> int:
    """The version that a ``caught_up`` names: ``{"version": n}``, or the bare number."""
    said = msgspec.json.decode(message.data)
    return int(said["version"] if isinstance(said, dict) else said)
