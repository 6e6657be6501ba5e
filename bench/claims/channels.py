"""Channels: posts to many members, how late they come, what opening and listing cost, a removal, and everybody's return."""

import asyncio
import re
import time
from collections.abc import Sequence
from typing import Final
from uuid import UUID, uuid4

import asyncpg

from bench.claims.importing import file_of, imported, with_importer
from bench.host import Host, Server
from bench.load.channel_seed import SeededChannel, seeded_channel
from bench.load.dataset import conversations_of
from bench.load.http import Http
from bench.load.seed import Person, Seeding
from bench.load.sockets import Socket, connected, read_events
from bench.report import Line, percentile

SENT: Final = re.compile(rb"sent:(\d+);")
MEMBERS: Final = (100, 1_000)
POSTERS: Final = 64
SUSTAINED_S: Final = 8.0
PACED_PER_S: Final = 20
PACED_POSTS: Final = 200
LONG: Final = 50_000
LISTED: Final = 500
GETS: Final = 40
REMOVALS: Final = 10
RETURNING: Final = 1_000
FOLLOWED: Final = 20
MISSED_EACH: Final = 25  # in each of them: 500 events
OPENED_AT_ONCE: Final = 100
PATIENCE_S: Final = 120.0
PROJECTED_S: Final = 600.0
BEHIND: Final = "SELECT min(position) < (SELECT max(position) FROM events) FROM projections"
STREAM_AT: Final = len(b'{"op":"events","stream":"')  # where the name of the stream stands in a frame
CAUGHT_UP_AT: Final = len(b'{"op":"caught_up","stream":"')
NAME_BYTES: Final = len(f"channel/{UUID(int=0)}")


class Member:
    """One connected member: what of the channels came to them, when, and whether anything was lost or doubled."""

    kept: Final[dict[bytes, tuple[int, int, bool, list[int]]]] = {}  # the newest frames: all members get the same bytes

    def __init__(self, person: Person) -> None:
        self.person = person
        self.socket: Socket | None = None
        self.versions: dict[bytes, int] = {}
        self.late_ms: list[float] = []
        self.last_ns = 0
        self.caught_up: set[bytes] = set()
        self.faults: list[str] = []
        self.changed = asyncio.Event()

    async def open(self, server: Server) -> None:
        self.socket = await connected(server.port, self.person.token, self._take)

    def say(self, **fields: object) -> None:
        assert self.socket is not None
        self.socket.say(**fields)

    def _take(self, _: Socket, payload: bytes) -> None:
        now_ns = time.monotonic_ns()
        if payload.startswith(b'{"op":"events","stream":"channel/'):
            stream = payload[STREAM_AT : STREAM_AT + NAME_BYTES]
            found = self.kept.get(payload)
            if found is None:
                read = read_events(payload)
                found = (read.first, read.last, read.whole, [int(sent) for sent in SENT.findall(payload)])
                if len(self.kept) > 256:
                    self.kept.clear()
                self.kept[payload] = found
            first, last, whole, sent = found
            if first != self.versions.get(stream, first - 1) + 1 or not whole:
                self.faults.append(f"expected {self.versions.get(stream, 0) + 1}, received {first} to {last}")
            self.versions[stream] = last
            self.late_ms += [(now_ns - one) / 1e6 for one in sent]
            self.last_ns = now_ns
        elif payload.startswith(b'{"op":"caught_up","stream":"channel/'):
            self.caught_up.add(payload[CAUGHT_UP_AT : CAUGHT_UP_AT + NAME_BYTES])
        elif payload.startswith(b'{"op":"error"'):
            self.faults.append(payload.decode())
        else:
            return
        self.changed.set()

    async def until(self, channels: int) -> None:
        """Returns once so many channels have caught up."""
        while len(self.caught_up) < channels:
            self.changed.clear()
            await self.changed.wait()

    async def until_version(self, version: int) -> None:
        while max(self.versions.values(), default=0) < version:
            self.changed.clear()
            await self.changed.wait()

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()


async def run(host: Host) -> list[Line]:
    few, many = (5, 20) if host.quick else MEMBERS
    long, listed = (200, 10) if host.quick else (LONG, LISTED)
    returning, followed = (10, 3) if host.quick else (RETURNING, FOLLOWED)
    dsn = host.database()
    async with Seeding(dsn) as seeding:
        people = await seeding.people(max(many, returning))
        rooms = [await seeded_channel(seeding, people[:count]) for count in (few, few, many)]
        short_room, long_room = [await seeded_channel(seeding, people[:few], count) for count in (min(long, 100), long)]
        reader = (await seeding.people(1))[0]
        for _ in range(listed):
            await seeded_channel(seeding, [people[0], reader], 10)
        back = [await seeded_channel(seeding, people[:returning], MISSED_EACH + 10) for _ in range(followed)]
        leaving = await seeded_channel(seeding, people[:few])
    server, other = host.server(dsn), host.server(dsn)
    await projected(dsn)
    faults: list[str] = []
    lines = [await sustained(server, rooms[0], 1.0 if host.quick else SUSTAINED_S, faults)]
    for room, most_ms in ((rooms[1], 15), (rooms[2], 40)):
        lines.append(await paced(server, room, 10 if host.quick else PACED_POSTS, most_ms, faults))
    lines += await opened(server, short_room, long_room, 3 if host.quick else GETS)
    lines.append(await listing(server, reader, listed, 3 if host.quick else GETS))
    lines.append(await removals(server, other, leaving, 2 if host.quick else REMOVALS))
    lines.append(await returns(server, back, faults))
    lines += await imports(host)
    return [*lines, Line(what="events lost or doubled", measured=len(faults), unit="", at_most=0, note="; ".join(faults[:3]))]


