"""How long to wait before coming back, and whether to: pure, with the randomness given."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

BASE_S: Final = 0.25
CAP_S: Final = 20.0
PAUSE_BASE_S: Final = 10.0  # after 4408, 4409 and 4429: the server asked for less of us
PAUSE_CAP_S: Final = 120.0
STABLE_S: Final = 30.0  # a connection that lasted as long counts as good: the next loss starts from the base again
DOUBLINGS_MAX: Final = 16  # beyond it the cap holds anyway, and 2**n stays a small number


class Answer(Enum):
    """What a client does about a closed connection (docs/protocol.md §3)."""

    COME_BACK = "come back with backoff"
    NEW_TOKEN = "get a new token first"  # noqa: S105  # words, not a secret
    PAUSE = "come back after a longer pause"
    STOP = "stop and say why"


NEW_TOKEN_CODES: Final = frozenset({4401})
PAUSE_CODES: Final = frozenset({4408, 4409, 4429})
STOP_CODES: Final = frozenset({1003, 1007, 1008, 1009, 4403})


def answer_to(close_code: int) -> Answer:
    """Every code that the table does not name is a loss like 1006: coming back does no harm."""
    if close_code in NEW_TOKEN_CODES:
        return Answer.NEW_TOKEN
    if close_code in PAUSE_CODES:
        return Answer.PAUSE
    if close_code in STOP_CODES:
        return Answer.STOP
    return Answer.COME_BACK


def answer_to_status(status: int) -> Answer:
    """The same for a handshake that was refused with an HTTP status."""
    if status == 401:
        return Answer.NEW_TOKEN
    if status in (408, 429):
        return Answer.PAUSE
    if 400 <= status < 500:
        return Answer.STOP
    return Answer.COME_BACK


@dataclass
class Backoff:
    """Full jitter: any moment between none and the bound is as likely, so that clients which were cut together come back apart.

    >>> slow = Backoff(base_s=1.0, cap_s=3.0, uniform=lambda low, high: high)  # the upper bounds themselves
    >>> [slow.next_s() for _ in range(4)]
    [1.0, 2.0, 3.0, 3.0]
    """

    base_s: float = BASE_S
    cap_s: float = CAP_S
    pause_base_s: float = PAUSE_BASE_S
    pause_cap_s: float = PAUSE_CAP_S
    stable_s: float = STABLE_S
    uniform: Callable[[float, float], float] = field(default=random.uniform)
    attempts: int = 0  # in a row without a stable connection

    def next_s(self) -> float:
        return self.uniform(0.0, self._bound(self.base_s, self.cap_s))

    def pause_s(self) -> float:
        """Never short: the lower half of the span is not used."""
        bound = self._bound(self.pause_base_s, self.pause_cap_s)
        return self.uniform(bound / 2, bound)

    def was_connected(self, lasted_s: float) -> None:
        """A connection has ended after so long."""
        if lasted_s >= self.stable_s:
            self.attempts = 0

    def _bound(self, base_s: float, cap_s: float) -> float:
        bound = min(cap_s, base_s * float(2 ** min(self.attempts, DOUBLINGS_MAX)))
        self.attempts += 1
        return bound
