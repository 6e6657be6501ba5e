"""The brake on guessing: who guesses waits longer each time, and nobody is locked out by others. Time is a number that the test moves."""

import asyncio

import pytest

from commands.accounts.attempts import (
    ATTEMPTS_KEPT_MAX,
    FIRST_WAIT_S,
    GUESSES_FROM_ONE_PLACE,
    GUESSES_OF_ONE,
    GUESSES_OF_ONE_FROM_ONE_PLACE,
    LEAST_OF_ONE_PROCESS,
    LONGEST_WAIT_S,
    PAUSING_MAX,
    Attempts,
    Failures,
    SignInBrake,
    network_of,
)
from domain.errors import TooManyAttempts, WrongCredentials
from tests.commands.world import until

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_attempts_are_counted_within_a_minute() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    for _ in range(3):
        attempts.count(("ada", 3))
    clock.now_s = 59
    with pytest.raises(TooManyAttempts) as raised:
        attempts.count(("ada", 3))
    assert raised.value.retry_after_s == 1
    attempts.count(("bob", 3))
    clock.now_s = 60
    attempts.count(("ada", 3))


@pytest.mark.parametrize(
    ("limit", "processes", "of_one"), [(100, 1, 100), (100, 4, 25), (10, 3, 5), (10, 64, LEAST_OF_ONE_PROCESS), (3, 64, 3)]
)
async def test_one_of_several_processes_lets_its_part_through_and_a_person_a_few(limit: int, processes: int, of_one: int) -> None:
    attempts = Attempts(Clock(), processes=processes)
    for _ in range(of_one):
        attempts.count(("ada", limit))
    with pytest.raises(TooManyAttempts):
        attempts.count(("ada", limit))


async def test_an_attempt_that_is_refused_counts_for_nothing_else() -> None:
    attempts = Attempts(Clock())
    attempts.count(("ada", 1))
    for _ in range(5):
        with pytest.raises(TooManyAttempts):
            attempts.count(("place", 2), ("ada", 1))
    attempts.count(("place", 2))


async def test_an_attempt_that_succeeded_is_taken_back_alone() -> None:
    attempts = Attempts(Clock())
    for _ in range(2):
        attempts.count(("place", 3))
    for _ in range(10):
        attempts.count(("place", 3))
        attempts.forget_one(("place", 3))
    attempts.count(("place", 3))
    with pytest.raises(TooManyAttempts):
        attempts.count(("place", 3))


async def test_attempts_of_many_names_are_bounded_in_memory() -> None:
    attempts = Attempts(Clock())
    for number in range(ATTEMPTS_KEPT_MAX + 1000):
        attempts.count((str(number), 3))
    assert len(attempts._tried) <= ATTEMPTS_KEPT_MAX


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
async def test_a_customer_of_ipv6_is_one_place(address: str, network: str) -> None:
    assert network_of(address) == network


# ------------------------------------------------------------------------------------------------------------- the waits


def failures(clock: Clock) -> Failures:
    return Failures(clock, free=3, first_s=10, longest_s=100)


def test_the_wait_doubles_with_each_failure_up_to_the_longest() -> None:
    clock = Clock()
    known = failures(clock)
    waits = []
    for _ in range(9):
        known.add("ada")
        waits.append(known.wait_s("ada"))
    assert waits == [0, 0, 10, 20, 40, 80, 100, 100, 100]
    assert known.wait_s("bob") == 0
    clock.now_s = 60
    assert (known.wait_s("ada"), known.pause_s("ada")) == (40, 100)
    for _ in range(10_000):
        known.add("ada")
    assert known.wait_s("ada") == 100


def test_failures_are_forgotten_after_the_longest_wait_without_one() -> None:
    clock = Clock()
    known = failures(clock)
    for _ in range(5):
        known.add("ada")
    clock.now_s = LONGEST_WAIT_S + 1
    assert known.pause_s("ada") == 0
    known.add("ada")
    assert known.pause_s("ada") == 0


