"""The parts of one server process, and the order in which they start and stop. ``api/assembly.py`` constructs them."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import structlog

from adapters.delivery.hub import Hub
from adapters.delivery.log_tail import LogTail
from adapters.functions.folder import FunctionFolder
from adapters.functions.pipes import PipeModels
from adapters.functions.runtime import FunctionRuntime
from adapters.memory.bell import MemoryBell
from adapters.memory.log import MemoryLog
from adapters.postgres.log.bell import Bell
from adapters.postgres.log.epoch import Epoch, EpochGuard, Known, remember
from adapters.postgres.log.log import PostgresLog
from adapters.projector.live import Projector
from adapters.providers.router import Providers
from adapters.webhooks.http import HttpWebhookSender
from api.accounts.last_active import LastActiveWriter
from api.accounts.usage import UsageWriter
from api.chats.read_receipts import ReadReceiptWriter
from api.dialects.open_webui.page_sockets import PageSockets
from api.process.telemetry import Telemetry
from api.request.bodies import BodyMemory
from api.request.response_counts import ResponseCounts
from api.settings import Settings
from api.streams.access import LiveConnections
from api.streams.sockets import WebSockets
from api.streams.ticking import EphemeralTicks
from commands.accounts.accounts import Accounts
from commands.accounts.authentication import Authentication
from commands.accounts.passwords import Passwords
from commands.accounts.registration import Registration
from commands.accounts.sessions import Sessions
from commands.accounts.usage import UsageBook
from commands.background.work import Background
from commands.calls.call_answers import CallAnswers
from commands.calls.calls import Calls
from commands.calls.relays import Relaying, Relays
from commands.catalogue import Catalogue
from commands.channels.answers import ChannelAnswers
from commands.channels.channel_reader import ChannelReader
from commands.channels.channels import Channels
from commands.channels.outgoing import Outgoing, OutgoingWebhooks
from commands.channels.outgoing_worker import OutgoingWorker
from commands.channels.redactions import ChannelRedactions
from commands.chats.chat_reader import ChatReader
from commands.chats.chats import Chats
from commands.chats.folders import FolderTrees
from commands.filters.filters import EmailOf, Filters
from commands.functions.function_history import FunctionHistory
from commands.functions.function_library import FunctionLibrary
from commands.generation.completion import Completions
from commands.generation.node_watch import NodeWatch
from commands.generation.runs import Runs
from commands.metrics import MetricFigure
from commands.ports import Activity, Blobs, Credentials, Nodes, RunSlots, Tickets, Usage, UserList
from commands.positions import ListWaits
from commands.providers.providers import ProviderRegistry
from commands.routing.editing import ModelEditor
from commands.routing.groups import Groups
from commands.routing.models import ModelEntries
from commands.routing.router import Router
from domain.errors import LogUnavailable
from domain.routing.function import FunctionState
from domain.values.public_text import public_text
from projections.figures.ports import FigureQueries
from projections.ports import ChannelQueries, ChatQueries

logger = structlog.get_logger("server")

REMEMBER_S: Final = 10.0
OTHERS_END_S: Final = 2.0  # to write the ends of answers that did not finish in time
FAREWELL_S: Final = 3.0  # for the last writes, which may be lost: a Postgres that is away must not keep the process from ending
NO_ROOM: Final = "its disk is full"
EPOCH_FILE: Final = "epoch.json"


@dataclass(frozen=True, slots=True)
class Stores:
    """What outlives the process, one object for each port."""

    log: PostgresLog | MemoryLog
    blobs: Blobs
    nodes: Nodes
    run_slots: RunSlots
    usage: Usage
    activity: Activity
    user_list: UserList
    credentials: Credentials
    tickets: Tickets
    chat_queries: ChatQueries
    channel_queries: ChannelQueries
    figures: FigureQueries
    relays: Relays
    outgoing: Outgoing


@dataclass(frozen=True, slots=True)
class Functions:
    """The functions of one process. ``folder``: the server's own, if there is one."""

    known: Catalogue[FunctionState]
    runtime: FunctionRuntime
    library: FunctionLibrary
    history: FunctionHistory
    pipes: PipeModels
    folder: FunctionFolder | None

    async def start(self) -> None:
        """To be called once the tail of the log is followed. Without functions this is one query."""
        await self.known.start()
        await self.runtime.loader.start(self.known)
        if self.folder is not None:
            await self.folder.start()

    async def close(self) -> None:
        if self.folder is not None:
            await self.folder.close()
        await self.known.close()
        await self.pipes.close()
        await self.runtime.close()