async def projected(dsn: str) -> None:
    """Returns once the projections hold what was seeded: bringing them up to date is no part of what is measured."""
    connection = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(PROJECTED_S):
            while await connection.fetchval(BEHIND):  # noqa: ASYNC110  # only Postgres knows
                await asyncio.sleep(0.1)
    finally:
        await connection.close()


async def inside(server: Server, room: SeededChannel) -> list[Member]:
    """All members, each following the channel from now on."""
    members = [Member(one) for one in room.members]
    for at in range(0, len(members), OPENED_AT_ONCE):
        some = members[at : at + OPENED_AT_ONCE]
        await asyncio.gather(*(one.open(server) for one in some))
        for one in some:
            one.say(op="subscribe", id=1, stream=room.stream, after="now")
        await asyncio.wait_for(asyncio.gather(*(one.until(1) for one in some)), PATIENCE_S)
    return members


async def post(http: Http, room: SeededChannel) -> int:
    """The version of the message."""
    content = f"sent:{time.monotonic_ns()}; and something to read, of the length of a usual message in a channel"
    return int((await http.post(f"{room.path}/messages/post", {"content": content}))["version"])


def ended(members: Sequence[Member], faults: list[str]) -> None:
    for one in members:
        faults += one.faults
        one.close()


async def sustained(server: Server, room: SeededChannel, seconds: float, faults: list[str]) -> Line:
    members = await inside(server, room)
    posters = [await Http.open(server.port, room.members[number % len(room.members)].token) for number in range(POSTERS)]
    began_s, cpu_s = time.monotonic(), server.process.cpu_s()
    newest = 0

    async def go_on(http: Http) -> int:
        nonlocal newest
        count = 0
        while time.monotonic() - began_s < seconds:
            newest = max(newest, await post(http, room))
            count += 1
        return count

    posts = sum(await asyncio.gather(*map(go_on, posters)))
    await asyncio.wait_for(asyncio.gather(*(one.until_version(newest) for one in members)), PATIENCE_S)
    took_s = time.monotonic() - began_s
    cpu_ms = (server.process.cpu_s() - cpu_s) * 1e3 / posts
    ended(members, faults)
    for http in posters:
        http.close()
    what = f"posts into one channel, {len(members)} members connected, each durable and delivered to all"
    return Line(
        what=what, measured=posts / took_s, unit="posts/s", at_least=1_000, note=f"{cpu_ms:.2f} ms of the server's processor a post"
    )


async def paced(server: Server, room: SeededChannel, posts: int, most_ms: float, faults: list[str]) -> Line:
    members = await inside(server, room)
    http = await Http.open(server.port, room.members[0].token)
    for _ in range(5):
        await post(http, room)
    await asyncio.sleep(0.5)
    for one in members:
        one.late_ms.clear()
    newest = 0
    for _ in range(posts):
        began_s = time.monotonic()
        newest = await post(http, room)
        await asyncio.sleep(max(0.0, 1 / PACED_PER_S - (time.monotonic() - began_s)))
    await asyncio.wait_for(asyncio.gather(*(one.until_version(newest) for one in members)), PATIENCE_S)
    late = [ms for one in members for ms in one.late_ms]
    ended(members, faults)
    http.close()
    what = f"post → delivered, {len(members)} members connected, {PACED_PER_S} posts/s, p99"
    return Line(what=what, measured=percentile(late, 0.99), unit="ms", at_most=most_ms, note=f"p50 {percentile(late, 0.5):.1f} ms")


