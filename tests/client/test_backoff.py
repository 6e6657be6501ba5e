"""How long to wait, and whether to come back at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenograph_client import Backoff
from stenograph_client.backoff import Answer, answer_to, answer_to_status


def longest(low: float, high: float) -> float:
    return high


def shortest(low: float, high: float) -> float:
    return low


def test_each_wait_may_be_twice_the_one_before_up_to_the_cap() -> None:
    backoff = Backoff(base_s=1, cap_s=5, uniform=longest)
    assert [backoff.next_s() for _ in range(5)] == [1, 2, 4, 5, 5]


def test_the_jitter_is_full() -> None:
    assert Backoff(uniform=shortest).next_s() == 0


def test_a_pause_is_never_short() -> None:
    assert Backoff(pause_base_s=10, uniform=shortest).pause_s() == 5


def test_a_stable_connection_starts_over() -> None:
    backoff = Backoff(base_s=1, cap_s=100, stable_s=30, uniform=longest)
    assert [backoff.next_s() for _ in range(3)] == [1, 2, 4]
    backoff.was_connected(29)
    assert backoff.next_s() == 8
    backoff.was_connected(30)
    assert backoff.next_s() == 1


@given(st.integers(0, 10_000))
def test_no_number_of_attempts_passes_the_cap(attempts: int) -> None:
    backoff = Backoff(attempts=attempts)
    assert 0 <= backoff.next_s() <= backoff.cap_s


@pytest.mark.parametrize(
    ("codes", "answer"),
    [
        ([1001, 1006, 1011, 1012, 1013, 1000, 3000], Answer.COME_BACK),
        ([4401], Answer.NEW_TOKEN),
        ([4408, 4409, 4429], Answer.PAUSE),
        ([1003, 1008, 1009, 4403], Answer.STOP),
    ],
)
def test_each_close_code_has_its_answer(codes: list[int], answer: Answer) -> None:
    assert {answer_to(code) for code in codes} == {answer}


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (401, Answer.NEW_TOKEN),
        (429, Answer.PAUSE),
        (403, Answer.STOP),
        (404, Answer.STOP),
        (500, Answer.COME_BACK),
        (503, Answer.COME_BACK),
    ],
)
def test_so_has_each_status_of_a_handshake(status: int, answer: Answer) -> None:
    assert answer_to_status(status) is answer
