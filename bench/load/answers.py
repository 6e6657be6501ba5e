"""Many answers streamed at once, each to a socket of its own: through the server, and in the bare way. The same client reads both."""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import uuid4

from bench.host import Process, Server
from bench.load.http import Http, ask_for
from bench.load.page_sockets import PageCounted
from bench.load.seed import Chat
from bench.load.sockets import Counted
from bench.report import percentile

SLACK_S: Final = 30.0


class Steady(NamedTuple):
    """What a process needed while all answers ran: none was begun or ended meanwhile."""

    tokens: int
    cpu_s: float

    @property
    def token_us(self) -> float:
        """Its processor time for each token, in microseconds."""
        return 1e6 * self.cpu_s / max(1, self.tokens)


NOT_MEASURED: Final = Steady(0, 0.0)


class Answers:
    """What the sockets of one go received."""

    def __init__(
        self, sockets: Sequence[Counted | PageCounted], tokens_each: int, started_ns: int, ended_ns: int, steady: Steady = NOT_MEASURED
    ) -> None:
        self.sockets = sockets
        self.steady = steady
        self.seconds = (ended_ns - started_ns) / 1e9
        self.tokens = sum(socket.numbers for socket in sockets)
        self.events = sum(socket.events for socket in sockets)
        self.faults = [fault for socket in sockets for fault in socket.faults]
        self.faults += [f"expected {tokens_each} tokens, received {socket.numbers}" for socket in sockets if socket.numbers != tokens_each]

    def latencies_ms(self, after_tokens: int = 0) -> list[float]:
        return [ms for socket in self.sockets for ms in socket.latencies_ms[after_tokens:]]

    def said(self) -> str:
        late = self.latencies_ms()
        return f"p50 {percentile(late, 0.5):.1f}, p99 {percentile(late, 0.99):.1f}, most {max(late, default=0):.1f} ms"


def phases(count: int, within_s: float) -> list[float]:
    """When each begins: spread at random, and the same every time, since a rhythm of our own would be none of anybody's."""
    chance = random.Random(count)
    return sorted(chance.uniform(0, within_s) for _ in range(count))


async def by_server(server: Server, chats: Sequence[Chat], *, tokens: int, per_s: float, within_s: float) -> Answers:
    """Answers in all chats, begun within ``within_s``, each followed by its owner from its first event."""
    sockets = [Counted() for _ in chats]
    asking = []
    try:
        for socket, chat in zip(sockets, chats, strict=True):
            asking.append(await Http.open(server.port, chat.owner.token))
            head = (await asking[-1].get(f"/api/v1/streams/chat/{chat.id}/events?after=now&limit=1"))["head"]
            await socket.open(server.port, chat.owner.token)
            socket.subscribe(chat.stream, f"{server.epoch}:{head}")
        await asyncio.wait_for(asyncio.gather(*(socket.caught_up for socket in sockets)), SLACK_S)

        async def begin(number: int, after_s: float) -> None:
            await asyncio.sleep(after_s)
            await ask_for(asking[number], str(chats[number].id), tokens, per_s)

        started_ns = time.monotonic_ns()
        await asyncio.gather(*(begin(number, after_s) for number, after_s in enumerate(phases(len(chats), within_s))))
        return await over(sockets, tokens, per_s, started_ns, server.process)
    finally:
        for http in asking:
            http.close()
        for socket in sockets:
            socket.close()


async def by_bare(port: int, count: int, *, tokens: int, per_s: float, within_s: float, process: Process | None = None) -> Answers:
    """The same in the bare way. ``process`` is the one that listens on ``port``, where its processor time is asked for."""
    sockets = [Counted() for _ in range(count)]
    try:
        for socket in sockets:
            await socket.open(port, "")
            socket.subscribe(f"chat/{uuid4()}", "start")
        await asyncio.wait_for(asyncio.gather(*(socket.caught_up for socket in sockets)), SLACK_S)

        async def begin(socket: Counted, after_s: float) -> None:
            await asyncio.sleep(after_s)
            assert socket.socket is not None
            socket.socket.say(op="go", asked={"chunks": tokens, "per_s": per_s})

        started_ns = time.monotonic_ns()
        await asyncio.gather(*(begin(socket, after_s) for socket, after_s in zip(sockets, phases(count, within_s), strict=True)))
        return await over(sockets, tokens, per_s, started_ns, process)
    finally:
        for socket in sockets:
            socket.close()


async def over(
    sockets: Sequence[Counted | PageCounted], tokens: int, per_s: float, started_ns: int, process: Process | None = None
) -> Answers:
    """Once all have ended, or the time is up that they may take: then what is missing is a fault. Called when all have begun."""
    expected_s = tokens / per_s if per_s else 0.0
    ends = [socket.ended for socket in sockets]
    steady = NOT_MEASURED
    if process is not None:
        received, cpu_s = sum(socket.numbers for socket in sockets), process.cpu_s()
        await asyncio.wait(ends, timeout=expected_s + SLACK_S, return_when=asyncio.FIRST_COMPLETED)
        steady = Steady(sum(socket.numbers for socket in sockets) - received, process.cpu_s() - cpu_s)
    await asyncio.wait([asyncio.gather(*ends, return_exceptions=True)], timeout=expected_s + SLACK_S)
    return Answers(sockets, tokens, started_ns, time.monotonic_ns(), steady)
