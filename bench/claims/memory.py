"""Memory of the idle server process, and of each idle socket; beside a bare ASGI application's sockets."""

import asyncio
from typing import Final

from bench.host import Host
from bench.load.seed import Seeding
from bench.load.shared_chat import OPENED_AT_ONCE, joined, people_for
from bench.load.sockets import Counted
from bench.report import Line

SOCKETS: Final = 5_000
SETTLE_S: Final = 2.0


async def run(host: Host) -> list[Line]:
    count = 64 if host.quick else SOCKETS
    settle_s = 0.3 if host.quick else SETTLE_S
    dsn = host.database()
    async with Seeding(dsn) as seeding:
        people = await seeding.people(people_for(count))
        [chat] = await seeding.chats(people[:1])
        await seeding.share(chat, people[1:])
    bare, bare_port = host.listening("asgi", ["-m", "bench.bare_ways.sender"])
    server = host.server(dsn)
    await asyncio.sleep(settle_s)
    idle_mb, bare_mb = server.process.rss_mb(), bare.rss_mb()
    sockets = await joined(server, chat, people, count, "now")
    await asyncio.sleep(settle_s)
    each_kb = (server.process.rss_mb() - idle_mb) * 1024 / count
    for one in sockets:
        one.close()
    bare_sockets = [Counted() for _ in range(count)]
    for at in range(0, count, OPENED_AT_ONCE):
        await asyncio.gather(*(one.open(bare_port, "") for one in bare_sockets[at : at + OPENED_AT_ONCE]))
    await asyncio.sleep(settle_s)
    bare_each_kb = (bare.rss_mb() - bare_mb) * 1024 / count
    for one in bare_sockets:
        one.close()
    return [
        Line(what="server process, idle", measured=idle_mb, unit="MB", raw=bare_mb, at_most=100, note="raw: a bare ASGI application"),
        Line(
            what=f"each of {count:,} idle sockets with a subscription",
            measured=each_kb,
            unit="KB",
            raw=bare_each_kb,
            at_most=40,
            note=f"{people_for(count)} accounts",
        ),
    ]
