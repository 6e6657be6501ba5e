"""What a frame means: the state machine alone, without a socket."""

import json
from typing import Any
from uuid import UUID

import pytest

from api.streams.frames import (
    FRAMES_BURST,
    FRAMES_PER_S,
    ID_CHARACTERS_MAX,
    AnswerUserCall,
    Authenticate,
    Close,
    Effect,
    EndSubscription,
    MarkRead,
    MarkThreadRead,
    NoteActive,
    ProtocolState,
    RelayChunk,
    SendFrame,
    SendSignal,
    StartFollow,
    StartSubscription,
)
from domain.log.cursor import Cursor
from domain.log.stream import Stream, channel_stream, chat_stream

CHANNEL = channel_stream(UUID("0190a000-0000-7000-8000-000000000003"))
CHAT = chat_stream(UUID("0190a000-0000-7000-8000-000000000001"))
OTHER = chat_stream(UUID("0190a000-0000-7000-8000-000000000002"))
EPOCH = UUID("0190a000-0000-7000-8000-00000000000e")


def welcomed(subscriptions_max: int = 3) -> ProtocolState:
    connection = ProtocolState(subscriptions_max)
    connection.authenticated = True
    return connection


def said(connection: ProtocolState, **frame: Any) -> list[Effect]:
    return connection.receive(json.dumps(frame), 0.0)


def joined(connection: ProtocolState, stream: Stream = CHAT) -> None:
    (effect,) = said(connection, op="subscribe", stream=str(stream), after="start")
    assert isinstance(effect, StartSubscription)


def refusal(effects: list[Effect]) -> dict[str, Any]:
    (effect,) = effects
    assert isinstance(effect, SendFrame)
    frame: dict[str, Any] = json.loads(effect.frame)
    assert frame.pop("op") == "error"
    return frame


def test_hello_asks_for_its_token_to_be_checked_at_first_and_later() -> None:
    assert said(ProtocolState(3), op="hello", token="t") == [Authenticate("t")]
    assert said(welcomed(), op="hello", token="fresh") == [Authenticate("fresh")]


@pytest.mark.parametrize("op", ["subscribe", "unsubscribe", "typing", "read", "heartbeat", "follow", "answer", "chunk"])
def test_before_hello_everything_else_is_refused(op: str) -> None:
    frames: dict[str, dict[str, Any]] = {
        "subscribe": {"stream": str(CHAT), "after": "start"},
        "unsubscribe": {"stream": str(CHAT)},
        "typing": {"stream": str(CHAT), "typing": True},
        "read": {"stream": str(CHAT), "version": 1},
        "follow": {"kind": "channel"},
        "answer": {"call_id": "c"},
        "chunk": {"call_id": "c", "seq": 0},
    }
    assert refusal(said(ProtocolState(3), op=op, **frames.get(op, {})))["code"] == "not_authenticated"


def test_a_subscribe_becomes_a_join_from_its_cursor() -> None:
    connection = welcomed()
    assert said(connection, op="subscribe", id=7, stream=str(CHAT), after=f"{EPOCH}:42") == [
        StartSubscription(7, CHAT, Cursor(EPOCH, 42), False)
    ]
    assert said(connection, op="subscribe", id="x", stream=str(OTHER), after="now", snapshot=True) == [
        StartSubscription("x", OTHER, "now", True)
    ]


def test_a_second_subscription_to_a_stream_is_refused_until_the_first_has_ended() -> None:
    connection = welcomed()
    joined(connection)
    assert refusal(said(connection, op="subscribe", id=2, stream=str(CHAT), after="start"))["id"] == 2
    assert said(connection, op="unsubscribe", id=3, stream=str(CHAT)) == [EndSubscription(3, CHAT)]
    joined(connection)
    connection.left(CHAT)
    joined(connection)


def test_a_connection_has_a_bounded_number_of_subscriptions() -> None:
    connection = welcomed(subscriptions_max=1)
    joined(connection)
    assert refusal(said(connection, op="subscribe", id=9, stream=str(OTHER), after="start")) == {
        "id": 9,
        "code": "too_many_subscriptions",
        "detail": "a connection has at most 1 subscriptions",
    }
    said(connection, op="unsubscribe", stream=str(CHAT))
    joined(connection, OTHER)


def test_a_refused_subscribe_leaves_no_trace() -> None:
    connection = welcomed(subscriptions_max=1)
    for after in ("", "soon", f"{EPOCH}:-1", f"{EPOCH}:x", ":", "now:1"):
        assert refusal(said(connection, op="subscribe", stream=str(CHAT), after=after))["code"] == "bad_cursor"
    joined(connection)


def test_only_what_is_subscribed_to_can_be_talked_about() -> None:
    connection = welcomed()
    for frame in ({"op": "typing", "typing": True}, {"op": "read", "version": 1}, {"op": "unsubscribe"}):
        assert refusal(said(connection, **frame, stream=str(CHAT)))["code"] == "bad_request"
    joined(connection)
    assert said(connection, op="typing", stream=str(CHAT), message_id="m", typing=False) == [SendSignal(CHAT, "m", False)]
    assert said(connection, op="read", stream=str(CHAT), version=5) == [MarkRead(CHAT, 5)]


