"""A real server on a free port, on the in-memory log, in the test's own event loop.

A module that carries ``on_one_and_two`` says the same of two servers on one Postgres behind a balancer: each request and each socket
goes to the other one than the last, so what is written at one is read and followed at the other.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from adapters.postgres.log.epoch import current_epoch
from api.process.serve import Server, config, listen
from api.process.server import System
from api.request.server_config import ServerConfig
from api.settings import Settings
from api.systems import in_memory, on_postgres
from tests.api.routes import routes_for
from tests.api.turns import by_turns

WAIT_S = 60  # nothing is measured by it: it only ends a test that hangs
TICK_S = 0.1  # as often as uvicorn renews the date of its answers
LISTS = re.compile(r"/api/v1/chats/(?![0-9a-f-]{36})")


@dataclass
class User:
    """One signed-in person."""

    http: httpx.AsyncClient
    id: str
    token: str
    email: str

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return await self.http.post(path, json=body, headers=headers)

    async def get(self, path: str, **params: Any) -> httpx.Response:
        return await self.http.get(path, params=params)

    async def new_chat(self, title: str = "A chat") -> str:
        answer = await self.post("/api/v1/chats/new", {"chat": {"title": title}})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def add(self, chat_id: str, content: str, parent_id: str | None = None) -> dict[str, Any]:
        body = {"role": "user", "content": content, "parent_id": parent_id}
        answer = await self.post(f"/api/v1/chats/{chat_id}/messages", body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def ask(self, chat_id: str, model: str = "demo:5", content: str = "Hello", **more: Any) -> dict[str, Any]:
        body = {"model": model, "chat_id": chat_id, "session_id": "tab", "messages": [{"role": "user", "content": content}], **more}
        answer = await self.post("/api/chat/completions", body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@dataclass
class Wire:
    """One WebSocket: frames as they come, and what was seen of each stream."""

    socket: ClientConnection
    frames: list[dict[str, Any]] = field(default_factory=list)

    async def say(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def frame(self) -> dict[str, Any]:
        async with asyncio.timeout(WAIT_S):
            frame: dict[str, Any] = json.loads(await self.socket.recv())
        self.frames.append(frame)
        return frame

    async def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first frame, from now on, that is wanted."""
        while True:
            frame = await self.frame()
            if wanted(frame):
                return frame

    async def op(self, op: str, **fields: Any) -> dict[str, Any]:
        return await self.until(lambda frame: frame["op"] == op and all(frame.get(name) == value for name, value in fields.items()))

    async def event(self, stream: str, type_: str) -> dict[str, Any]:
        """Reads on until an event of this type was seen."""
        seen = self.event_of(stream, type_)
        while seen is None:
            await self.frame()
            seen = self.event_of(stream, type_)
        return seen

    def event_of(self, stream: str, type_: str) -> dict[str, Any] | None:
        return next((event for event in self.events(stream) if event["data"]["type"] == type_), None)

    def events(self, stream: str) -> list[dict[str, Any]]:
        return [event for frame in self.frames if frame["op"] == "events" and frame["stream"] == stream for event in frame["events"]]

    def versions(self, stream: str) -> list[int]:
        return [event["version"] for event in self.events(stream)]

    async def closed(self) -> int:
        """The code that the server closed with."""
        try:
            while True:
                await self.frame()
        except websockets.ConnectionClosed as closed:
            assert closed.rcvd is not None
            return int(closed.rcvd.code)


