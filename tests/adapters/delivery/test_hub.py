"""The hub gives each subscription every version once and in order, from memory or from the log, and nothing above its end."""

import asyncio
import gc
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.delivery.hub import EVENT_OVERHEAD_BYTES, SEGMENT_VERSIONS, Batch, Hub, Subscription
from domain.errors import LogUnavailable
from domain.log.event import StoredEvent
from domain.log.stream import Stream, chat_stream

pytestmark = pytest.mark.anyio

CHAT = chat_stream(UUID(int=1))
OTHER = chat_stream(UUID(int=2))
FRAME_BYTES = 100_000


class World:
    """A log in a list, the hub above it, and what each reader was given."""

    def __init__(self, memory_bytes: int = 10_000_000) -> None:
        self.streams: dict[Stream, list[StoredEvent]] = {}
        self.undelivered: list[StoredEvent] = []
        self.position = 0
        self.heads = 0
        self.fails = 0
        self.hub = Hub(self.read, lambda stored: stored.data, memory_bytes=memory_bytes)

    async def read(self, stream: Stream, after: int, until: int) -> Sequence[StoredEvent]:
        page = self.streams.get(stream, [])[after:until]
        await asyncio.sleep(0)
        if self.fails > 0:
            self.fails -= 1
            raise LogUnavailable("away")
        return page

    async def head(self, stream: Stream) -> int:
        self.heads += 1
        head = len(self.streams.get(stream, []))
        await asyncio.sleep(0)
        return head

    def commit(self, number: int = 1, stream: Stream = CHAT, *, size: int = 10, name: str = "message_delta") -> None:
        """In the log, and not here yet."""
        events = self.streams.setdefault(stream, [])
        for _ in range(number):
            self.position += 1
            at = datetime(2026, 1, 1, tzinfo=UTC)
            stored = StoredEvent(self.position, stream, len(events) + 1, name, None, None, b"x" * size, at)
            events.append(stored)
            self.undelivered.append(stored)

    def deliver(self) -> None:
        """The tail passes on what was committed."""
        events, self.undelivered = self.undelivered, []
        if events:
            self.hub.publish(events)

    def append(self, number: int = 1, stream: Stream = CHAT, *, size: int = 10, name: str = "message_delta") -> None:
        self.commit(number, stream, size=size, name=name)
        self.deliver()


class Reader:
    """A subscription that is served like a socket's: take, and fetch where that gives nothing."""

    def __init__(self, world: World, after: int = 0, stream: Stream = CHAT, frame_bytes: int = FRAME_BYTES) -> None:
        self.world = world
        self.frame_bytes = frame_bytes
        self.woken = 0
        self.versions: list[int] = []
        self.batches = 0
        self.subscription = Subscription(stream, after, self, self.wake)

    def wake(self, _: Subscription) -> None:
        self.woken += 1

    async def join(self) -> int:
        return await self.world.hub.join(self.subscription, self.world.head)

    async def drain(self) -> list[int]:
        """Everything up to what the hub knows of."""
        hub, page = self.world.hub, None
        while hub.behind(self.subscription):
            batch = hub.next_batch(self.subscription, bytes_max=self.frame_bytes, segment=page)
            if batch is None:
                page = await hub.fetch(self.subscription)
                continue
            self.batches += 1
            assert batch.after + len(batch.events) == batch.until == self.subscription.cursor
            assert len(batch.events) == 1 or sum(len(event.wire) + 1 for event in batch.events) <= self.frame_bytes
            self.versions += [event.stored.version for event in batch.events]
        return self.versions


async def joined(world: World, after: int = 0, stream: Stream = CHAT, frame_bytes: int = FRAME_BYTES) -> Reader:
    reader = Reader(world, after, stream, frame_bytes)
    await reader.join()
    return reader


def dense(first: int, last: int) -> list[int]:
    return list(range(first, last + 1))


async def test_what_is_live_comes_from_memory() -> None:
    world = World()
    reader = await joined(world)
    world.append(3)
    assert reader.woken == 1
    assert await reader.drain() == [1, 2, 3]
    assert world.hub.reads == 0


async def test_what_other_processes_write_is_remembered_for_those_who_are_subscribed() -> None:
    world = World()
    reader = await joined(world)
    elsewhere = chat_stream(UUID(int=77))
    world.commit(2)
    world.commit(2, elsewhere)
    events, world.undelivered = world.undelivered, []
    world.hub.publish_from_elsewhere(events)
    assert await reader.drain() == [1, 2]
    assert world.hub.reads == 0
    assert await (await joined(world, stream=elsewhere)).drain() == [1, 2]
    assert world.hub.reads == 1, "nobody was subscribed to it"


