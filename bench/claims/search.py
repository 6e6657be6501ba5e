"""A full-text search over 250,000 messages, by HTTP: where one person has said them all, and where they are many people's.

The log is the standard one (``bench/load/dataset.py``).
"""

import time
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

from bench.claims.projections import projected
from bench.host import Host
from bench.load.dataset import standard
from bench.load.http import Http
from bench.load.seed import Person
from bench.report import Line, percentile

SEARCHES: Final = {
    "a frequent word": "the ",
    "two frequent words": "i you ",
    "a rare word": "zebra ",
    "a rare and a frequent word": "the zebra ",
    "a word in between": "christmas ",
    "a phrase": '"do you like"',
    "the beginning of a word": "chri",
    "one letter": "t",
    "one rare letter": "z",
    "no hit": "zyzzyvaqq ",
    "no hit among frequent words": '"you the i the you"',
}
ROUNDS: Final = 30
AT_MOST_MS: Final = 50


async def run(host: Host) -> list[Line]:
    with standard(host) as data:
        return await measured(host, data.dsn, data.people())


async def measured(host: Host, dsn: str, people: Sequence[Person]) -> list[Line]:
    """``people[0]`` has said more than anybody else. Tables that are behind the log are built first."""
    await projected(dsn)
    server = host.server(dsn)
    lines = []
    for who, person in (("who said most", people[0]), ("one of many", people[len(people) // 10]), ("who said little", people[-1])):
        http = await Http.open(server.port, person.token)
        try:
            everything: list[float] = []
            for what, text in SEARCHES.items():
                hits, took = await searched(http, text, 3 if host.quick else ROUNDS)
                everything += took
                note = f"{hits} on the first page; p50 {percentile(took, 0.5):.1f} ms"
                lines.append(Line(what=f"{who}: {what}, p95", measured=percentile(took, 0.95), unit="ms", at_most=AT_MOST_MS, note=note))
            lines.append(Line(what=f"{who}: all of them, p95", measured=percentile(everything, 0.95), unit="ms", at_most=AT_MOST_MS))
        finally:
            http.close()
    return lines


async def searched(http: Http, text: str, rounds: int) -> tuple[int, list[float]]:
    """How many chats the first page holds, and how long it took each time, in ms. The first try is for the caches."""
    path = "/api/v1/chats/search?" + urlencode({"text": text})
    found = len(await http.get(path))
    took = []
    for _ in range(rounds):
        started = time.perf_counter()
        await http.get(path)
        took.append((time.perf_counter() - started) * 1000)
    return found, took