async def opened(server: Server, short: SeededChannel, long: SeededChannel, gets: int) -> list[Line]:
    """Newest page, unread counts and members of each, by turns."""
    http = await Http.open(server.port, short.members[-1].token)
    took_ms: dict[UUID, list[float]] = {short.id: [], long.id: []}
    for _ in range(gets + 1):
        for room in (short, long):
            began_ns = time.monotonic_ns()
            for path in ("/messages/", "/", "/members"):
                await http.fetch(f"{room.path}{path}")
            took_ms[room.id].append((time.monotonic_ns() - began_ns) / 1e6)
    first_ms = took_ms[long.id].pop(0)
    http.close()
    # Who has read nothing has all of it unread. Who has read is the usual case.
    reader = await Http.open(server.port, long.members[-1].token)
    await reader.post(f"{long.path}/read", {})
    read_ms = []
    for _ in range(gets):
        began_ns = time.monotonic_ns()
        for path in ("/messages/", "/", "/members"):
            await reader.fetch(f"{long.path}{path}")
        read_ms.append((time.monotonic_ns() - began_ns) / 1e6)
    reader.close()
    small = percentile(took_ms[short.id], 0.95)
    return [
        Line(what=f"open a channel of {long.version:,} events, p95", measured=percentile(read_ms, 0.95), unit="ms", raw=small, at_most=30,
             note=f"page, unread and members; raw: one of {short.version:,}; the first time {first_ms:.0f} ms"),
        Line(what="the same, of which nothing was ever read", measured=percentile(took_ms[long.id], 0.95), unit="ms", raw=small,
             at_most=30),
    ]  # fmt: skip


async def listing(server: Server, reader: Person, channels: int, gets: int) -> Line:
    http = await Http.open(server.port, reader.token)
    took_ms = []
    for _ in range(gets + 1):
        began_ns = time.monotonic_ns()
        await http.fetch("/api/v1/channels/")
        took_ms.append((time.monotonic_ns() - began_ns) / 1e6)
    first_ms = took_ms.pop(0)
    http.close()
    return Line(
        what=f"list of {channels} channels with unread counts and last message, p95",
        measured=percentile(took_ms, 0.95),
        unit="ms",
        at_most=30,
        note=f"p50 {percentile(took_ms, 0.5):.0f} ms; the first time {first_ms:.0f} ms",
    )


async def removals(server: Server, other: Server, room: SeededChannel, count: int) -> Line:
    """The removed member follows at the other process, while posts go on at this one."""
    http, posting = await Http.open(server.port, room.members[0].token), await Http.open(server.port, room.members[0].token)
    gone = room.members[-1]
    took_ms = []
    for _ in range(count):
        member = Member(gone)
        await member.open(other)
        member.say(op="subscribe", id=1, stream=room.stream, after="now")
        await asyncio.wait_for(member.until(1), PATIENCE_S)
        over = asyncio.Event()
        task = asyncio.create_task(post_until(over, posting, room))
        await asyncio.sleep(0.2)
        began_ns = time.monotonic_ns()
        await http.post(f"{room.path}/update/members/remove", {"user_ids": [str(gone.id)]})
        await asyncio.sleep(0.5)
        over.set()
        await task
        took_ms.append(max(0.0, (member.last_ns - began_ns) / 1e6))
        member.close()
        await http.post(f"{room.path}/update/members/add", {"user_ids": [str(gone.id)]})
    http.close()
    posting.close()
    what = "removal asked for → last event that the removed member received at another process, the longest"
    return Line(what=what, measured=max(took_ms), unit="ms", at_most=250)


async def post_until(over: asyncio.Event, http: Http, room: SeededChannel) -> None:
    while not over.is_set():
        await post(http, room)


async def returns(server: Server, rooms: Sequence[SeededChannel], faults: list[str]) -> Line:
    members = [Member(one) for one in rooms[0].members]
    cursors = {room.stream: f"{server.epoch}:{room.version - MISSED_EACH}" for room in rooms}
    took_s: list[float] = []
    began_s = time.monotonic()

    async def come_back(one: Member) -> None:
        await one.open(server)
        one.versions = {room.stream.encode(): room.version - MISSED_EACH for room in rooms}
        one.say(op="follow", id=str(uuid4()), kind="channel", cursors=cursors)
        names = {room.stream.encode() for room in rooms}
        while not names <= one.caught_up:
            one.changed.clear()
            await one.changed.wait()
        took_s.append(time.monotonic() - began_s)

    await asyncio.wait_for(asyncio.gather(*map(come_back, members)), PATIENCE_S)
    ended(members, faults)
    what = f"{len(members)} members rejoin after {MISSED_EACH * len(rooms)} missed events in {len(rooms)} channels, p99"
    note = f"p50 {percentile(took_s, 0.5):.1f} s"
    return Line(what=what, measured=percentile(took_s, 0.99), unit="s", at_most=2, note=note)


async def imports(host: Host) -> list[Line]:
    """Real conversations as one channel, each a thread: all of them, and a tenth."""
    conversations = conversations_of()
    conversations = conversations[:100] if host.quick else conversations
    tenth = file_of(host, "channel-tenth", conversations[: len(conversations) // 10])
    whole = file_of(host, "channel-whole", conversations)
    small = await imported(host, await with_importer(host.database()), tenth, "--channel", "chitchat")
    large = await imported(host, await with_importer(host.database()), whole, "--channel", "chitchat")
    return [
        Line(what=f"import of {large.events:,} events into one channel", measured=large.events / large.seconds, unit="events/s",
             at_least=20_000),
        Line(what="its peak of memory", measured=large.peak_mb, unit="MB", raw=small.peak_mb, ratio_at_most=1.3,
             note=f"raw: with a tenth of the file, {small.events:,} events"),
    ]  # fmt: skip
