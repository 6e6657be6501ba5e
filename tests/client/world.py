"""A small real server that speaks the protocol and misbehaves on request."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from stenograph_client import Backoff, Client

EPOCH = "0190aaaa-0000-7000-8000-000000000001"
OTHER_EPOCH = "0190bbbb-0000-7000-8000-000000000002"
CHAT = "chat/0190cccc-0000-7000-8000-000000000003"
SECOND = "chat/0190dddd-0000-7000-8000-000000000004"
AT = "2026-11-21T10:00:00.123456Z"

WAIT_S = 120  # ends a test that hangs, measures nothing
T = TypeVar("T")


async def one(items: AsyncIterator[T]) -> T:
    """The next item. The bound stands here and not in a fixture: there it would cancel the task that runs all tests."""
    async with asyncio.timeout(WAIT_S):
        return await anext(items)


def wire(stream: str, version: int) -> dict[str, Any]:
    return {
        "stream": stream,
        "version": version,
        "position": version + 100,
        "at": AT,
        "chat_id": stream.partition("/")[2],
        "message_id": None,
        "user": None,
        "data": {"type": "message_delta", "data": {"index": 0, "text": f" {version}"}},
    }


def soon() -> Backoff:
    """Waits so short that a test does not feel them."""
    return Backoff(base_s=0.001, cap_s=0.005, pause_base_s=0.002, pause_cap_s=0.01)


class FakeServer:
    """Streams are numbers of events; faults are lists that connections and frames use up from the front."""

    def __init__(self) -> None:
        self.epoch = EPOCH
        self.heads: dict[str, int] = {CHAT: 0, SECOND: 0}
        self.per_frame = 3
        self.tokens = {"good"}
        self.tickets: set[str] = set()
        self.expires_at: float | None = None
        # Faults
        self.cut_after: list[int] = []  # frames that a connection sends before it is cut; used up by connections
        self.close_with: list[tuple[int, str]] = []  # at once after the handshake
        self.refuse: list[tuple[str, str]] = []  # (code, detail) for a subscribe
        self.leave_out: list[int] = []  # a version that is left out, once
        self.repeat = False  # every frame begins with the event before it
        self.say_first: list[dict[str, Any]] = []  # frames after the welcome, once
        self.snapshot_pages = 1
        # Seen
        self.connections = 0
        self.subscribes: list[dict[str, Any]] = []
        self.received: list[dict[str, Any]] = []
        self.sent_events = 0
        self.authorizations: list[str | None] = []
        self.changed = asyncio.Condition()
        self._server: Server | None = None
        self._live: set[ServerConnection] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["FakeServer"]:
        async with serve(self._handle, "127.0.0.1", 0, compression=None) as server:
            self._server = server
            yield self
            for socket in self._live:
                socket.transport.abort()

    @property
    def url(self) -> str:
        assert self._server is not None
        host, port = next(iter(self._server.sockets)).getsockname()[:2]
        return f"http://{host}:{port}"

    def client(self, **options: Any) -> Client:
        credentials: dict[str, Any] = {} if {"token", "token_source"} & options.keys() else {"token": "good"}
        return Client(self.url, backoff=soon, retry_s=0.0, **{**credentials, **options})

    async def append(self, stream: str, count: int = 1) -> None:
        async with self.changed:
            self.heads[stream] += count
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S), self.changed:
            await self.changed.wait_for(condition)

    async def cut_all(self) -> None:
        for socket in list(self._live):
            socket.transport.abort()

    async def _handle(self, socket: ServerConnection) -> None:
        self.connections += 1
        self._live.add(socket)
        with contextlib.suppress(ConnectionClosed):
            await Talking(self, socket).run()
        self._live.discard(socket)


class Talking:
    """One connection."""

    def __init__(self, server: FakeServer, socket: ServerConnection) -> None:
        self.server = server
        self.socket = socket
        self.left = server.cut_after.pop(0) if server.cut_after else None
        self.pushing: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        try:
            await self._run()
        finally:
            for task in self.pushing.values():
                task.cancel()
            await asyncio.gather(*self.pushing.values(), return_exceptions=True)

    async def _run(self) -> None:
        server = self.server
        assert self.socket.request is not None
        authorization = self.socket.request.headers.get("authorization")
        server.authorizations.append(authorization)
        ticket = parse_qs(urlsplit(self.socket.request.path).query).get("ticket", [""])[0]
        if authorization is None and ticket not in server.tickets:
            hello = json.loads(await self.socket.recv())
            server.received.append(hello)
            authorization = f"Bearer {hello['token']}"
        server.tickets.discard(ticket)
        if not ticket and str(authorization).removeprefix("Bearer ") not in server.tokens:
            await self.socket.close(4401, "the token is not valid")
            return
        if server.close_with:
            code, reason = server.close_with.pop(0)
            if code == 1006:
                self.socket.transport.abort()
            await self.socket.close(code, reason)
            return
        await self.send({"op": "welcome", "session_id": "s", "epoch": server.epoch, "user": {"id": "u"}, "expires_at": server.expires_at})
        while server.say_first:
            await self.send(server.say_first.pop(0))
        async for raw in self.socket:
            frame = json.loads(raw)
            server.received.append(frame)
            match frame["op"]:
                case "subscribe":
                    await self.subscribe(frame)
                case "unsubscribe":
                    await self.unsubscribe(frame)
                case "hello":
                    await self.send({"op": "welcome", "session_id": "s", "epoch": server.epoch, "expires_at": None})
                case _:
                    pass
            async with server.changed:
                server.changed.notify_all()

    async def send(self, frame: dict[str, Any]) -> None:
        if self.left is not None:
            if self.left <= 0:
                self.socket.transport.abort()
                raise ConnectionResetError
            self.left -= 1
        await self.socket.send(json.dumps(frame))

    async def subscribe(self, frame: dict[str, Any]) -> None:
        server, stream = self.server, frame["stream"]
        server.subscribes.append(frame)
        if server.refuse:
            code, detail = server.refuse.pop(0)
            await self.send({"op": "error", "id": frame["id"], "code": code, "detail": detail})
            return
        if stream in self.pushing:
            await self.send({"op": "error", "id": frame["id"], "code": "bad_request", "detail": "subscribed already"})
            return
        head, replay, reason = server.heads[stream], "suffix", None
        if frame["after"] == "start":
            after, replay = 0, "full"
        elif frame["after"] == "now":
            after = head
        else:
            epoch, _, version = frame["after"].partition(":")
            after = int(version)
            reason = "epoch" if epoch != server.epoch else "above_head" if after > head else None
        if frame.get("snapshot"):
            reason = "asked"
        answer = {"op": "subscribed", "id": frame["id"], "stream": stream, "epoch": server.epoch, "head": head}
        if reason is None:
            await self.send({**answer, "replay": replay, "from": after + 1})
        else:
            after = head
            await self.send({**answer, "replay": "snapshot", "from": after + 1, "reason": reason})
            text, pages = json.dumps({"version": head}), server.snapshot_pages
            step = -(-len(text) // pages)
            for page in range(pages):
                state = json.loads(text) if pages == 1 else text[page * step : (page + 1) * step]
                await self.send({"op": "snapshot", "stream": stream, "version": head, "state": state, "page": page + 1, "pages": pages})
        self.pushing[stream] = asyncio.create_task(self.push(stream, after))

    async def unsubscribe(self, frame: dict[str, Any]) -> None:
        task = self.pushing.pop(frame["stream"], None)
        if task is None:
            await self.send({"op": "error", "id": frame["id"], "code": "bad_request", "detail": "not subscribed to"})
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self.send({"op": "unsubscribed", "stream": frame["stream"], "code": "asked", "reason": "you asked for it"})

    async def more(self, stream: str, after: int) -> None:
        async with self.server.changed:
            await self.server.changed.wait_for(lambda: self.server.heads[stream] > after)

    async def push(self, stream: str, after: int) -> None:
        server, caught_up = self.server, False
        with contextlib.suppress(ConnectionClosed, ConnectionResetError):
            while True:
                head = server.heads[stream]
                if after >= head and not caught_up:
                    caught_up = True
                    await self.send({"op": "caught_up", "stream": stream, "version": after})
                if after >= head:
                    await self.more(stream, after)
                    continue
                first, last = after + 1, min(head, after + server.per_frame)
                versions = list(range(max(1, first - 1) if server.repeat else first, last + 1))
                if server.leave_out and server.leave_out[0] in versions:
                    versions.remove(server.leave_out.pop(0))
                await self.send({"op": "events", "stream": stream, "events": [wire(stream, version) for version in versions]})
                after = last
                async with server.changed:
                    server.sent_events += len(versions)
                    server.changed.notify_all()
