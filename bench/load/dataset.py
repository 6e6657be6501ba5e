"""The standard log: the real conversations of the PyPI package ``chitchat-dataset``, their answers streamed word by word.

``python -m bench.load.dataset FOLDER`` makes it in an embedded Postgres in that folder, once: some minutes. Benchmarks find it there by
``BENCH_DATASET``; without that they make one of their own each time. As root the folder must be one that others may enter, since
Postgres runs as a system user: ``/var/lib/…`` or ``/tmp/…``, not below ``/root``.

The first person has all conversations (7,168 chats, 258,145 messages) and one chat of 10,000 messages; more people have the same
conversations until there are three million events.
"""

import argparse
import contextlib
import importlib.util
import os
import sys
import time
import zipfile
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, TypeVar
from uuid import UUID, uuid4, uuid5

import msgspec
import psycopg
import uvloop
from psycopg import sql

from adapters.embedded.server import EmbeddedPostgres
from adapters.files.json_items import items
from adapters.identity import JwtTokens
from adapters.postgres.preparing.migrate import migrate
from bench.host import SECRET, Host, dsn_of
from bench.load.seed import TOKEN_LIFETIME_S, Person, Seeding
from commands.chats.chats import Chats
from commands.ports import TokenClaims
from commands.transfer import chitchat
from commands.transfer.importing import Importer, Summary
from commands.transfer.whole_chat import WholeChats
from domain.chat.whole_chat import ImportSource, WholeChat, WholeMessage, imported_id
from domain.log.event import Actor

EVENTS_MIN: Final = 3_000_000
LONG_CHAT_MESSAGES: Final = 10_000
QUICK_EVENTS: Final = 3_000
QUICK_LONG_CHAT_MESSAGES: Final = 100
DATABASE: Final = "steno_dataset"
FACTS: Final = "dataset.json"
PEOPLE_MAX: Final = 200
PACKAGE: Final = "chitchat_dataset"
DATA: Final = f"{PACKAGE}/dataset.json"


T = TypeVar("T")


class Someone(msgspec.Struct, frozen=True):
    id: UUID
    name: str


class Facts(msgspec.Struct, frozen=True):
    """What there is, written beside it when it is complete."""

    events: int  # of the whole log
    chats: int
    people: list[Someone]  # the first has every conversation once, and the long chat
    long_chat_id: UUID
    long_chat_messages: int
    import_s: float


class Dataset(msgspec.Struct, frozen=True):
    """The standard log in a database. For reading: who writes takes a ``copy``."""

    dsn: str  # the owner's
    facts: Facts

    def people(self) -> list[Person]:
        """With tokens that a server of ``Host.server`` takes."""
        tokens = JwtTokens(SECRET.encode())
        expires_at = int(time.time()) + TOKEN_LIFETIME_S
        return [Person(one.id, one.name, tokens.issue(TokenClaims(one.id, uuid4(), 0, expires_at))) for one in self.facts.people]

    @contextlib.contextmanager
    def copy(self) -> "Iterator[Dataset]":
        """A copy of the database, dropped at the end. No connection to the original may be open."""
        server = dsn_of(self.dsn, "postgres")
        name = f"steno_bench_{uuid4().hex[:12]}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(*map(sql.Identifier, (name, DATABASE))))
        try:
            yield Dataset(dsn_of(self.dsn, name), self.facts)
        finally:
            drop(server, name)


@contextlib.contextmanager
def standard(host: Host) -> Iterator[Dataset]:
    """The standard log for a run: the one of ``BENCH_DATASET``, or one of its own. Small where the run is quick."""
    kept = os.environ.get("BENCH_DATASET")
    folder = Path(kept) / "quick" if kept and host.quick else Path(kept or host.folder / "dataset")
    events = QUICK_EVENTS if host.quick else EVENTS_MIN
    with hosted(folder, events_min=events) as dataset:
        yield dataset


@contextlib.contextmanager
def hosted(folder: Path, *, events_min: int = EVENTS_MIN, source: Path | None = None) -> Iterator[Dataset]:
    """The standard log in a folder, made if it is not there. Raises ``SystemExit`` where the conversations can't be had."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with EmbeddedPostgres(folder) as embedded:
        written = folder / FACTS
        dsn = dsn_of(embedded.dsn, DATABASE)
        facts = msgspec.json.decode(written.read_bytes(), type=Facts) if written.exists() else None
        if facts is None or facts.events < events_min:
            written.unlink(missing_ok=True)
            conversations = conversations_of(source)
            drop(embedded.dsn, DATABASE)
            with psycopg.connect(embedded.dsn, autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
            migrate(dsn)
            facts = apart(build(dsn, conversations, events_min=events_min))
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("VACUUM ANALYZE")
            written.write_bytes(msgspec.json.encode(facts))
        else:
            migrate(dsn)
        yield Dataset(dsn, facts)


def drop(server_dsn: str, name: str) -> None:
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def apart(work: Coroutine[Any, Any, T]) -> T:
    """Run on a loop in a thread of its own: a benchmark that needs the data has a loop already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(uvloop.run, work).result()


Conversations = Sequence[tuple[str, bytes]]


