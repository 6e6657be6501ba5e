"""Events of a channel as Open WebUI's page gets them: what is on its screen after them is what the log says."""

import random
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, strategies

from api.dialects.open_webui.channel_envelopes import ChannelEnvelopes, Made
from api.dialects.open_webui.channel_offset import ChannelOffset, parse_offset
from domain.channel.facts import (
    ChannelChanged,
    ChannelCreated,
    MemberJoined,
    MessageChanged,
    MessagePosted,
    MessageRemoved,
    ReactionAdded,
    ReactionRemoved,
)
from domain.generation import BlockOpened, GenerationCancelled, MessageDelta, MessageStarted
from domain.log.codec import decode_event, encode, encode_actor
from domain.log.cursor import Cursor
from domain.log.event import Actor, Event, StoredEvent
from domain.log.stream import channel_stream
from projections.channel_message import ChannelMessage, channel_message, message_json
from tests.domain.histories import FEW
from tests.projections.test_chat import START

ANN, BEN = (UUID(int=number) for number in (1, 2))
CHANNEL, NODE = UUID(int=0xC0), UUID(int=0xD0)
ONE, TWO, THREE = (UUID(int=0x100 + number) for number in range(3))
IDS = [UUID(int=0x100 + number) for number in range(12)]
CREATED = Event(None, ChannelCreated("standard", ANN, "general"))
SHARED = {"id": str(CHANNEL), "name": "general", "type": None}


def stored(events: Sequence[Event[Any]]) -> list[StoredEvent]:
    by = encode_actor(Actor(ANN, "Ann", "user"))
    made = []
    for version, event in enumerate(events, 1):
        name, data = encode(event.data)
        made.append(StoredEvent(version, channel_stream(CHANNEL), version, name, event.message_id, by, data, START))
    return made


def message_at(rows: Sequence[StoredEvent], message_id: UUID, version: int) -> ChannelMessage:
    return channel_message(message_id, [row for row in rows[:version] if row.message_id == message_id])


def looks(rows: Sequence[StoredEvent], version: int) -> dict[str, dict[str, Any]]:
    """Every message that there is at a version, as routes answer it."""
    found = {}
    for message_id in dict.fromkeys(row.message_id for row in rows[:version] if row.message_id is not None):
        message = message_at(rows, message_id, version)
        if message.exists:
            replies = [row.message_id for row in rows[:version] if getattr(decode_event(row).data, "parent_id", None) == message_id]
            there = [one for one in dict.fromkeys(replies) if one is not None and message_at(rows, one, version).exists]
            found[str(message_id)] = {**message_json(message, CHANNEL), "reply_count": len(there), "reply_to_message": None}
    return found


def made_of(envelopes: ChannelEnvelopes, rows: Sequence[StoredEvent], after: int, until: int) -> list[Made]:
    step = rows[after:until]
    wanted = envelopes.wanted(step)
    all_looks = looks(rows, until)
    shown = {str(one): all_looks[str(one)] for one in wanted.messages if str(one) in all_looks}
    answers = {one: message_at(rows, one, until) for one in wanted.answers}
    return envelopes.of(step, shown, answers, SHARED)


def of(*events: Event[Any], after: int = 0) -> list[tuple[str, Any]]:
    """The envelopes of the events above a version, as ``(type, data)``."""
    rows = stored(events)
    envelopes = ChannelEnvelopes(CHANNEL)
    made = [*made_of(envelopes, rows, after, len(rows)), *envelopes.grown(SHARED)]
    assert {one.envelope["channel_id"] for one in made} <= {str(CHANNEL)}
    return [(one.envelope["data"]["type"], one.envelope["data"]["data"]) for one in made]


def posted(user_id: UUID, content: str, parent_id: UUID | None = None) -> MessagePosted:
    return MessagePosted(user_id, content, parent_id, temp_id="t")


def started() -> MessageStarted:
    return MessageStarted(None, "m", "m", ANN, NODE, fields={"user_id": str(BEN)})