@dataclass
class System:
    """The parts of one process. ``start`` and ``stop`` once each, in this order."""

    settings: Settings
    node_id: UUID
    epoch: Epoch
    guard: EpochGuard
    stores: Stores
    tail: LogTail
    bell: Bell | MemoryBell
    hub: Hub
    accounts: Accounts
    authentication: Authentication
    sessions: Sessions
    passwords: Passwords
    registration: Registration
    chats: Chats
    folders: FolderTrees
    chat_reader: ChatReader
    runs: Runs
    calls: Calls
    call_answers: CallAnswers
    relaying: Relaying
    node_watch: NodeWatch
    completions: Completions
    background: Background
    providers: Providers
    functions: Functions
    groups: Groups
    model_entries: ModelEntries
    router: Router
    filters: Filters
    email_of: EmailOf
    model_editor: ModelEditor
    provider_registry: ProviderRegistry
    channels: Channels
    channel_reader: ChannelReader
    channel_redactions: ChannelRedactions
    channel_answers: ChannelAnswers
    outgoing_webhooks: OutgoingWebhooks
    outgoing_worker: OutgoingWorker
    webhook_sender: HttpWebhookSender
    live: LiveConnections
    usage_book: UsageBook
    usage_writer: UsageWriter
    list_waits: ListWaits
    reads: ReadReceiptWriter
    seen: LastActiveWriter
    ticks: EphemeralTicks
    used: LastActiveWriter
    sockets: WebSockets
    page_sockets: PageSockets
    body_memory: BodyMemory
    response_counts: ResponseCounts
    telemetry: Telemetry | None
    projectors: Sequence[Projector]
    worker: int | None = None  # which of several processes that share an address, from 1
    drained_here: Callable[[], Awaitable[None]] | None = None  # tells the other processes, and returns when all of them are drained
    draining: bool = False
    _memory: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.tail.start(await self.log.head())
        await self.groups.start()
        await self.model_entries.start()
        await self.bell.start()
        await self.functions.start()
        await self.provider_registry.start()
        await self.node_watch.start()
        await self.sockets.start()
        self.reads.start()
        self.usage_writer.start()
        self.seen.start()
        self.ticks.start()
        self.used.start()
        self.outgoing_worker.start()
        for projector in self.projectors:
            projector.start()
        self._memory = asyncio.create_task(self._remember(), name="epoch memory")
        logger.info("ready", node=str(self.node_id), epoch=str(self.epoch.epoch), head=self.tail.position)

    @property
    def log(self) -> PostgresLog | MemoryLog:
        return self.stores.log

    @property
    def chat_queries(self) -> ChatQueries:
        return self.stores.chat_queries

    async def epoch_lost(self) -> None:
        """Returns when the database was restored, or failed over with loss: its positions mean other events than those seen here.

        This process can only end then, and start again under a new epoch. It takes no new work from here on.
        """
        await self.guard.lost.wait()
        logger.critical("another_history", reason=self.guard.reason, epoch=str(self.epoch.epoch), seen=self.tail.position)
        self.draining = self.runs.closing = True  # there is nothing to wait for: no end of an answer can be written

    async def drain(self) -> None:
        """Take no new work, let answers finish within the bound, then tell every socket to come back."""
        if self.draining:
            return
        self.draining = True
        logger.info("draining", runs=len(self.runs), within_s=self.settings.drain_s)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self.settings.drain_s
        await self.background.close()
        await self.runs.drain(self.settings.drain_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await self.calls.close()
        if self.drained_here is not None:
            with contextlib.suppress(TimeoutError, LogUnavailable):
                async with asyncio.timeout_at(until_s + OTHERS_END_S):
                    await self.drained_here()
                    await self.tail.wait_for(await self.log.head())  # subscribers here see the ends that other processes wrote
        await asyncio.gather(self.sockets.go_away(), self.page_sockets.go_away())

    async def stop(self) -> None:
        await self.drain()
        if self._memory is not None:
            self._memory.cancel()
            await asyncio.wait([self._memory])
        await self._remember_once()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await self.reads.close()
                await self.usage_writer.close()
                await self.seen.close()
                await self.ticks.close()
                await self.used.close()
                await self.node_watch.close()
                await self.relaying.close_of_node(self.node_id)
        await self.outgoing_worker.close()
        await self.webhook_sender.aclose()
        await self.functions.close()
        await self.provider_registry.close()
        projectors = [projector.close() for projector in self.projectors]
        await asyncio.gather(self.groups.close(), self.model_entries.close())
        await asyncio.gather(*projectors, self.bell.close(), self.tail.close(), self.log.close(), self.providers.aclose())
        if self.telemetry is not None:
            await self.telemetry.close(FAREWELL_S)

    @property
    def epoch_file(self) -> Path:
        return self.settings.data / EPOCH_FILE

    async def _remember(self) -> None:
        while True:
            await asyncio.sleep(REMEMBER_S)
            await self._remember_once()

    async def _remember_once(self) -> None:
        try:
            await remember(self.epoch_file, Known(self.epoch.epoch, self.tail.position))
        except OSError as error:
            logger.warning("head_not_remembered", error=str(error))

    def readiness(self) -> dict[str, Any]:
        warnings = [] if self.epoch.fsync else ["fsync is off: a crash of the database machine loses committed events"]
        warnings += [f"{name}: {failure}" for name, failure in self.providers.failures.items()]
        # Anyone may ask: what the database says of itself is in the server's log.
        warnings += [public_text(warning) for one in self.projectors for warning in one.warnings]
        fresh = self.live.has_recent_contact()
        # The heartbeat is a row that is written: others take over the answers of a process that is silent for so long.
        beats = time.monotonic() - self.node_watch.beaten_at < self.settings.lease_s
        writable = fresh and beats and self.log.write_failure is None
        if fresh and not writable:
            failure = NO_ROOM if "DiskFull" in (self.log.write_failure or "") else "its server's log says why"
            warnings.append(f"nothing can be written to the database: {failure}")
        return {
            **({} if self.worker is None else {"worker": self.worker}),
            "ready": writable and not self.draining,
            "database": fresh,
            "writable": writable,
            "draining": self.draining,
            "epoch": str(self.epoch.epoch),
            "head": self.tail.position,
            "warnings": warnings,
        }

    def figures(self) -> Iterable[MetricFigure]:
        """The metrics of this process (``commands/metrics.py``), of all its parts."""
        yield from self.tail.figures()
        yield from self.log.figures()
        for projector in self.projectors:
            yield from projector.figures()
        yield from self.hub.figures()
        yield "counter", "stenograph_bell_notifications", "Signals sent to other processes.", self.bell.notifications
        yield from self.sockets.figures()
        yield "gauge", "stenograph_page_sockets", "Open sockets of Open WebUI's page.", len(self.page_sockets)
        yield "gauge", "stenograph_client_connections", "WebSockets and HTTP requests that follow a stream.", len(self.live)
        yield from self.live.resumes.figures()
        yield from self.response_counts.figures()
        held = self.body_memory.held_bytes
        yield "gauge", "stenograph_bodies_bytes", "Memory of the bodies that are read or decoded.", held
        yield from self.functions.runtime.figures()
        yield from self.runs.figures()
        yield from self.providers.figures()
        yield "counter", "stenograph_webhooks_sent", "Events that services have taken.", self.outgoing_worker.sent
        yield (
            "counter",
            "stenograph_webhooks_failed",
            "Events that were not taken, and are sent again.",
            self.outgoing_worker.failed,
        )
        yield "gauge", "stenograph_calls_open", "Calls to users that wait in this process.", len(self.calls)
        yield "gauge", "stenograph_background_open", "Answers of which work in the background is under way or waits.", len(self.background)
        yield (
            "counter",
            "stenograph_background_dropped",
            "Titles, tags and follow-ups that came to nothing.",
            self.background.dropped,
        )
        taken_over = "Generations of dead processes that this one has closed."
        yield "counter", "stenograph_generations_taken_over", taken_over, self.node_watch.interrupted
