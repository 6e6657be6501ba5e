"""What the parts of a process count of themselves, and the form in which a scrape reads it.

A part counts where something happens, as an attribute. Its ``figures`` give each metric as ``(kind, name, help, value)`` when they are
asked for: kind ``counter``, ``gauge`` or ``histogram``, and the name of a counter without its ``_total``.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

# Seconds of a call that a person waits for: a batch of the log, a step of a projector.
SHORT_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
# Seconds of an answer.
LONG_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
# Seconds since a client was last here: from a lost connection to a year.
AWAY_SECONDS: Final = (1.0, 10.0, 60.0, 600.0, 3600.0, 21_600.0, 86_400.0, 604_800.0, 2_592_000.0, 31_536_000.0)
EVENTS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
MANY_EVENTS: Final = (0, 1, 10, 100, 1000, 10_000, 100_000)


class Histogram:
    """Values by size. ``bounds`` ascend; each is the largest value of its bucket, and what is above the last has a bucket, too."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Labelled(NamedTuple):
    """One metric that is counted apart for each value of one label."""

    label: str
    values: Mapping[str, float | Histogram]


MetricValue = float | Histogram | Labelled
MetricFigure = tuple[str, str, str, MetricValue]


def counted(label: str, known: Iterable[str], counts: Mapping[str, int]) -> Labelled:
    """Counts by a label. The ``known`` values are there from the start, at 0: of a series that has just appeared there is no rate."""
    return Labelled(label, dict.fromkeys(known, 0) | dict(counts))
