"""The pure core: whatever happens to connections and frames, each event comes out once and in order."""

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenograph_client import (
    AccessEnded,
    AlreadyFollowed,
    CaughtUp,
    ChannelLeft,
    EpochChanged,
    Event,
    GapNotRepaired,
    Snapshot,
    SubscriptionRefused,
)
from stenograph_client.events import Frame, decode_frame
from stenograph_client.session import GAPS_MAX, Again, Deliver, End, Out, Send, Session, Track
from tests.client.world import CHAT, EPOCH, OTHER_EPOCH, SECOND, wire


def frame(op: str, **fields: Any) -> Frame:
    decoded = decode_frame(msgspec.json.encode({"op": op, **fields}))
    assert decoded is not None
    return decoded


def subscribed(track: Track, *, epoch: str = EPOCH, head: int = 100, replay: str = "suffix") -> Frame:
    return frame("subscribed", id=track.asked_id, stream=track.stream, epoch=epoch, head=head, replay=replay)


def events(versions: Iterable[int], stream: str = CHAT) -> Frame:
    return frame("events", stream=stream, events=[wire(stream, version) for version in versions])


def welcomed() -> Session:
    session = Session()
    list(session.receive(frame("welcome", epoch=EPOCH)))
    return session


def sent(outs: Iterable[Out]) -> list[dict[str, Any]]:
    return [dict(out.frame) for out in outs if isinstance(out, Send)]


def versions(outs: Iterable[Out]) -> list[int]:
    return [out.item.version for out in outs if isinstance(out, Deliver) and isinstance(out.item, Event)]


def ends(outs: Iterable[Out]) -> list[Exception]:
    return [out.error for out in outs if isinstance(out, End)]


def live(after: str = "start", **options: Any) -> tuple[Session, Track]:
    session = welcomed()
    track, _ = session.follow(CHAT, after, **options)
    list(session.receive(subscribed(track)))
    return session, track


# --------------------------------------------------------------------------------------------------------------- rules


def test_events_come_out_as_they_come_in() -> None:
    session, track = live()
    assert versions(session.receive(events([1, 2, 3]))) == [1, 2, 3]
    assert str(track.cursor) == f"{EPOCH}:3"


def test_an_event_of_which_something_is_left_out_says_so() -> None:
    session, _ = live()
    redacted = frame("events", stream=CHAT, events=[wire(CHAT, 1) | {"redacted": True}, wire(CHAT, 2)])
    delivered = [out.item for out in session.receive(redacted) if isinstance(out, Deliver)]
    assert [one.redacted for one in delivered if isinstance(one, Event)] == [True, False]


def test_a_repeat_is_dropped() -> None:
    session, track = live()
    list(session.receive(events([1, 2])))
    assert versions(session.receive(events([1, 2, 3]))) == [3]
    assert track.repeats == 2


def test_a_gap_is_asked_for_again_and_what_follows_it_is_not_delivered() -> None:
    session, track = live()
    outs = list(session.receive(events([1, 3, 4])))
    assert versions(outs) == [1]
    assert [one["op"] for one in sent(outs)] == ["unsubscribe"]
    assert versions(session.receive(events([5]))) == []
    again = sent(session.receive(frame("unsubscribed", stream=CHAT, code="asked", reason="")))
    assert [(one["op"], one["after"]) for one in again] == [("subscribe", f"{EPOCH}:1")]
    list(session.receive(subscribed(track)))
    assert versions(session.receive(events([2, 3, 4, 5]))) == [2, 3, 4, 5]


def test_a_caught_up_above_the_cursor_is_a_gap() -> None:
    session, _ = live()
    list(session.receive(events([1])))
    assert [one["op"] for one in sent(session.receive(frame("caught_up", stream=CHAT, version=2)))] == ["unsubscribe"]


def test_a_gap_that_stays_ends_the_follow() -> None:
    session, track = live()
    for _ in range(GAPS_MAX):
        assert ends(session.receive(events([2]))) == []
        list(session.receive(frame("unsubscribed", stream=CHAT, code="asked", reason="")))
        list(session.receive(subscribed(track)))
    (failure,) = ends(session.receive(events([2])))
    assert isinstance(failure, GapNotRepaired)
    assert (failure.expected, failure.received) == (1, 2)


