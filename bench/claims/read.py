"""What readers wait for, on the standard log: a long chat opened at its end, as it was at any moment, and a page of a long list."""

import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import psycopg

from adapters.postgres.connections.connection import connect
from adapters.postgres.connections.queries import text
from bench.claims.projections import projected
from bench.host import Host
from bench.load.dataset import Dataset, standard
from bench.load.http import Http
from bench.report import Line, percentile

CALLS: Final = 60
PAGE: Final = 60
WARM: Final = 3
VERSION: Final = "SELECT max(version) FROM events WHERE stream_id = %s"


async def run(host: Host) -> list[Line]:
    calls = 5 if host.quick else CALLS
    with standard(host) as data:
        await projected(data.dsn)
        with psycopg.connect(data.dsn) as connection:
            row = connection.execute(VERSION, (data.facts.long_chat_id,)).fetchone()
        assert row is not None
        server = host.server(data.dsn)
        http = await Http.open(server.port, data.people()[0].token)
        try:
            return [*await long_chat(http, data, server.epoch, row[0], calls), *await lists(http, data, calls)]
        finally:
            http.close()
            server.process.stop()


async def long_chat(http: Http, data: Dataset, epoch: str, versions: int, calls: int) -> list[Line]:
    messages = data.facts.long_chat_messages
    path = f"/api/v1/chats/{data.facts.long_chat_id}"
    chance = random.Random(1)
    moments = [chance.randint(1, versions) for _ in range(calls)]
    newest = await took_ms(calls, lambda _: http.fetch(f"{path}/messages?limit={PAGE}"))
    paged = await took_ms(calls, lambda call: http.fetch(f"{path}/messages?limit={PAGE}&at={epoch}:{moments[call]}"))
    whole = await took_ms(calls, lambda call: http.fetch(f"{path}?at={epoch}:{moments[call]}"))
    now = await took_ms(max(1, calls // 4), lambda _: http.fetch(path))
    return [
        Line(what=f"a chat of {messages:,} messages: its newest page, p95", measured=percentile(newest, 0.95), unit="ms", at_most=40),
        Line(what="a page of it at any earlier point, p95", measured=percentile(paged, 0.95), unit="ms", at_most=40),
        Line(
            what="all of it at any earlier point, p95",
            measured=percentile(whole, 0.95),
            unit="ms",
            at_most=300,
            note=f"p50 {percentile(whole, 0.5):.0f} ms; the moments are spread evenly, so half of the messages on average",
        ),
        Line(what="all of it now, p50", measured=percentile(now, 0.5), unit="ms"),
    ]


async def lists(http: Http, data: Dataset, calls: int) -> list[Line]:
    person = data.facts.people[0]
    first = await http.get("/api/v1/chats/?include_pinned=true&include_folders=true")
    last = max(1, len(first) // PAGE)
    chance = random.Random(2)
    pages = [1, last, *(chance.randint(1, last) for _ in range(calls))]
    asked = await took_ms(calls, lambda call: http.fetch(f"/api/v1/chats/?include_pinned=true&include_folders=true&page={pages[call]}"))
    connection = await connect(data.dsn, application="bench")
    try:
        statement = text("listed_chats")
        wanted: tuple[Any, ...] = (None, False, None, None, None, None, None, None, [], [])
        raw = await took_ms(calls, lambda call: connection.fetch(statement, person.id, (pages[call] - 1) * PAGE, PAGE, *wanted))
    finally:
        await connection.close()
    return [
        Line(
            what=f"a page of the list of {len(first):,} chats, p95",
            measured=percentile(asked, 0.95),
            unit="ms",
            raw=percentile(raw, 0.95),
            at_most=20,
            note=f"the first, the last ({last}) and others; raw is the statement alone",
        )
    ]


async def took_ms(calls: int, ask: Callable[[int], Awaitable[Any]]) -> list[float]:
    """Each of ``calls``, after some that do not count."""
    took = []
    for call in (*range(min(WARM, calls)), *range(calls)):
        started = time.perf_counter()
        await ask(call)
        took.append((time.perf_counter() - started) * 1000)
    return took[min(WARM, calls) :]
