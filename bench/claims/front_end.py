"""Open WebUI's page: its Socket.IO frames beside our own WebSocket's, by turns; its idle sockets; the first token of a new chat; its first
load in a browser.
"""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Final
from uuid import uuid4

from bench.host import ROOT, Host, Server
from bench.load.answers import SLACK_S, Answers, by_server, over, phases
from bench.load.first_load import chromium, first_load
from bench.load.http import Http, ask_for
from bench.load.page_sockets import PageCounted
from bench.load.seed import Chat, Seeding
from bench.load.shared_chat import OPENED_AT_ONCE, SOCKETS_EACH, people_for
from bench.report import Line, percentile

PER_S: Final = 50.0
SECONDS: Final = 8.0
WITHIN_S: Final = 1.0
WARM_TOKENS: Final = 75
SETTLE_S: Final = 5.5  # for five seconds after its join a page gets whole texts, ten times a second
IDLE: Final = 1_000
IDLE_SETTLE_S: Final = 2.0
NEW_CHATS: Final = 30
TIMEOUT_S: Final = 30.0
FRONT_END: Final = ROOT / ".venv" / "front-end" / "frontend"
LOADS: Final = 5


async def run(host: Host) -> list[Line]:
    count, tokens, warm = (4, 40, 10) if host.quick else (50, int(PER_S * SECONDS), WARM_TOKENS)
    idle, new_chats = (32, 3) if host.quick else (IDLE, NEW_CHATS)
    dsn = host.database()
    async with Seeding(dsn) as seeding:
        people = await seeding.people(max(count, people_for(idle)))
        chats = await seeding.chats(people)
    _, provider_port = host.listening("provider", ["-m", "bench.load.provider"])
    server = host.server(dsn, provider_port=provider_port)
    each_kb = await idle_kb(server, chats, idle, 0.3 if host.quick else IDLE_SETTLE_S)
    ours: list[Answers] = []
    pages: list[Answers] = []
    used_s = [server.process.cpu_s()]
    for _ in range(1 if host.quick else 2):  # by turns: both see the machine in the same mood
        ours.append(await by_server(server, chats[:count], tokens=tokens, per_s=PER_S, within_s=WITHIN_S))
        used_s.append(server.process.cpu_s())
        pages.append(await by_page(server, chats[:count], tokens=tokens, settle_s=0.0 if host.quick else SETTLE_S))
        used_s.append(server.process.cpu_s())
    took_s = [after - before for before, after in pairwise(used_s)]
    mine = [ms for answers in pages for ms in answers.latencies_ms(warm)]
    theirs = [ms for answers in ours for ms in answers.latencies_ms(warm)]
    await first_token_ms(server, chats[0])  # the list of models, the first connection to the provider
    first = [await first_token_ms(server, chat) for chat in (chats * new_chats)[:new_chats]]
    server.process.stop()
    loads = await first_loads(host, dsn, chats[0])
    faults = [fault for answers in (*pages, *ours) for fault in answers.faults]
    note = "raw: our own WebSocket"
    return [
        Line(
            what=f"{count} chats × {PER_S:g} tokens/s, p50",
            measured=percentile(mine, 0.5),
            unit="ms",
            raw=percentile(theirs, 0.5),
            note=note,
        ),
        Line(
            what=f"{count} chats × {PER_S:g} tokens/s, p99",
            measured=percentile(mine, 0.99),
            unit="ms",
            raw=percentile(theirs, 0.99),
            ratio_at_most=1.3,
            note=note,
        ),
        Line(
            what="CPU of the server for each token",
            measured=1e6 * sum(took_s[1::2]) / sum(answers.tokens for answers in pages),
            unit="µs",
            raw=1e6 * sum(took_s[::2]) / sum(answers.tokens for answers in ours),
            note="raw: our own WebSocket; both with the opening of the sockets",
        ),
        Line(what="tokens lost, doubled or out of order", measured=len(faults), unit="", at_most=0, note="; ".join(faults[:3])),
        Line(what=f"each of {idle:,} idle sockets", measured=each_kb, unit="KB", at_most=40, note=f"{people_for(idle)} accounts"),
        Line(
            what="a new chat: POST to its first token on the page's socket, p50",
            measured=percentile(first, 0.5),
            unit="ms",
            at_most=20,
            note=f"less the provider's own time; p99 {percentile(first, 0.99):.1f} ms",
        ),
        *loads,
    ]


