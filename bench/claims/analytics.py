"""What analysts wait for: the figures made again from a log of five million events, each view and the query endpoint over thirty days, the
log as files, and how late rows are while answers stream, which are to come no later for it.
"""

import asyncio
import itertools
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
import psycopg

from adapters.projector.checkpoints import pause, resume
from api.systems import FOR_ANALYSTS
from bench.claims.analytics_export import EARLY, exported
from bench.claims.projections import lags_ms, rebuilt
from bench.host import Host, Server
from bench.load.answers import by_server
from bench.load.month import make, make_more
from bench.load.projected import project
from bench.load.seed import Seeding
from bench.report import Line, memory_line, percentile

EVENTS: Final = 5_000_000
MORE_EVENTS: Final = 500_000  # that come between two exports
GOES: Final = 20  # of each view
ASKED: Final = 60  # questions over HTTP, each another one
CHATS: Final = 50
TOKENS_EACH: Final = 150
PER_S: Final = 50.0
WITHIN_S: Final = 2.0
ROUNDS: Final = 3  # with, and as many without, by turns
LOOK_S: Final = 0.003
LOOK: Final = "SELECT extract(epoch FROM clock_timestamp())::float8, position FROM projections WHERE name = 'figures'"
MOVING: Final = """
    SELECT e.position, extract(epoch FROM e.recorded_at)::float8 FROM events AS e JOIN streams AS s USING (stream_id)
     WHERE e.position > %s AND e.type <> 'message_delta' AND s.kind IN ('chat', 'channel', 'user', 'group') ORDER BY e.position
"""
# Each over the last thirty days: by a granularity, or by the rows' own time.
VIEWS: Final = {
    **{
        name: f"SELECT * FROM analytics.{name} WHERE granularity = 'day' AND period > now() - interval '30 days'"
        for name in ("activity", "models", "latency", "outcomes", "tokens", "approval", "channels")
    },
    "arena": "SELECT * FROM analytics.arena",
    "retention": "SELECT * FROM analytics.retention WHERE cohort_week > now() - interval '30 days'",
    "people": "SELECT count(*) FROM analytics.people WHERE created_at > now() - interval '30 days'",
    "generations": "SELECT sum(output_tokens) FROM analytics.generations WHERE started_at > now() - interval '30 days'",
    "messages": "SELECT count(*) FROM analytics.messages WHERE sent_at > now() - interval '30 days'",
    "freshness": "SELECT * FROM analytics.freshness",
}
METRICS: Final = ("generations", "failure_share", "output_tokens", "first_token_ms_p95", "gap_p99_ms_p50", "messages", "people", "approval")


async def run(host: Host) -> list[Line]:
    dsn = host.database()
    events = await asyncio.to_thread(make, dsn, 20_000 if host.quick else EVENTS)
    built = await rebuilt(dsn, *(one.name for one in FOR_ANALYSTS))
    lines = [
        Line(
            what="rebuild of the figures",
            measured=built.position / built.took_s,
            unit="events/s",
            at_least=60_000,
            note=f"{events:,} events of the log, {built.events:,} of them no tokens",
        ),
        memory_line("rebuild", built.peak_mb, built.early_mb, "10% of the log"),
    ]
    lines += await asyncio.to_thread(looked_at, dsn, 2 if host.quick else GOES)
    lines.append(await asked(host, dsn, 4 if host.quick else ASKED))
    lines += await into_files(host, dsn, events)
    return [*lines, *await beside_tokens(host)]


async def into_files(host: Host, dsn: str, events: int) -> list[Line]:
    """The whole log, then what has come after it."""
    folder = host.folder / "figures"
    first = await exported(dsn, folder)
    if first.events < events:
        raise RuntimeError(f"{first.events} of {events} events were exported")
    await asyncio.to_thread(make_more, dsn, 2_000 if host.quick else MORE_EVENTS)
    await project(dsn, FOR_ANALYSTS)
    then = await exported(dsn, folder)
    return [
        Line(
            what="export to Parquet",
            measured=first.events / first.took_s,
            unit="events/s",
            at_least=200_000,
            note=f"{first.events:,} events and {first.rows:,} rows in {first.size_bytes / 1e6:,.0f} MB",
        ),
        Line(
            what="the same, only what has come since",
            measured=then.events / then.took_s,
            unit="events/s",
            at_least=200_000,
            note=f"{then.events:,} events, {then.rows:,} rows of the days that these have changed",
        ),
        memory_line("export", first.peak_mb, first.early_mb, f"{EARLY:.0%} of the events"),
    ]