def test_a_thread_is_read_in_a_channel_alone() -> None:
    connection = welcomed()
    for stream in (CHAT, CHANNEL):
        said(connection, op="subscribe", stream=str(stream), after="start")
    read = {"op": "read", "version": 5, "message_id": "m"}
    assert said(connection, **read, stream=str(CHANNEL)) == [MarkThreadRead(CHANNEL, "m", 5)]
    assert refusal(said(connection, **read, stream=str(CHAT)))["code"] == "bad_request"
    long = {**read, "message_id": "m" * (ID_CHARACTERS_MAX + 1)}
    assert refusal(said(connection, **long, stream=str(CHANNEL)))["code"] == "bad_request"


def test_what_goes_to_everybody_in_a_stream_is_short() -> None:
    connection = welcomed()
    joined(connection)
    long = "x" * (ID_CHARACTERS_MAX + 1)
    assert refusal(said(connection, op="typing", stream=str(CHAT), message_id=long, typing=True))["code"] == "bad_request"
    assert said(connection, op="typing", stream=str(CHAT), message_id=long[1:], typing=True) == [SendSignal(CHAT, long[1:], True)]


def test_a_heartbeat_says_that_somebody_is_there() -> None:
    assert said(welcomed(), op="heartbeat") == [NoteActive()]


def test_a_follow_names_cursors_of_channels_only() -> None:
    channel = Stream("channel", UUID(int=0xC0))
    asked = said(welcomed(), op="follow", id=4, kind="channel", cursors={str(channel): f"{EPOCH}:7"}, snapshot=True)
    assert asked == [StartFollow(4, {channel: Cursor(EPOCH, 7)}, True)]
    assert refusal(said(welcomed(), op="follow", kind="chat"))["code"] == "bad_request"
    assert refusal(said(welcomed(), op="follow", kind="channel", cursors={str(CHAT): "start"}))["code"] == "bad_request"
    assert refusal(said(welcomed(), op="follow", kind="channel", cursors={str(channel): "7"}))["code"] == "bad_cursor"


def test_an_answer_and_a_chunk_name_a_call_and_nothing_of_them_is_looked_at_before() -> None:
    call_id = "0190AAAA-0000-7000-8000-000000000001"
    assert said(welcomed(), op="answer", call_id=call_id, data={"value": 1}) == [AnswerUserCall(UUID(call_id), {"value": 1})]
    assert said(welcomed(), op="chunk", call_id=call_id, seq=2**31 - 1, data="data: x") == [RelayChunk(UUID(call_id), 2**31 - 1, "data: x")]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"op": "answer", "call_id": "c"}, "call_not_found"),
        ({"op": "chunk", "call_id": "c", "seq": 0}, "call_not_found"),
        ({"op": "chunk", "call_id": "c", "seq": -1}, "bad_request"),
        ({"op": "chunk", "call_id": "c", "seq": 2**31}, "bad_request"),
        ({"op": "answer"}, "bad_request"),
    ],
)
def test_an_answer_that_names_no_call_is_refused(frame: dict[str, Any], code: str) -> None:
    assert refusal(said(welcomed(), **frame))["code"] == code


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "1", "[]", '"subscribe"', "\x00", '{"op": "read", "stream": 1}', "[" * 10_000, '{"op": "hello", "token": "\\ud800"}'],
)
def test_a_frame_that_cannot_be_understood_is_answered(text: str) -> None:
    assert refusal(welcomed().receive(text, 0.0))["code"] in ("bad_request", "unknown_op")


def test_a_refusal_carries_the_id_of_what_it_refuses_also_when_that_did_not_fit() -> None:
    connection = welcomed()
    assert refusal(said(connection, op="subscribe", id="a", stream=5, after="start"))["id"] == "a"
    assert refusal(said(connection, op="dance", id=4))["id"] == 4
    assert "id" not in refusal(said(connection, op="subscribe", id="a" * (ID_CHARACTERS_MAX + 1), stream=str(CHAT), after="start"))
    assert "id" not in refusal(said(connection, op="subscribe", id=[], stream=str(CHAT), after="start"))


def test_too_many_frames_end_the_connection_and_a_pause_makes_up_for_many() -> None:
    connection = welcomed()
    for _ in range(FRAMES_BURST):
        assert connection.receive('{"op":"heartbeat"}', 10.0) == [NoteActive()]
    (effect,) = connection.receive('{"op":"heartbeat"}', 10.0)
    assert isinstance(effect, Close)
    assert effect.code == 4429
    rested = welcomed()
    for second in range(100):
        for _ in range(FRAMES_PER_S):
            assert rested.receive('{"op":"heartbeat"}', float(second)) == [NoteActive()]


def test_a_follow_can_claim_what_is_not_subscribed_to_as_far_as_there_is_room() -> None:
    connection = welcomed(subscriptions_max=2)
    joined(connection)
    assert connection.claimable([CHAT, CHANNEL, OTHER]) == [CHANNEL]
    assert connection.claims(CHANNEL)
    assert connection.claimable([CHAT, CHANNEL, OTHER]) == []
