"""Everything that one server process is made of, wired. The only place that constructs adapters."""

import secrets
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from litestar import Litestar, asgi
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.static_files import create_static_files_router
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from swagger_ui_bundle import swagger_ui_path

from adapters.delivery.hub import Hub
from adapters.delivery.log_tail import Tail
from adapters.identity import Argon2Hasher, JwtTokens
from adapters.memory.bell import MemoryBell
from adapters.memory.credentials import MemoryCredentials
from adapters.memory.history import MemoryHistory
from adapters.memory.log import MemoryLog
from adapters.postgres.appender import LANES
from adapters.postgres.bell import Bell
from adapters.postgres.connection import connect
from adapters.postgres.credentials import PostgresCredentials
from adapters.postgres.epoch import Epoch, why_another
from adapters.postgres.history import PostgresHistory
from adapters.postgres.log import READERS_MAX, PostgresLog
from adapters.projector.live import Projector
from adapters.providers.client import provider_client
from adapters.providers.demo import DemoProvider
from adapters.providers.ollama import OllamaProvider
from adapters.providers.openai import OpenAIProvider
from adapters.providers.router import Connection, Providers
from api.accounts.activity import Seen
from api.accounts.auths import AuthsController
from api.accounts.users import UsersController
from api.chats.bulk import AllChatsController
from api.chats.chat import ChatsController
from api.chats.copying import CopiesController, provide_copying
from api.chats.exporting import ExportsController
from api.chats.folders import FoldersController
from api.chats.importing import ImportController
from api.chats.list_scope import provide_my_folders, provide_my_lists
from api.chats.lists import ChatListController
from api.chats.params import ParamsController
from api.chats.read_receipts import Reads, ReadsController
from api.chats.search import SearchController
from api.chats.sharing import SharingController
from api.chats.statistics import StatisticsController
from api.completions.completions import CompletionsController
from api.completions.models import ModelsController, OpenAIController
from api.completions.tasks import TasksController
from api.process.health import Gauges, OpsController
from api.process.server import System
from api.request.authentication import provide_any_principal, provide_principal
from api.request.errors import HANDLERS
from api.request.idempotency import provide_key
from api.settings import Settings
from api.streams.access import Live
from api.streams.http import StreamsController
from api.streams.snapshots import snapshots
from api.streams.sockets import WebSockets
from api.streams.wire import encode_event
from commands.accounts import Accounts
from commands.chats import Chats
from commands.folders import FolderTrees
from commands.generation.completion import Completions
from commands.generation.runs import Keeper, Runs
from domain.errors import LogUnavailable
from domain.event import Stored
from domain.stream import Stream
from projections.chat_list import ChatList
from projections.chat_search import ChatSearch
from projections.chat_tree import ChatTree
from projections.projection import Projection

BODY_BYTES_MAX = 16 * 1024 * 1024
SECRET_BYTES = 32
PROJECTIONS: Sequence[Projection] = (ChatList(), ChatSearch(), ChatTree())
# Connections of one process to Postgres: the pool of readers, the appender's, the bell's two, and the projector's.
CONNECTIONS_LEAST = 1 + LANES + 2 + 1
CONNECTIONS_MOST = READERS_MAX + LANES + 2 + 1


async def on_postgres(settings: Settings, dsn: str, epoch: Epoch) -> System:
    """One server process on the Postgres at ``dsn``. To be called on the loop that it runs on."""
    node_id = uuid4()
    late = Late()

    async def same_history(connection: Any) -> None:
        """What was put in its place while we were not connected must not be written to, nor read as if it went on."""
        reason = await why_another(connection, epoch.epoch, late.position)
        if reason is not None:
            late.history_changed(reason)
            raise LogUnavailable(f"the database holds another history: {reason}")

    log = PostgresLog(dsn, late.committed, batch_events_max=settings.batch_events_max, opened=same_history)
    bell = Bell(
        node_id,
        lambda: connect(dsn, application="bell", opened=same_history),
        rung=late.rung,
        signalled=late.signalled,
        interval_s=settings.notify_interval_ms / 1000,
    )
    await log.start()
    system = await assemble(settings, epoch, node_id, log, bell, PostgresCredentials(log.reader), PostgresHistory(log.reader), late)
    projector = Projector(dsn, PROJECTIONS, node_id)
    system.hub.watch(projector.observe)
    system.projectors.append(projector)
    return system


async def in_memory(settings: Settings) -> System:
    """The same without a database, for tests: everything is gone with the process."""
    late = Late()
    epoch = Epoch(uuid4(), 0, fsync=True)
    log = MemoryLog(late.committed)
    return await assemble(settings, epoch, uuid4(), log, MemoryBell(), MemoryCredentials(), MemoryHistory(log), late)


class Late:
    """What the adapters below call, before what is called exists."""

    system: System

    def committed(self, events: Sequence[Stored]) -> None:
        self.system.committed(events)

    def rung(self, head: int) -> None:
        self.system.tail.ring(head)

    def signalled(self, signal: bytes) -> None:
        self.system.sockets.deliver(signal)

    def fresh(self) -> bool:
        return self.system.fresh()

    def position(self) -> int:
        """The newest position seen here; 0 while the system is still being put together."""
        return self.system.tail.position if hasattr(self, "system") else 0

    def history_changed(self, reason: str) -> None:
        if hasattr(self, "system"):  # before it, whoever starts it hears of it from the connection
            self.system.history_changed(reason)


