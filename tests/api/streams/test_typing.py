"""Who is shown as typing, and for how long: the rules alone, by a clock of the test's own."""

import json
from typing import Any
from uuid import UUID

from api.streams.typing import REPEAT_S, SILENCE_S, STARTS_BURST, STARTS_PER_S, Typing
from domain.log.stream import Stream, channel_stream

ROOM, OTHER = channel_stream(UUID(int=1)), channel_stream(UUID(int=2))
ANN = {"id": str(UUID(int=0xA)), "name": "Ann", "role": "user"}


def person(number: int) -> dict[str, Any]:
    return {"id": str(UUID(int=number)), "name": "x", "role": "user"}


class Process:
    """One process, and what its clients and the other processes are told."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.told: list[tuple[Stream, str, bool]] = []
        self.relayed: list[bytes] = []
        self.typing = Typing(self.deliver, self.relayed.append, lambda: self.now_s)

    def deliver(self, stream: Stream, user_id: str, framed: bytes) -> None:
        said = json.loads(framed[framed.index(b"{") :])
        assert said["op"] == "ephemeral"
        assert said["user"]["id"] == user_id
        self.told.append((stream, user_id, said["data"]["data"]["typing"]))

    def say(
        self, typing: bool, user: dict[str, Any] = ANN, stream: Stream = ROOM, origin: object = "tab", thread: str | None = None
    ) -> None:
        self.typing.say(origin, stream, user, thread, typing=typing)

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.typing.tick()

    @property
    def last(self) -> list[bool]:
        """What was told, and is forgotten by being read."""
        told, self.told = self.told, []
        return [typing for _, _, typing in told]


def test_it_ends_where_it_is_said_so() -> None:
    one = Process()
    one.say(True)
    one.say(False)
    one.say(False)
    assert one.last == [True, False]


def test_it_ends_by_itself_after_a_silence() -> None:
    one = Process()
    one.say(True)
    one.wait(SILENCE_S - 1)
    assert one.last == [True]
    one.say(True)
    one.wait(SILENCE_S - 1)
    one.wait(1)
    assert one.last == [True, False]
    one.wait(SILENCE_S)
    assert one.last == []


def test_it_ends_with_the_connection() -> None:
    one = Process()
    one.say(True, origin="first")
    one.say(True, user=person(2), origin="second")
    one.typing.connection_ended("first")
    assert one.last == [True, True, False]


def test_every_keystroke_is_one_frame_in_a_while() -> None:
    one = Process()
    for _ in range(100):
        one.say(True)
    assert one.last == [True]
    one.now_s += REPEAT_S
    one.say(True)
    assert one.last == [True]


def test_threads_are_apart() -> None:
    one = Process()
    one.say(True)
    one.say(True, thread="t")
    one.say(False, thread="t")
    assert one.last == [True, True, False]


def test_a_thousand_who_type_cost_a_bounded_number_of_frames() -> None:
    one = Process()
    for round_ in range(60):
        for number in range(1_000):
            one.say(round_ % 2 == 0, user=person(number + 1))
        one.wait(1)
    assert len(one.told) <= 2 * (STARTS_BURST + 60 * STARTS_PER_S)
    one.say(True, stream=OTHER)
    assert one.told[-1][0] == OTHER


def test_other_processes_hear_of_both_ends_and_end_it_by_themselves_where_the_first_is_gone() -> None:
    one, two = Process(), Process()
    one.say(True)
    two.typing.on_signal(json.loads(one.relayed.pop()))
    one.say(False)
    two.typing.on_signal(json.loads(one.relayed.pop()))
    assert two.last == [True, False]
    one.say(True)
    two.typing.on_signal(json.loads(one.relayed.pop()))
    two.wait(SILENCE_S)
    assert two.last == [True, False]
    assert two.relayed == []
