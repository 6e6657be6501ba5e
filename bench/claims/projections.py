"""What readers see: made again from the whole log, and kept up to date beside a server that streams.

``python -m bench.claims.projections DSN [NAME,…]`` is one rebuild in a process of its own; it prints its figures as JSON.
"""

import asyncio
import json
import multiprocessing
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg

from adapters.garbage_collection import collect_rarely
from adapters.postgres.connections.queries import text
from adapters.projector.rebuild import rebuild
from adapters.projector.replay import Done
from api.systems import PROJECTIONS
from bench.bare_ways.log import copied_s
from bench.host import Host, last_line
from bench.load.answers import by_server
from bench.load.dataset import standard
from bench.load.seed import Seeding
from bench.report import Line, memory_line, percentile

CHATS: Final = 80  # with the pauses between the turns some 2,500 tokens/s
PER_S: Final = 50.0
TOKENS_EACH: Final = 150  # so that answers keep beginning and ending: a token alone moves no row
WITHIN_S: Final = 2.0
ROUNDS: Final = 4
LOOK_S: Final = 0.003  # between two looks at the checkpoint
EARLY: Final = 0.1  # of the log, after which memory should grow no more
# When each event that moves a row was committed, and when the checkpoint was first seen there: by the clock of the database.
LOOK: Final = "SELECT extract(epoch FROM clock_timestamp())::float8, position FROM projections WHERE name = 'chat_list'"
MOVING: Final = """
    SELECT e.position, extract(epoch FROM e.recorded_at)::float8 FROM events AS e JOIN streams AS s USING (stream_id)
     WHERE e.position > %s AND e.type <> 'message_delta' AND s.kind = 'chat' ORDER BY e.position
"""


class Rebuild(msgspec.Struct):
    position: int
    events: int  # that were projected: all but the tokens
    took_s: float
    early_mb: float  # most memory used until ``EARLY`` of the log
    peak_mb: float
    differing: list[str]


async def run(host: Host) -> list[Line]:
    return [*await rebuilding(host), *await lagging(host)]


async def rebuilding(host: Host) -> list[Line]:
    with standard(host) as data:
        first = await rebuilt(data.dsn)
        again = await rebuilt(data.dsn)  # beside tables that hold the same: the two are compared
        bare_s = await asyncio.to_thread(copied_s, data.dsn)
    return [
        Line(
            what="rebuild of all projections",
            measured=first.took_s,
            unit="s",
            raw=bare_s,
            ratio_at_most=3,
            note=f"{first.position / first.took_s:,.0f} events/s; raw: a COPY of the same events out and of the same rows in",
        ),
        Line(
            what="the same, counting only what is no token",
            measured=first.events / first.took_s,
            unit="events/s",
            note=f"{first.events:,} events",
        ),
        memory_line("rebuild", first.peak_mb, first.early_mb, f"{EARLY:.0%} of the log"),
        Line(
            what="again, and compared with the rows of the first",
            measured=again.position / again.took_s,
            unit="events/s",
            note=f"tables that differ: {', '.join(again.differing) or 'none'}",
        ),
    ]


async def rebuilt(dsn: str, *names: str) -> Rebuild:
    """Rebuild the projections of these names together, or all of them, in a process of its own."""
    said = await last_line(["-m", "bench.claims.projections", dsn, *([",".join(names)] if names else [])])
    return msgspec.json.decode(said, type=Rebuild)


async def projected(dsn: str) -> None:
    """Rows for everything that the log holds, and what autovacuum does some minutes after so many."""
    with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
        known = connection.execute(text("projections_reached"), ([one.name for one in PROJECTIONS],)).fetchone()
        head = connection.execute(text("log_head")).fetchone()
    if known is None or (head is not None and known[0] < head[0]):
        await rebuilt(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE stenograph_chat_search.texts")
        connection.execute("VACUUM ANALYZE stenograph_chat_list.chats")


async def lagging(host: Host) -> list[Line]:
    """How long after its commit an event is in the rows, while ``CHATS`` answers at a time stream."""
    count, tokens, rounds = (4, 20, 1) if host.quick else (CHATS, TOKENS_EACH, ROUNDS)
    dsn = host.database()
    async with Seeding(dsn) as seeding:
        chats = await seeding.chats(await seeding.people(count))
        before = await seeding.log.head()
    _, provider_port = host.listening("provider", ["-m", "bench.load.provider"])
    server = host.server(dsn, provider_port=provider_port)
    looks: list[tuple[float, int]] = []
    looking = asyncio.create_task(look(dsn, looks))
    turns = [await by_server(server, chats, tokens=tokens, per_s=PER_S, within_s=WITHIN_S) for _ in range(rounds)]
    with psycopg.connect(dsn) as connection:
        moving = connection.execute(MOVING, (before,)).fetchall()
    while looks[-1][1] < moving[-1][0]:  # noqa: ASYNC110  # another process moves it
        await asyncio.sleep(LOOK_S)
    looking.cancel()
    late = lags_ms(looks, moving)
    rate = sum(answers.tokens for answers in turns) / sum(answers.seconds for answers in turns)
    note = f"{len(late):,} events that move a row, beside {rate:,.0f} tokens/s; a look every {1000 * LOOK_S:g} ms"
    return [
        Line(what="from an event's commit to its row, p50", measured=percentile(late, 0.5), unit="ms", note=note),
        Line(what="from an event's commit to its row, p99", measured=percentile(late, 0.99), unit="ms", at_most=100),
    ]


async def look(dsn: str, looks: list[tuple[float, int]]) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        while True:
            row = await (await connection.execute(LOOK)).fetchone()
            assert row is not None
            looks.append(row)
            await asyncio.sleep(LOOK_S)


def lags_ms(looks: list[tuple[float, int]], moving: list[tuple[int, float]]) -> list[float]:
    """For each ``(position, committed)`` the milliseconds until the first of ``(seen, checkpoint)`` that is there."""
    found = []
    seen = iter(looks)
    at_s, checkpoint = next(seen)
    for position, committed_s in moving:
        while checkpoint < position:
            at_s, checkpoint = next(seen)
        found.append(1000 * max(0.0, at_s - committed_s))
    return found


def memory_mb() -> float:
    """Of this process and those of its partitions."""
    pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20 for pid in pids)


def main(dsn: str, *names: str) -> None:
    wanted = names[0].split(",") if names else [one.name for one in PROJECTIONS]
    collect_rarely()  # as the command does
    peaks: list[tuple[float, float]] = []

    def progressed(done: Done) -> None:
        peaks.append((done.position / max(1, done.head), memory_mb()))

    started_s = time.monotonic()
    built: Any = asyncio.run(rebuild(dsn, [one for one in PROJECTIONS if one.name in wanted], progressed))
    took_s = time.monotonic() - started_s
    early_mb = max(mb for share, mb in peaks if share <= EARLY or mb == peaks[0][1])
    print(
        json.dumps(
            msgspec.to_builtins(Rebuild(built.position, built.events, took_s, early_mb, max(mb for _, mb in peaks), list(built.differing)))
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
