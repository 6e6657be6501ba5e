"""The last part of a trace: from the delivery of a traced event to the clients of this process that follow its stream."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import Tracer

from adapters.delivery.hub import Batch, Encode, Hub, ReadRange, Segment, Subscription
from domain.log.event import StoredEvent
from domain.log.stream import Stream

DELIVERY_S: Final = 5.0  # a client that has not taken the event by then is slow: its delivery is counted without it
EXPECTED_MAX: Final = 10_000


class Delivery:
    """One traced event on its way to ``subscriptions`` of them."""

    __slots__ = ("began_ns", "context", "handed", "last_ns", "subscriptions", "timer", "version")

    def __init__(self, version: int, context: Context, subscriptions: int) -> None:
        self.version = version
        self.context = context
        self.subscriptions = subscriptions
        self.began_ns = self.last_ns = time.time_ns()
        self.handed = 0
        self.timer: asyncio.TimerHandle | None = None


class Deliveries:
    """A span for each traced event: from its delivery here until each subscription has been given it, ``DELIVERY_S`` at most."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._expected: OrderedDict[tuple[Stream, int], Context] = OrderedDict()
        self.open: dict[Stream, list[Delivery]] = {}

    def expect(self, stream: Stream, version: int, context: Context) -> None:
        """This event was committed; its delivery belongs below the span of ``context``."""
        self._expected[stream, version] = context
        if len(self._expected) > EXPECTED_MAX:
            self._expected.popitem(last=False)

    def expected(self, events: Sequence[StoredEvent]) -> list[tuple[StoredEvent, Context]]:
        """Those of the events that are traced."""
        if not self._expected:
            return []
        found = [(event, self._expected.pop((event.stream, event.version), None)) for event in events]
        return [(event, context) for event, context in found if context is not None]

    def begin(self, event: StoredEvent, context: Context, subscriptions: int) -> None:
        delivery = Delivery(event.version, context, subscriptions)
        if subscriptions == 0:
            self._end(event.stream, delivery)
            return
        self.open.setdefault(event.stream, []).append(delivery)
        delivery.timer = asyncio.get_running_loop().call_later(DELIVERY_S, self._give_up, event.stream, delivery)

    def handed(self, batch: Batch) -> None:
        """A subscription was given the batch, and writes it to its client at once."""
        for delivery in self.open.get(batch.stream, ())[:]:
            if batch.after < delivery.version <= batch.until:
                delivery.handed += 1
                delivery.last_ns = time.time_ns()
                if delivery.handed == delivery.subscriptions:
                    self._give_up(batch.stream, delivery)

    def close(self) -> None:
        for stream, deliveries in list(self.open.items()):
            for delivery in list(deliveries):
                self._give_up(stream, delivery)

    def _give_up(self, stream: Stream, delivery: Delivery) -> None:
        if delivery.timer is not None:
            delivery.timer.cancel()
        deliveries = self.open[stream]
        deliveries.remove(delivery)
        if not deliveries:
            del self.open[stream]
        self._end(stream, delivery)

    def _end(self, stream: Stream, delivery: Delivery) -> None:
        attributes = {
            "stenograph.stream.kind": stream.kind,
            "stenograph.delivery.subscriptions": delivery.subscriptions,
            "stenograph.delivery.handed": delivery.handed,
        }
        span = self._tracer.start_span("deliver", delivery.context, start_time=delivery.began_ns, attributes=attributes)
        span.end(delivery.last_ns)


class TracedHub(Hub):
    """A hub that says when a traced event is delivered."""

    def __init__(self, read_range: ReadRange, encode: Encode, deliveries: Deliveries, *, memory_bytes: int) -> None:
        super().__init__(read_range, encode, memory_bytes=memory_bytes)
        self._deliveries = deliveries

    def publish(self, events: Sequence[StoredEvent], *, remember_all: bool = True) -> None:
        for event, context in self._deliveries.expected(events):
            self._deliveries.begin(event, context, sum(1 for _ in self.subscriptions(event.stream)))
        super().publish(events, remember_all=remember_all)

    def next_batch(self, subscription: Subscription, *, bytes_max: int, segment: Segment | None = None) -> Batch | None:
        batch = super().next_batch(subscription, bytes_max=bytes_max, segment=segment)
        if batch is not None and self._deliveries.open:
            self._deliveries.handed(batch)
        return batch
