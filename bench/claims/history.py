"""A long chat costs no more than a short one: appending and editing by HTTP with ten to fifty thousand messages, warm and cold.

The lengths are measured by turns on the same servers. Cold is the first command of a chat on a server that has served other chats
since its start: what the process itself does once is not part of it.
"""

import asyncio
import time
from typing import Any, Final
from uuid import UUID, uuid4

from adapters.postgres.appending.appender import CALL
from adapters.postgres.appending.waiting import Waiting, call_arguments
from adapters.postgres.connections.connection import connect
from api.systems import FOR_ANALYSTS, FOR_PEOPLE
from bench.host import Host
from bench.load.http import Http
from bench.load.projected import project
from bench.load.seed import Chat, Seeding
from bench.report import Line, percentile
from commands.ports import AppendRequest, StreamAppend
from domain.chat.facts import MessageEdited
from domain.log.event import Event
from domain.log.stream import chat_stream

LENGTHS: Final = (10, 1_000, 10_000, 50_000)
DELTAS: Final = 20  # of each answer
CALLS: Final = 40
RESTARTS: Final = 7
WARM_UP_CALLS: Final = 5


async def run(host: Host) -> list[Line]:
    lengths, calls, restarts = ((4, 8, 10, 20), 5, 2) if host.quick else (LENGTHS, CALLS, RESTARTS)
    dsn = host.database()
    asked: dict[int, list[UUID]] = {}
    async with Seeding(dsn) as seeding:
        [person] = await seeding.people(1)
        other, *made = await seeding.chats([person] * (len(lengths) + 1))
        chats = dict(zip(lengths, made, strict=True))
        _, others = await seeding.conversation(other, 1, lengths[1], deltas=DELTAS)
        versions = {}
        for length, chat in chats.items():
            versions[length], asked[length] = await seeding.conversation(chat, 1, length, deltas=DELTAS)
    for group in (FOR_PEOPLE, FOR_ANALYSTS):
        await project(dsn, group)
    first: dict[int, list[float]] = {length: [] for length in lengths}
    edits: dict[int, list[float]] = {length: [] for length in lengths}
    appends: dict[int, list[float]] = {length: [] for length in lengths}
    for restart in range(restarts):
        server = host.server(dsn)
        http = await Http.open(server.port, person.token)
        try:
            for number in range(WARM_UP_CALLS):
                await edit_ms(http, other, others[number % len(others)], f"warm-up {number} of {restart}")
            turn = restart % len(lengths)
            for length in (*lengths[turn:], *lengths[:turn]):
                question = asked[length][restart % len(asked[length])]
                first[length].append(await edit_ms(http, chats[length], question, f"the first after restart {restart}"))
            if restart == restarts - 1:
                for number in range(calls):
                    for length, chat in chats.items():
                        edits[length].append(await edit_ms(http, chat, asked[length][-1], f"edit {number}"))
                        appends[length].append(await append_ms(http, chat, asked[length][-1]))
        finally:
            http.close()
            server.process.stop()
    raw_ms = await raw_edits(dsn, calls)
    shortest, flat_from, longest = lengths[0], lengths[1], lengths[-1]
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
        lines.append(
            Line(
                what=f"{length:,} messages: first touch after a restart, p50",
                measured=percentile(first[length], 0.5),
                unit="ms",
                raw=percentile(edits[length], 0.5),
                at_most=30,
                note="raw is here a warm edit",
            )
        )
    compared = (
        ("first touch", first, flat_from, 1.25),
        ("edit, warm", edits, shortest, 1.1),
        ("append, warm", appends, shortest, 1.25),
    )
    for what, took, beside, ratio in compared:
        lines.append(
            Line(
                what=f"{what}: {longest:,} messages beside {beside:,}",
                measured=percentile(took[longest], 0.5),
                unit="ms",
                raw=percentile(took[beside], 0.5),
                ratio_at_most=ratio,
                note="raw is here the shorter chat",
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
