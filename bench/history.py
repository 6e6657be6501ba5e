"""A long chat costs no more than a short one: appending and editing by HTTP with ten, a thousand and ten thousand messages."""

import asyncio
import time
from typing import Any, Final
from uuid import UUID, uuid4

from adapters.postgres.appender import CALL, Waiting, call_arguments
from adapters.postgres.connection import connect
from bench.host import Host
from bench.http import Http
from bench.report import Line, percentile
from bench.seed import Chat, Seeding
from commands.ports import AppendRequest, StreamAppend
from domain.chat.facts import MessageEdited
from domain.event import Event
from domain.stream import chat_stream

LENGTHS: Final = (10, 1_000, 10_000)
DELTAS: Final = 20  # of each answer
CALLS: Final = 40


async def run(host: Host) -> list[Line]:
    lengths, calls = ((4, 10, 20), 5) if host.quick else (LENGTHS, CALLS)
    dsn = host.database()
    asked: dict[int, list[UUID]] = {}
    async with Seeding(dsn) as seeding:
        [person] = await seeding.people(1)
        chats = dict(zip(lengths, await seeding.chats([person] * len(lengths)), strict=True))
        versions = {}
        for length, chat in chats.items():
            versions[length], asked[length] = await seeding.conversation(chat, 1, length, deltas=DELTAS)
    first_ms: dict[int, float] = {}
    edits: dict[int, list[float]] = {}
    appends: dict[int, list[float]] = {}
    for length, chat in chats.items():
        # A server of its own for each length: the first touch after a restart is the first touch there is.
        server = host.server(dsn)
        http = await Http.open(server.port, person.token)
        try:
            await http.get("/api/v1/auths/")
            first_ms[length] = await edit_ms(http, chat, asked[length][0], "the first after a restart")
            edits[length] = [await edit_ms(http, chat, asked[length][-1], f"edit {number}") for number in range(calls)]
            appends[length] = [await append_ms(http, chat, asked[length][-1]) for _ in range(calls)]
        finally:
            http.close()
            server.process.stop()
    raw_ms = await raw_edits(dsn, calls)
    shortest, longest = lengths[0], lengths[-1]
    lines = []
    for length in lengths:
        events = versions[length]
        lines.append(
            Line(
                what=f"{length:,} messages ({events:,} events): an edit, warm, p50",
                measured=percentile(edits[length], 0.5),
                unit="ms",
                raw=percentile(raw_ms, 0.5),
                note=f"an append {percentile(appends[length], 0.5):.2f} ms; raw is the call of append_batch alone",
            )
        )
        lines.append(Line(what=f"{length:,} messages: first touch after a restart", measured=first_ms[length], unit="ms", at_most=150))
    for what, took in (("edit", edits), ("append", appends)):
        lines.append(
            Line(
                what=f"{what}, warm: {longest:,} messages beside {shortest}",
                measured=percentile(took[longest], 0.5),
                unit="ms",
                raw=percentile(took[shortest], 0.5),
                ratio_at_most=1.25,
                note="raw is here the short chat",
            )
        )
    return lines


async def edit_ms(http: Http, chat: Chat, message_id: UUID, content: str) -> float:
    started = time.perf_counter()
    await http.post(f"/api/v1/chats/{chat.id}/messages/{message_id}", {"content": content})
    return (time.perf_counter() - started) * 1000


async def append_ms(http: Http, chat: Chat, parent_id: UUID) -> float:
    started = time.perf_counter()
    await http.post(f"/api/v1/chats/{chat.id}/messages", {"role": "user", "content": "And then?", "parent_id": str(parent_id)})
    return (time.perf_counter() - started) * 1000


async def raw_edits(dsn: str, calls: int) -> list[float]:
    """The same event by the statement alone."""
    connection: Any = await connect(dsn, application="bench")
    stream, message_id = chat_stream(uuid4()), uuid4()
    took = []
    try:
        for version in range(calls + 5):
            event = Event(message_id, MessageEdited({"content": f"edit {version}"}))
            request = AppendRequest(appends=[StreamAppend(stream, [event], version)])
            arguments = call_arguments([Waiting(request, asyncio.get_running_loop().create_future())])
            started = time.perf_counter()
            await connection.fetchrow(CALL, 1, False, *arguments)
            took.append((time.perf_counter() - started) * 1000)
    finally:
        await connection.close()
    return took[5:]
