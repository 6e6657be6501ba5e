"""From the provider's chunk to the subscriber's socket, each token committed in between; beside the bare way in the same run."""

from typing import Final

from bench.host import Host
from bench.load.answers import Answers, by_bare, by_server
from bench.load.seed import Seeding
from bench.report import Line, percentile

PER_S: Final = 50.0
SECONDS: Final = 8.0
WITHIN_S: Final = 1.0
CPU_RATIO_MOST: Final = 1.7  # of the bare way's: 100 µs on the machine where that takes 58
WARM_TOKENS: Final = 75  # of each answer: until all have begun


async def run(host: Host) -> list[Line]:
    few, many = (4, 8) if host.quick else (50, 100)
    tokens, warm = (40, 10) if host.quick else (int(PER_S * SECONDS), WARM_TOKENS)
    within_s = 0.1 if host.quick else WITHIN_S
    dsn = host.database()
    async with Seeding(dsn) as seeding:
        chats = await seeding.chats(await seeding.people(many))
    _, provider_port = host.listening("provider", ["-m", "bench.load.provider"])
    bare_process, bare_port = host.listening("bare", ["-m", "bench.bare_ways.token", host.database(), str(provider_port)])
    server = host.server(dsn, provider_port=provider_port)
    ours: list[Answers] = []
    bare: list[Answers] = []
    for _ in range(1 if host.quick else 2):  # by turns: both see the machine in the same mood
        bare.append(await by_bare(bare_port, few, tokens=tokens, per_s=PER_S, within_s=within_s))
        ours.append(await by_server(server, chats[:few], tokens=tokens, per_s=PER_S, within_s=within_s))
    bare_many = await by_bare(bare_port, many, tokens=tokens, per_s=PER_S, within_s=within_s, process=bare_process)
    batches = server.metrics()["stenograph_append_batches_total"]
    cpu_s = server.process.cpu_s()
    ours_many = await by_server(server, chats, tokens=tokens, per_s=PER_S, within_s=within_s)
    cpu_s = server.process.cpu_s() - cpu_s
    batches = server.metrics()["stenograph_append_batches_total"] - batches
    mine = [ms for answers in ours for ms in answers.latencies_ms(warm)]
    theirs = [ms for answers in bare for ms in answers.latencies_ms(warm)]
    mine_many, theirs_many = ours_many.latencies_ms(warm), bare_many.latencies_ms(warm)
    many_note = f"{ours_many.events / batches:.0f} events a commit, server at {100 * cpu_s / ours_many.seconds:.0f} % of a core"
    faults = [fault for answers in (*ours, ours_many, *bare, bare_many) for fault in answers.faults]
    return [
        late(f"{few} chats × {PER_S:g} tokens/s, p50", mine, theirs, 0.5, at_most=3.0),
        late(f"{few} chats × {PER_S:g} tokens/s, p99", mine, theirs, 0.99, at_most=8.0),
        late(f"{many} chats × {PER_S:g} tokens/s, p50", mine_many, theirs_many, 0.5, note=many_note),
        late(f"{many} chats × {PER_S:g} tokens/s, p99", mine_many, theirs_many, 0.99, at_most=15.0, ratio_at_most=None),
        Line(
            what="CPU of the server for each token, while all answers run",
            measured=ours_many.steady.token_us,
            unit="µs",
            raw=bare_many.steady.token_us,
            ratio_at_most=CPU_RATIO_MOST,
            note=f"at {many} chats; says more than a latency where others use the same cores",
        ),
        Line(
            what="CPU of the server for each answer beside its tokens",
            measured=1e3 * (cpu_s - ours_many.steady.token_us * ours_many.tokens / 1e6) / many,
            unit="ms",
            note="its client's socket, its request, its beginning and its end in the log and in the rows of the projections; "
            f"with it a token of an answer of {tokens} takes {1e6 * cpu_s / ours_many.tokens:.0f} µs",
        ),
        Line(what="tokens lost, doubled or out of order", measured=len(faults), unit="", at_most=0, note="; ".join(faults[:3])),
    ]


def late(
    what: str,
    mine: list[float],
    theirs: list[float],
    share: float,
    *,
    at_most: float | None = None,
    ratio_at_most: float | None = 1.3,
    note: str = "",
) -> Line:
    if at_most is None:
        ratio_at_most = None
    measured, raw = percentile(mine, share), percentile(theirs, share)
    return Line(what=what, measured=measured, unit="ms", raw=raw, at_most=at_most, ratio_at_most=ratio_at_most, note=note)