def test_a_failure_that_was_none_is_taken_back_and_the_others_stay() -> None:
    known = failures(Clock())
    for _ in range(4):
        known.add("ada")
    known.take_back("ada")
    assert known.pause_s("ada") == 10
    for _ in range(9):
        known.take_back("ada")
    assert known.pause_s("ada") == 0


def test_failures_of_many_names_are_bounded_in_memory() -> None:
    known = failures(Clock())
    for number in range(ATTEMPTS_KEPT_MAX + 1000):
        known.add(str(number))
    assert len(known._failed) == ATTEMPTS_KEPT_MAX


# ------------------------------------------------------------------------------------------------------------- the brake


async def unknown(_: str) -> bool:
    return False


class Door:
    """A brake, and whether what is tried behind it is right."""

    def __init__(self, processes: int = 1) -> None:
        self.clock = Clock()
        self.goes_on = asyncio.Event()
        self.pauses: list[float] = []
        self.brake = SignInBrake(processes=processes, clock=self.clock, sleep=self.sleep)

    async def sleep(self, pause_s: float) -> None:
        self.pauses.append(pause_s)
        await self.goes_on.wait()

    async def guess(self, place: str, email: str = "ada") -> None:
        with pytest.raises(WrongCredentials):
            async with self.brake.attempt(email, place, unknown):
                raise WrongCredentials

    async def enter(self, place: str, email: str = "ada") -> None:
        async with self.brake.attempt(email, place, unknown):
            pass

    async def refused(self, place: str, email: str = "ada") -> int:
        with pytest.raises(TooManyAttempts) as raised:
            await self.enter(place, email)
        return raised.value.retry_after_s


async def test_from_one_place_each_failure_makes_the_next_wait_longer() -> None:
    door = Door()
    for _ in range(GUESSES_OF_ONE_FROM_ONE_PLACE):
        await door.guess("here")
    assert await door.refused("here") == FIRST_WAIT_S
    assert await door.refused("here") == FIRST_WAIT_S, "a refused attempt does not count"
    door.clock.now_s += FIRST_WAIT_S
    await door.guess("here")
    assert await door.refused("here") == 2 * FIRST_WAIT_S
    await door.enter("there")
    await door.enter("here", email="bob")


async def test_the_right_password_ends_the_wait_of_its_place() -> None:
    door = Door()
    for _ in range(GUESSES_OF_ONE_FROM_ONE_PLACE):
        await door.guess("here")
    door.clock.now_s += FIRST_WAIT_S
    await door.enter("here")
    await door.guess("here")
    await door.enter("here")


async def test_one_place_guesses_a_bounded_number_of_times_at_all_accounts_together() -> None:
    door = Door()
    for number in range(GUESSES_FROM_ONE_PLACE):
        await door.guess("here", email=f"person {number}")
    await door.refused("here", email="another")
    await door.enter("there", email="another")


async def test_attempts_at_the_same_time_count_each_other() -> None:
    door = Door()
    inside = asyncio.Event()

    async def slow() -> None:
        async with door.brake.attempt("ada", "here", unknown):
            await inside.wait()
            raise WrongCredentials

    tries = [asyncio.create_task(slow()) for _ in range(GUESSES_OF_ONE_FROM_ONE_PLACE + 5)]
    await asyncio.sleep(0)
    inside.set()
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(outcome, WrongCredentials) for outcome in outcomes) == GUESSES_OF_ONE_FROM_ONE_PLACE


async def test_a_bounded_number_of_slow_attempts_waits_for_one_account() -> None:
    door = Door()
    for number in range(GUESSES_OF_ONE):
        await door.guess(f"place {number}")
    waiting = [asyncio.create_task(door.enter(f"slow {number}")) for number in range(PAUSING_MAX)]
    await until(lambda: len(door.pauses) == PAUSING_MAX)
    await door.refused("one more")
    await door.enter("elsewhere", email="bob")
    door.goes_on.set()
    await asyncio.gather(*waiting)
    await door.enter("one more later")


async def test_one_of_several_processes_has_its_part_of_the_free_failures() -> None:
    door = Door(processes=2)
    for _ in range(GUESSES_OF_ONE_FROM_ONE_PLACE // 2):
        await door.guess("here")
    await door.refused("here")
