"""``Deadline`` serves many waits by one timer, and passes at the deadline that was set last."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from adapters.deadline import NEVER, Deadline


class ScriptedTimer:
    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call = call
        self.is_over = False

    def cancel(self) -> None:
        self.is_over = True


class ScriptedLoop:
    """A clock that is moved by the test."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[ScriptedTimer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, call: Callable[[], None]) -> ScriptedTimer:
        self.timers.append(ScriptedTimer(at, call))
        return self.timers[-1]

    @property
    def waiting(self) -> list[ScriptedTimer]:
        return [timer for timer in self.timers if not timer.is_over]

    def go_to(self, now: float) -> None:
        while due := [timer for timer in self.waiting if timer.at <= now]:
            timer = min(due, key=lambda one: one.at)
            timer.is_over = True
            self.now = max(self.now, timer.at)
            timer.call()
        self.now = now


@pytest.fixture
def loop() -> ScriptedLoop:
    return ScriptedLoop()


@pytest.fixture
def passed() -> list[float]:
    return []


@pytest.fixture
def deadline(loop: ScriptedLoop, passed: list[float]) -> Deadline:
    return Deadline(cast(Any, loop), lambda: passed.append(loop.now))


def test_it_passes_once(deadline: Deadline, loop: ScriptedLoop, passed: list[float]) -> None:
    deadline.set(10)
    loop.go_to(100)
    assert passed == [10]


def test_a_later_one_takes_the_place_of_an_earlier_one_without_a_new_timer(
    deadline: Deadline, loop: ScriptedLoop, passed: list[float]
) -> None:
    for second in range(9):
        loop.go_to(second)
        deadline.set(second + 10)
    assert len(loop.timers) == 1
    loop.go_to(17.5)
    assert passed == []
    loop.go_to(100)
    assert passed == [18]


def test_an_earlier_one_does_not_wait_for_the_timer_of_a_later_one(deadline: Deadline, loop: ScriptedLoop, passed: list[float]) -> None:
    deadline.set(100)
    deadline.set(5)
    loop.go_to(50)
    assert passed == [5]
    loop.go_to(200)
    assert passed == [5]


def test_what_was_taken_back_does_not_pass(deadline: Deadline, loop: ScriptedLoop, passed: list[float]) -> None:
    deadline.set(10)
    deadline.set(NEVER)
    loop.go_to(100)
    assert passed == []
    assert loop.waiting == []


def test_it_can_be_set_again_after_it_has_passed(deadline: Deadline, loop: ScriptedLoop, passed: list[float]) -> None:
    deadline.set(10)
    loop.go_to(20)
    deadline.set(30)
    loop.go_to(100)
    assert passed == [10, 30]


def test_after_its_end_no_timer_is_left(deadline: Deadline, loop: ScriptedLoop, passed: list[float]) -> None:
    deadline.set(10)
    deadline.close()
    assert loop.waiting == []
    deadline.set(20)  # a connection is used again
    loop.go_to(100)
    assert passed == [20]