async def test_what_was_before_comes_from_the_log_and_then_from_memory() -> None:
    world = World()
    world.commit(SEGMENT_VERSIONS + 5)
    world.undelivered.clear()  # as after a restart
    reader = await joined(world)
    assert await reader.drain() == dense(1, SEGMENT_VERSIONS + 5)
    assert world.hub.reads == 2
    world.append(2)
    second = await joined(world, after=SEGMENT_VERSIONS)
    assert await second.drain() == dense(SEGMENT_VERSIONS + 1, SEGMENT_VERSIONS + 7)
    assert await reader.drain() == dense(1, SEGMENT_VERSIONS + 7)
    assert world.hub.reads == 2


async def test_the_interest_is_registered_before_the_head_is_read() -> None:
    world = World()
    world.append(2)
    reader = Reader(world)
    joining = asyncio.create_task(reader.join())
    await asyncio.sleep(0)
    world.append(1)  # between the interest and the answer
    assert await joining >= 2
    assert await reader.drain() == [1, 2, 3]


async def test_many_who_join_at_once_ask_for_the_head_once() -> None:
    world = World()
    world.append(2)
    readers = [Reader(world) for _ in range(100)]
    assert set(await asyncio.gather(*(reader.join() for reader in readers))) == {2}
    assert world.heads == 1
    await joined(world)
    assert world.heads == 1


async def test_a_head_that_could_not_be_read_is_asked_for_again() -> None:
    world = World()
    world.append(2)

    async def away(_: Stream) -> int:
        raise LogUnavailable("away")

    reader = Reader(world)
    with pytest.raises(LogUnavailable):
        await world.hub.join(reader.subscription, away)
    world.hub.unsubscribe(reader.subscription)
    assert await (await joined(world)).drain() == [1, 2]


async def test_a_storm_is_served_by_one_read_for_each_range() -> None:
    world = World()
    world.commit(500)
    world.undelivered.clear()
    readers = [await joined(world, after=1) for _ in range(1000)]
    for versions in await asyncio.gather(*(reader.drain() for reader in readers)):
        assert versions == dense(2, 500)
    assert world.hub.reads == 1
    assert all(reader.batches == 1 for reader in readers)


async def test_who_waits_for_what_is_being_read_is_woken_and_served_from_memory() -> None:
    world = World()
    world.commit(5)
    world.undelivered.clear()
    first, *others = [await joined(world) for _ in range(100)]
    assert not world.hub.wake_when_read(first.subscription)  # nobody reads it yet
    fetching = asyncio.create_task(world.hub.fetch(first.subscription))
    await asyncio.sleep(0)
    assert all(world.hub.wake_when_read(reader.subscription) for reader in others)
    await fetching
    await asyncio.sleep(0)
    assert {reader.woken for reader in others} == {1}
    for reader in others:
        batch = world.hub.next_batch(reader.subscription, bytes_max=FRAME_BYTES)
        assert batch is not None
        assert (batch.after, batch.until) == (0, 5)
    assert world.hub.reads == 1
    assert not world.hub.wake_when_read(first.subscription)


async def test_who_waits_is_woken_by_a_read_that_fails_too() -> None:
    world = World()
    world.commit(3)
    world.undelivered.clear()
    first, second = await joined(world), await joined(world)
    world.fails = 1
    fetching = asyncio.create_task(world.hub.fetch(first.subscription))
    await asyncio.sleep(0)
    assert world.hub.wake_when_read(second.subscription)
    with pytest.raises(LogUnavailable):
        await fetching
    await asyncio.sleep(0)
    assert second.woken == 1
    assert await second.drain() == [1, 2, 3]


def followed(world: World) -> int:
    """How many streams the hub knows of."""
    [count] = [value for _, name, _, value in world.hub.figures() if name == "stenograph_hub_streams"]
    assert isinstance(count, int)
    return count


async def test_the_heads_of_many_streams_are_asked_for_at_once_by_who_joins_them_in_turn() -> None:
    world = World()
    streams = [chat_stream(UUID(int=number)) for number in range(10, 20)]
    for stream in streams:
        world.append(2, stream)
    with world.hub.expecting(streams, world.head):
        await (await joined(world, stream=streams[0])).drain()
        assert world.heads == len(streams)
        readers = [await joined(world, stream=stream) for stream in streams[1:5]]
    assert world.heads == len(streams)
    assert [await reader.drain() for reader in readers] == [[1, 2]] * 4
    assert followed(world) == 5  # those that were not joined are forgotten
    with world.hub.expecting(streams[:5], world.head):
        assert world.heads == len(streams)  # what is followed already costs no query


async def test_a_head_that_was_expected_and_not_read_is_asked_for_by_who_joins() -> None:
    world = World()
    world.append(2)

    async def away(_: Stream) -> int:
        raise LogUnavailable("away")

    with world.hub.expecting([CHAT], away):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert await (await joined(world)).drain() == [1, 2]
    assert world.heads == 1


