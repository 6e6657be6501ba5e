"""The brake on guessing passwords: in memory, bounded, and of one process. A brake, not a wall.

Who guesses waits, and longer each time; who owns the account is never locked out of it:

- From one place all attempts together are limited, whatever account they are for (``GUESSES_FROM_ONE_PLACE``).
- From one place for one account each failure beyond a few makes the next attempt wait longer. It concerns that place alone.
- For one account from all places, each failure beyond some makes every attempt slower. It is not refused, and a place from which the
  account was signed in to before is not slowed down at all.
"""

import asyncio
import contextlib
import ipaddress
import math
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from domain.errors import TooManyAttempts

ATTEMPTS_WINDOW_S: Final = 60.0
ATTEMPTS_KEPT_MAX: Final = 50_000
LEAST_OF_ONE_PROCESS: Final = 5  # a person's attempts may all reach one of many processes
GUESSES_FROM_ONE_PLACE: Final = 60  # within a minute
GUESSES_OF_ONE_FROM_ONE_PLACE: Final = 10  # until they have to wait
FIRST_WAIT_S: Final = 10.0
LONGEST_WAIT_S: Final = 900.0
GUESSES_OF_ONE: Final = 20  # until they become slow
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 8.0
PLACE_CHARACTERS_MAX: Final = 64
PAUSING_MAX: Final = 16  # attempts for one account that are slowed down at the same time
SIGN_UPS_FROM_ONE_PLACE: Final = 100  # within a minute
TAKEN_FROM_ONE_PLACE: Final = 10  # sign-ups within a minute that met a known e-mail address: each of them tells that it is known


def part(limit: int, processes: int) -> int:
    """What one of several processes on one address lets through of a limit, so that all together keep it."""
    return min(limit, max(LEAST_OF_ONE_PROCESS, -(-limit // processes)))


class Attempts:
    """How often something was tried within a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, processes: int = 1) -> None:
        self._clock = clock
        self._processes = processes
        self._tried: OrderedDict[str, tuple[float, int]] = OrderedDict()  # by when their minute began

    def require(self, *limits: tuple[str, int]) -> None:
        """Raises ``TooManyAttempts`` if one of ``(name, how often within a minute)`` is reached."""
        now_s = self._clock()
        while self._tried:
            name, (since_s, _) = next(iter(self._tried.items()))
            if now_s - since_s < ATTEMPTS_WINDOW_S and len(self._tried) < ATTEMPTS_KEPT_MAX:
                break
            del self._tried[name]
        for name, limit in limits:
            since_s, tries = self._tried.get(name, (now_s, 0))
            if tries >= part(limit, self._processes):
                raise TooManyAttempts(max(1, round(ATTEMPTS_WINDOW_S - (now_s - since_s))))

    def count(self, *limits: tuple[str, int]) -> None:
        """One more of each. Raises ``TooManyAttempts``, and counts nothing then."""
        self.require(*limits)
        now_s = self._clock()
        for name, _ in limits:
            since_s, tries = self._tried.get(name, (now_s, 0))
            self._tried[name] = (since_s, tries + 1)

    def forget_one(self, *limits: tuple[str, int]) -> None:
        """A successful sign-in does not count as a guess. Earlier attempts stay counted: else a guesser with an account could
        reset the count by signing in to it between two guesses."""
        for name, _ in limits:
            since_s, tries = self._tried.get(name, (0.0, 0))
            if tries > 0:
                self._tried[name] = (since_s, tries - 1)


class Failures:
    """Failed attempts by name, and a wait that doubles with each beyond ``free``. They are forgotten after the longest wait without one."""

    def __init__(self, clock: Callable[[], float], *, free: int, first_s: float, longest_s: float) -> None:
        self._clock = clock
        self._free = free
        self._first_s = first_s
        self._longest_s = longest_s
        self._failed: OrderedDict[str, tuple[float, int]] = OrderedDict()  # when the last one was, and how many; by that time

    def add(self, name: str) -> None:
        now_s = self._clock()
        failures = self._known(name)[1] + 1
        self._failed[name] = (now_s, failures)
        self._failed.move_to_end(name)
        while len(self._failed) > ATTEMPTS_KEPT_MAX or now_s - next(iter(self._failed.values()))[0] > LONGEST_WAIT_S:
            self._failed.popitem(last=False)

    def take_back(self, name: str) -> None:
        """One of them was none."""
        last_s, failures = self._known(name)
        if failures > 1:
            self._failed[name] = (last_s, failures - 1)
        else:
            self._failed.pop(name, None)

    def forget(self, name: str) -> None:
        self._failed.pop(name, None)

    def pause_s(self, name: str) -> float:
        """How long the wait after the last failure is."""
        beyond = self._known(name)[1] - self._free
        return 0.0 if beyond < 0 else min(math.ldexp(self._first_s, min(beyond, 32)), self._longest_s)

    def wait_s(self, name: str) -> float:
        """What is left of it."""
        return max(0.0, self.pause_s(name) - (self._clock() - self._known(name)[0]))

    def _known(self, name: str) -> tuple[float, int]:
        last_s, failures = self._failed.get(name, (0.0, 0))
        return (last_s, failures) if failures and self._clock() - last_s <= LONGEST_WAIT_S else (0.0, 0)


class SignInBrake:
    """``is_known_place(place)`` says whether the account was signed in to from there before; it is asked only when it matters."""

    def __init__(
        self,
        *,
        processes: int = 1,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self._places = Attempts(clock, processes=processes)
        free_here, free_everywhere = (part(limit, processes) for limit in (GUESSES_OF_ONE_FROM_ONE_PLACE, GUESSES_OF_ONE))
        self._here = Failures(clock, free=free_here, first_s=FIRST_WAIT_S, longest_s=LONGEST_WAIT_S)
        self._everywhere = Failures(clock, free=free_everywhere, first_s=FIRST_PAUSE_S, longest_s=LONGEST_PAUSE_S)
        self._pausing: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def attempt(self, email: str, place: str, is_known_place: Callable[[str], Awaitable[bool]]) -> AsyncIterator[None]:
        """Encloses one attempt, which failed unless the block ends without an error. Raises ``TooManyAttempts`` before it.

        Counted before the block: of many attempts at the same time each sees the others.
        """
        here = f"{email} from {place}"
        wait_s = self._here.wait_s(here)
        if wait_s > 0:
            raise TooManyAttempts(math.ceil(wait_s))
        self._places.count((place, GUESSES_FROM_ONE_PLACE))
        self._here.add(here)
        pause_s = self._everywhere.pause_s(email)
        self._everywhere.add(email)
        if pause_s > 0 and not await is_known_place(place):
            await self._pause(email, pause_s)
        yield
        self._places.forget_one((place, GUESSES_FROM_ONE_PLACE))
        self._here.forget(here)
        self._everywhere.take_back(email)

    async def _pause(self, email: str, pause_s: float) -> None:
        if self._pausing[email] >= PAUSING_MAX:
            raise TooManyAttempts(math.ceil(pause_s))
        self._pausing[email] += 1
        try:
            await self._sleep(pause_s)
        finally:
            self._pausing[email] -= 1
            if not self._pausing[email]:
                del self._pausing[email]


def network_of(address: str) -> str:
    """Where somebody calls from: the address, of IPv6 the network that one customer has."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:PLACE_CHARACTERS_MAX]  # what a proxy passed on
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
    return address
