"""Everybody comes back at once, each with five hundred events missed; beside the handshakes alone on a bare ASGI application."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from bench.host import Host, Server
from bench.load.http import Http
from bench.load.seed import Chat, Person, Seeding
from bench.load.shared_chat import SOCKETS_EACH, shared_chat
from bench.load.sockets import Counted, Frames
from bench.report import Line, percentile

CLIENTS: Final = 1_000
MISSED: Final = 500
TIMEOUT_S: Final = 60.0


async def run(host: Host) -> list[Line]:
    clients, missed = (40, 50) if host.quick else (CLIENTS, MISSED)
    dsn = host.database()
    async with Seeding(dsn) as seeding:
        chat, people = await shared_chat(seeding, clients)
        head, _ = await seeding.conversation(chat, 1 + len(people[1:]), 2 * (missed // 25 + 1), deltas=25)
    _, bare_port = host.listening("asgi", ["-m", "bench.bare_ways.sender"])
    server = host.server(dsn)
    http = await Http.open(server.port, chat.owner.token)
    await http.get("/api/v1/auths/")  # the server has answered somebody before the storm
    lines: list[Line] = []
    faults: list[str] = []
    for when in ("just restarted", "again"):
        handshakes = await bare_storm(bare_port, clients)
        before = server.metrics()
        caught_up, found = await storm(server, chat, people, clients, head - missed)
        after = server.metrics()
        faults += found
        asked = after["stenograph_log_queries_total"] - before["stenograph_log_queries_total"]
        pages = after["stenograph_hub_page_reads_total"] - before["stenograph_hub_page_reads_total"]
        lines += [
            Line(
                what=f"{clients} clients, {missed} events each, server {when}: caught up, p50",
                measured=percentile(caught_up, 0.5),
                unit="s",
                raw=percentile(handshakes, 0.5),
                at_most=1.3,
            ),
            Line(what="the same, p99", measured=percentile(caught_up, 0.99), unit="s", raw=percentile(handshakes, 0.99), at_most=1.7),
            Line(what="queries for all of them", measured=asked, unit="", at_most=50, note=f"{pages:.0f} of them read pages of the stream"),
        ]
    http.close()
    return [*lines, Line(what="events lost or doubled", measured=len(faults), unit="", at_most=0, note="; ".join(faults[:3]))]


async def storm(server: Server, chat: Chat, people: Sequence[Person], clients: int, after: int) -> tuple[list[float], list[str]]:
    """``(seconds until each had caught up, faults)``."""
    frames = Frames()
    sockets = [Counted(frames) for _ in range(clients)]
    started_ns = time.monotonic_ns()

    async def come_back(number: int, one: Counted) -> None:
        await one.open(server.port, people[number // SOCKETS_EACH].token)
        one.subscribe(chat.stream, f"{server.epoch}:{after}")
        await one.caught_up

    try:
        await asyncio.wait_for(asyncio.gather(*(come_back(number, one) for number, one in enumerate(sockets))), TIMEOUT_S)
        faults = [fault for one in sockets for fault in one.faults]
        heads = {one.version for one in sockets}
        faults += [f"not all are at the same version: {heads}"] if len(heads) != 1 or heads == {after} else []
        return [(one.caught_up_ns - started_ns) / 1e9 for one in sockets], faults
    finally:
        for one in sockets:
            one.close()
        await asyncio.sleep(0.5)  # let the server see that they are gone


async def bare_storm(port: int, clients: int) -> list[float]:
    """Seconds until each handshake was answered."""
    sockets = [Counted() for _ in range(clients)]
    took: list[float] = []
    started_ns = time.monotonic_ns()

    async def come(one: Counted) -> None:
        await one.open(port, "")
        took.append((time.monotonic_ns() - started_ns) / 1e9)

    await asyncio.wait_for(asyncio.gather(*(come(one) for one in sockets)), TIMEOUT_S)
    for one in sockets:
        one.close()
    await asyncio.sleep(0.5)
    return took