def looked_at(dsn: str, goes: int) -> list[Line]:
    """The slowest of the views, and the others in a note."""
    took: dict[str, float] = {}
    with psycopg.connect(dsn, autocommit=True) as connection:
        for table in ("conversations", "messages", "generations", "ratings", "duels"):
            connection.execute(f"VACUUM ANALYZE stenograph_figures.counted_{table}")  # as autovacuum would
        connection.execute("SET ROLE stenograph_analyst")
        connection.execute("SET jit = off")  # as for every login that is made
        for name, query in VIEWS.items():
            times = []
            for _ in range(goes):
                began_s = time.monotonic()
                connection.execute(query).fetchall()
                times.append(1000 * (time.monotonic() - began_s))
            took[name] = percentile(times, 0.95)
    slowest = max(took, key=took.__getitem__)
    others = ", ".join(f"{name} {ms:.0f}" for name, ms in sorted(took.items(), key=lambda one: -one[1])[1:])
    return [Line(what=f"the slowest view over 30 days, {slowest}, p95", measured=took[slowest], unit="ms", at_most=200, note=others)]


async def asked(host: Host, dsn: str, count: int) -> Line:
    """Over HTTP, each question another one than those before, so that none is answered from memory."""
    async with Seeding(dsn) as seeding:
        (admin,) = await seeding.people(1, "admin")
    server = host.server(dsn)
    now = datetime.now(UTC)
    times = []
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", headers={"authorization": f"Bearer {admin.token}"}) as http:
        turns = itertools.islice(itertools.cycle(itertools.product(METRICS, ("", "model", "model,kind"), ("hour", "day", None))), count)
        for number, (metric, dimensions, granularity) in enumerate(turns):
            dimensions = "model" if metric == "approval" and dimensions else dimensions
            params = {"metrics": metric, "dimensions": dimensions, "since": (now - timedelta(days=30, seconds=number)).isoformat()}
            params |= {"granularity": granularity, "time_zone": "Europe/Berlin"} if granularity else {}
            began_s = time.monotonic()
            answer = await http.get("/api/v1/analytics/query", params=params, timeout=30)
            times.append(1000 * (time.monotonic() - began_s))
            if answer.status_code != 200:
                raise RuntimeError(f"{answer.status_code}: {answer.text}")
    server.process.stop()
    note = f"p50 {percentile(times, 0.5):.0f} ms, {count} questions over 30 days, none from memory"
    return Line(what="the query endpoint, p95", measured=percentile(times, 0.95), unit="ms", at_most=100, note=note)


async def beside_tokens(host: Host) -> list[Line]:
    count, tokens, rounds = (4, 20, 1) if host.quick else (CHATS, TOKENS_EACH, ROUNDS)
    dsn = host.database()
    async with Seeding(dsn) as seeding:
        chats = await seeding.chats(await seeding.people(count))
        before = await seeding.log.head()
    _, provider_port = host.listening("provider", ["-m", "bench.load.provider"])
    server = host.server(dsn, provider_port=provider_port)
    looks: list[tuple[float, int]] = []
    looking = asyncio.create_task(look(dsn, looks))
    with_figures: list[float] = []
    without: list[float] = []
    late: list[float] = []
    for _ in range(rounds):
        with_figures += await tokens_late(server, chats, tokens)
        late += await rows_late(dsn, before, looks)
        await asyncio.to_thread(pause, dsn, "figures")
        without += await tokens_late(server, chats, tokens)
        await asyncio.to_thread(resume, dsn, "figures")
        before = await head_of(dsn)
        while looks[-1][1] < before:  # noqa: ASYNC110  # another process moves it
            await asyncio.sleep(LOOK_S)
    looking.cancel()
    p50 = percentile(with_figures, 0.5), percentile(without, 0.5)
    return [
        Line(
            what="from an event's commit to its row, p99",
            measured=percentile(late, 0.99),
            unit="ms",
            at_most=200,
            note=f"p50 {percentile(late, 0.5):.0f} ms, {len(late):,} events beside {count} answers of {PER_S:g} tokens/s",
        ),
        Line(
            what="a token's way to its reader meanwhile, p99",
            measured=percentile(with_figures, 0.99),
            unit="ms",
            raw=percentile(without, 0.99),
            ratio_at_most=1.25,
            note=f"raw is here with the projection paused, by turns; p50 {p50[0]:.1f} and {p50[1]:.1f}",
        ),
    ]


async def tokens_late(server: Server, chats: Sequence[Any], tokens: int) -> list[float]:
    answers = await by_server(server, chats, tokens=tokens, per_s=PER_S, within_s=WITHIN_S)
    if answers.faults:
        raise RuntimeError(answers.faults[0])
    return answers.latencies_ms()


async def rows_late(dsn: str, before: int, looks: list[tuple[float, int]]) -> list[float]:
    """Of every event after ``before`` that may move a row."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        moving = await (await connection.execute(MOVING, (before,))).fetchall()
    while looks[-1][1] < moving[-1][0]:  # noqa: ASYNC110  # another process moves it
        await asyncio.sleep(LOOK_S)
    return lags_ms(looks, [(position, at_s) for position, at_s in moving])


async def head_of(dsn: str) -> int:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        row = await (await connection.execute("SELECT max(position) FROM events WHERE type <> 'message_delta'")).fetchone()
    assert row is not None
    return int(row[0])


async def look(dsn: str, looks: list[tuple[float, int]]) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        while True:
            row = await (await connection.execute(LOOK)).fetchone()
            assert row is not None
            looks.append((row[0], row[1]))
            await asyncio.sleep(LOOK_S)
