"""From the POST to the first token on the socket, less what the provider itself took; alone, and while others start and stream."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

from bench.host import Host, Server
from bench.load.answers import Answers, by_server, phases
from bench.load.http import Http, ask_for
from bench.load.seed import Chat, Seeding
from bench.load.sockets import Counted
from bench.report import Line, percentile

ALONE: Final = 40
STARTED: Final = 50
RUNNING: Final = 25
RUNNING_S: Final = 6.0
PER_S: Final = 50.0
TIMEOUT_S: Final = 30.0


async def run(host: Host) -> list[Line]:
    alone, started, running, running_s = (4, 4, 2, 2.0) if host.quick else (ALONE, STARTED, RUNNING, RUNNING_S)
    dsn = host.database()
    async with Seeding(dsn) as seeding:
        chats = await seeding.chats(await seeding.people(max(alone, started + running)))
    _, provider_port = host.listening("provider", ["-m", "bench.load.provider"])
    _, bare_port = host.listening("bare", ["-m", "bench.bare_ways.token", host.database(), str(provider_port)])
    server = host.server(dsn, provider_port=provider_port)
    await one_by_one(server, chats[:2])  # the list of models, the first connection to the provider
    mine = await one_by_one(server, chats[:alone])
    theirs = [await by_bare_once(bare_port) for _ in range(alone)]
    waiting = [await Ready.made(server, chat) for chat in chats[:started]]  # the claim is about answers that start, not about tabs
    background = asyncio.create_task(by_server(server, chats[started:][:running], tokens=int(PER_S * running_s), per_s=PER_S, within_s=1.0))
    await asyncio.sleep(running_s / 2)
    among = await asyncio.gather(*(one.first_token_ms(after_s) for one, after_s in zip(waiting, phases(started, 1.0), strict=True)))
    streams: Answers = await background
    late = streams.latencies_ms(25)
    return [
        Line(
            what="one chat, p50",
            measured=percentile(mine, 0.5),
            unit="ms",
            raw=percentile(theirs, 0.5),
            at_most=10,
            note=f"p99 {percentile(mine, 0.99):.1f}, raw {percentile(theirs, 0.99):.1f} ms",
        ),
        Line(
            what=f"{started} chats started within one second, p50",
            measured=percentile(among, 0.5),
            unit="ms",
            at_most=40,
            note=f"p99 {percentile(among, 0.99):.0f} ms",
        ),
        Line(
            what=f"meanwhile {running} streams that run already, p99",
            measured=percentile(late, 0.99),
            unit="ms",
            at_most=15,
            note=f"p50 {percentile(late, 0.5):.1f} ms; {len(streams.faults)} faults",
        ),
    ]


async def one_by_one(server: Server, chats: Sequence[Chat]) -> list[float]:
    return [await (await Ready.made(server, chat)).first_token_ms(0.0) for chat in chats]


class Ready:
    """A person at an open chat: a socket that is subscribed, an HTTP connection that is open. The POST starts the clock."""

    def __init__(self, chat: Chat, http: Http) -> None:
        self._chat = chat
        self._http = http
        self._socket = Counted()

    @classmethod
    async def made(cls, server: Server, chat: Chat) -> "Ready":
        ready = cls(chat, await Http.open(server.port, chat.owner.token))
        head = (await ready._http.get(f"/api/v1/streams/chat/{chat.id}/events?after=now&limit=1"))["head"]
        await ready._socket.open(server.port, chat.owner.token)
        ready._socket.subscribe(chat.stream, f"{server.epoch}:{head}")
        await asyncio.wait_for(ready._socket.caught_up, TIMEOUT_S)
        return ready

    async def first_token_ms(self, after_s: float) -> float:
        try:
            await asyncio.sleep(after_s)
            await ask_for(self._http, str(self._chat.id), 10, PER_S)
            await asyncio.wait_for(self._socket.ended, TIMEOUT_S)
            return took_ms(self._socket, self._http.asked_ns)
        finally:
            self._http.close()
            self._socket.close()


async def by_bare_once(port: int) -> float:
    socket = Counted()
    try:
        await socket.open(port, "")
        socket.subscribe(f"chat/{uuid4()}", "start")
        await asyncio.wait_for(socket.caught_up, TIMEOUT_S)
        assert socket.socket is not None
        asked_ns = time.monotonic_ns()
        socket.socket.say(op="go", asked={"chunks": 10, "per_s": PER_S})
        await asyncio.wait_for(socket.ended, TIMEOUT_S)
        return took_ms(socket, asked_ns)
    finally:
        socket.close()


def took_ms(socket: Counted, asked_ns: int) -> float:
    assert socket.first is not None, f"no token came: {socket.faults}"
    received_ns, _, own_us = socket.first
    return (received_ns - asked_ns) / 1e6 - own_us / 1e3