def test_a_lost_connection_resumes_from_the_cursor() -> None:
    session, _ = live()
    list(session.receive(events([1, 2])))
    session.cut()
    (again,) = sent(session.receive(frame("welcome", epoch=EPOCH)))
    assert again["after"] == f"{EPOCH}:2"


def test_a_loss_before_any_event_was_seen_resumes_from_the_head_that_was_named() -> None:
    session, _ = live(after="now")  # subscribed with head 100
    session.cut()
    (again,) = sent(session.receive(frame("welcome", epoch=EPOCH)))
    assert again["after"] == f"{EPOCH}:100"


def test_a_second_loss_keeps_the_cursor() -> None:
    session, _ = live()
    list(session.receive(events([1])))
    for _ in range(3):
        session.cut()
        (again,) = sent(session.receive(frame("welcome", epoch=EPOCH)))
    assert again["after"] == f"{EPOCH}:1"


def test_another_history_ends_the_follow() -> None:
    session = welcomed()
    track, _ = session.follow(CHAT, f"{EPOCH}:7")
    (failure,) = ends(session.receive(subscribed(track, epoch=OTHER_EPOCH, replay="snapshot")))
    assert isinstance(failure, EpochChanged)
    assert (failure.had, failure.epoch, failure.head) == (f"{EPOCH}:7", OTHER_EPOCH, 100)


def test_a_cursor_above_the_head_ends_the_follow() -> None:
    session = welcomed()
    track, _ = session.follow(CHAT, f"{EPOCH}:7")
    assert [type(one) for one in ends(session.receive(subscribed(track, head=6, replay="snapshot")))] == [EpochChanged]


def test_another_history_is_taken_up_with_its_snapshot_where_that_is_asked_for() -> None:
    session = welcomed()
    track, _ = session.follow(CHAT, f"{EPOCH}:7", epoch_change="snapshot")
    list(session.receive(subscribed(track, epoch=OTHER_EPOCH, head=3, replay="snapshot")))
    (out,) = session.receive(frame("snapshot", stream=CHAT, version=3, state={"a": 1}, page=1, pages=1))
    assert isinstance(out, Deliver)
    assert out.item == Snapshot(CHAT, OTHER_EPOCH, 3, {"a": 1}, "")
    assert versions(session.receive(events([4]))) == [4]
    assert str(track.cursor) == f"{OTHER_EPOCH}:4"


def test_a_snapshot_in_pages_is_one_item() -> None:
    session = welcomed()
    track, (ask,) = session.follow(CHAT, "start", snapshot=True)
    assert sent([ask])[0]["snapshot"] is True
    list(session.receive(subscribed(track, head=3, replay="snapshot")))
    assert list(session.receive(frame("snapshot", stream=CHAT, version=3, state='{"a":', page=1, pages=2))) == []
    (out,) = session.receive(frame("snapshot", stream=CHAT, version=3, state="1}", page=2, pages=2))
    assert isinstance(out, Deliver)
    assert isinstance(out.item, Snapshot)
    assert out.item.state == {"a": 1}


def test_a_snapshot_that_was_cut_begins_anew() -> None:
    session = welcomed()
    track, _ = session.follow(CHAT, "start", snapshot=True)
    list(session.receive(subscribed(track, head=3, replay="snapshot")))
    list(session.receive(frame("snapshot", stream=CHAT, version=3, state='{"a":', page=1, pages=2)))
    session.cut()
    (again,) = sent(session.receive(frame("welcome", epoch=EPOCH)))
    assert (again["after"], again["snapshot"]) == ("start", True)


def test_events_of_a_subscription_that_we_did_not_ask_for_are_not_taken() -> None:
    session = welcomed()
    track, _ = session.follow(CHAT, "start")
    list(session.receive(frame("subscribed", id=None, stream=CHAT, epoch=EPOCH, head=9, replay="suffix")))
    assert versions(session.receive(events([10]))) == []
    list(session.receive(subscribed(track, head=10)))
    assert versions(session.receive(events([1]))) == [1]


