"""The parts of one process above its stores and its delivery, put together from below: what a part needs is made before it."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple
from uuid import UUID

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
from adapters.memory.bell import MemoryBell
from adapters.memory.log import MemoryLog
from adapters.pipelines.http import HttpPipelines, PipelinesServer
from adapters.postgres.log.bell import Bell
from adapters.postgres.log.epoch import Epoch, EpochGuard
from adapters.postgres.log.log import PostgresLog
from adapters.projector.live import Projector
from adapters.providers.demo.demo import DemoProvider
from adapters.providers.direct import DirectProvider
from adapters.providers.factory import ProviderFactory
from adapters.providers.http.address_guard import AddressGuard
from adapters.providers.http.client import ProviderClients
from adapters.providers.http.http import Patience
from adapters.providers.router import ConfiguredProvider, Providers
from adapters.webhooks.http import HttpWebhookSender
from api.accounts.last_active import LastActiveWriter
from api.accounts.usage import UsageWriter
from api.chats.read_receipts import ReadReceiptWriter
from api.dialects.open_webui.page_context import PageContext
from api.dialects.open_webui.page_sockets import PageSockets
from api.formats.event_json import encode_event
from api.process.server import Functions, Stores, System
from api.process.telemetry import Telemetry
from api.providers.fixed import fixed_providers
from api.request.bodies import BodyMemory
from api.request.response_counts import ResponseCounts
from api.settings import Settings
from api.streams.access import LiveConnections
from api.streams.channel_access import ChannelAccess
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
from commands.accounts.authentication import Authentication
from commands.accounts.passwords import Passwords
from commands.accounts.registration import Registration
from commands.accounts.sessions import Sessions
from commands.accounts.usage import Quotas, UsageBook
from commands.background.work import Background, BackgroundSettings
from commands.call_places import CallPlace
from commands.calls.call_answers import CallAnswers
from commands.calls.calls import Calls
from commands.calls.direct import no_direct_tabs
from commands.calls.relays import OP, Relaying
from commands.catalogue import Catalogue
from commands.channels.answers import ChannelAnswers
from commands.channels.channel_calls import ChannelCalls
from commands.channels.channel_reader import ChannelReader
from commands.channels.channels import Channels
from commands.channels.directory import ChannelDirectory
from commands.channels.mentioning import Mentioning
from commands.channels.outgoing import OutgoingWebhooks
from commands.channels.outgoing_worker import OutgoingWorker
from commands.channels.redactions import ChannelRedactions
from commands.chats.chat_calls import ChatCalls
from commands.chats.chat_reader import ChatReader
from commands.chats.chats import Chats
from commands.chats.folders import FolderTrees
from commands.chats.read_receipts import ReadReceipts
from commands.filters.filters import Filters
from commands.functions.function_history import FunctionHistory
from commands.functions.function_library import FunctionLibrary, FunctionStore
from commands.generation.answer_streams import StreamsByKind
from commands.generation.asking import ModelQuestions
from commands.generation.completion import Completions
from commands.generation.filtering import AnswerFilters
from commands.generation.model_settings import ModelSettings
from commands.generation.node_watch import NodeWatch
from commands.generation.runs import Runs
from commands.generation.starting import AnswerServices
from commands.generation.turn import TaskKind
from commands.ports import Blobs
from commands.positions import ListWaits
from commands.providers.provider_setup import ProviderSetup
from commands.providers.providers import ProviderRegistry
from commands.routing.access import ModelAccess
from commands.routing.editing import ModelEditor
from commands.routing.groups import Groups
from commands.routing.models import ModelEntries
from commands.routing.router import Router as ModelRouter
from domain.channel.rights import Asker
from domain.log.event import StoredEvent
from domain.log.stream import Kind, channel_stream
from domain.routing.function import NO_FUNCTION
from domain.routing.function import evolve as evolve_function

SECRET_BYTES = 32


class Delivery(NamedTuple):
    """From the log to the subscriptions of this process. It only reads the log. ``own_observers`` get what this process has committed."""

    hub: Hub
    tail: LogTail
    signals: SignalDelivery
    own_observers: list[Callable[[Sequence[StoredEvent]], None]]


async def assemble(
    settings: Settings,
    epoch: Epoch,
    guard: EpochGuard,
    node_id: UUID,
    stores: Stores,
    delivery: Delivery,
    bell: Bell | MemoryBell,
    projectors: Sequence[Projector],
    telemetry: Telemetry | None = None,
) -> System:
    """The parts of one process above its stores and its delivery."""
    log, blobs, (hub, tail, signals, _) = stores.log, stores.blobs, delivery

    def has_recent_contact() -> bool:
        """Whether Postgres answered within the lease. A process that it did not answer serves nothing from memory."""
        return asyncio.get_running_loop().time() - max(tail.seen_at, log.last_success_at) < settings.lease_s

    chats = Chats(log, blobs, kept_max=settings.folds_kept_max)
    folders = FolderTrees(log)
    relaying = Relaying(stores.relays, node_id, bell.signal)
    signals.handlers[OP] = relaying.on_signal
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
    hasher, tokens = Argon2Hasher(), JwtTokens(secret)
    accounts = Accounts(log)
    authentication = Authentication(accounts, stores.credentials, stores.tickets, tokens, note_used=used.note)
    sessions = Sessions(accounts, stores.credentials, tokens, token_lifetime_s=settings.token_lifetime_s)
    passwords = Passwords(log, accounts, sessions, stores.credentials, hasher, hasher, processes=settings.workers)
    registration = Registration(
        log,
        accounts,
        sessions,
        passwords,
        default_role=settings.default_role,
        signup_enabled=settings.signup_enabled,
        processes=settings.workers,
    )
    channels = Channels(log, people=Mentioning(accounts, groups, stores.channel_queries))
    call_places: Mapping[Kind, CallPlace] = {
        "chat": ChatCalls(chats),
        "channel": ChannelCalls(channels, lambda actor: Asker(actor.id, actor.role, groups.groups_of(actor.id))),
    }
    calls = Calls(log, blobs, call_places, relaying, node_id, timeout_s=settings.call_timeout_s)
    call_answers = CallAnswers(calls, relaying)
    answer_streams: StreamsByKind = {"chat": chats, "channel": channels}
    runs = Runs(answer_streams, blobs)
    runs.on_over = telemetry.count if telemetry is not None else None
    directory = ChannelDirectory(log, stores.channel_queries, lambda channel_id: hub.head(channel_stream(channel_id)) > 0)
    channel_redactions = ChannelRedactions(stores.channel_queries)
    channel_access = ChannelAccess(hub, directory, channel_redactions, groups)
    live = LiveConnections(
        hub, authentication, chats, channel_access, has_recent_contact, connections_per_user_max=settings.connections_per_user_max
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
    page = PageContext(
        log=log,
        hub=hub,
        live=live,
        epoch=epoch.epoch,
        chat_reader=chat_reader,
        channels=channels,
        channel_reader=channel_reader,
        typing=ticks.typing,
        calls=calls,
        call_answers=call_answers,
        mark_read=reads.note,
        note_active=seen.note,
    )
    page_sockets = PageSockets(page, allowed_origins=settings.allowed_origins, anonymous_max=settings.sockets_before_hello_max)
    ticks.typing.listeners.append(page_sockets.rooms.typing)
    answer_filters = AnswerFilters(filters, blobs, router.route, email_of=email_of)
    services = AnswerServices(
        log=log,
        blobs=blobs,
        runs=runs,
        routes=router,
        slots=stores.run_slots,
        runs_max=runs_max,
        node_id=node_id,
        clock=time.monotonic,
        spend=usage_book.spend,
        model_settings=model_settings,
        filters=answer_filters,
        asking=calls.asking,
        keep_payloads=settings.keep_payloads,
    )
    completions = Completions(
        services,
        chats,
        stores.chat_queries,
        direct_tabs=partial(DirectProvider, calls, relaying, patience_of(settings)) if settings.direct_connections else no_direct_tabs,
        folders=folders,
    )
    channel_answers = ChannelAnswers(services, channels, stores.channel_queries)
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
        page_sockets.lists.observe,
        runs.observe,
        calls.observe,
        page_sockets.directs.observe,
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
        authentication=authentication,
        sessions=sessions,
        passwords=passwords,
        registration=registration,
        chats=chats,
        folders=folders,
        chat_reader=chat_reader,
        runs=runs,
        calls=calls,
        call_answers=call_answers,
        relaying=relaying,
        node_watch=NodeWatch(
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
        response_counts=ResponseCounts(),
        telemetry=telemetry,
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
