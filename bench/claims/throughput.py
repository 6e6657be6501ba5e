"""As fast as it goes: fifty answers at once from the provider to their sockets, every token committed on the way."""

from typing import Final

from bench.host import Host
from bench.load.answers import Answers, by_bare, by_server
from bench.load.seed import Seeding
from bench.report import Line

CHATS: Final = 50
TOKENS_EACH: Final = 5_000
ROUNDS: Final = 3


async def run(host: Host) -> list[Line]:
    count, tokens = (4, 200) if host.quick else (CHATS, TOKENS_EACH)
    dsn = host.database()
    async with Seeding(dsn) as seeding:
        chats = await seeding.chats(await seeding.people(count))
    _, provider_port = host.listening("provider", ["-m", "bench.load.provider"])
    _, bare_port = host.listening("bare", ["-m", "bench.bare_ways.token", host.database(), str(provider_port)])
    server = host.server(dsn, provider_port=provider_port)
    idle_mb = server.process.rss_mb()
    ours: list[Answers] = []
    bare: list[Answers] = []
    peaks_mb: list[float] = []
    cpu_s = 0.0
    for _ in range(1 if host.quick else ROUNDS):
        bare.append(await by_bare(bare_port, count, tokens=tokens, per_s=0, within_s=0.05))
        before_s = server.process.cpu_s()
        ours.append(await by_server(server, chats, tokens=tokens, per_s=0, within_s=0.05))
        cpu_s += server.process.cpu_s() - before_s
        peaks_mb.append(server.process.peak_rss_mb())
    faults = [fault for answers in (*ours, *bare) for fault in answers.faults]
    seconds = sum(answers.seconds for answers in ours)
    batches = server.metrics()["stenograph_append_batches_total"]
    events = sum(answers.events for answers in ours)
    note = f"server at {100 * cpu_s / seconds:.0f} % of a core, {events / batches:.0f} events a commit"
    note += f"; turns: {', '.join(f'{answers.tokens / answers.seconds:,.0f}' for answers in ours)}"
    return [
        Line(
            what=f"{count} chats at full speed",
            measured=rate(ours, "tokens"),
            unit="tokens/s",
            raw=rate(bare, "tokens"),
            at_least=20_000,
            note=note,
        ),
        Line(what="the same in events", measured=rate(ours, "events"), unit="events/s", raw=rate(bare, "events")),
        Line(
            what="server memory, most of it",
            measured=peaks_mb[-1],
            unit="MB",
            at_most=256,
            note=f"idle before {idle_mb:.0f}, after each turn {', '.join(f'{peak:.0f}' for peak in peaks_mb)} MB: the tail holds 64 of it",
        ),
        Line(what="tokens lost, doubled or out of order", measured=len(faults), unit="", at_most=0, note="; ".join(faults[:3])),
    ]


def rate(rounds: list[Answers], what: str) -> float:
    total: int = sum(getattr(answers, what) for answers in rounds)
    return total / sum(answers.seconds for answers in rounds)
