"""Everything that one server process is made of, wired. The only place that constructs adapters."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

from litestar import Litestar
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from adapters.hub import Hub
from adapters.postgres.bell import Bell
from adapters.postgres.connection import connect
from adapters.postgres.epoch import Epoch
from adapters.postgres.log import PostgresLog
from adapters.providers.client import provider_client
from adapters.providers.demo import DemoProvider
from adapters.providers.ollama import OllamaProvider
from adapters.providers.openai import OpenAIProvider
from adapters.providers.router import Connection, Providers
from adapters.tail import Tail
from api.chats import ChatsController
from api.completions import CompletionsController
from api.idempotency import provide_key
from api.models import ModelsController, OpenAIController
from api.ops import Gauges, OpsController
from api.settings import Settings
from api.system import System
from api.tasks import TasksController
from api.wire import encode_event
from commands.chat import Chats
from commands.completion import Completions
from commands.runs import Keeper, Runs
from domain.event import Stored
from domain.stream import Stream


def build(settings: Settings, dsn: str, epoch: Epoch) -> System:
    """The parts of one server process on the Postgres at ``dsn``. To be called on the loop that it runs on."""
    loop = asyncio.get_running_loop()
    node_id = uuid4()

    def committed(events: Sequence[Stored]) -> None:
        system.committed(events)

    log = PostgresLog(dsn, committed, batch_events_max=settings.batch_events_max)

    async def read_log(after: int, limit: int) -> Sequence[Stored]:
        return await log.read_log(after=after, limit=limit)

    async def read_range(stream: Stream, after: int, until: int) -> Sequence[Stored]:
        return await log.read(stream, after=after, until=until, limit=until - after)

    hub = Hub(read_range, encode_event, memory_bytes=settings.tail_memory_bytes)
    tail = Tail(read_log, hub.offer, poll_s=settings.poll_interval_ms / 1000)
    bell = Bell(
        node_id,
        lambda: connect(dsn, application="bell"),
        rung=tail.ring,
        signalled=lambda _: None,
        interval_s=settings.notify_interval_ms / 1000,
    )
    chats = Chats(log, kept_max=settings.folds_kept_max)
    runs = Runs(chats, log)
    hub.watch(runs.observe)
    providers = Providers(connections(settings))
    keeper = Keeper(log, log, log, chats, runs, node_id, lease_s=settings.lease_s, clock=loop.time)
    completions = Completions(log, log, chats, runs, providers, node_id=node_id, clock=loop.time)
    system = System(settings, node_id, epoch, log, tail, bell, hub, chats, runs, keeper, completions, providers)
    return system


def connections(settings: Settings) -> list[Connection]:
    """Every configured provider, in the order of the settings, the demo last."""
    client = provider_client()
    bounds = {"connect_timeout_s": settings.provider_connect_timeout_s, "idle_timeout_s": settings.provider_idle_timeout_s}
    made = [
        Connection(f"openai {number}", OpenAIProvider(client, one.base_url, one.api_key or "", **bounds))
        for number, one in enumerate(settings.openai_connections, 1)
    ]
    made += [
        Connection(f"ollama {number}", OllamaProvider(client, url, **bounds)) for number, url in enumerate(settings.ollama_base_urls, 1)
    ]
    if settings.demo_model:
        made.append(Connection("demo", DemoProvider(), last=True))
    return made