async def test_who_is_expected_may_leave_within_the_block() -> None:
    world = World()
    world.append(2)
    with world.hub.expecting([CHAT], world.head):
        reader = await joined(world)
        world.hub.unsubscribe(reader.subscription)
        world.append(1)
        again = await joined(world)
        assert await again.drain() == [1, 2, 3]
        world.hub.unsubscribe(again.subscription)
    assert followed(world) == 0


async def test_followers_at_one_cursor_are_handed_the_same_batch() -> None:
    world = World()
    first, second = await joined(world), await joined(world)
    world.append(3)
    take = world.hub.next_batch
    batches = [take(reader.subscription, bytes_max=FRAME_BYTES) for reader in (first, second)]
    assert batches[0] is batches[1] is not None
    assert batches[0].form(bytes_of) is batches[1].form(bytes_of)
    small = await joined(world, frame_bytes=15)
    assert await small.drain() == [1, 2, 3]
    assert small.batches == 3


def bytes_of(batch: object) -> bytes:
    return b"%d" % id(batch)


async def test_a_read_that_fails_fails_for_all_who_wait_and_is_made_again() -> None:
    world = World()
    world.commit(3)
    world.undelivered.clear()
    readers = [await joined(world) for _ in range(2)]
    world.fails = 1
    results = await asyncio.gather(*(world.hub.fetch(reader.subscription) for reader in readers), return_exceptions=True)
    assert [type(result) for result in results] == [LogUnavailable, LogUnavailable]
    assert await readers[0].drain() == [1, 2, 3]


async def test_memory_is_bounded_and_who_is_slow_is_served_from_the_log_again() -> None:
    bound = 50 * (EVENT_OVERHEAD_BYTES + 2_000)
    world = World(memory_bytes=bound)
    slow, quick = await joined(world, frame_bytes=5_000), await joined(world)
    for _ in range(2_000):
        world.append(size=1_000)
        await quick.drain()
        assert world.hub._bytes <= bound * 1.5
    assert await slow.drain() == quick.versions == dense(1, 2_000)


async def test_what_memory_has_let_go_is_held_by_nobody() -> None:
    world = World(memory_bytes=100_000)
    streams = [chat_stream(UUID(int=number)) for number in range(10, 60)]
    for stream in streams:
        world.commit(3, stream, size=10_000)
    world.undelivered.clear()
    readers = [await joined(world, stream=stream) for stream in streams]
    for reader in readers:
        assert await reader.drain() == [1, 2, 3]
    for stream in streams:
        world.append(1, stream, size=10_000)
    for reader in readers:
        assert await reader.drain() == [1, 2, 3, 4]
    batches = [one for one in gc.get_objects() if type(one) is Batch and one.stream in streams]
    held = sum(len(event.stored.data) for batch in batches for event in batch.events)
    assert held <= 2 * 100_000  # while each stream's last batch would be 500,000


async def test_readers_of_more_than_memory_holds_all_get_on() -> None:
    world = World(memory_bytes=5_000)
    world.commit(SEGMENT_VERSIONS * 4, size=100)
    world.undelivered.clear()
    readers = [await joined(world, after=SEGMENT_VERSIONS * number) for number in range(4)]
    for number, versions in enumerate(await asyncio.gather(*(reader.drain() for reader in readers))):
        assert versions == dense(SEGMENT_VERSIONS * number + 1, SEGMENT_VERSIONS * 4)


async def test_what_a_page_was_read_with_is_not_handed_out_before_it_has_passed() -> None:
    """The guard sees what ends access as it passes: nothing above that may be out by then."""
    world = World()
    world.append(2)
    reader = await joined(world)
    world.hub._segments.clear()
    world.commit(3)  # written by another process, and not passed here yet
    assert await reader.drain() == [1, 2]
    world.hub.add_observer(lambda _: None)
    reader.subscription.end(3, "access_ended")
    world.deliver()
    assert await reader.drain() == [1, 2, 3]


async def test_nothing_is_handed_out_above_the_end_whatever_was_waiting() -> None:
    world = World()
    reader = await joined(world)
    world.append(10)
    reader.subscription.end(4, "access_ended")
    reader.subscription.end(7, "too late to change it")
    assert await reader.drain() == [1, 2, 3, 4]
    assert reader.subscription.ended
    assert reader.subscription.ends_because == "access_ended"
    world.append(5)
    assert await reader.drain() == [1, 2, 3, 4]


async def test_who_has_seen_more_than_the_end_gets_nothing() -> None:
    world = World()
    reader = await joined(world)
    world.append(5)
    await reader.drain()
    reader.subscription.end(3, "access_ended")
    assert reader.subscription.ended
    world.append(1)
    assert await reader.drain() == dense(1, 5)


