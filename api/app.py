"""Everything that one server process is made of, wired. The only place that constructs adapters."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from litestar import Controller, Litestar, Router, asgi
from litestar.datastructures import State
from litestar.di import Provide
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from adapters.delivery.hub import Hub
from adapters.delivery.log_tail import LogTail
from adapters.functions.compat.host import set_host
from adapters.functions.folder import FunctionFolder
from adapters.functions.pipes import PipeModels
from adapters.functions.running import Limits
from adapters.functions.runtime import FunctionRuntime
from adapters.functions.server_host import ServerHost
from adapters.functions.workshop import FunctionWorkshop
from adapters.identity import Argon2Hasher, JwtTokens
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
from adapters.pipelines.http import HttpPipelines, PipelinesServer
from adapters.postgres.accounts.activity import PostgresActivity
from adapters.postgres.accounts.credentials import PostgresCredentials
from adapters.postgres.accounts.run_slots import PostgresRunSlots
from adapters.postgres.accounts.tickets import PostgresTickets
from adapters.postgres.accounts.usage import PostgresUsage
from adapters.postgres.accounts.user_list import PostgresUserList
from adapters.postgres.appender import SENDERS
from adapters.postgres.bell import Bell
from adapters.postgres.blobs import PostgresBlobs
from adapters.postgres.channel_queries import PostgresChannelQueries
from adapters.postgres.chat_queries import PostgresChatQueries
from adapters.postgres.connection import connect
from adapters.postgres.epoch import Epoch, EpochGuard
from adapters.postgres.figures import PostgresFigures
from adapters.postgres.log import LogReads, PostgresLog, postgres_log
from adapters.postgres.nodes import PostgresNodes
from adapters.postgres.outgoing_webhooks import PostgresOutgoing
from adapters.postgres.query_reader import CONNECTIONS_MAX, QueryReader
from adapters.postgres.relays import PostgresRelays
from adapters.projector.live import Projector
from adapters.providers.demo.demo import DemoProvider
from adapters.providers.direct import DirectProvider
from adapters.providers.factory import ProviderFactory
from adapters.providers.http.address_guard import AddressGuard
from adapters.providers.http.client import ProviderClients
from adapters.providers.http.http import Patience
from adapters.providers.router import ConfiguredProvider, Providers
from adapters.webhooks.http import HttpWebhookSender
from api.accounts.auths import AuthsController
from api.accounts.keys import KeysController, UserKeysController
from api.accounts.last_active import LastActiveWriter
from api.accounts.sessions import SessionsController, UserSessionsController
from api.accounts.usage import UsageReport, UsageWriter
from api.accounts.users import UsersController
from api.analytics.query import AnalyticsQueryController
from api.analytics.reports import AnalyticsController
from api.channels.channels import ChannelController, ChannelsController
from api.channels.exporting import ChannelExportController
from api.channels.messages import ChannelMessagesController
from api.channels.outgoing import OutgoingWebhooksController
from api.channels.search import ChannelSearchController
from api.channels.webhooks import ChannelWebhooksController, WebhookPostsController
from api.chats.bulk import AllChatsController
from api.chats.calls import CallsController
from api.chats.chat import ChatsController
from api.chats.copying import CopiesController
from api.chats.exporting import ExportsController
from api.chats.folders import FoldersController
from api.chats.importing import ImportController
from api.chats.lists import ChatListController
from api.chats.offers import BlocksController, OffersController
from api.chats.params import ParamsController
from api.chats.read_receipts import ReadReceiptWriter, ReadsController
from api.chats.search import SearchController
from api.chats.sharing import SharingController
from api.chats.statistics import StatisticsController
from api.compatibility.absent import AbsentController
from api.compatibility.feedback import FeedbackController
from api.compatibility.instance import InstanceController
from api.compatibility.model_tasks import ModelTasksController
from api.compatibility.page_search import PageSearchController
from api.compatibility.pictures import PicturesController
from api.completions.actions import ActionsController
from api.completions.aliases import CompletionsAliasController, OpenAIAliasController
from api.completions.anthropic.routes import MessagesController
from api.completions.completions import CompletionsController
from api.completions.continuing import ContinueController
from api.completions.forwarding import ForwardingController
from api.completions.models import ModelsController, model_card
from api.completions.openai import OpenAIController
from api.completions.payloads import PayloadsController
from api.completions.responses.routes import ResponsesController
from api.completions.responses.service import Responses
from api.completions.tasks import TasksController
from api.completions.turns import Turns
from api.completions.usage import UsageController
from api.dialects.open_webui.page_context import PageContext
from api.dialects.open_webui.page_sockets import PageSockets
from api.formats.event_json import encode_event
from api.functions.functions import FunctionsController
from api.functions.history import FunctionHistoryController
from api.functions.valves import FunctionValvesController
from api.models.entries import ModelEntriesController
from api.models.groups import GroupsController
from api.process.docs_page import docs_assets, send_docs_policy
from api.process.front_page import front_page
from api.process.health import Gauges, OpsController
from api.process.server import Functions, Stores, System
from api.providers.fixed import fixed_providers
from api.providers.lists import OllamaListController, OpenAIListController
from api.providers.providers import ProvidersController
from api.request.allowed_methods import methods_of, sends_allowed_methods
from api.request.authentication import provide_any_principal, provide_principal, require_signed_in
from api.request.bodies import SMALL_BYTES, BodyMemory, bounded_bodies
from api.request.caller import provide_caller
from api.request.cors import cors_for
from api.request.errors import HANDLERS
from api.request.request_id import send_request_id
from api.request.security_headers import send_security_headers
from api.request.security_log import record_response
from api.schema import openapi_config, public_routes
from api.settings import Settings
from api.streams.access import LiveConnections
from api.streams.channel_access import ChannelAccess
from api.streams.http import StreamsController
from api.streams.presence import OP as PRESENCE
from api.streams.presence import Presence, PresenceDelivery
from api.streams.signals import SignalDelivery
from api.streams.snapshots import snapshots
from api.streams.socket_context import socket_context
from api.streams.sockets import WebSockets
from api.streams.ticking import EphemeralTicks
from api.streams.typing import OP as TYPING
from api.streams.typing import Typing
from commands.accounts.accounts import Accounts
from commands.accounts.api_keys import ApiKeys
from commands.accounts.sessions import Sessions
from commands.accounts.usage import Quotas, UsageBook
from commands.analytics import Analytics
from commands.background.work import Background, BackgroundSettings
from commands.calls.call_answers import CallAnswers
from commands.calls.calls import Calls
from commands.calls.direct import no_direct_tabs
from commands.calls.relays import OP, Relaying
from commands.catalogue import Catalogue
from commands.channels.answers import ChannelAnswers
from commands.channels.channel_reader import ChannelReader
from commands.channels.channels import Channels
from commands.channels.directory import ChannelDirectory
from commands.channels.mentioning import Mentioning
from commands.channels.outgoing import OutgoingWebhooks, OutgoingWorker
from commands.channels.redactions import ChannelRedactions
from commands.channels.webhooks import ChannelWebhooks
from commands.chats.chat_lists import ChatLists
from commands.chats.chat_reader import ChatReader
from commands.chats.chats import Chats
from commands.chats.folders import FolderTrees
from commands.chats.offers import Offers
from commands.chats.params import ChatParams
from commands.chats.read_receipts import ReadReceipts
from commands.chats.share_links import ShareLinks
from commands.chats.whole_lists import WholeLists
from commands.filters.completed import CompletedFilters
from commands.filters.filters import Filters
from commands.functions.actions import Actions
from commands.functions.function_history import FunctionHistory
from commands.functions.function_library import FunctionLibrary, FunctionStore
from commands.generation.answer_streams import StreamsByKind
from commands.generation.asking import ModelQuestions
from commands.generation.completion import Completions, TaskKind
from commands.generation.filtering import AnswerFilters
from commands.generation.model_settings import ModelSettings
from commands.generation.payloads import Payloads
from commands.generation.runs import NodeWatch, Runs
from commands.own_chats.own_chats import OwnChats
from commands.ports import Blobs
from commands.positions import ListWaits
from commands.providers.provider_setup import ProviderSetup
from commands.providers.providers import ProviderRegistry
from commands.routing.access import ModelAccess
from commands.routing.editing import ModelEditor
from commands.routing.groups import Groups
from commands.routing.models import ModelEntries
from commands.routing.router import Router as ModelRouter
from commands.saving.saver import ChatSaver
from commands.transfer.copying import ChatCopier
from commands.transfer.whole_chat import WholeChats
from domain.log.event import StoredEvent
from domain.log.stream import Stream, channel_stream
from domain.routing.function import NO_FUNCTION
from domain.routing.function import evolve as evolve_function
from projections.channel_search import ChannelSearchRows
from projections.chat_list import ChatList
from projections.chat_search import ChatSearch
from projections.chat_tree import ChatTree
from projections.figures.projection import Figures
from projections.projection import Projection

SECRET_BYTES = 32
# For the lists, searches and chats of people, and for analysts. Each group has a projector of its own: a batch of the one, or its replay
# after an upgrade, keeps no reader of the other waiting.
FOR_PEOPLE: Sequence[Projection] = (ChatList(), ChatSearch(), ChatTree(), ChannelSearchRows())
FOR_ANALYSTS: Sequence[Projection] = (Figures(),)
PROJECTIONS: Sequence[Projection] = (*FOR_PEOPLE, *FOR_ANALYSTS)
FIGURES_INTERVAL_S = 0.1  # no person waits for a figure as for a list: fewer batches leave the processor to tokens
# Connections of one process to Postgres: the pool of readers, the appender's, the bell's two, and the two projectors'.
CONNECTIONS_LEAST = 1 + SENDERS + 2 + 2
CONNECTIONS_MOST = CONNECTIONS_MAX + SENDERS + 2 + 2

# Routes for signed-in users, and those for signing in.
SIGNED_IN: Sequence[type[Controller]] = (
    AuthsController,
    KeysController,
    SessionsController,
    UsersController,
    UserKeysController,
    UserSessionsController,
    ChatListController,
    SearchController,
    ChatsController,
    CallsController,
    FoldersController,
    SharingController,
    OffersController,
    BlocksController,
    CopiesController,
    ParamsController,
    ReadsController,
    ExportsController,
    ImportController,
    StatisticsController,
    AnalyticsController,
    AnalyticsQueryController,
    AllChatsController,
    ActionsController,
    CompletionsController,
    ContinueController,
    PayloadsController,
    TasksController,
    UsageController,
    ModelsController,
    ModelEntriesController,
    GroupsController,
    ProvidersController,
    OpenAIListController,
    OllamaListController,
    ChannelsController,
    ChannelSearchController,
    ChannelController,
    ChannelMessagesController,
    ChannelExportController,
    ChannelWebhooksController,
    OutgoingWebhooksController,
    WebhookPostsController,
    OpenAIController,
    ForwardingController,
    ResponsesController,
    MessagesController,
    OpenAIAliasController,
    CompletionsAliasController,
    ModelTasksController,
    InstanceController,
    PicturesController,
    FunctionsController,
    FunctionHistoryController,
    FunctionValvesController,
    AbsentController,
    FeedbackController,
    PageSearchController,
    StreamsController,
)


async def on_postgres(settings: Settings, dsn: str, epoch: Epoch) -> System:
    """One server process on the Postgres at ``dsn``. To be called on the loop that it runs on. Raises ``LogUnavailable``.

    Bottom-up: reading the log, then the delivery of what is committed, then the bell and the appender, which feed it.
    """
    node_id = uuid4()
    reader = QueryReader(dsn)
    delivery = deliver(settings, LogReads(reader))
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
    return await assemble(settings, epoch, guard, node_id, stores, delivery, bell, projectors)


async def in_memory(settings: Settings) -> System:
    """The same without a database, for tests: everything is gone with the process."""
    epoch = Epoch(uuid4(), 0, fsync=True)
    log, blobs, bell = MemoryLog(), MemoryBlobs(), MemoryBell()
    nodes = MemoryNodes(log)
    delivery = deliver(settings, log)
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
    return await assemble(settings, epoch, guard, uuid4(), stores, delivery, bell, [])


class Delivery(NamedTuple):
    """From the log to the subscriptions of this process. It only reads the log. ``own_observers`` get what this process has committed."""

    hub: Hub
    tail: LogTail
    signals: SignalDelivery
    own_observers: list[Callable[[Sequence[StoredEvent]], None]]


def deliver(settings: Settings, log: LogReads | MemoryLog) -> Delivery:
    async def read_log(after: int, limit: int) -> Sequence[StoredEvent]:
        return await log.read_log(after=after, limit=limit)

    async def read_range(stream: Stream, after: int, until: int) -> Sequence[StoredEvent]:
        return await log.read(stream, after=after, until=until, limit=until - after)

    hub = Hub(read_range, encode_event, memory_bytes=settings.tail_memory_bytes)
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


async def assemble(
    settings: Settings,
    epoch: Epoch,
    guard: EpochGuard,
    node_id: UUID,
    stores: Stores,
    delivery: Delivery,
    bell: Bell | MemoryBell,
    projectors: Sequence[Projector],
) -> System:
    """The parts of one process above its stores and its delivery."""
    log, blobs, (hub, tail, signals, _) = stores.log, stores.blobs, delivery

    def has_recent_contact() -> bool:
        """Whether Postgres answered within the lease. A process that it did not answer serves nothing from memory."""
        return asyncio.get_running_loop().time() - max(tail.seen_at, log.last_success_at) < settings.lease_s

    chats = Chats(log, blobs, kept_max=settings.folds_kept_max)
    folders = FolderTrees(log)
    relaying = Relaying(stores.relays, node_id, bell.signal)
    calls = Calls(log, blobs, chats, relaying, node_id, timeout_s=settings.call_timeout_s)
    signals.handlers[OP] = relaying.on_signal
    call_answers = CallAnswers(calls, relaying)
    groups = Groups(log, tail.wait_for)
    model_entries = ModelEntries(log, tail.wait_for)
    providers = Providers([])
    guard_of_admins = AddressGuard(settings.provider_refused_networks)
    provider_factory = ProviderFactory(patience_of(settings), guard_of_admins)
    demo = [ConfiguredProvider("demo", DemoProvider(), last=True)] if settings.demo_model else []

    def ask_these(setups: Sequence[ProviderSetup]) -> None:
        providers.replace([*provider_factory.connections(setups), *demo])

    provider_registry = ProviderRegistry(
        log,
        stores.credentials,
        fixed_providers(settings),
        tail.wait_for,
        ask_these,
        provider_factory.verify,
        refuses_host=guard_of_admins.refuses,
        may_change=settings.providers_over_http,
    )
    secret = (settings.secret or "").encode() or await stores.credentials.secret("jwt", secrets.token_bytes(SECRET_BYTES))
    used = LastActiveWriter(stores.credentials.note_used, "credentials")
    passwords = Argon2Hasher()
    accounts = Accounts(
        log,
        stores.credentials,
        stores.tickets,
        passwords,
        passwords,
        JwtTokens(secret),
        default_role=settings.default_role,
        signup_enabled=settings.signup_enabled,
        token_lifetime_s=settings.token_lifetime_s,
        processes=settings.workers,
        note_used=used.note,
    )
    channels = Channels(log, mentioned=Mentioning(accounts, groups).people)
    answer_streams: StreamsByKind = {"chat": chats, "channel": channels}
    runs = Runs(answer_streams, blobs)
    directory = ChannelDirectory(log, stores.channel_queries, lambda channel_id: hub.head(channel_stream(channel_id)) > 0)
    channel_redactions = ChannelRedactions(stores.channel_queries)
    channel_access = ChannelAccess(hub, directory, channel_redactions, groups)
    live = LiveConnections(
        hub, accounts, chats, channel_access, has_recent_contact, connections_per_user_max=settings.connections_per_user_max
    )
    default_quotas = quotas_of(settings)

    async def email_of(user_id: UUID) -> str:
        return (await accounts.account(user_id)).email

    async def quotas(user_id: UUID) -> Quotas:
        return default_quotas.of(await accounts.account(user_id))

    async def runs_max(user_id: UUID) -> int:
        return (await quotas(user_id)).runs

    usage_book = UsageBook(
        stores.usage,
        quotas,
        chat_messages_max=settings.chat_messages_max,
        chat_bytes_max=settings.chat_bytes_max,
        now=lambda: datetime.now(UTC),
        clock=time.monotonic,
    )
    log.quota_guard = usage_book
    delivery.own_observers.append(usage_book.count)
    function_store = FunctionStore(log, blobs, stores.credentials, accounts)
    functions = functions_of(settings, log, blobs, function_store, tail.wait_for)
    access = ModelAccess(model_entries, groups, settings.model_access)
    router = ModelRouter([functions.pipes, providers], model_entries, groups, access)
    model_settings = ModelSettings(settings.default_params, settings.model_params)
    set_host(ServerHost(function_store.person, ModelQuestions(router, model_settings).answer))
    filters = Filters(functions.runtime, pipelines(settings))
    chat_reader = ChatReader(chats, stores.chat_queries, log, blobs, folders, epoch.epoch)
    channel_reader = ChannelReader(channels, directory, stores.channel_queries, groups, accounts, log, epoch.epoch)
    list_waits = ListWaits(stores.chat_queries, log)
    reads = ReadReceiptWriter(ReadReceipts(accounts, chat_reader, log, stores.chat_queries))
    seen = LastActiveWriter(stores.activity.note_active, "activity")
    ticks = EphemeralTicks(
        Typing(signals.deliver, bell.signal, time.monotonic),
        Presence(node_id, live.user_ids, bell.signal, PresenceDelivery(hub, channel_access).deliver),
    )
    signals.handlers |= {TYPING: ticks.typing.on_signal, PRESENCE: ticks.presence.on_signal}
    context = socket_context(
        settings,
        epoch.epoch,
        log,
        hub,
        live,
        snapshots(log, chat_reader, folders, channel_reader),
        ticks.typing,
        reads.note,
        seen.note,
        call_answers,
        channels,
        time.monotonic,
    )
    page = PageContext(log, hub, live, chat_reader, reads.note, seen.note)
    page_sockets = PageSockets(page, allowed_origins=settings.allowed_origins, anonymous_max=settings.sockets_before_hello_max)
    completions = Completions(
        log,
        blobs,
        chats,
        stores.chat_queries,
        runs,
        router,
        stores.run_slots,
        runs_max,
        node_id=node_id,
        clock=time.monotonic,
        spend=usage_book.spend,
        model_settings=model_settings,
        filters=AnswerFilters(filters, chats, blobs, stores.chat_queries, router.route, email_of=email_of),
        asking=calls.asking,
        direct_tabs=partial(DirectProvider, calls, relaying, patience_of(settings)) if settings.direct_connections else no_direct_tabs,
        folders=folders,
        keep_payloads=settings.keep_payloads,
    )
    channel_answers = ChannelAnswers(
        log,
        blobs,
        channels,
        stores.channel_queries,
        runs,
        router,
        stores.run_slots,
        runs_max,
        node_id=node_id,
        clock=time.monotonic,
        spend=usage_book.spend,
        model_settings=model_settings,
        keep_payloads=settings.keep_payloads,
    )
    guard_of_webhooks = AddressGuard(settings.webhook_refused_networks)
    webhook_sender = HttpWebhookSender(guard_of_webhooks)
    outgoing_worker = OutgoingWorker(log, channels, stores.outgoing, webhook_sender, encode_event, node_id)
    background = Background(completions, chats, stores.chat_queries, blobs, runs, background_settings(settings))
    completions.on_started = background.follow
    # In this order: the account's state is updated before the connections are checked against it. Projectors only note the time.
    for observer in (
        accounts.observe,
        groups.observe,
        model_entries.observe,
        provider_registry.observe,
        directory.observe,
        live.observe,
        runs.observe,
        calls.observe,
        list_waits.observe,
        outgoing_worker.observe,
        functions.known.observe,
        *(projector.observe for projector in projectors),
    ):
        hub.add_observer(observer)
    return System(
        settings=settings,
        node_id=node_id,
        epoch=epoch,
        guard=guard,
        stores=stores,
        tail=tail,
        bell=bell,
        hub=hub,
        accounts=accounts,
        chats=chats,
        folders=folders,
        chat_reader=chat_reader,
        runs=runs,
        calls=calls,
        call_answers=call_answers,
        relaying=relaying,
        keeper=NodeWatch(
            stores.nodes, log, blobs, answer_streams, runs, calls, relaying, node_id, lease_s=settings.lease_s, clock=time.monotonic
        ),
        completions=completions,
        background=background,
        filters=filters,
        email_of=email_of,
        providers=providers,
        functions=functions,
        groups=groups,
        model_entries=model_entries,
        router=router,
        channels=channels,
        channel_reader=channel_reader,
        channel_redactions=channel_redactions,
        channel_answers=channel_answers,
        outgoing_webhooks=OutgoingWebhooks(log, channels, stores.outgoing, refuses_host=guard_of_webhooks.refuses),
        outgoing_worker=outgoing_worker,
        webhook_sender=webhook_sender,
        model_editor=ModelEditor(model_entries, groups, access, router),
        provider_registry=provider_registry,
        live=live,
        usage_book=usage_book,
        usage_writer=UsageWriter(usage_book),
        list_waits=list_waits,
        reads=reads,
        seen=seen,
        ticks=ticks,
        used=used,
        sockets=WebSockets(context),
        page_sockets=page_sockets,
        body_memory=BodyMemory(settings.bodies_bytes_max),
        projectors=projectors,
    )


def functions_of(
    settings: Settings,
    log: PostgresLog | MemoryLog,
    blobs: Blobs,
    store: FunctionStore,
    seen: Callable[[int], Awaitable[None]],
) -> Functions:
    """The functions of one process. Nothing of it runs before there is a function."""
    limits = Limits(call_s=settings.function_timeout_s, silence_s=settings.function_pipe_timeout_s, threads_max=settings.function_threads)
    runtime = FunctionRuntime(store, limits)
    known = Catalogue(log, "function", NO_FUNCTION, evolve_function, runtime.loader.on_changed)
    library = FunctionLibrary(log, blobs, store, known, FunctionWorkshop(runtime), seen)
    folder = None if settings.functions is None else FunctionFolder(settings.functions, library)
    return Functions(known, runtime, library, FunctionHistory(log, store, library), PipeModels(runtime), folder)


def quotas_of(settings: Settings) -> Quotas:
    """What an account may have unless an admin has said otherwise."""
    return Quotas(
        chats=settings.quota_chats,
        storage_bytes=settings.quota_storage_bytes,
        bytes_a_day=settings.quota_bytes_a_day,
        runs=settings.quota_runs,
        connections=settings.connections_per_user_max,
    )


def background_settings(settings: Settings) -> BackgroundSettings:
    switches: Mapping[TaskKind, bool] = {"title": settings.task_title, "tags": settings.task_tags, "follow_ups": settings.task_follow_ups}
    kinds = frozenset(kind for kind, is_on in switches.items() if is_on)
    return BackgroundSettings(settings.task_model, kinds, settings.task_prompts, settings.task_runs_max)


def registry_of(system: System) -> CollectorRegistry:
    """The figures of this process."""
    registry = CollectorRegistry()
    registry.register(Gauges(system.figures))
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


def create_app(system: System, registry: CollectorRegistry | None = None) -> Litestar:
    """The routes on the parts. ``registry`` is what ``/metrics`` shows: this process's figures, unless it is another."""
    settings = system.settings
    return routes_on(
        parts_of(system, registry),
        system.sockets,
        system.page_sockets,
        settings.allowed_origins,
        docs_public=settings.docs_public,
    )


