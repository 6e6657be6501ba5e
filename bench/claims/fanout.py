"""One stream to a thousand sockets: at fifty events a second, and as fast as it goes; beside a bare ASGI sender of the same bytes."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from bench.host import Host
from bench.load.answers import SLACK_S
from bench.load.http import Http, ask_for
from bench.load.seed import Seeding
from bench.load.shared_chat import bare_joined, joined, shared_chat
from bench.load.sockets import Counted
from bench.report import Line, percentile

SOCKETS: Final = 1_000
PER_S: Final = 50.0
SECONDS: Final = 10.0
FULL_SPEED_PER_S: Final = 600.0  # more than can be handed to a thousand sockets one by one
FULL_SPEED_TOKENS: Final = 60_000  # more than a window takes: it is stopped after it
WINDOW_S: Final = 8.0


async def run(host: Host) -> list[Line]:
    count, seconds, window_s = (20, 1.5, 1.0) if host.quick else (SOCKETS, SECONDS, WINDOW_S)
    tokens = int(PER_S * seconds)
    dsn = host.database()
    async with Seeding(dsn) as seeding:
        chat, people = await shared_chat(seeding, count)
    _, provider_port = host.listening("provider", ["-m", "bench.load.provider"])
    bare, bare_port = host.listening("asgi", ["-m", "bench.bare_ways.sender"])
    server = host.server(dsn, provider_port=provider_port)

    sockets = await bare_joined(bare_port, count)
    bare_cpu_s = bare.cpu_s()
    say_go(sockets[0], per_s=PER_S, seconds=seconds, events=1)
    await asyncio.sleep(seconds + 1.0)
    bare_cpu_s = bare.cpu_s() - bare_cpu_s
    theirs = steady(sockets)
    bare_tokens = sum(one.numbers for one in sockets)
    closed(sockets)

    http = await Http.open(server.port, chat.owner.token)
    sockets = await joined(server, chat, people, count, "now")
    head = (await http.get(f"/api/v1/streams/chat/{chat.id}/events?after=now&limit=1"))["head"]
    for one in sockets:
        one.version = head
    cpu_s, load_cpu_s = server.process.cpu_s(), time.process_time()
    started = time.monotonic()
    await ask_for(http, str(chat.id), tokens, PER_S)
    await all_over(sockets, seconds)
    took_s = time.monotonic() - started
    cpu_s, load_cpu_s = server.process.cpu_s() - cpu_s, time.process_time() - load_cpu_s
    mine = steady(sockets)
    frames = sum(one.frames for one in sockets) / count
    faults = [fault for one in sockets for fault in one.faults]
    faults += [f"expected {tokens} tokens, received {one.numbers}" for one in sockets if one.numbers != tokens]
    note = f"{tokens / frames:.1f} tokens a frame; server at {100 * cpu_s / took_s:.0f} %, load client at {100 * load_cpu_s / took_s:.0f} %"
    note += f" of a core (bare sender {100 * bare_cpu_s / seconds:.0f} %)"
    lines = [
        late(f"{count} sockets × {PER_S:g} events/s, p50", mine, theirs, 0.5, 28, note),
        late(
            f"{count} sockets × {PER_S:g} events/s, p99", mine, theirs, 0.99, 90, f"bare sender sent {bare_tokens / count:.0f} of {tokens}"
        ),
        Line(what="the writer's pace: seconds for the whole answer", measured=took_s, unit="s", raw=seconds, ratio_at_most=1.1),
    ]
    for one in sockets:
        one.version = max(other.version for other in sockets)
    lines += await as_fast_as_it_goes(http, str(chat.id), sockets, bare_port, window_s)
    faults += [fault for one in sockets for fault in one.faults if fault not in faults]
    closed(sockets)
    http.close()
    return [*lines, Line(what="events lost, doubled or out of order", measured=len(faults), unit="", at_most=0, note="; ".join(faults[:3]))]


async def as_fast_as_it_goes(http: Http, chat_id: str, sockets: Sequence[Counted], bare_port: int, window_s: float) -> list[Line]:
    """Events that reach sockets in a window, while one answer of small tokens comes faster than a frame for each could go out."""
    count = len(sockets)
    for one in sockets:
        one.light = True
    begun = await ask_for(http, chat_id, FULL_SPEED_TOKENS, FULL_SPEED_PER_S)
    await asyncio.sleep(window_s / 8)
    events, frames = totals(sockets)
    written = sockets[0].version
    cpu_s, started = time.process_time(), time.monotonic()
    await asyncio.sleep(window_s)
    seconds = time.monotonic() - started
    events, frames = totals(sockets)[0] - events, totals(sockets)[1] - frames
    load = 100 * (time.process_time() - cpu_s) / seconds
    written = sockets[0].version - written
    await http.post(f"/api/tasks/stop/{begun['task_id']}", {})
    per_frame = max(1, round(events / max(1, frames)))
    bare_sockets = await bare_joined(bare_port, count)
    say_go(bare_sockets[0], per_s=0, seconds=window_s + 1, events=per_frame)
    await asyncio.sleep(0.5)
    before, at = totals(bare_sockets)[0], time.monotonic()
    await asyncio.sleep(min(window_s, 4.0))
    raw = (totals(bare_sockets)[0] - before) / (time.monotonic() - at)
    closed(bare_sockets)
    note = f"{per_frame} events a frame, the writer at {written / seconds:,.0f} events/s, load client at {load:.0f} % of a core"
    return [
        Line(what=f"{count} sockets, as fast as it goes", measured=events / seconds, unit="events/s", raw=raw, at_least=150_000, note=note)
    ]


def say_go(one: Counted, *, per_s: float, seconds: float, events: int) -> None:
    assert one.socket is not None
    one.socket.say(op="go", per_s=per_s, seconds=seconds, events=events)


def steady(sockets: Sequence[Counted]) -> list[float]:
    return [ms for one in sockets for ms in one.latencies_ms[25:]]


def totals(sockets: Sequence[Counted]) -> tuple[int, int]:
    return sum(one.events for one in sockets), sum(one.frames for one in sockets)


def closed(sockets: Sequence[Counted]) -> None:
    for one in sockets:
        one.close()


async def all_over(sockets: Sequence[Counted], seconds: float) -> None:
    await asyncio.wait([asyncio.gather(*(one.ended for one in sockets))], timeout=seconds + SLACK_S)


def late(what: str, mine: list[float], theirs: list[float], share: float, at_most: float, note: str) -> Line:
    return Line(what=what, measured=percentile(mine, share), unit="ms", raw=percentile(theirs, share), at_most=at_most, note=note)
