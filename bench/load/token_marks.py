"""What a token says here: when it was sent, and which of its answer it is. Found in a frame by a search for one byte.

``~`` and 16 hex digits of CLOCK_MONOTONIC in nanoseconds and 6 of the number from 0. The first of an answer holds in place of its
number how many microseconds its provider itself took, from the request to the sending.
"""

import time
from collections.abc import Sequence
from typing import Final

SIGN: Final = b"~"
MARK_BYTES: Final = 22


def mark(number: int, due_ns: int | None = None) -> bytes:
    """``due_ns``: when it should have been sent, where the sender itself is what is measured and may be late."""
    return b"~%016x%06x" % (due_ns or time.monotonic_ns(), number)


def sent_and_number(piece: bytes) -> tuple[int, int]:
    """``(ns, number)`` of what follows a sign."""
    return int(piece[:16], 16), int(piece[16:22], 16)


def all_in(payload: bytes) -> Sequence[tuple[int, int]]:
    return [sent_and_number(piece) for piece in payload.split(SIGN)[1:]]