async def assemble(
    settings: Settings,
    epoch: Epoch,
    node_id: UUID,
    log: PostgresLog | MemoryLog,
    bell: Bell | MemoryBell,
    credentials: PostgresCredentials | MemoryCredentials,
    history: PostgresHistory | MemoryHistory,
    late: Late,
) -> System:
    """The parts of one process above its log."""

    async def read_log(after: int, limit: int) -> Sequence[Stored]:
        return await log.read_log(after=after, limit=limit)

    async def read_range(stream: Stream, after: int, until: int) -> Sequence[Stored]:
        return await log.read(stream, after=after, until=until, limit=until - after)

    hub = Hub(read_range, encode_event, memory_bytes=settings.tail_memory_bytes)
    chats = Chats(log, kept_max=settings.folds_kept_max)
    folders = FolderTrees(log)
    runs = Runs(chats, log)
    providers = Providers(connections(settings))
    secret = (settings.secret or "").encode() or await credentials.secret("jwt", secrets.token_bytes(SECRET_BYTES))
    accounts = Accounts(
        log,
        credentials,
        credentials,
        Argon2Hasher(),
        JwtTokens(secret),
        default_role=settings.default_role,
        signup_enabled=settings.signup_enabled,
        token_lifetime_s=settings.token_lifetime_s,
        processes=settings.workers,
    )
    live = Live(hub, accounts, chats, late.fresh, connections_per_user_max=settings.connections_per_user_max)
    snapshot = snapshots(log, history, log, folders)
    reads = Reads(accounts)
    seen = Seen(log)
    # In this order: what ends access is known before it is acted on.
    for watcher in (accounts.observe, live.observe, runs.observe):
        hub.watch(watcher)
    late.system = System(
        settings=settings,
        node_id=node_id,
        epoch=epoch,
        log=log,
        tail=Tail(read_log, hub.offer, poll_s=settings.poll_interval_ms / 1000),
        bell=bell,
        hub=hub,
        history=history,
        accounts=accounts,
        chats=chats,
        folders=folders,
        runs=runs,
        keeper=Keeper(log, log, log, chats, runs, node_id, lease_s=settings.lease_s, clock=time.monotonic),
        completions=Completions(log, log, chats, runs, providers, node_id=node_id, clock=time.monotonic),
        providers=providers,
        live=live,
        reads=reads,
        seen=seen,
        sockets=WebSockets(settings, epoch.epoch, log, hub, live, snapshot, bell.signal, reads.note, seen.note, time.monotonic),
    )
    return late.system


def registry_of(system: System) -> CollectorRegistry:
    """The figures of this process."""
    registry = CollectorRegistry()
    registry.register(Gauges(system.figures))
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


def create_app(system: System, registry: CollectorRegistry | None = None) -> Litestar:
    """The routes on the parts. ``registry`` is what ``/metrics`` shows: this process's figures, unless it is another."""

    def given(part: object) -> Provide:
        return Provide(lambda: part, sync_to_thread=False)

    dependencies: dict[str, Any] = {
        "activity": given(system.log),
        "accounts": given(system.accounts),
        "blobs": given(system.log),
        "caller": Provide(provide_any_principal),
        "chats": given(system.chats),
        "completions": given(system.completions),
        "copying": Provide(provide_copying, sync_to_thread=False),
        "epoch": given(system.epoch.epoch),
        "folders": given(system.folders),
        "history": given(system.history),
        "hub": given(system.hub),
        "key": Provide(provide_key),
        "live": given(system.live),
        "log": given(system.log),
        "models": given(system.providers),
        "my_folders": Provide(provide_my_folders),
        "my_lists": Provide(provide_my_lists, sync_to_thread=False),
        "nodes": given(system.log),
        "principal": Provide(provide_principal),
        "readiness": given(system.readiness),
        "reads": given(system.reads),
        "registry": given(registry or registry_of(system)),
        "runs": given(system.runs),
        "user_list": given(system.log),
    }
    return Litestar(
        route_handlers=[
            AuthsController,
            UsersController,
            ChatListController,
            SearchController,
            ChatsController,
            FoldersController,
            SharingController,
            CopiesController,
            ParamsController,
            ReadsController,
            ExportsController,
            ImportController,
            StatisticsController,
            AllChatsController,
            CompletionsController,
            TasksController,
            ModelsController,
            OpenAIController,
            StreamsController,
            OpsController,
            asgi("/ws", copy_scope=False)(system.sockets),
            create_static_files_router("/docs/assets", [swagger_ui_path], include_in_schema=False),
        ],
        dependencies=dependencies,
        exception_handlers=HANDLERS,
        openapi_config=OpenAPIConfig(
            title="Stenograph",
            version="1",
            path="/docs",
            # The page's own files are served from here: it works without a network.
            render_plugins=[
                SwaggerRenderPlugin(
                    path="/",
                    js_url="/docs/assets/swagger-ui-bundle.js",
                    css_url="/docs/assets/swagger-ui.css",
                    standalone_preset_js_url="/docs/assets/swagger-ui-standalone-preset.js",
                )
            ],
        ),
        request_max_body_size=BODY_BYTES_MAX,
        logging_config=None,  # api/process/logging.py has set it up
    )


def connections(settings: Settings) -> list[Connection]:
    """Every configured provider, in the order of the settings, the demo last."""
    client = provider_client()
    connect_s, idle_s = settings.provider_connect_timeout_s, settings.provider_idle_timeout_s
    made: list[Connection] = []
    for number, one in enumerate(settings.openai_connections, 1):
        openai = OpenAIProvider(client, one.base_url, one.api_key or "", connect_timeout_s=connect_s, idle_timeout_s=idle_s)
        made.append(Connection(f"openai {number}", openai))
    for number, url in enumerate(settings.ollama_base_urls, 1):
        made.append(Connection(f"ollama {number}", OllamaProvider(client, url, connect_timeout_s=connect_s, idle_timeout_s=idle_s)))
    if settings.demo_model:
        made.append(Connection("demo", DemoProvider(), last=True))
    return made