async def first_loads(host: Host, dsn: str, chat: Chat) -> list[Line]:
    """Nothing where the page or the browser is not installed."""
    program = chromium()
    if program is None or not FRONT_END.exists():
        return []
    server = host.server(dsn, settings={"STENO_FRONT_END": str(FRONT_END)})
    url = f"http://127.0.0.1:{server.port}/"
    loads = [await first_load(program, host.folder / f"profile-{n}", url, chat.owner.token) for n in range(1 if host.quick else LOADS)]
    times_s = [ms / 1000 for ms, _, _ in loads]
    _, responses, size = loads[-1]
    note = f"signed in, an empty profile each time; {responses} responses, {size / 1e6:.1f} MB; the slowest {max(times_s):.2f} s"
    what = "first load of the page, until one can write in it, p50"
    return [Line(what=what, measured=percentile(times_s, 0.5), unit="s", at_most=2, note=note)]


async def by_page(server: Server, chats: Sequence[Chat], *, tokens: int, settle_s: float) -> Answers:
    """Answers in all chats, each followed by its owner's page, which had joined before."""
    sockets = [PageCounted() for _ in chats]
    asking = [await Http.open(server.port, chat.owner.token) for chat in chats]
    try:
        for socket, chat in zip(sockets, chats, strict=True):
            await socket.open(server.port, chat.owner.token)
            socket.join(str(chat.id))
        await asyncio.wait_for(asyncio.gather(*(socket.joined for socket in sockets)), SLACK_S)
        await asyncio.sleep(settle_s)
        for socket in sockets:
            socket.begin()

        async def begin(number: int, after_s: float) -> None:
            await asyncio.sleep(after_s)
            await ask_for(asking[number], str(chats[number].id), tokens, PER_S)

        started_ns = asyncio.get_running_loop().time() * 1e9
        await asyncio.gather(*(begin(number, after_s) for number, after_s in enumerate(phases(len(chats), WITHIN_S))))
        return await over(sockets, tokens, PER_S, int(started_ns))
    finally:
        for http in asking:
            http.close()
        for socket in sockets:
            socket.close()


async def idle_kb(server: Server, chats: Sequence[Chat], count: int, settle_s: float) -> float:
    """What each page that looks at a chat in which nothing happens costs the server."""
    await asyncio.sleep(settle_s)
    before_mb = server.process.rss_mb()
    sockets = [PageCounted() for _ in range(count)]
    try:
        for at in range(0, count, OPENED_AT_ONCE):
            some = list(enumerate(sockets[at : at + OPENED_AT_ONCE], at))
            await asyncio.gather(*(one.open(server.port, chats[number // SOCKETS_EACH].owner.token) for number, one in some))
            for number, one in some:
                one.join(str(chats[number // SOCKETS_EACH].id))
            await asyncio.wait_for(asyncio.gather(*(one.joined for _, one in some)), TIMEOUT_S)
        await asyncio.sleep(settle_s)
        return (server.process.rss_mb() - before_mb) * 1024 / count
    finally:
        for one in sockets:
            one.close()


async def first_token_ms(server: Server, chat: Chat) -> float:
    """As the page begins a chat: it names none, learns its id from the answer, and joins it."""
    http, socket = await Http.open(server.port, chat.owner.token), PageCounted()
    try:
        await socket.open(server.port, chat.owner.token)
        question, answer = str(uuid4()), str(uuid4())
        asked = {"id": question, "parentId": None, "childrenIds": [answer], "role": "user", "content": "go", "models": ["bench"]}
        body = {
            "model": "bench",
            "stream": True,
            "session_id": "bench",
            "id": answer,
            "parent_id": None,
            "user_message": asked,
            "bench": {"chunks": 10, "per_s": PER_S},
        }
        begun = await http.post("/api/chat/completions", body)
        socket.join(begun["chat_id"])
        await asyncio.wait_for(socket.ended, TIMEOUT_S)
        assert socket.first is not None, f"no token came: {socket.faults}"
        received_ns, _, own_us = socket.first
        return (received_ns - http.asked_ns) / 1e6 - own_us / 1e3
    finally:
        http.close()
        socket.close()
