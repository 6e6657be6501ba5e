"""What clients that came back with a cursor had missed: how many events, and how long ago the first of them was recorded."""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Final, Literal

from commands.metrics import AWAY_SECONDS, MANY_EVENTS, Histogram, Labelled, MetricFigure, counted

Transport = Literal["websocket", "sse", "long-poll"]
TRANSPORTS: Final[tuple[Transport, ...]] = ("websocket", "sse", "long-poll")
REPLAYS: Final = ("suffix", "snapshot")


class Resumes:
    """Counted when the client subscribes; ``note_first`` follows with the first event of those that it had missed."""

    def __init__(self) -> None:
        self._replays: Counter[str] = Counter()
        self._events: dict[str, Histogram] = {transport: Histogram(MANY_EVENTS) for transport in TRANSPORTS}
        self._seconds: dict[str, Histogram] = {transport: Histogram(AWAY_SECONDS) for transport in TRANSPORTS}

    def note(self, transport: Transport, missed: int) -> bool:
        """A client gets the events above its cursor, ``missed`` of them. Returns whether ``note_first`` is to follow."""
        self._replays["suffix"] += 1
        self._events[transport].observe(missed)
        if missed == 0:
            self._seconds[transport].observe(0.0)
        return missed > 0

    def note_first(self, transport: Transport, at: datetime) -> None:
        """``at``: when the first event that the client had missed was recorded."""
        self._seconds[transport].observe(max(0.0, time.time() - at.timestamp()))

    def note_snapshot(self) -> None:
        """A client's cursor is of no use here, since it is of another epoch or above the head: it gets a snapshot."""
        self._replays["snapshot"] += 1

    def figures(self) -> Iterator[MetricFigure]:
        """The metrics of resumes (``commands/metrics.py``)."""
        of = "stenograph_resume"
        yield "counter", f"{of}s", "Clients that came back with a cursor, by what they got.", counted("replay", REPLAYS, self._replays)
        yield "histogram", f"{of}_events", "Events that such a client had missed.", Labelled("transport", self._events)
        yield "histogram", f"{of}_age_seconds", "Since the first of these was recorded.", Labelled("transport", self._seconds)