async def test_a_watcher_sees_what_passes_before_anyone_is_woken_but_no_deltas() -> None:
    world = World()
    seen: list[tuple[str, int]] = []
    reader = await joined(world)
    world.hub.add_observer(lambda stored: seen.append((stored.type, reader.woken)))
    world.commit(2)
    world.commit(1, name="chat_unshared")
    world.deliver()
    assert seen == [("chat_unshared", 0)]
    assert reader.woken == 1


async def test_who_has_left_gets_nothing_and_may_leave_twice() -> None:
    world = World()
    reader, other = await joined(world), await joined(world)
    world.append(1)
    for _ in range(2):
        world.hub.unsubscribe(reader.subscription)
    world.append(1)
    assert reader.woken == 1
    assert await reader.drain() == []
    assert await other.drain() == [1, 2]


async def test_a_cursor_above_what_has_passed_here_waits_for_it() -> None:
    """A client that comes from another process may be ahead of this one's tail."""
    world = World()
    world.append(2)
    reader = await joined(world, after=4)
    world.commit(4)
    assert await reader.drain() == []
    world.deliver()
    assert await reader.drain() == [5, 6]


async def test_the_head_never_goes_back_while_what_is_below_it_passes() -> None:
    """Else a replay would be called caught up below the head that was promised with it."""
    world = World()
    world.append(2)
    world.commit(2)  # in the log, and not passed here yet
    reader = await joined(world, after=2)
    late, world.undelivered = world.undelivered[1:], world.undelivered[:1]
    world.deliver()
    assert await joined(world) is not None
    assert world.hub.head(CHAT) == 4
    assert await reader.drain() == [3, 4]
    world.undelivered = late
    world.deliver()
    assert reader.versions == await reader.drain() == [3, 4]


async def test_a_page_of_large_events_is_cut_short_and_read_on() -> None:
    world = World(memory_bytes=2_000_000)
    world.commit(40, size=200_000)
    world.undelivered.clear()
    readers = [await joined(world, after=after) for after in (0, 35)]
    first, second = await asyncio.gather(*(reader.drain() for reader in readers))
    assert (first, second) == (dense(1, 40), dense(36, 40))
    assert world.hub._bytes <= 4_000_000


Step = tuple[str, int]


@example([("commit", 3), ("join", 4), ("join", 0), ("fail", 5), ("forget", 7), ("drain", 3), ("join", 3)])
@given(
    st.lists(
        st.tuples(st.sampled_from(["commit", "deliver", "join", "drain", "cut", "turn", "forget", "fail"]), st.integers(0, 7)), max_size=60
    )
)
@settings(deadline=None, max_examples=200)
def test_whatever_happens_each_version_comes_once_and_in_order(steps: list[Step]) -> None:
    async def run() -> None:
        world = World(memory_bytes=4_000)
        seen: dict[int, list[int]] = {}  # what each client has, over all its connections
        readers: dict[int, Reader] = {}
        tasks: dict[int, asyncio.Task[object]] = {}

        async def serve(client: int) -> None:
            reader = readers[client]
            before = len(reader.versions)
            try:
                await reader.drain()
            except LogUnavailable:
                pass
            finally:
                if readers.get(client) is reader:
                    seen[client] += reader.versions[before:]

        async def cut(client: int) -> None:
            task = tasks.pop(client, None)
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            reader = readers.pop(client, None)
            if reader is not None:
                world.hub.unsubscribe(reader.subscription)

        for step, number in steps:
            client = number % 3
            match step:
                case "commit":
                    world.commit(number * 40, size=number * 100)
                case "deliver":
                    world.deliver()
                case "join" if client not in readers:
                    mine = seen.setdefault(client, [])
                    readers[client] = await joined(world, after=mine[-1] if mine else 0, frame_bytes=500 * (number + 1))
                case "drain" if client in readers and (client not in tasks or tasks[client].done()):
                    tasks[client] = asyncio.create_task(serve(client))
                case "cut":
                    await cut(client)
                case "forget":
                    for key in list(world.hub._segments)[: number + 1]:
                        world.hub._drop(key)
                case "fail":
                    world.fails = number % 2
                case _:
                    for _ in range(number):
                        await asyncio.sleep(0)
        world.deliver()
        world.fails = 0
        for client in list(seen):
            await cut(client)
            reader = await joined(world, after=seen[client][-1] if seen[client] else 0)
            seen[client] += await reader.drain()
            assert seen[client] == dense(1, len(world.streams.get(CHAT, [])))
        assert world.hub._bytes == sum(page.bytes for page in world.hub._segments.values())

    asyncio.run(run())
