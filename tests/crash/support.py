"""What clients saw, what the log holds, and what must be so of both."""

import asyncio
import contextlib
import hashlib
import json
import random
import re
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import psycopg
import websockets
from websockets.asyncio.client import ClientConnection, connect

POLL_S = 0.02
RECONNECT_S = (0.05, 0.25)
WAIT_S = 120  # ends a test that hangs, measures nothing
ENDS = frozenset({"message_end", "error", "cancelled", "interrupted"})


async def until(is_so: Callable[[], object], timeout_s: float = WAIT_S, what: object = "") -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what or is_so}"
        await asyncio.sleep(POLL_S)


# ------------------------------------------------------------------------------------------------------------- the log


class Row(NamedTuple):
    position: int
    stream: str
    version: int
    type: str
    message_id: str | None
    data: str  # as it is stored
    at: Any


class Answer(NamedTuple):
    """One generation, as the log has it."""

    stream: str
    start: Row
    deltas: Sequence[Row]
    blocks: dict[int, str]  # index to type
    ends: Sequence[Row]
    late: Sequence[Row]  # of its own after its end: there must be none

    @property
    def end(self) -> str:
        return self.ends[0].type

    @property
    def outcome(self) -> dict[str, Any]:
        return dict(json.loads(self.ends[0].data))

    @property
    def text(self) -> str:
        """The joined deltas of its text blocks."""
        said = [json.loads(row.data) for row in self.deltas]
        return "".join(one["text"] for one in said if self.blocks[one["index"]] == "text")

    @property
    def chunks(self) -> int:
        return sum(json.loads(row.data).get("chunks", 1) for row in self.deltas)


