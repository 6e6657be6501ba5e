"""The import of real conversations, their answers streamed word by word: events a second, memory, and what it costs a running server.

It is ``steno import`` in a process of its own on a fresh database, as an operator runs it.
"""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Final, NamedTuple
from uuid import uuid4

from bench.host import Host
from bench.load.answers import Answers, by_server
from bench.load.dataset import Conversations, conversations_of
from bench.load.seed import Seeding
from bench.report import Line, percentile
from commands.ports import AppendRequest, Claim, StreamAppend
from domain.accounts.user.facts import UserCreated
from domain.log.event import Event
from domain.log.stream import user_stream

EMAIL: Final = "importer@example.org"
CHATS: Final = 10  # that stream beside it
PER_S: Final = 50.0
SECONDS: Final = 8.0
LOOK_S: Final = 0.05
START_S: Final = 1.0  # until the import has found its database


class Imported(NamedTuple):
    events: int
    seconds: float
    peak_mb: float


async def run(host: Host) -> list[Line]:
    conversations = conversations_of()
    conversations = conversations[:100] if host.quick else conversations
    tenth = file_of(host, "tenth", conversations[: len(conversations) // 10])
    whole = file_of(host, "whole", conversations)
    small = await imported(host, await with_importer(host.database()), tenth)
    large = await imported(host, await with_importer(host.database()), whole)

    dsn = await with_importer(host.database())
    async with Seeding(dsn) as seeding:
        chats = await seeding.chats(await seeding.people(CHATS))
    _, provider_port = host.listening("provider", ["-m", "bench.load.provider"])
    server = host.server(dsn, provider_port=provider_port)
    tokens = 20 if host.quick else int(PER_S * SECONDS)

    async def stream() -> Answers:
        return await by_server(server, chats, tokens=tokens, per_s=PER_S, within_s=1.0)

    alone = await stream()
    importing = asyncio.create_task(imported(host, dsn, whole))
    await asyncio.sleep(START_S)
    beside = await stream()
    was_over = importing.done()
    beside_import = await importing
    p99_alone, p99_beside = percentile(alone.latencies_ms(), 0.99), percentile(beside.latencies_ms(), 0.99)
    return [
        Line(what=f"import of {large.events:,} events", measured=large.events / large.seconds, unit="events/s", at_least=20_000),
        Line(
            what="its peak of memory",
            measured=large.peak_mb,
            unit="MB",
            raw=small.peak_mb,
            ratio_at_most=1.3,
            note=f"raw: with a tenth of the file, {small.events:,} events",
        ),
        Line(
            what=f"a token of {CHATS} chats × {PER_S:g}/s beside an import, p99",
            measured=p99_beside,
            unit="ms",
            raw=p99_alone,
            ratio_at_most=3,
            note=f"raw: without it; the import did {beside_import.events / beside_import.seconds:,.0f} events/s"
            + (" and was over before the tokens were" if was_over else ""),
        ),
        Line(what="tokens lost, doubled or out of order", measured=len(alone.faults) + len(beside.faults), unit="", at_most=0),
    ]


def file_of(host: Host, name: str, conversations: Conversations) -> Path:
    """A ``dataset.json`` of these."""
    file = host.folder / f"{name}.json"
    file.write_bytes(b"{" + b",\n".join(b'"%s":%s' % (source_id.encode(), raw) for source_id, raw in conversations) + b"}")
    return file


async def with_importer(dsn: str) -> str:
    """The database, with an account to import for."""
    async with Seeding(dsn) as seeding:
        stream = user_stream(uuid4())
        created = Event(None, UserCreated("Importer", EMAIL, "user"))
        await seeding.log.append(AppendRequest([StreamAppend(stream, [created], 0)], claims=[Claim("email", EMAIL, stream)]))
    return dsn


async def imported(host: Host, dsn: str, file: Path, *options: str) -> Imported:
    """One import to its end, of chats whose answers are streamed, or with these ``options``. Raises ``RuntimeError`` if it fails. The
    seconds hold its start, the memory is its own process's.
    """
    log = host.folder / f"import-{uuid4().hex[:8]}.log"
    command = ["-m", "api.cli", "import", str(file), "--format", "chitchat", *(options or ("--stream-answers",)), "--user", EMAIL]
    environment = {"DATABASE_URL": dsn, "STENO_DATA": str(host.folder / "import")}
    began = time.monotonic()
    process = host.process(log.stem, command, environment)
    peak_mb = 0.0
    while process.ended() is None:
        with contextlib.suppress(RuntimeError, OSError):  # it may have ended just now
            peak_mb = max(peak_mb, process.peak_rss_mb())
        await asyncio.sleep(LOOK_S)
    seconds = time.monotonic() - began
    said = log.read_text()
    if process.ended() != 0 and " parts skipped" not in said:  # what cannot be taken is named, and the rest is there
        raise RuntimeError(f"the import ended with {process.ended()}:\n{said[-2000:]}")
    events = int(said.partition(" events)")[0].rpartition("(")[2].replace(",", ""))
    return Imported(events, seconds, peak_mb)
