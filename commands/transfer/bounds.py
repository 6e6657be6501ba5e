"""How much an import or a restore puts into one request.

A request takes Postgres some milliseconds, and holds the append lock meanwhile: that is how long the tokens of others may wait for it.
"""

from typing import Final, NamedTuple


class RequestBounds(NamedTuple):
    """The most that one request holds, but for a single answer or value that is larger."""

    events: int
    bytes: int


FULL: Final = RequestBounds(events=400, bytes=128 * 1024)
SMALL: Final = RequestBounds(FULL.events // 4, FULL.bytes // 4)  # while others write