def test_a_message_is_whole_and_says_who_wrote_it_where() -> None:
    rows = stored([CREATED, Event(ONE, posted(ANN, "hello"))])
    (made,) = made_of(ChannelEnvelopes(CHANNEL), rows, 1, 2)
    envelope = made.envelope
    assert (made.version, envelope["message_id"], envelope["data"]["type"]) == (2, str(ONE), "message")
    assert (envelope["data"]["data"]["content"], envelope["data"]["data"]["temp_id"]) == ("hello", "t")
    assert (envelope["user"]["name"], envelope["channel"]) == ("Ann", SHARED)


def test_a_reply_counts_at_the_message_that_it_is_below() -> None:
    rows = [CREATED, Event(ONE, posted(ANN, "a")), Event(TWO, posted(BEN, "b", ONE))]
    assert [(kind, data["id"], data["reply_count"]) for kind, data in of(*rows, after=2)] == [
        ("message", str(TWO), 0),
        ("message:reply", str(ONE), 1),
    ]
    removed = of(*rows, Event(TWO, MessageRemoved(ONE)), after=3)
    assert [(kind, data["id"], data.get("reply_count")) for kind, data in removed] == [
        ("message:delete", str(TWO), None),
        ("message:reply", str(ONE), 0),
    ]


def test_changes_are_the_whole_message_anew() -> None:
    rows = [CREATED, Event(ONE, posted(ANN, "a"))]
    assert of(*rows, Event(ONE, MessageChanged({"content": "b"})), after=2)[0][1]["content"] == "b"
    (added,) = of(*rows, Event(ONE, ReactionAdded("tada", BEN)), after=2)
    assert (added[0], added[1]["reactions"][0]["name"]) == ("message:reaction:add", "tada")
    (removed,) = of(*rows, Event(ONE, ReactionAdded("tada", BEN)), Event(ONE, ReactionRemoved("tada", BEN)), after=3)
    assert (removed[0], removed[1]["reactions"]) == ("message:reaction:remove", [])


def test_nothing_is_said_of_a_message_that_is_gone_by_then() -> None:
    gone = of(
        CREATED, Event(ONE, posted(ANN, "secret")), Event(ONE, MessageChanged({"content": "x"})), Event(ONE, MessageRemoved()), after=1
    )
    assert gone == [("message:delete", {"id": str(ONE), "parent_id": None})]


def test_an_answer_grows_as_a_whole() -> None:
    rows = stored(
        [CREATED, Event(ONE, started()), Event(ONE, BlockOpened(0, "text")), *(Event(ONE, MessageDelta(0, one)) for one in "abc")]
    )
    envelopes = ChannelEnvelopes(CHANNEL)
    (begun,) = made_of(envelopes, rows, 1, 2)
    assert (begun.envelope["data"]["type"], begun.envelope["data"]["data"]["content"]) == ("message", "")
    assert made_of(envelopes, rows, 2, 4) == []
    assert made_of(envelopes, rows, 4, 6) == []
    (grown,) = envelopes.grown(SHARED)
    assert (grown.cursor, grown.envelope["data"]["type"], grown.envelope["data"]["data"]["content"]) == (6, "message:update", "abc")
    assert envelopes.grown(SHARED) == []


def test_an_answer_that_had_begun_before_is_taken_up_with_its_text() -> None:
    rows = [CREATED, Event(ONE, started()), Event(ONE, BlockOpened(0, "text")), Event(ONE, MessageDelta(0, "so "))]
    assert of(*rows, Event(ONE, MessageDelta(0, "far")), after=4)[0][1]["content"] == "so far"


def test_a_new_name_makes_the_page_read_its_list_and_members_do_not() -> None:
    assert [kind for kind, _ in of(CREATED, Event(None, ChannelChanged(name="x")), after=1)] == ["channel:created"]
    assert of(CREATED, Event(None, MemberJoined(BEN)), after=1) == []


@pytest.mark.parametrize("text", ["", "x", "now", "/", f"{CHANNEL}/now", f"{CHANNEL}/{NODE}:x", f"x/{NODE}:1", None, 7, "1" * 500])
def test_an_offset_that_is_none_is_none(text: Any) -> None:
    assert parse_offset(text) is None
    offset = ChannelOffset(CHANNEL, Cursor(NODE, 7))
    assert parse_offset(str(offset)) == offset