def parts_of(system: System, registry: CollectorRegistry | None = None) -> dict[str, object]:
    """What the routes work with, by the names of their parameters."""
    log, stores, chats, reader = system.log, system.stores, system.chats, system.chat_reader
    blobs, chat_queries = stores.blobs, stores.chat_queries
    share_links = ShareLinks(chats, log, chat_queries, reader, system.list_waits, system.accounts)
    whole_chats = WholeChats(log, blobs, chats)
    functions = system.functions.runtime
    model_of = partial(model_card, system.router, functions)
    return {
        "accounts": system.accounts,
        "actions": Actions(functions, log, chats, blobs, model_of, system.calls.asking),
        "activity": stores.activity,
        "analytics": Analytics(stores.figures, log, system.groups),
        "api_keys": ApiKeys(system.accounts, stores.credentials, log),
        "blobs": blobs,
        "body_memory": system.body_memory,
        "chat_copier": ChatCopier(reader, share_links, log, blobs, whole_chats),
        "chat_lists": ChatLists(chat_queries, system.folders, system.reads.receipts, system.list_waits, system.accounts),
        "chat_params": ChatParams(chats, reader, blobs),
        "chat_reader": reader,
        "chat_saver": ChatSaver(chats, chat_queries, log, blobs),
        "call_answers": system.call_answers,
        "calls": system.calls,
        "channels": system.channels,
        "presence": system.ticks.presence,
        "channel_reader": system.channel_reader,
        "channel_redactions": system.channel_redactions,
        "channel_answers": system.channel_answers,
        "outgoing_webhooks": system.outgoing_webhooks,
        "channel_webhooks": ChannelWebhooks(
            log, system.channels, stores.credentials, note_used=system.used.note, processes=system.settings.workers
        ),
        "channel_queries": stores.channel_queries,
        "chats": chats,
        "completed_filters": CompletedFilters(system.filters, chats, model_of, system.email_of),
        "epoch": system.epoch.epoch,
        "folders": system.folders,
        "function_folder": system.functions.folder,
        "function_history": system.functions.history,
        "function_library": system.functions.library,
        "chat_queries": chat_queries,
        "functions": functions,
        "groups": system.groups,
        "hub": system.hub,
        "list_waits": system.list_waits,
        "live": system.live,
        "log": log,
        "model_editor": system.model_editor,
        "nodes": stores.nodes,
        "provider_registry": system.provider_registry,
        "offers": Offers(chats, system.accounts),
        "payloads": Payloads(reader, log, blobs),
        "own_chats": OwnChats(chats, system.runs, system.folders, log, chat_queries),
        "read_receipts": system.reads.receipts,
        "readiness": system.readiness,
        "registry": registry or registry_of(system),
        "router": system.router,
        "responses": Responses(system.completions, chats, system.runs, chat_queries, blobs, log, system.hub, system.live),
        "runs": system.runs,
        "settings": system.settings,
        "sessions": Sessions(system.accounts, stores.credentials),
        "share_links": share_links,
        "usage_report": UsageReport(system.usage_book, stores.run_slots, system.live),
        "turns": Turns(system.completions, log, system.hub, system.live, system.epoch.epoch, system.runs, blobs, system.filters),
        "user_list": stores.user_list,
        "whole_chats": whole_chats,
        "whole_lists": WholeLists(chat_queries, log, reader, stores.user_list),
    }


