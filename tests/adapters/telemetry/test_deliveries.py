"""When the delivery of a traced event is over."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from adapters.delivery.hub import Subscription
from adapters.telemetry.deliveries import Deliveries, TracedHub
from domain.log.event import StoredEvent
from domain.log.stream import Stream, chat_stream

pytestmark = pytest.mark.anyio
CHAT = chat_stream(UUID(int=1))


class World:
    """A hub whose log is empty, and what it says of deliveries."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self.deliveries = Deliveries(provider.get_tracer("test"))
        self.hub = TracedHub(self.read, lambda stored: stored.data, self.deliveries, memory_bytes=1_000_000)

    async def read(self, stream: Stream, after: int, until: int) -> Sequence[StoredEvent]:
        return []

    async def head(self, stream: Stream) -> int:
        return 0

    async def follow(self) -> Subscription:
        made = Subscription(CHAT, 0, self, lambda _: None)
        await self.hub.join(made, self.head)
        return made

    def commit(self, version: int, *, traced: bool = True) -> None:
        if traced:
            self.deliveries.expect(CHAT, version, Context())
        self.hub.publish([StoredEvent(version, CHAT, version, "chat_renamed", None, None, b"{}", datetime.now(UTC))])

    def give(self, follower: Subscription) -> None:
        assert self.hub.next_batch(follower, bytes_max=1000) is not None

    def ended(self) -> list[tuple[object, object]]:
        """How many subscriptions each delivery had, and how many were given it."""
        found: Sequence[ReadableSpan] = self.spans.get_finished_spans()
        names = ("stenograph.delivery.subscriptions", "stenograph.delivery.handed")
        return [(span.attributes[names[0]], span.attributes[names[1]]) for span in found if span.attributes is not None]


async def test_a_delivery_is_over_when_each_subscription_has_been_given_the_event() -> None:
    world = World()
    first, second = await world.follow(), await world.follow()
    world.commit(1)
    world.give(first)
    assert world.ended() == []
    world.give(second)
    assert world.ended() == [(2, 2)]


async def test_an_event_that_nobody_follows_is_delivered_at_once() -> None:
    world = World()
    world.commit(1)
    assert world.ended() == [(0, 0)]


async def test_a_slow_client_is_counted_and_not_waited_for_for_ever() -> None:
    world = World()
    first, _ = await world.follow(), await world.follow()
    world.commit(1)
    world.give(first)
    world.deliveries.close()
    assert world.ended() == [(2, 1)]


async def test_an_event_that_is_not_traced_has_no_delivery() -> None:
    world = World()
    follower = await world.follow()
    world.commit(1, traced=False)
    world.give(follower)
    world.deliveries.close()
    assert world.ended() == []


async def test_several_traced_events_in_one_batch_are_delivered_with_it() -> None:
    world = World()
    follower = await world.follow()
    world.commit(1)
    world.commit(2)
    world.give(follower)
    assert world.ended() == [(1, 1), (1, 1)]
