"""Who is there: the rules alone, tick by tick, and once through two servers."""

import json
from collections.abc import Collection
from uuid import UUID, uuid4

import pytest

from api.streams.presence import FORGOTTEN_TICKS, GRACE_TICKS, IDS_OF_A_FRAME, IDS_OF_A_SIGNAL, REFRESH_TICKS, TICK_S, Presence
from tests.api.channels.test_channels import BASE, made
from tests.api.channels.test_live import followed
from tests.api.conftest import Running, on_one_and_two

ANN, BEN = UUID(int=1), UUID(int=2)


class Process:
    """One process with its connected accounts. Signals go to ``others`` at once."""

    def __init__(self) -> None:
        self.here: set[UUID] = set()
        self.told: list[tuple[list[UUID], list[UUID]]] = []
        self.relayed: list[bytes] = []
        self.others: list[Process] = []
        self.presence = Presence(uuid4(), lambda: self.here, self.relay, self.deliver)

    def relay(self, signal: bytes) -> None:
        self.relayed.append(signal)
        for other in self.others:
            other.presence.on_signal(json.loads(signal))

    def deliver(self, present: Collection[UUID], absent: Collection[UUID]) -> None:
        self.told.append((list(present), list(absent)))

    def ticks(self, count: int) -> None:
        for _ in range(count):
            self.presence.tick()


def connected() -> tuple[Process, Process]:
    one, two = Process(), Process()
    one.others, two.others = [two], [one]
    return one, two


def test_who_comes_and_goes_is_told_everywhere_once() -> None:
    one, two = connected()
    one.here.add(ANN)
    for process in (one, two, one, two):
        process.ticks(1)
    assert one.told == two.told == [([ANN], [])]
    one.here.clear()
    one.ticks(GRACE_TICKS + 1)
    two.ticks(1)
    assert one.told[1:] == two.told[1:] == [([], [ANN])]


def test_a_page_that_is_loaded_anew_does_not_come_and_go() -> None:
    one = Process()
    one.here.add(ANN)
    one.ticks(1)
    one.here.clear()
    one.ticks(GRACE_TICKS)
    one.here.add(ANN)
    one.ticks(GRACE_TICKS + 2)
    assert one.told == [([ANN], [])]


def test_who_is_at_two_processes_is_there_until_both_are_left() -> None:
    one, two = connected()
    one.here.add(ANN)
    two.here.add(ANN)
    one.ticks(1)
    two.ticks(1)
    one.here.clear()
    one.ticks(GRACE_TICKS + 2)
    assert one.presence.is_present(ANN)
    assert two.presence.is_present(ANN)
    two.here.clear()
    two.ticks(GRACE_TICKS + 1)
    one.ticks(1)
    assert one.told == [([ANN], []), ([], [ANN])]


def test_a_process_that_begins_is_told_who_all_are_there() -> None:
    one = Process()
    one.here.add(ANN)
    one.ticks(REFRESH_TICKS + 1)
    two = Process()
    one.others, two.others = [two], [one]
    two.ticks(1)
    one.ticks(1)
    assert two.presence.is_present(ANN)


def test_who_was_at_a_process_that_is_gone_without_a_word_is_forgotten() -> None:
    one, two = connected()
    one.here.add(ANN)
    one.ticks(1)
    two.ticks(FORGOTTEN_TICKS)
    assert two.presence.is_present(ANN)
    two.ticks(2)
    assert not two.presence.is_present(ANN)
    assert two.told == [([ANN], []), ([], [ANN])]


def test_a_process_that_ends_says_so() -> None:
    one, two = connected()
    one.here.add(ANN)
    one.ticks(1)
    one.presence.close()
    two.ticks(1)
    assert not two.presence.is_present(ANN)


def test_a_thousand_who_come_and_go_cost_a_frame_a_tick_of_bounded_size() -> None:
    one = Process()
    thousand = {UUID(int=number) for number in range(1, 1_001)}
    ticks = round(60 / TICK_S)
    for tick in range(ticks):
        one.here = thousand if tick % 10 < 5 else set()
        one.ticks(1)
    assert len(one.told) <= ticks <= 100
    assert max(len(present) + len(absent) for present, absent in one.told) <= IDS_OF_A_FRAME
    assert max(map(len, one.relayed)) < 7_900 - 100
    assert IDS_OF_A_SIGNAL >= IDS_OF_A_FRAME


@pytest.mark.anyio
@on_one_and_two
async def test_those_who_share_a_channel_hear_of_each_other_and_no_one_else_does(server: Running) -> None:
    _, ada, bob, cat = [await server.sign_up(name) for name in ("Admin", "Ada", "Bob", "Cat")]
    channel_id, alone = await made(ada, bob), await made(cat)
    theirs = await followed(server, ada, channel_id)
    others = await followed(server, cat, alone)
    gone = await followed(server, bob, channel_id)
    heard = await theirs.op("ephemeral", stream=f"user/{ada.id}")
    assert heard["data"] == {"type": "presence", "data": {"present": [bob.id], "absent": []}, "message_id": None}
    [listed] = [one for one in (await ada.get(f"{BASE}/{channel_id}/members")).json()["users"] if one["id"] == bob.id]
    assert listed["is_active"] is True
    await gone.socket.close()
    heard = await theirs.op("ephemeral", stream=f"user/{ada.id}")
    assert heard["data"]["data"] == {"present": [], "absent": [bob.id]}
    await others.say(op="subscribe", id=2, stream="chat/none", after="now")
    await others.op("error", id=2)
    assert not any(frame["op"] == "ephemeral" for frame in others.frames)
