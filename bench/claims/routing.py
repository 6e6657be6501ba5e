"""What filters cost: a request and a chunk that pass one which does nothing, by turns with none; other chats while one sleeps; the start.

Chunks are measured in this process, on the chain and the runtime of a real server: through sockets the difference is lost in what the
machine does meanwhile.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from api.settings import Settings
from api.systems import in_memory
from bench.claims.first_token import one_by_one
from bench.host import ROOT, SERVE, Host, Server, free_port, wait_until_ready
from bench.load.answers import by_server
from bench.load.filters import SLEEPER, folder_with, many, noop
from bench.load.http import Http
from bench.load.seed import Chat, Seeding
from bench.report import Line, percentile
from commands.filters.filtered_provider import FilteredProvider
from commands.filters.filters import Filters, Scene
from commands.functions.call_context import CallContext
from commands.providers.provider import Finish, Model, Part, ProviderRequest, Text
from domain.log.event import Actor

ROUNDS: Final = 8
REQUESTS: Final = 20  # a round
CHUNKS: Final = 2_000  # a round
CHATS: Final = 50
PER_S: Final = 50.0
SECONDS: Final = 6.0
WARM_TOKENS: Final = 75
FUNCTIONS: Final = 100
STARTS: Final = 3


async def run(host: Host) -> list[Line]:
    return [
        await request(host),
        *[await chunk(host, is_async=is_async) for is_async in (False, True)],
        *await beside_a_sleeper(host),
        *await asyncio.to_thread(starts, host),
    ]


# ---------------------------------------------------------------------------------------------------------- a request


async def request(host: Host) -> Line:
    rounds, requests = (1, 4) if host.quick else (ROUNDS, REQUESTS)
    _, provider_port = host.listening("provider", ["-m", "bench.load.provider"])
    folder = folder_with(host.folder / "noops", **{f"noop_{stage}": noop(stage) for stage in ("inlet", "stream", "outlet")})
    servers: list[tuple[Server, list[Chat]]] = []
    for settings in ({}, {"STENO_FUNCTIONS": str(folder)}):
        dsn = host.database()
        async with Seeding(dsn) as seeding:
            chats = await seeding.chats(await seeding.people(requests))
        servers.append((host.server(dsn, provider_port=provider_port, settings=settings), chats))
    await until_loaded(servers[1][0], 3)
    took: list[list[float]] = [[], []]
    for server, chats in servers:
        await one_by_one(server, chats)  # the list of models, the first connection to the provider, threads
    for number in range(rounds):
        for at in (0, 1) if number % 2 == 0 else (1, 0):
            server, chats = servers[at]
            took[at] += await one_by_one(server, chats)
    without, behind = (percentile(one, 0.5) for one in took)
    late, late_without = (percentile(one, 0.99) for one in reversed(took))
    note = f"p50 {behind:.2f} ms behind them, {without:.2f} ms without; p99 {late:.1f} and {late_without:.1f} ms"
    return Line(what="three no-op filters, added to the first token, p50", measured=behind - without, unit="ms", at_most=1.0, note=note)


async def until_loaded(server: Server, count: int) -> None:
    while server.metrics().get("stenograph_functions_loaded", 0) < count:  # another process
        server.process.check()
        await asyncio.sleep(0.05)


# ------------------------------------------------------------------------------------------------------------ a chunk


class Saying:
    """A provider whose every read is one chunk, there at once."""

    def __init__(self, chunks: int) -> None:
        self._chunks = chunks

    async def models(self) -> Sequence[Model]:
        return []

    async def stream(self, ask: ProviderRequest) -> AsyncGenerator[list[Part], None]:
        for _ in range(self._chunks):
            yield [Text(" token")]
        yield [Finish("stop")]


async def chunk(host: Host, *, is_async: bool) -> Line:
    rounds, chunks = (1, 50) if host.quick else (ROUNDS, CHUNKS)
    kind = "async" if is_async else "sync"
    folder = folder_with(host.folder / f"stream-{kind}", noop_stream=noop("stream", is_async=is_async))
    system = await in_memory(Settings(functions=folder, data=host.folder, log_level="warning"))
    await system.start()
    try:
        async with asyncio.timeout(30):
            while not system.functions.runtime.filters():  # noqa: ASYNC110  # nothing there offers an event
                await asyncio.sleep(0.01)
        filters = Filters(system.functions.runtime)
        took_us: list[list[float]] = [[], []]
        for number in range(rounds + 1):
            for at in (0, 1) if number % 2 == 0 else (1, 0):
                provider: Any = Saying(chunks)
                if at:
                    provider = behind_filters(filters, provider)
                reads_us = await each_read_us(provider)
                if number:  # the first round warms up
                    took_us[at] += reads_us
    finally:
        await system.stop()
    without, behind = (percentile(one, 0.5) for one in took_us)
    mean, late = sum(took_us[1]) / len(took_us[1]), percentile(took_us[1], 0.99)
    note = f"{rounds} turns of {chunks} chunks; {without:.2f} µs without; mean {mean:.0f}, p99 {late:.0f} µs"
    return Line(
        what=f"one no-op stream filter ({kind}), added to a chunk, p50", measured=behind - without, unit="µs", at_most=50.0, note=note
    )


def behind_filters(filters: Filters, provider: Any) -> Any:
    chain = filters.chain(Scene(model="bench", context=CallContext(actor=Actor(uuid4(), "Bench", "user"))))
    assert chain is not None

    async def nothing(_: Any) -> None:
        return None

    async def none(_: str, __: ProviderRequest) -> Any:
        raise AssertionError

    return FilteredProvider(provider, chain, keep=nothing, note=nothing, choose=none, message_id="bench", created=0)


async def each_read_us(provider: Any) -> list[float]:
    """What each read took, but for the first, which begins the answer."""
    stream = provider.stream(ProviderRequest(model="bench", messages=[{"role": "user", "content": "go"}]))
    await anext(stream)
    made: list[float] = []
    last_ns = time.perf_counter_ns()
    async for _ in stream:
        now_ns = time.perf_counter_ns()
        made.append((now_ns - last_ns) / 1e3)
        last_ns = now_ns
    return made


# -------------------------------------------------------------------------------------------------- beside one that sleeps


async def beside_a_sleeper(host: Host) -> list[Line]:
    count, tokens, warm = (4, 40, 10) if host.quick else (CHATS, int(PER_S * SECONDS), WARM_TOKENS)
    dsn = host.database()
    async with Seeding(dsn) as seeding:
        chats = await seeding.chats(await seeding.people(count + 1))
    _, provider_port = host.listening("provider", ["-m", "bench.load.provider"])
    server = host.server(
        dsn, provider_port=provider_port, settings={"STENO_FUNCTIONS": str(folder_with(host.folder / "sleeper", sleeper=SLEEPER))}
    )
    await until_loaded(server, 1)
    calm: list[float] = []
    beside: list[float] = []
    faults: list[str] = []
    for number in range(1 if host.quick else 4):
        sleeps = number % 2 == 1 or host.quick
        if sleeps:
            await ask_the_sleeper(server, chats[-1], tokens)
        answers = await by_server(server, chats[:-1], tokens=tokens, per_s=PER_S, within_s=1.0)
        faults += answers.faults
        (beside if sleeps else calm).extend(answers.latencies_ms(warm))
    return [
        Line(
            what=f"{count} chats × {PER_S:g} tokens/s beside a filter that sleeps 50 ms a call, p99",
            measured=percentile(beside, 0.99),
            unit="ms",
            raw=percentile(calm, 0.99) if calm else None,
            ratio_at_most=1.3,
            note=f"raw is the same without it; p50 {percentile(beside, 0.5):.1f} and {percentile(calm, 0.5):.1f} ms",
        ),
        Line(what="tokens lost, doubled or out of order", measured=len(faults), unit="", at_most=0, note="; ".join(faults[:3])),
    ]


async def ask_the_sleeper(server: Server, chat: Chat, tokens: int) -> None:
    http = await Http.open(server.port, chat.owner.token)
    try:
        body = {
            "model": "bench",
            "chat_id": str(chat.id),
            "session_id": "bench",
            "messages": [{"role": "user", "content": "go"}],
            "filter_ids": ["sleeper"],
            "bench": {"chunks": tokens, "per_s": PER_S},
        }
        await http.post("/api/chat/completions", body)
    finally:
        http.close()


# ---------------------------------------------------------------------------------------------------------- the start


def starts(host: Host) -> list[Line]:
    count = 10 if host.quick else FUNCTIONS
    folder = folder_with(host.folder / "many", **many(count))
    databases = [host.database(), host.database()]
    settings: list[dict[str, str]] = [{}, {"STENO_FUNCTIONS": str(folder)}]
    first_s = until_ready_s(host, databases[1], settings[1], loaded=count)  # the folder's files are put into the log
    took: list[list[float]] = [[], []]
    for number in range(1 if host.quick else STARTS):
        for at in (0, 1) if number % 2 == 0 else (1, 0):
            took[at].append(until_ready_s(host, databases[at], settings[at], loaded=count if at else 0))
    without, with_them = (percentile(one, 0.5) for one in took)
    command = [sys.executable, "-m", "bench.load.filters", str(host.folder)]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    imported = said.rpartition("\n")[2].split()[1:]
    note = f"until all are loaded: {with_them:.2f} s, without {without:.2f} s; the first time, into the log, {first_s:.2f} s"
    return [
        Line(what=f"{count} functions, added to the start", measured=with_them - without, unit="s", at_most=1.0, note=note),
        Line(
            what="modules for functions alone, imported by a server without any",
            measured=len(imported),
            unit="",
            at_most=0,
            note=" ".join(imported),
        ),
    ]


def until_ready_s(host: Host, dsn: str, settings: dict[str, str], *, loaded: int) -> float:
    port = free_port()
    environment = {
        "STENO_PORT": str(port),
        "STENO_HOST": "127.0.0.1",
        "STENO_DATA": str(Path(host.folder) / f"data-{port}"),
        "DATABASE_URL": dsn,
        "STENO_LOG_LEVEL": "warning",
        **settings,
    }
    started = time.monotonic()
    process = host.process("start", ["-c", SERVE], environment)
    epoch = str(wait_until_ready(process, port, every_s=0.01)["epoch"])
    server = Server(process, port, epoch)
    while loaded and server.metrics().get("stenograph_functions_loaded", 0) < loaded:
        time.sleep(0.01)
    took_s = time.monotonic() - started
    process.stop()
    return took_s
