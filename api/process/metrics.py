"""``/metrics`` of a server that is several processes: a scrape reaches one of them and gets the metrics of all.

Each process writes its metrics into shared memory (``adapters/shared_memory.py``) every second, and the process that is scraped reads
them all. A process that hangs therefore prevents no measurement; the age of its metrics shows it. Every metric carries the label
``worker``. A server that is one process does without it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from adapters.shared_memory import SharedMemory
from api.periodic import Periodic
from api.process.supervisor import Worker

PUBLISH_EVERY_S: Final = 1.0
PARENT: Final = 0  # its slot; the workers' are their numbers


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
    """The metrics as shared memory holds them, each with ``labels`` besides its own."""
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


class MetricsPublisher(Periodic):
    """Writes one worker's metrics into shared memory every second."""

    def __init__(self, memory: SharedMemory, number: int, own: CollectorRegistry) -> None:
        super().__init__(PUBLISH_EVERY_S, "figures")
        self._memory = memory
        self._number = number
        self._own = own

    async def _write(self) -> None:
        self.publish()

    def publish(self) -> None:
        self._memory.write(self._number, encoded(self._own.collect(), {"worker": str(self._number)}))


class AllProcessesCollector:
    """A collector of the metrics of all processes: this worker's as of now, the others' as they wrote them last."""

    def __init__(self, memory: SharedMemory, publisher: MetricsPublisher) -> None:
        self._memory = memory
        self._publisher = publisher

    def collect(self) -> Iterable[Metric]:
        self._publisher.publish()
        families: dict[str, Metric] = {}
        age = GaugeMetricFamily(
            "stenograph_worker_silent_seconds",
            "Since a worker published its metrics; grows while it hangs.",
            labels=["worker"],
        )
        for slot, age_s, content in self._memory.read():
            if slot != PARENT:
                age.add_metric([str(slot)], age_s)
            for family in _decoder.decode(content):
                metric = families.setdefault(family.name, Metric(family.name, family.text, family.kind))
                for sample in family.samples:
                    metric.add_sample(sample.name, dict(sample.labels), sample.value)
        yield from families.values()
        yield age


def publish_parent_metrics(memory: SharedMemory, workers: Sequence[Worker]) -> None:
    """Write what the parent knows of its workers, and remove the metrics of a worker that has ended."""
    starts = CounterMetricFamily("stenograph_worker_starts", "Starts of a worker; more than one: it died.", labels=["worker"])
    alive = GaugeMetricFamily("stenograph_worker_alive", "1 while the process of a worker lives.", labels=["worker"])
    for worker in workers:
        starts.add_metric([str(worker.number)], worker.starts)
        alive.add_metric([str(worker.number)], float(worker.pid is not None))
        if worker.pid is None:
            memory.write(worker.number, b"")
    memory.write(PARENT, encoded((starts, alive), {}))