class Screen:
    """What a page shows of a channel and of one open thread, by the rules of its own code: a message takes the place of its like."""

    def __init__(self, looks: Mapping[str, Mapping[str, Any]]) -> None:
        self.messages: dict[str, Mapping[str, Any]] = dict(looks)

    def take(self, envelope: Any) -> None:
        kind, data = envelope["data"]["type"], envelope["data"]["data"]
        match kind:
            case "message":
                self.messages[data["id"]] = {**self.messages.get(data["id"], {}), **data}
            case "message:delete":
                self.messages.pop(data["id"], None)
            case "message:update" | "message:reply" | "message:reaction:add" | "message:reaction:remove":
                if data["id"] in self.messages:
                    self.messages[data["id"]] = {**self.messages[data["id"]], **data}
            case _:
                pass

    def shown(self) -> dict[str, Any]:
        keys = ("content", "reactions", "reply_count", "is_pinned")
        return {one: {key: message[key] for key in keys} for one, message in self.messages.items()}


def random_history(choose: random.Random, length: int) -> list[Event[Any]]:
    events: list[Event[Any]] = [CREATED]
    free, roots, there, going = list(IDS), list[UUID](), list[UUID](), list[UUID]()
    while len(events) < length:
        match choose.randrange(7):
            case 0 | 1 if free:
                one, parent = free.pop(), choose.choice([None, *(root for root in roots if root in there)])
                roots += [one] if parent is None else []
                there.append(one)
                if choose.random() < 0.4:
                    going.append(one)
                    events.append(Event(one, MessageStarted(parent, "m", "m", ANN, NODE, fields={"user_id": str(BEN)})))
                    events.append(Event(one, BlockOpened(0, choose.choice(("text", "text", "reasoning")))))
                else:
                    events.append(Event(one, posted(choose.choice((ANN, BEN)), f"said {len(events)}", parent)))
            case 2 if going:
                events.append(Event(choose.choice(going), MessageDelta(0, f"token {len(events)} ")))
            case 3 if going:
                one = going.pop()
                so_far = channel_message(one, [row for row in stored(events) if row.message_id == one]).text
                events.append(Event(one, GenerationCancelled(ANN, so_far)))
            case 4 if quiet := [one for one in there if one not in going]:
                events.append(Event(choose.choice(quiet), MessageChanged({"content": f"edited {len(events)}"})))
            case 5 if quiet := [one for one in there if one not in going]:
                if choose.random() < 0.3:
                    one = choose.choice(quiet)
                    there.remove(one)
                    parent = next(
                        fact.parent_id for fact in (event.data for event in events if event.message_id == one) if hasattr(fact, "parent_id")
                    )
                    events.append(Event(one, MessageRemoved(parent)))
            case 6 if there:
                events.append(
                    Event(choose.choice(there), choose.choice((ReactionAdded, ReactionRemoved))("tada", choose.choice((ANN, BEN))))
                )
            case _:
                if not (free or going or there):
                    break
    return events


@given(strategies.integers(0, 2**32), strategies.integers(1, 40))
@FEW
def test_what_is_on_the_screen_is_what_the_log_says(seed: int, length: int) -> None:
    """Whenever the page opened the channel, however the events came together, and wherever it was cut and came back with its cursor."""
    choose = random.Random(seed)
    rows = stored(random_history(choose, length))
    at = choose.randint(0, len(rows))
    screen, envelopes = Screen(looks(rows, at)), ChannelEnvelopes(CHANNEL)
    offset = at
    while at < len(rows):
        until = min(at + choose.randint(1, 6), len(rows))
        made = made_of(envelopes, rows, at, until)
        if choose.random() < 0.5:
            made += envelopes.grown(SHARED)
        if choose.random() < 0.2:  # cut off after some of them: the rest is lost, and it goes on from its offset
            for one in made[: choose.randint(0, len(made))]:
                screen.take(one.envelope)
                offset = one.cursor or offset
            at, envelopes = offset, ChannelEnvelopes(CHANNEL)
            continue
        for one in made:
            screen.take(one.envelope)
            offset = one.cursor or offset
        at = until
    for one in envelopes.grown(SHARED):
        screen.take(one.envelope)
    assert screen.shown() == Screen(looks(rows, len(rows))).shown()