def test_an_ended_access_ends_the_follow() -> None:
    session, _ = live()
    (failure,) = ends(session.receive(frame("unsubscribed", stream=CHAT, code="access_ended", reason="no longer shared")))
    assert isinstance(failure, AccessEnded)
    assert (failure.code, failure.reason) == ("access_ended", "no longer shared")


def test_a_refused_subscription_ends_the_follow() -> None:
    session = welcomed()
    track, _ = session.follow(CHAT, "start")
    (failure,) = ends(session.receive(frame("error", id=track.asked_id, code="stream_not_found", detail="no stream")))
    assert isinstance(failure, SubscriptionRefused)


def test_a_log_that_is_away_just_now_is_asked_again() -> None:
    session = welcomed()
    track, _ = session.follow(CHAT, "start")
    (out,) = session.receive(frame("error", id=track.asked_id, code="log_unavailable", detail="Postgres is silent"))
    assert out == Again(track)
    assert [one["op"] for one in sent(session.ask_again(track))] == ["subscribe"]


def test_a_stream_is_followed_once() -> None:
    session, _ = live()
    with pytest.raises(AlreadyFollowed):
        session.follow(CHAT, "start")


def test_a_stream_that_was_left_is_asked_for_again_only_after_the_server_has_confirmed() -> None:
    session, first = live()
    assert [one["op"] for one in sent(session.unfollow(first))] == ["unsubscribe"]
    second, outs = session.follow(CHAT, "start")
    assert outs == []
    assert versions(session.receive(events([1]))) == []  # meant for the first
    assert [one["op"] for one in sent(session.receive(frame("unsubscribed", stream=CHAT, code="asked")))] == ["subscribe"]
    list(session.receive(subscribed(second)))
    (out,) = session.receive(events([1]))
    assert isinstance(out, Deliver)
    assert out.track is second


def test_caught_up_is_said_with_its_cursor() -> None:
    session, _ = live()
    list(session.receive(events([1])))
    (out,) = session.receive(frame("caught_up", stream=CHAT, version=1))
    assert isinstance(out, Deliver)
    assert out.item == CaughtUp(CHAT, EPOCH, 1)


@pytest.mark.parametrize("raw", ['{"op": "news", "of": "tomorrow"}', '{"op": "ephemeral", "stream": "x", "user": 1, "data": {}}'])
def test_what_a_later_server_may_say_is_passed_over(raw: str) -> None:
    decoded = decode_frame(raw)
    assert decoded is None or list(welcomed().receive(decoded)) == []