def conversations_of(source: Path | None = None) -> Conversations:
    """``(id, JSON)`` of every conversation, from ``dataset.json``, from a wheel that holds it, or from the installed package."""
    where = source or (Path(os.environ["BENCH_CHITCHAT"]) if "BENCH_CHITCHAT" in os.environ else installed())
    if where is None:
        raise SystemExit(
            f"The conversations are not here. Either:  pip install {PACKAGE.replace('_', '-')}\n"
            f"or name a {DATA.rpartition('/')[2]}, or a wheel of the package, in BENCH_CHITCHAT."
        )
    try:
        if where.suffix == ".whl":
            with zipfile.ZipFile(where) as wheel, wheel.open(DATA) as file:
                return read(file)
        with where.open("rb") as file:
            return read(file)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise SystemExit(f"The conversations cannot be read from {where}: {error}") from None


def read(file: IO[bytes]) -> Conversations:
    return [(item.key or "", item.raw) for item in items(file.read, members=True)]


def installed() -> Path | None:
    spec = importlib.util.find_spec(PACKAGE)
    return Path(spec.origin).with_name(DATA.rpartition("/")[2]) if spec is not None and spec.origin is not None else None


async def build(dsn: str, conversations: Conversations, *, events_min: int, counted: Callable[[Summary], None] = lambda _: None) -> Facts:
    """Import the conversations for one person after the other until there are enough events."""
    is_quick = events_min < EVENTS_MIN
    async with Seeding(dsn) as seeding:
        [crowded] = await seeding.people(1)
        people = [crowded]
        actors = {crowded.id: Actor(crowded.id, crowded.name, "user")}
        importing = Importer(WholeChats(seeding.log, seeding.blobs, Chats(seeding.log)), actors.get, counted)
        began = time.monotonic()
        long_chat = one_long_chat(conversations, crowded.id, QUICK_LONG_CHAT_MESSAGES if is_quick else LONG_CHAT_MESSAGES)
        await importing.import_all([long_chat])
        await importing.import_all(chats_of(conversations[:50] if is_quick else conversations, crowded.id))
        while importing.summary.events < events_min:
            [person] = await seeding.people(1)
            people.append(person)
            actors[person.id] = Actor(person.id, person.name, "user")
            missing = events_min - importing.summary.events
            await importing.import_all(until(chats_of(conversations, person.id), missing))
        took_s = time.monotonic() - began
        if importing.summary.refusals:
            raise RuntimeError(f"the data set was not taken: {importing.summary.refusals[0]}")
        return Facts(
            events=await seeding.log.head(),
            chats=importing.summary.imported,
            people=[Someone(person.id, person.name) for person in people],
            long_chat_id=long_chat.chat_id,
            long_chat_messages=len(long_chat.messages),
            import_s=round(took_s, 1),
        )


def chats_of(conversations: Conversations, owner_id: UUID) -> Iterator[WholeChat]:
    for source_id, raw in conversations:
        yield chitchat.whole_chat(source_id, raw, owner_id, streams=True)


def until(chats: Iterable[WholeChat], events: int) -> Iterator[WholeChat]:
    """As many chats as it takes for so many events."""
    for chat in chats:
        if events <= 0:
            return
        events -= 2 + sum(1 if message.streamed is None else len(message.streamed.pieces) + 3 for message in chat.messages)
        yield chat


def one_long_chat(conversations: Conversations, owner_id: UUID, messages_min: int) -> WholeChat:
    """Conversations one after the other, as one."""
    chat_id = imported_id(owner_id, "bench", "long chat")
    messages: list[WholeMessage] = []
    ids: dict[UUID | None, UUID | None] = {}
    for source_id, raw in conversations:
        if len(messages) >= messages_min:
            break
        last_id = messages[-1].message_id if messages else None
        for message in chitchat.whole_chat(source_id, raw, owner_id, streams=True).messages:
            ids[message.message_id] = uuid5(chat_id, str(message.message_id))
            parent_id = ids[message.parent_id] if message.parent_id is not None else last_id
            messages.append(msgspec.structs.replace(message, message_id=ids[message.message_id], parent_id=parent_id))
    day = datetime(2018, 6, 1, tzinfo=UTC)
    return WholeChat(
        chat_id=chat_id,
        owner_id=owner_id,
        title="A long chat",
        origin=ImportSource("bench", "long chat", day, day),
        messages=messages[:messages_min],
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.load.dataset", description="Make the standard log of the benchmarks.")
    parser.add_argument("folder", type=Path, help="where: to be named in BENCH_DATASET afterwards")
    parser.add_argument("--events", type=int, default=EVENTS_MIN, help="at least so many (default: %(default)s)")
    parser.add_argument("--source", type=Path, help="a dataset.json, or a wheel that holds it (default: the installed package)")
    asked = parser.parse_args(arguments)
    with hosted(asked.folder.absolute(), events_min=asked.events, source=asked.source) as dataset:
        facts = dataset.facts
        print(f"{facts.events:,} events, {facts.chats:,} chats of {len(facts.people)} people; imported in {facts.import_s:,} s.")
        print(f"Benchmarks find it with:  export BENCH_DATASET={asked.folder.absolute()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
