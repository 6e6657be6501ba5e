"""How late the tokens of others are while one client attacks the server, beside the same just before and just after."""

import asyncio
from typing import Final

from bench.host import Host
from bench.load.answers import by_server
from bench.load.attacks import ATTACKS
from bench.load.seed import Seeding
from bench.report import Line, percentile

CHATS: Final = 10
PER_S: Final = 50.0
TOKENS: Final = 250
WARM_TOKENS: Final = 25
WITHIN_S: Final = 0.5
UNDER_WAY_S: Final = 1.0  # before others begin


async def run(host: Host) -> list[Line]:
    chats_count, tokens, warm = (2, 15, 5) if host.quick else (CHATS, TOKENS, WARM_TOKENS)
    dsn = host.database()
    async with Seeding(dsn) as seeding:
        people = await seeding.people(chats_count + 1)
        *chats, attacked = await seeding.chats(people)
    _, provider_port = host.listening("provider", ["-m", "bench.load.provider"])
    settings = {"STENO_DRAIN_S": "0.1"}  # at the end an answer that was attacked still runs, for most of a minute
    server = host.server(dsn, provider_port=provider_port, settings=settings)
    faults: list[str] = []

    async def late_ms() -> list[float]:
        answers = await by_server(server, chats, tokens=tokens, per_s=PER_S, within_s=0.1 if host.quick else WITHIN_S)
        faults.extend(answers.faults)
        return answers.latencies_ms(warm)

    await late_ms()  # what a process does once is no part of any figure
    calm = await late_ms()
    lines: list[Line] = []
    for name in ATTACKS:
        before_mb = server.process.rss_mb()
        attacker = host.process("attacker", ["-m", "bench.load.attacks", name, str(server.port), attacked.owner.token, str(attacked.id)])
        await asyncio.sleep(0.2 if host.quick else UNDER_WAY_S)
        late = await late_ms()
        attacker.check()
        grown_mb = server.process.rss_mb() - before_mb
        await asyncio.to_thread(attacker.stop)
        calm_again = await late_ms()
        lines.append(
            Line(
                what=f"{name}: tokens of {chats_count} others, p99",
                measured=percentile(late, 0.99),
                unit="ms",
                raw=percentile([*calm, *calm_again], 0.99),
                note=f"p50 {percentile(late, 0.5):.1f}, most {max(late):.0f} ms; the server's memory grew by {grown_mb:.0f} MB",
            )
        )
        calm = calm_again
    return [*lines, Line(what="tokens lost, doubled or out of order", measured=len(faults), unit="", at_most=0, note="; ".join(faults[:3]))]