class Log:
    """The whole log, read past all servers."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.streams: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            self.streams[row.stream].append(row)

    @staticmethod
    async def read(dsn: str) -> "Log":
        return await asyncio.to_thread(Log._read, dsn)

    @staticmethod
    def _read(dsn: str) -> "Log":
        with psycopg.connect(dsn) as connection:
            rows = connection.execute(
                "SELECT position, s.kind || '/' || stream_id, version, type, message_id::text, data::text, recorded_at"
                " FROM events JOIN streams AS s USING (stream_id) ORDER BY position"
            ).fetchall()
        return Log([Row(*row) for row in rows])

    def assert_dense(self) -> None:
        assert [row.position for row in self.rows] == list(range(1, len(self.rows) + 1)), "positions have a hole"
        for stream, rows in self.streams.items():
            assert [row.version for row in rows] == list(range(1, len(rows) + 1)), f"versions of {stream} have a hole"
        assert all(before.at <= after.at for before, after in zip(self.rows, self.rows[1:], strict=False)), "time runs against position"

    def answers(self) -> list[Answer]:
        made = []
        for stream, rows in self.streams.items():
            for start in (row for row in rows if row.type == "message_start"):
                own = [row for row in rows if row.message_id == start.message_id and row.version > start.version]
                ends = [row for row in own if row.type in ENDS]
                late = [row for row in own if ends and row.version > ends[0].version]
                blocks = {(block := json.loads(row.data))["index"]: block["type"] for row in own if row.type == "content_block"}
                made.append(Answer(stream, start, [row for row in own if row.type == "message_delta"], blocks, ends, late))
        return made

    def assert_whole(self) -> list[Answer]:
        """Dense, and every answer ended once, with nothing after its end and the text that was streamed."""
        self.assert_dense()
        answers = self.answers()
        for answer in answers:
            assert len(answer.ends) == 1, f"{answer.stream} {answer.start.message_id} has {len(answer.ends)} ends"
            assert not answer.late, f"{answer.stream} goes on after its end: {answer.late}"
            assert answer.outcome["content"] == answer.text, (
                f"{answer.stream}: {answer.end} has another text than was streamed: {answer.outcome} against {answer.text!r}"
            )
            if answer.end == "message_end":
                assert answer.outcome["sha256"] == hashlib.sha256(answer.text.encode()).hexdigest()
                assert answer.outcome["deltas"] == len(answer.deltas)
        return answers


# ------------------------------------------------------------------------------------------------------------- clients


class User:
    """One signed-in person, by HTTP."""

    def __init__(self, url: str, signed_in: dict[str, Any], password: str) -> None:
        self.id: str = signed_in["id"]
        self.token: str = signed_in["token"]
        self.email: str = signed_in["email"]
        self.password = password
        self.http = self.at(url)

    def at(self, url: str) -> httpx.AsyncClient:
        """The same person at another server."""
        return httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {self.token}"}, timeout=30)

    async def post(self, path: str, body: Any = None, *, http: httpx.AsyncClient | None = None, **headers: str) -> httpx.Response:
        return await (http or self.http).post(path, json=body, headers=headers)

    async def chat(self, title: str = "A chat") -> str:
        answer = await self.post("/api/v1/chats/new", {"chat": {"title": title}})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def chats(self, count: int) -> list[str]:
        return list(await asyncio.gather(*(self.chat(f"chat {number}") for number in range(count))))

    async def try_ask(self, chat_id: str, model: str, content: str = "Say something.", **more: str) -> httpx.Response:
        body = {"model": model, "chat_id": chat_id, "session_id": "tab", "messages": [{"role": "user", "content": content}]}
        return await self.post("/api/chat/completions", body, **more)

    async def ask(self, chat_id: str, model: str, content: str = "Say something.") -> dict[str, Any]:
        answer = await self.try_ask(chat_id, model, content)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def page(self, stream: str, after: str) -> httpx.Response:
        return await self.http.get(f"/api/v1/streams/{stream}/events", params={"after": after})


@asynccontextmanager
async def people(url: str, *names: str) -> AsyncIterator[list[User]]:
    """The first is the admin; nobody is there yet."""
    made: list[User] = []
    password = "a password for tests"
    try:
        for name in names:
            async with httpx.AsyncClient(base_url=url, timeout=30) as http:
                body = {"name": name, "email": f"{name}@example.org", "password": password}
                answer = await http.post("/api/v1/auths/signup", json=body)
            assert answer.status_code == 200, answer.text
            made.append(User(url, answer.json(), password))
        yield made
    finally:
        for user in made:
            await user.http.aclose()


class Seen(NamedTuple):
    """An event as one client saw it."""

    position: int
    stream: str
    version: int
    type: str
    message_id: str | None
    data: Any
    at_s: float  # when, by this process's clock


class Tab:
    """A client that follows streams, comes back by itself with its cursors, and keeps everything that it was sent."""

    def __init__(self, url: str, token: str, streams: Iterable[str], *, after: str = "start", comes_back: bool = True) -> None:
        self.url = url
        self.token = token
        self.comes_back = comes_back
        self.cursors = dict.fromkeys(streams, after)
        self.seen: dict[str, list[Seen]] = defaultdict(list)
        self.faults: list[str] = []
        self.frames: list[dict[str, Any]] = []  # all but events
        self.closes: list[int] = []
        self.connections = 0
        self.epoch = ""
        self._socket: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Tab":
        task = self._task = asyncio.create_task(self._run())
        await until(lambda: self.caught_up or task.done(), what=self)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def __repr__(self) -> str:
        heads = [f"{stream} at {self.last(stream)}" for stream in self.cursors]
        return f"Tab({heads}, {self.connections} connections, closed {self.closes}, faults {self.faults}, said {self.frames[-40:]})"

    @property
    def caught_up(self) -> bool:
        said = {frame["stream"] for frame in self.frames if frame["op"] == "caught_up"}
        return said >= self.cursors.keys()

    def last(self, stream: str) -> int:
        return self.seen[stream][-1].version if self.seen[stream] else 0

    def said(self, op: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["op"] == op]

    def ended(self, stream: str) -> list[str]:
        return [event.type for event in self.seen[stream] if event.type in ENDS]

    def deltas(self) -> int:
        return sum(event.type == "message_delta" for events in self.seen.values() for event in events)

    async def follow(self, stream: str, after: str = "start") -> None:
        self.cursors[stream] = after
        assert self._socket is not None
        await self._subscribe(self._socket, stream)

    async def _run(self) -> None:
        while True:
            try:
                address = self.url.replace("http://", "ws://") + "/ws"
                async with connect(address, compression=None, open_timeout=10, close_timeout=1, max_size=None) as socket:
                    self.connections += 1
                    self._socket = socket
                    await socket.send(json.dumps({"op": "hello", "token": self.token}))
                    async for text in socket:
                        await self._take(socket, json.loads(text))
                self.closes.append(socket.close_code or 0)
            except (OSError, TimeoutError, websockets.InvalidHandshake, websockets.InvalidMessage):
                pass
            except websockets.ConnectionClosed as closed:
                self.closes.append(closed.rcvd.code if closed.rcvd is not None else 1006)
            if not self.comes_back:
                return
            await asyncio.sleep(random.uniform(*RECONNECT_S))

    async def _subscribe(self, socket: ClientConnection, stream: str) -> None:
        await socket.send(json.dumps({"op": "subscribe", "id": stream, "stream": stream, "after": self.cursors[stream]}))

    async def _take(self, socket: ClientConnection, frame: dict[str, Any]) -> None:
        if frame["op"] == "events":
            for event in frame["events"]:
                self._event(event)
            return
        self.frames.append(frame)
        match frame["op"]:
            case "welcome":
                self.epoch = frame["epoch"]
                for stream in self.cursors:
                    await self._subscribe(socket, stream)
            case "error":
                self.faults.append(f"error: {frame}")
            case "subscribed" if frame["id"] is not None and frame["replay"] != "snapshot":
                if frame["from"] != self.last(frame["stream"]) + 1 and self.seen[frame["stream"]]:
                    self.faults.append(f"{frame} after version {self.last(frame['stream'])}")
            case _:
                pass

    def _event(self, event: dict[str, Any]) -> None:
        stream, version = event["stream"], event["version"]
        seen = self.seen[stream]
        if seen and version != seen[-1].version + 1:
            self.faults.append(f"{stream}: version {version} after {seen[-1].version}")
        facts = event["data"]
        seen.append(Seen(event["position"], stream, version, facts["type"], event["message_id"], facts["data"], time.monotonic()))
        if stream in self.cursors:
            self.cursors[stream] = f"{self.epoch}:{version}"

    async def reached(self, log: Log, timeout_s: float = 20) -> None:
        """It has seen as much as ``log`` has."""
        await until(
            lambda: all(self.last(stream) >= len(log.streams[stream]) for stream in self.cursors),
            timeout_s,
            f"a tab at the end of its streams: {[(one, self.last(one), len(log.streams[one])) for one in self.cursors]}",
        )

    def assert_saw(self, log: Log, *, everything: bool = True) -> None:
        """Each event once, in order, and as the log has it; with ``everything`` also all of what the followed streams hold."""
        assert not self.faults, self.faults
        for stream, seen in self.seen.items():
            rows = {row.version: row for row in log.streams[stream]}
            for event in seen:
                row = rows.get(event.version)
                assert row is not None, f"{stream} {event.version} was seen, and is not in the log"
                assert (row.position, row.type, row.message_id) == (event.position, event.type, event.message_id)
                assert json.loads(row.data) == event.data, f"{stream} {event.version}: another event was seen than the log has"
            if everything and stream in self.cursors:
                assert [event.version for event in seen] == [row.version for row in log.streams[stream]], f"not all of {stream} was seen"


async def closed(dsn: str, timeout_s: float = 20) -> Log:
    """Nothing is open in the log any more."""
    deadline = time.monotonic() + timeout_s
    while True:
        log = await Log.read(dsn)
        still = [f"{answer.stream} {answer.start.message_id}" for answer in log.answers() if not answer.ends]
        if not still:
            return log
        assert time.monotonic() < deadline, f"not closed within {timeout_s:g} s: {still}"
        await asyncio.sleep(0.2)


@asynccontextmanager
async def tabs(*opened: Tab) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(tab) for tab in opened))
        yield


async def all_ended(followers: Iterable[Tab], streams: Iterable[str], count: int = 1, timeout_s: float = WAIT_S) -> None:
    """Every tab has seen ``count`` ends in each of the streams that it follows."""
    streams = set(streams)
    followers = list(followers)

    def missing() -> list[tuple[str, int]]:
        return [
            (stream, len(tab.ended(stream)))
            for tab in followers
            for stream in tab.cursors
            if stream in streams and len(tab.ended(stream)) < count
        ]

    deadline = time.monotonic() + timeout_s
    while missing():
        assert time.monotonic() < deadline, f"not ended within {timeout_s:g} s: {missing()} {followers}"
        await asyncio.sleep(POLL_S)


async def metric(url: str, name: str) -> float:
    """All its processes together; what another than the one that is asked says is up to a second old."""
    async with httpx.AsyncClient(base_url=url, timeout=10) as http:
        text = (await http.get("/metrics")).text
    found = [float(line.split()[-1]) for line in text.splitlines() if re.match(rf"{name}(_total)?[ {{]", line)]
    assert found, f"there is no figure {name} among:\n{text}"
    return sum(found)
