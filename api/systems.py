"""The parts of one process: on Postgres, or in memory for tests and trials. Which projections there are.

``api/assembly.py`` puts them together, ``api/app.py`` makes the routes on them.
"""

from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

from adapters.delivery.hub import Hub
from adapters.delivery.log_tail import LogTail
from adapters.memory.accounts.activity import MemoryActivity
from adapters.memory.accounts.credentials import MemoryCredentials
from adapters.memory.accounts.run_slots import MemoryRunSlots
from adapters.memory.accounts.tickets import MemoryTickets
from adapters.memory.accounts.usage import MemoryUsage
from adapters.memory.accounts.user_list import MemoryUserList
from adapters.memory.bell import MemoryBell
from adapters.memory.blobs import MemoryBlobs
from adapters.memory.channel_queries import MemoryChannelQueries
from adapters.memory.chat_queries import MemoryChatQueries
from adapters.memory.figures import MemoryFigures
from adapters.memory.log import MemoryLog
from adapters.memory.nodes import MemoryNodes
from adapters.memory.outgoing_webhooks import MemoryOutgoing
from adapters.memory.relays import MemoryRelays
from adapters.postgres.accounts.activity import PostgresActivity
from adapters.postgres.accounts.credentials import PostgresCredentials
from adapters.postgres.accounts.run_slots import PostgresRunSlots
from adapters.postgres.accounts.tickets import PostgresTickets
from adapters.postgres.accounts.usage import PostgresUsage
from adapters.postgres.accounts.user_list import PostgresUserList
from adapters.postgres.analysts.figures import PostgresFigures
from adapters.postgres.connections.connection import connect
from adapters.postgres.connections.query_reader import QueryReader
from adapters.postgres.log.bell import Bell
from adapters.postgres.log.blobs import PostgresBlobs
from adapters.postgres.log.epoch import Epoch, EpochGuard
from adapters.postgres.log.log import LogReads, postgres_log
from adapters.postgres.processes.nodes import PostgresNodes
from adapters.postgres.processes.outgoing_webhooks import PostgresOutgoing
from adapters.postgres.processes.relays import PostgresRelays
from adapters.postgres.reading.channel_queries import PostgresChannelQueries
from adapters.postgres.reading.chat_queries import PostgresChatQueries
from adapters.projector.live import Projector
from api.assembly import Delivery, assemble
from api.formats.event_json import encode_event
from api.process.server import Stores, System
from api.process.telemetry import Telemetry
from api.settings import Settings
from api.streams.signals import SignalDelivery
from api.version import VERSION
from domain.log.event import StoredEvent
from domain.log.stream import Stream
from projections.channel_counts import ChannelCounts
from projections.channel_search import ChannelSearchRows
from projections.chat_list import ChatList
from projections.chat_search import ChatSearch
from projections.chat_tree import ChatTree
from projections.figures.projection import Figures
from projections.projection import Projection

# For the lists, searches and chats of people, and for analysts. Each group has a projector of its own: a batch of the one, or its replay
# after an upgrade, keeps no reader of the other waiting.
FOR_PEOPLE: Sequence[Projection] = (ChatList(), ChatSearch(), ChatTree(), ChannelSearchRows(), ChannelCounts())
FOR_ANALYSTS: Sequence[Projection] = (Figures(),)
PROJECTIONS: Sequence[Projection] = (*FOR_PEOPLE, *FOR_ANALYSTS)
FIGURES_INTERVAL_S = 0.1  # no person waits for a figure as for a list: fewer batches leave the processor to tokens


