"""A full-text search over 250,000 messages, by HTTP: where one person has said them all, and where they are many people's.

``measured`` takes any log whose people said English sentences; without the standard one, ``seeded`` makes up a log.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID, uuid4

import psycopg

from adapters.postgres.queries import text as query_of
from adapters.rebuild import rebuild
from bench.host import Host
from bench.http import Http
from bench.report import Line, percentile
from bench.seed import Person, Seeding
from commands.ports import AppendRequest, StreamAppend
from domain.chat import ChatCreated, MessageAdded
from domain.event import Actor, Event
from domain.stream import Stream
from projections.history import History

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
CHATS: Final = 7_000
MESSAGES: Final = 36  # of each chat
PEOPLE: Final = 200  # the second half of the log is theirs: the first has most, the last next to nothing
BEGINNINGS: Final = ("t", "chri", "zo", "mo", "al", "ki")
WORDS: Final = (
    "the you i to a and is it of that do in like have for my what so are was not me but they really know think good movie about"
    " zebra christmas"
)


async def run(host: Host) -> list[Line]:
    dsn, people = await seeded(host)
    return await measured(host, dsn, people)


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


async def projected(dsn: str) -> None:
    """Raises ``RebuildFailed``."""
    with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
        known = connection.execute(query_of("projection_position"), (History.name,)).fetchone()
        head = connection.execute(query_of("log_head")).fetchone()
    if known is None or (head is not None and known[0] < head[0]):
        await rebuild(dsn, History(), lambda _: None)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE stenograph_history.texts")  # as autovacuum does some minutes after so many rows
        connection.execute("VACUUM ANALYZE stenograph_history.chats")


async def seeded(host: Host) -> tuple[str, list[Person]]:
    """Half of the chats are the first person's, the others are everybody's, some very much and most very little."""
    chats = 40 if host.quick else CHATS
    dsn = host.database()
    rng = random.Random(1)  # the same log each time
    vocabulary = WORDS.split() + [f"{rng.choice(BEGINNINGS)}{number}" for number in range(5_000)]
    weights = list(accumulate(1 / (rank + 2) for rank in range(len(vocabulary))))
    shares = list(accumulate(1 / (rank + 1) for rank in range(PEOPLE - 1)))
    async with Seeding(dsn) as seeding:
        people = await seeding.people(3 if host.quick else PEOPLE)

        async def chat(owner: Person) -> None:
            texts = [" ".join(rng.choices(vocabulary, cum_weights=weights, k=rng.randint(3, 25))) for _ in range(MESSAGES)]
            await seeding.log.append(
                AppendRequest([StreamAppend(Stream("chat", uuid4()), conversation(owner, texts), 0)], Actor(owner.id, owner.name, "user"))
            )

        for at in range(0, chats, 20):
            await asyncio.gather(*(chat(people[0]) for _ in range(min(20, chats - at))))
            others = rng.choices(people[1:], cum_weights=shares[: len(people) - 1], k=min(20, chats - at))
            await asyncio.gather(*(chat(owner) for owner in others))
    return dsn, people


def conversation(owner: Person, texts: Sequence[str]) -> list[Event[Any]]:
    events: list[Event[Any]] = [Event(None, ChatCreated(owner.id, texts[0]))]
    parent_id: UUID | None = None
    for text in texts:
        message_id = uuid4()
        events.append(Event(message_id, MessageAdded(parent_id, "user", text)))
        parent_id = message_id
    return events