@dataclass
class Running:
    """The server, and people to use it."""

    url: str
    systems: Sequence[System]
    clients: contextlib.AsyncExitStack
    users: int = 0

    @property
    def system(self) -> System:
        """The only one."""
        (system,) = self.systems
        return system

    async def settled(self) -> None:
        """Every server knows, and every list holds, what is in the log now."""
        for system in self.systems:
            head = await system.log.head()
            await system.tail.wait_for(head)
            assert await system.chat_queries.reached(head, WAIT_S)

    async def _known_for_lists(self, request: httpx.Request) -> None:
        """Every server has heard of what was written: from then on lists hold what their reader has written."""
        if LISTS.match(request.url.path):
            for system in self.systems:
                await system.tail.wait_for(await system.log.head())

    def client(self, **options: Any) -> httpx.AsyncClient:
        if len(self.systems) > 1:  # a connection for each request, or all of one person would go to one server
            options |= {"limits": httpx.Limits(max_keepalive_connections=0), "event_hooks": {"request": [self._known_for_lists]}}
        return httpx.AsyncClient(base_url=self.url, timeout=WAIT_S, **options)

    @property
    def epoch(self) -> str:
        return str(self.systems[0].epoch.epoch)

    async def sign_up(self, name: str = "Ada") -> User:
        """Somebody new; the first one is the admin."""
        self.users += 1
        email = f"{name.lower()}{self.users}@example.org"
        http = await self.clients.enter_async_context(self.client())
        answer = await http.post("/api/v1/auths/signup", json={"name": name, "email": email, "password": "correct horse"})
        assert answer.status_code == 200, answer.text
        session = answer.json()
        http.headers["authorization"] = f"Bearer {session['token']}"
        http.cookies.clear()
        return User(http, session["id"], session["token"], email)

    async def connect(self, user: User | None = None, *, query: str = "", **headers: str) -> Wire:
        """A WebSocket; with a user it is authenticated, and its welcome was read."""
        given = {**headers, **({"authorization": f"Bearer {user.token}"} if user is not None else {})}
        socket = await self.clients.enter_async_context(
            websockets.connect(self.url.replace("http", "ws") + "/ws" + query, additional_headers=given, compression=None, max_size=None)
        )
        wire = Wire(socket)
        if user is not None:
            await wire.op("welcome")
        return wire

    def cursor(self, version: int) -> str:
        return f"{self.epoch}:{version}"


Serving = Callable[[Settings], AbstractAsyncContextManager[Running]]
on_one_and_two = pytest.mark.parametrize(
    "serving", ["one", pytest.param("two", marks=pytest.mark.postgres)], ids=["one server", "two servers"], indirect=True
)


@contextlib.asynccontextmanager
async def running(settings: Settings, dsn: str | None = None) -> AsyncIterator[Running]:
    """On the in-memory log, or on the database at ``dsn``."""
    system = await (in_memory(settings) if dsn is None else on_postgres(settings, dsn, await current_epoch(dsn)))
    async with served(system) as url, contextlib.AsyncExitStack() as clients:
        yield Running(url, [system], clients)


@contextlib.asynccontextmanager
async def two_running(settings: Settings, dsn: str) -> AsyncIterator[Running]:
    epoch = await current_epoch(dsn)
    systems = [await on_postgres(settings, dsn, epoch) for _ in range(2)]
    async with contextlib.AsyncExitStack() as servers:
        urls = [await servers.enter_async_context(served(system)) for system in systems]
        url = await servers.enter_async_context(by_turns(urls))
        async with contextlib.AsyncExitStack() as clients:
            yield Running(url, systems, clients)


class PromptServer(Server):
    """Ends when it is told to: uvicorn's own looks whether it was ten times a second, which thousands of tests would wait for."""

    def __init__(self, config: ServerConfig) -> None:
        super().__init__(config)
        self._told = asyncio.Event()

    def tell_to_exit(self) -> None:
        self.should_exit = True
        self._told.set()

    async def main_loop(self) -> None:
        counter = 0
        while not await self.on_tick(counter):
            counter += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), TICK_S)


@contextlib.asynccontextmanager
async def served(system: System) -> AsyncIterator[str]:
    """Its address, for as long as it lasts."""
    await system.start()
    listening = listen("127.0.0.1", 0)
    with routes_for(system) as app:
        server = PromptServer(config(system.settings, app, system.telemetry))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            async with asyncio.timeout(WAIT_S):
                while not server.started:
                    assert not serving.done(), serving.exception()
                    await asyncio.sleep(0.001)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:  # also after a failure: what still runs would keep the loop from ending
            server.tell_to_exit()
            async with asyncio.timeout(WAIT_S):
                await serving
                await system.stop()
            listening.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, drain_s=0.2)


@pytest.fixture
def serving(request: pytest.FixtureRequest) -> Serving:
    """What makes a server with settings of the test's own: one, unless the module carries ``on_one_and_two``."""
    if getattr(request, "param", "one") == "one":
        return running
    database = request.getfixturevalue("database")
    return lambda settings: two_running(settings, database)


@pytest.fixture
async def server(settings: Settings, serving: Serving) -> AsyncIterator[Running]:
    async with serving(settings) as made:
        yield made
