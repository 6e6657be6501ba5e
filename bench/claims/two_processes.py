"""Two processes on one Postgres against one: the same load, by turns. With two, each process runs half of the answers, and each answer
is followed twice: at the process that runs it, and at the other, which learns of it from what the commit announces.

With one, both followers are at that one, so that as much goes out. Each token at each follower is checked for its place.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from bench.host import Host, Server
from bench.load.answers import SLACK_S, Answers, over, phases
from bench.load.http import Http, ask_for
from bench.load.seed import Chat, Seeding
from bench.load.sockets import Counted
from bench.report import Line, percentile

CHATS: Final = 50
PER_S: Final = 50.0
SECONDS: Final = 8.0
WITHIN_S: Final = 1.0
WARM_TOKENS: Final = 75
TOKENS_AT_FULL_SPEED: Final = 4_000
ROUNDS: Final = 2


class Go(NamedTuple):
    """One go of all chats: what the followers at the writer's process received, and those at the other."""

    here: Answers
    there: Answers

    @property
    def faults(self) -> list[str]:
        return self.here.faults + self.there.faults


async def run(host: Host) -> list[Line]:
    count, tokens, fast = (4, 40, 200) if host.quick else (CHATS, int(PER_S * SECONDS), TOKENS_AT_FULL_SPEED)
    warm = 10 if host.quick else WARM_TOKENS
    rounds = 1 if host.quick else ROUNDS
    _, provider_port = host.listening("provider", ["-m", "bench.load.provider"])
    alone, alone_chats = await servers(host, 1, count, provider_port)
    two, two_chats = await servers(host, 2, count, provider_port)
    paced: tuple[list[Go], list[Go]] = ([], [])
    full: tuple[list[Go], list[Go]] = ([], [])
    for _ in range(rounds):  # by turns: both see the machine in the same mood
        paced[0].append(await go(alone, alone_chats, tokens=tokens, per_s=PER_S, within_s=WITHIN_S))
        paced[1].append(await go(two, two_chats, tokens=tokens, per_s=PER_S, within_s=WITHIN_S))
        full[0].append(await go(alone, alone_chats, tokens=fast, per_s=0, within_s=0.05))
        full[1].append(await go(two, two_chats, tokens=fast, per_s=0, within_s=0.05))
    here, there = late(paced[1], "here", warm), late(paced[1], "there", warm)
    by_one = late(paced[0], "here", warm) + late(paced[0], "there", warm)
    faults = [fault for goes in (*paced, *full) for one in goes for fault in one.faults]
    load = f"{count} chats × {PER_S:g} tokens/s"
    return [
        Line(what=f"{load}, p50 at the writer's process", measured=percentile(here, 0.5), unit="ms", raw=percentile(by_one, 0.5)),
        Line(
            what=f"{load}, p99 at the writer's process",
            measured=percentile(here, 0.99),
            unit="ms",
            raw=percentile(by_one, 0.99),
            ratio_at_most=1.3,
        ),
        Line(what=f"{load}, p50 at the other process", measured=percentile(there, 0.5), unit="ms", raw=percentile(by_one, 0.5)),
        Line(
            what=f"{load}, p99 at the other process",
            measured=percentile(there, 0.99),
            unit="ms",
            raw=percentile(by_one, 0.99),
            ratio_at_most=1.3,
        ),
        Line(
            what=f"{count} chats at full speed",
            measured=rate(full[1]),
            unit="tokens/s",
            raw=rate(full[0]),
            ratio_at_least=1.0,
            note=f"turns of one: {turns(full[0])}; of two: {turns(full[1])}",
        ),
        Line(what="tokens lost, doubled or out of order", measured=len(faults), unit="", at_most=0, note="; ".join(faults[:3])),
    ]


async def servers(host: Host, processes: int, count: int, provider_port: int) -> tuple[list[Server], list[Chat]]:
    """So many on one fresh database, and chats in it."""
    dsn = host.database()
    async with Seeding(dsn) as seeding:
        chats = await seeding.chats(await seeding.people(count))
    return [host.server(dsn, provider_port=provider_port) for _ in range(processes)], chats


async def go(processes: Sequence[Server], chats: Sequence[Chat], *, tokens: int, per_s: float, within_s: float) -> Go:
    """An answer in each chat, by the processes in turn, followed at the one that runs it and at the next."""
    here, there = [Counted() for _ in chats], [Counted() for _ in chats]
    asking: list[Http] = []
    try:
        for number, chat in enumerate(chats):
            writer, other = processes[number % len(processes)], processes[(number + 1) % len(processes)]
            http = await Http.open(writer.port, chat.owner.token)
            head = (await http.get(f"/api/v1/streams/chat/{chat.id}/events?after=now&limit=1"))["head"]
            http.close()
            for socket, server in ((here[number], writer), (there[number], other)):
                await socket.open(server.port, chat.owner.token)
                socket.subscribe(chat.stream, f"{server.epoch}:{head}")
        await asyncio.wait_for(asyncio.gather(*(socket.caught_up for socket in (*here, *there))), SLACK_S)

        async def begin(number: int, after_s: float) -> None:
            await asyncio.sleep(after_s)
            # Opened now: to bring all followers in may take longer than a server keeps a connection that asks nothing.
            http = await Http.open(processes[number % len(processes)].port, chats[number].owner.token)
            asking.append(http)
            await ask_for(http, str(chats[number].id), tokens, per_s)

        started_ns = time.monotonic_ns()
        await asyncio.gather(*(begin(number, after_s) for number, after_s in enumerate(phases(len(chats), within_s))))
        first, second = await asyncio.gather(over(here, tokens, per_s, started_ns), over(there, tokens, per_s, started_ns))
        return Go(first, second)
    finally:
        for http in asking:
            http.close()
        for socket in (*here, *there):
            socket.close()


def late(goes: Sequence[Go], where: str, warm: int) -> list[float]:
    return [ms for one in goes for ms in getattr(one, where).latencies_ms(warm)]


def rate(goes: Sequence[Go]) -> float:
    """Tokens a second until the last follower, wherever, has the last of them."""
    return sum(one.here.tokens for one in goes) / sum(max(one.here.seconds, one.there.seconds) for one in goes)


def turns(goes: Sequence[Go]) -> str:
    return ", ".join(f"{one.here.tokens / max(one.here.seconds, one.there.seconds):,.0f}" for one in goes)