def routes_on(
    parts: Mapping[str, object],
    sockets: Callable[..., Awaitable[None]],
    page_sockets: Callable[..., Awaitable[None]],
    allowed_origins: Sequence[str],
    *,
    docs_public: bool = True,
) -> Litestar:
    """``parts`` as ``parts_of`` makes them; ``sockets`` serves ``/ws``, ``page_sockets`` ``/ws/socket.io``.

    ``parts`` is read at each request: the tests make the routes once, and put the parts of one server after the other there.
    """

    def given(name: str) -> Provide:
        return Provide(lambda: parts[name], sync_to_thread=False)

    def body_memory() -> BodyMemory:
        memory = parts["body_memory"]
        assert isinstance(memory, BodyMemory)
        return memory

    dependencies: dict[str, Any] = {
        **{name: given(name) for name in parts},
        "any_principal": Provide(provide_any_principal),
        "caller": Provide(provide_caller),
        "principal": Provide(provide_principal),
    }
    described = openapi_config()
    methods: dict[str, bytes] = {}
    app = Litestar(
        route_handlers=[
            Router("/", route_handlers=SIGNED_IN, guards=[require_signed_in], middleware=[bounded_bodies(body_memory)]),
            OpsController,
            asgi("/ws", copy_scope=False)(sockets),
            asgi("/ws/socket.io", copy_scope=False)(page_sockets),
            front_page(),
            *([docs_assets()] if docs_public else []),
        ],
        dependencies=dependencies,
        state=State({"accounts": parts["accounts"]}),
        cors_config=cors_for(allowed_origins),
        exception_handlers=HANDLERS,
        before_send=[send_request_id, sends_allowed_methods(methods), send_docs_policy, send_security_headers, record_response],
        openapi_config=described if docs_public else None,
        request_max_body_size=SMALL_BYTES,
        logging_config=None,  # api/process/logging.py has set it up
    )
    methods.update(methods_of(app))
    described.public = public_routes(app)
    return app


def pipelines(settings: Settings) -> HttpPipelines:
    """Every configured server of pipelines, in the order of the settings."""
    if not settings.pipelines_connections:
        return HttpPipelines([])
    client = ProviderClients().client(None)
    return HttpPipelines(
        [
            PipelinesServer(client, one.url, one.api_key or "", number, patience_of(settings), time.monotonic)
            for number, one in enumerate(settings.pipelines_connections)
        ]
    )


def patience_of(settings: Settings) -> Patience:
    """How long every provider may take that says nothing else."""
    return Patience(
        connect_s=settings.provider_connect_timeout_s,
        first_token_s=settings.provider_first_token_timeout_s,
        idle_s=settings.provider_idle_timeout_s,
        answer_s=settings.provider_answer_timeout_s,
    )
