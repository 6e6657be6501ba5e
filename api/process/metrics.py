"""``/metrics`` of a server that is several processes: a scrape reaches one of them, and is told the figures of all.

Each writes its own onto a board (``adapters/shared_memory.py``) every second, and whoever is scraped reads the board. So a process that
hangs keeps nobody from being measured, and is seen by its age. Every figure carries the label ``worker``; a process alone has none.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from adapters.shared_memory import Board
from api.process.periodic import Periodic
from api.process.supervisor import Worker

TOLD_EVERY_S: Final = 1.0
PARENT: Final = 0  # its place; the workers' are their numbers


class Sample(msgspec.Struct, frozen=True, array_like=True):
    name: str
    labels: Mapping[str, str]
    value: float


class Family(msgspec.Struct, frozen=True, array_like=True):
    name: str
    text: str
    kind: str
    samples: Sequence[Sample]


_decoder = msgspec.msgpack.Decoder(list[Family])


def encoded(metrics: Iterable[Metric], labels: Mapping[str, str]) -> bytes:
    """The figures as they stand on the board, each with ``labels`` besides its own."""
    families = [
        Family(
            metric.name,
            metric.documentation,
            metric.type,
            [Sample(one.name, {**one.labels, **labels}, one.value) for one in metric.samples],
        )
        for metric in metrics
    ]
    return msgspec.msgpack.encode(families)


class Told(Periodic):
    """One worker's figures, told every second."""

    def __init__(self, board: Board, number: int, own: CollectorRegistry) -> None:
        super().__init__(TOLD_EVERY_S, "figures")
        self._board = board
        self._number = number
        self._own = own

    async def _write(self) -> None:
        self.tell()

    def tell(self) -> None:
        self._board.write(self._number, encoded(self._own.collect(), {"worker": str(self._number)}))


class Everyones:
    """A collector that gives what stands on the board, this worker's figures as of now."""

    def __init__(self, board: Board, told: Told) -> None:
        self._board = board
        self._told = told

    def collect(self) -> Iterable[Metric]:
        self._told.tell()
        families: dict[str, Metric] = {}
        age = GaugeMetricFamily(
            "stenograph_worker_silent_seconds", "Since a worker told its figures: one that hangs grows.", labels=["worker"]
        )
        for place, age_s, content in self._board.read():
            if place != PARENT:
                age.add_metric([str(place)], age_s)
            for family in _decoder.decode(content):
                metric = families.setdefault(family.name, Metric(family.name, family.text, family.kind))
                for sample in family.samples:
                    metric.add_sample(sample.name, dict(sample.labels), sample.value)
        yield from families.values()
        yield age


def of_parent(board: Board, workers: Sequence[Worker]) -> None:
    """What the parent knows of its workers. The figures of one that is gone go with it."""
    starts = CounterMetricFamily("stenograph_worker_starts", "Starts of this worker; more than one: it died.", labels=["worker"])
    alive = GaugeMetricFamily("stenograph_worker_alive", "1 while this worker's process lives.", labels=["worker"])
    for worker in workers:
        starts.add_metric([str(worker.number)], worker.starts)
        alive.add_metric([str(worker.number)], float(worker.pid is not None))
        if worker.pid is None:
            board.write(worker.number, b"")
    board.write(PARENT, encoded((starts, alive), {}))