async def on_postgres(settings: Settings, dsn: str, epoch: Epoch) -> System:
    """One server process on the Postgres at ``dsn``. To be called on the loop that it runs on. Raises ``LogUnavailable``.

    Bottom-up: reading the log, then the delivery of what is committed, then the bell and the appender, which feed it.
    """
    node_id = uuid4()
    telemetry = telemetry_of(settings, node_id)
    reader = QueryReader(dsn)
    delivery = deliver(settings, LogReads(reader), telemetry)
    guard = EpochGuard(epoch.epoch, lambda: delivery.tail.position)
    bell = Bell(
        node_id,
        lambda: connect(dsn, application="bell", opened=guard.check),
        rung=delivery.tail.on_head,
        committed=delivery.tail.add_announced,
        signalled=delivery.signals.on_signal,
        interval_s=settings.notify_interval_ms / 1000,
    )
    log = postgres_log(
        dsn,
        own_commits(delivery),
        batch_events_max=settings.batch_events_max,
        check_connection=guard.check,
        announce_as=bell.announce_as,
        reader=reader,
    )
    await log.start()
    stores = Stores(
        log=log,
        blobs=PostgresBlobs(reader),
        nodes=PostgresNodes(reader),
        run_slots=PostgresRunSlots(reader),
        usage=PostgresUsage(reader),
        activity=PostgresActivity(reader),
        user_list=PostgresUserList(reader),
        credentials=PostgresCredentials(reader),
        tickets=PostgresTickets(reader),
        chat_queries=PostgresChatQueries(reader),
        relays=PostgresRelays(reader),
        channel_queries=PostgresChannelQueries(reader),
        outgoing=PostgresOutgoing(reader),
        figures=PostgresFigures(reader),
    )
    projectors = [
        Projector(dsn, FOR_PEOPLE, node_id),
        Projector(dsn, FOR_ANALYSTS, node_id, interval_s=FIGURES_INTERVAL_S, name="figures_projector"),
    ]
    return await assemble(settings, epoch, guard, node_id, stores, delivery, bell, projectors, telemetry)


async def in_memory(settings: Settings) -> System:
    """The same without a database, for tests: everything is gone with the process."""
    epoch, node_id = Epoch(uuid4(), 0, fsync=True), uuid4()
    telemetry = telemetry_of(settings, node_id)
    log, blobs, bell = MemoryLog(), MemoryBlobs(), MemoryBell()
    nodes = MemoryNodes(log)
    delivery = deliver(settings, log, telemetry)
    log.on_committed = own_commits(delivery)
    stores = Stores(
        log=log,
        blobs=blobs,
        nodes=nodes,
        run_slots=MemoryRunSlots(log, nodes),
        usage=MemoryUsage(log),
        activity=MemoryActivity(),
        user_list=MemoryUserList(log),
        credentials=MemoryCredentials(),
        tickets=MemoryTickets(),
        chat_queries=MemoryChatQueries(log, blobs),
        relays=MemoryRelays(),
        channel_queries=MemoryChannelQueries(log),
        outgoing=MemoryOutgoing(log),
        figures=MemoryFigures(log),
    )
    guard = EpochGuard(epoch.epoch, lambda: delivery.tail.position)  # nothing asks it: there are no connections
    return await assemble(settings, epoch, guard, node_id, stores, delivery, bell, [], telemetry)


def telemetry_of(settings: Settings, node_id: UUID) -> Telemetry | None:
    """Where the settings name a receiver. Without it OpenTelemetry is not loaded."""
    if settings.otel_endpoint is None:
        return None
    from adapters.telemetry.telemetry import Telemetry as OpenTelemetry  # only here: an extra, and memory

    return OpenTelemetry(settings.otel_endpoint, node_id, VERSION)


def deliver(settings: Settings, log: LogReads | MemoryLog, telemetry: Telemetry | None) -> Delivery:
    async def read_log(after: int, limit: int) -> Sequence[StoredEvent]:
        return await log.read_log(after=after, limit=limit)

    async def read_range(stream: Stream, after: int, until: int) -> Sequence[StoredEvent]:
        return await log.read(stream, after=after, until=until, limit=until - after)

    hub = (Hub if telemetry is None else telemetry.hub)(read_range, encode_event, memory_bytes=settings.tail_memory_bytes)
    return Delivery(
        hub,
        LogTail(read_log, hub.publish, deliver_foreign=hub.publish_from_elsewhere, poll_s=settings.poll_interval_ms / 1000),
        SignalDelivery(hub),
        [],
    )


def own_commits(delivery: Delivery) -> Callable[[Sequence[StoredEvent]], None]:
    """What the appender calls with its commits: this process's subscribers get them from memory."""

    def on_committed(events: Sequence[StoredEvent]) -> None:
        delivery.tail.add_committed(events)
        for observe in delivery.own_observers:
            observe(events)

    return on_committed