@pytest.mark.parametrize("raw", ["", "{", "[]", '"x"', '{"op": "events", "stream": 3}', '{"op": "subscribed"}'])
def test_what_is_no_frame_is_said_so(raw: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_frame(raw)


@pytest.mark.parametrize("cursor", ["", "7", ":7", "epoch:", "epoch:-1", "epoch:x", "epoch:٣"])
def test_a_malformed_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(ValueError, match="expected a cursor"):
        Session().follow(CHAT, cursor)


# ---------------------------------------------------------------------------------------------------------- properties


class Model:
    """A server as simple as can be: one connection, its subscriptions as cursors."""

    def __init__(self, session: Session, heads: dict[str, int]) -> None:
        self.session, self.heads = session, heads
        self.at: dict[str, int] = {}
        self.connected = False
        self.delivered: dict[str, list[int]] = {stream: [] for stream in heads}
        self.failures: list[Exception] = []

    def hand(self, answer: Frame) -> None:
        self.do(list(self.session.receive(answer)))

    def do(self, outs: list[Out]) -> None:
        for out in outs:
            match out:
                case Deliver(track=track, item=Event(version=version)):
                    self.delivered[track.stream].append(version)
                case End(error=error):
                    self.failures.append(error)
                case Send(frame=asked):
                    self.answer(dict(asked))
                case _:
                    pass

    def answer(self, asked: dict[str, Any]) -> None:
        if not self.connected:
            return  # sent into a dead socket
        stream = asked["stream"]
        if asked["op"] == "unsubscribe":
            known = self.at.pop(stream, None)
            if known is None:
                self.hand(frame("error", id=asked["id"], code="bad_request", detail="not subscribed"))
            else:
                self.hand(frame("unsubscribed", stream=stream, code="asked", reason=""))
            return
        assert stream not in self.at
        after = asked["after"]
        self.at[stream] = 0 if after == "start" else int(after.rpartition(":")[2])
        self.hand(frame("subscribed", id=asked["id"], stream=stream, epoch=EPOCH, head=self.heads[stream], replay="suffix"))

    def cut(self) -> None:
        self.connected = False
        self.at.clear()
        self.session.cut()

    def connect(self) -> None:
        if not self.connected:
            self.connected = True
            self.hand(frame("welcome", epoch=EPOCH))

    def push(self, stream: str, count: int, fault: str) -> None:
        """The next ``count`` events, with a fault in them."""
        if stream not in self.at:
            return
        at = self.at[stream]
        numbers = list(range(at + 1, min(at + count, self.heads[stream]) + 1))
        self.at[stream] = numbers[-1] if numbers else at
        match fault:
            case "repeat":
                numbers = [*range(max(1, at - 2), at + 1), *numbers]
            case "leave out the first":
                numbers = numbers[1:]
            case "leave out one":
                numbers = [*numbers[:1], *numbers[2:]]
            case "twice":
                numbers = [number for number in numbers for _ in range(2)]
            case _:
                pass
        if numbers:
            self.hand(events(numbers, stream))


def steps() -> st.SearchStrategy[list[tuple[Any, ...]]]:
    faults = st.sampled_from(["none", "none", "repeat", "leave out the first", "leave out one", "twice"])
    streams = st.sampled_from([CHAT, SECOND])
    return st.lists(
        st.one_of(
            st.tuples(st.just("push"), streams, st.integers(1, 7), faults),
            st.tuples(st.just("cut")),
            st.tuples(st.just("connect")),
            st.tuples(st.just("let go"), streams),
            st.tuples(st.just("take up"), streams),
            st.tuples(st.just("append"), streams, st.integers(1, 5)),
        ),
        max_size=60,
    )


@given(steps())
def test_whatever_happens_each_event_comes_out_once_and_in_order(script: list[tuple[Any, ...]]) -> None:
    session, heads = Session(), {CHAT: 10, SECOND: 5}
    model = Model(session, heads)
    tracks = {stream: session.follow(stream, "start")[0] for stream in heads}
    for step in script:
        match step:
            case ("push", stream, count, fault):
                model.push(stream, count, fault)
            case ("cut",):
                model.cut()
            case ("connect",):
                model.connect()
            case ("let go", stream):
                model.do(session.let_go(tracks[stream]))
            case ("take up", stream):
                model.do(session.take_up(tracks[stream]))
            case ("append", stream, count):
                heads[stream] += count
            case _:
                raise AssertionError(step)
        for stream in heads:
            assert model.delivered[stream] == list(range(1, len(model.delivered[stream]) + 1))
    # A server that is well again gives everything there is. Only one that left events out, time and again, has lost its follower.
    model.connect()
    for stream, track in tracks.items():
        model.do(session.take_up(track))
        for _ in range(heads[stream] + GAPS_MAX):
            model.push(stream, heads[stream], "none")
        failed = [failure for failure in model.failures if isinstance(failure, GapNotRepaired) and failure.stream == stream]
        assert failed or model.delivered[stream] == list(range(1, heads[stream] + 1))
    assert all(isinstance(failure, GapNotRepaired) for failure in model.failures)


@pytest.mark.parametrize("cut_at", range(13))
def test_cut_at_any_event_each_comes_once(cut_at: int) -> None:
    model = Model(Session(), {CHAT: 12})
    model.session.follow(CHAT, "start")
    model.connect()
    for _ in range(cut_at):
        model.push(CHAT, 1, "none")
    model.cut()
    model.connect()
    for _ in range(12):
        model.push(CHAT, 1, "none")
    assert model.delivered[CHAT] == list(range(1, 13))


# ------------------------------------------------------------------------------------------------------------ channels

ROOM, HALL = ("channel/0190eeee-0000-7000-8000-00000000000" + one for one in "56")


def items(outs: Iterable[Out]) -> list[Any]:
    return [out.item for out in outs if isinstance(out, Deliver)]


def begun(stream: str, asked_id: str, head: int = 0, replay: str = "suffix") -> Frame:
    return frame("subscribed", id=asked_id, stream=stream, epoch=EPOCH, head=head, replay=replay)


def test_channels_that_have_a_cursor_are_asked_for_before_all_others() -> None:
    session = welcomed()
    channels, outs = session.follow_channels({ROOM: f"{EPOCH}:4"})
    asked, follow = sent(outs)
    assert (asked["op"], asked["stream"], asked["after"]) == ("subscribe", ROOM, f"{EPOCH}:4")
    assert follow == {"op": "follow", "id": channels.asked_id, "kind": "channel", "snapshot": False}
    list(session.receive(begun(ROOM, asked["id"], 6)))
    list(session.receive(begun(HALL, channels.asked_id, 2)))
    assert versions(session.receive(events([5, 6], ROOM))) == [5, 6]
    assert versions(session.receive(events([3], HALL))) == [3]
    session.cut()
    again = sent(session.receive(frame("welcome", epoch=EPOCH)))
    assert [(one["op"], one.get("stream"), one.get("after")) for one in again] == [
        ("subscribe", ROOM, f"{EPOCH}:6"),
        ("subscribe", HALL, f"{EPOCH}:3"),
        ("follow", None, None),
    ]


def test_a_channel_that_may_not_be_read_any_more_ends_alone_and_may_begin_again() -> None:
    session = welcomed()
    channels, outs = session.follow_channels({ROOM: "start"})
    [asked, _] = sent(outs)
    refused = frame("error", id=asked["id"], code="stream_not_found", detail="there is none")
    assert items(session.receive(refused)) == [ChannelLeft(ROOM, "stream_not_found", "there is none")]
    list(session.receive(begun(HALL, channels.asked_id, 2)))
    ended = frame("unsubscribed", stream=HALL, code="access_ended", reason="you left")
    assert items(session.receive(ended)) == [ChannelLeft(HALL, "access_ended", "you left")]
    assert versions(session.receive(events([3], HALL))) == []
    list(session.receive(begun(HALL, channels.asked_id, 7)))
    assert versions(session.receive(events([8], HALL))) == [8]


def test_a_channel_that_begins_later_begins_with_its_state_where_that_is_wanted() -> None:
    session = welcomed()
    channels, _ = session.follow_channels({}, snapshot=True)
    list(session.receive(begun(ROOM, channels.asked_id, 9, "snapshot")))
    [state] = items(session.receive(frame("snapshot", stream=ROOM, version=9, state={"name": "a"}, page=1, pages=1)))
    assert (state.stream, state.version, state.state) == (ROOM, 9, {"name": "a"})
    assert versions(session.receive(events([10], ROOM))) == [10]


def test_after_the_end_of_the_follow_channels_that_still_come_are_left() -> None:
    session = welcomed()
    channels, _ = session.follow_channels({})
    with pytest.raises(AlreadyFollowed):
        session.follow_channels({})
    list(session.receive(begun(ROOM, channels.asked_id)))
    assert [one["op"] for one in sent(session.unfollow_channels(channels))] == ["unsubscribe"]
    assert sent(session.receive(begun(HALL, channels.asked_id))) == [{"op": "unsubscribe", "stream": HALL}]
    assert versions(session.receive(events([1], HALL))) == []
    list(session.receive(frame("unsubscribed", stream=ROOM, code="asked")))
    assert session.tracks == {}
    session.follow_channels({})


def test_a_follow_of_channels_that_is_refused_says_so() -> None:
    session = welcomed()
    channels, _ = session.follow_channels({})
    busy = frame("error", id=channels.asked_id, code="unavailable", detail="soon")
    [again] = session.receive(busy)
    assert isinstance(again, Again)
    assert [one["op"] for one in sent(session.ask_again(channels))] == ["follow"]
    refused = frame("error", id=channels.asked_id, code="too_many_subscriptions", detail="too many")
    [failed] = ends(session.receive(refused))
    assert isinstance(failed, SubscriptionRefused)
