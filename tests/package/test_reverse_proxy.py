"""Debian's nginx with the file of the how-to guide: what it lets through, and what its restart costs."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest

from api.settings import Settings
from commands.accounts.attempts import GUESSES_OF_ONE_FROM_ONE_PLACE
from stenograph_client import Client, Event, State
from tests.api.conftest import Running, running
from tests.client.world import WAIT_S, one, soon
from tests.package.debian import program

pytestmark = pytest.mark.anyio
PASSWORD = "correct horse battery"
CONF = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "nginx.conf"
# What Debian has around a file of conf.d, for one that runs as anybody from a folder of its own.
AROUND = """
daemon off;
pid nginx.pid;
error_log stderr error;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include stenograph.conf;
}}
"""


class Nginx:
    """``url`` stays the same through a restart."""

    def __init__(self, folder: Path, server_url: str) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        text = CONF.read_text(encoding="utf-8")
        for line, moved in {
            "server 127.0.0.1:8080;": f"server {urlsplit(server_url).netloc};",
            "listen 80;": f"listen 127.0.0.1:{port};",
        }.items():
            assert text.count(line) == 1
            text = text.replace(line, moved)
        (folder / "stenograph.conf").write_text(text, encoding="utf-8")
        user = "user root;" if os.getuid() == 0 else ""  # its own user may not enter our folder
        (folder / "nginx.conf").write_text(AROUND.format(user=user), encoding="utf-8")
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Returns once it answers."""
        command = (program("nginx", "nginx"), "-p", str(self._folder), "-c", "nginx.conf")
        self._process = await asyncio.create_subprocess_exec(*command)
        async with asyncio.timeout(WAIT_S), httpx.AsyncClient(base_url=self.url, trust_env=False) as http:
            while True:
                assert self._process.returncode is None, "nginx does not take the file"
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get("/health")).status_code == 200:
                        return
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """At once: open connections are cut."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(Settings(data=tmp_path, drain_s=0.2, trusted_proxies=("127.0.0.1",))) as made:
        yield made


@pytest.fixture
async def nginx(server: Running, tmp_path: Path) -> AsyncIterator[Nginx]:
    folder = tmp_path / "nginx"
    folder.mkdir()
    made = Nginx(folder, server.url)
    await made.start()
    yield made
    await made.stop()


@contextlib.asynccontextmanager
async def signed_up(nginx: Nginx) -> AsyncIterator[Client]:
    async with Client(nginx.url, backoff=soon) as client:
        await client.sign_up("Ada", "ada@example.org", PASSWORD)
        yield client


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_a_cursor_survives_a_restart_of_the_proxy(nginx: Nginx, transport: str) -> None:
    states: list[State] = []
    async with signed_up(nginx) as client:
        client.on_state = states.append
        chat = await client.new_chat("Through nginx")
        begun = await client.complete("demo:60", [{"role": "user", "content": "Hello"}], chat_id=chat["id"])
        seen: list[Event] = []
        async with contextlib.aclosing(client.follow(begun.stream, "start", transport=transport)) as events:  # type: ignore[arg-type]
            while not seen or seen[-1].type != "message_end":
                seen.append(await one(events))
                if [event.type for event in seen].count("message_delta") == 3:
                    await nginx.stop()
                    await nginx.start()
        assert [state for state in states if not state.connected], "the connection was cut"
        assert [event.version for event in seen] == list(range(1, len(seen) + 1))
        said = "".join(event.data["text"] for event in seen if event.type == "message_delta")
        assert said == seen[-1].data["content"]


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_a_token_passes_while_the_answer_goes_on(nginx: Nginx, transport: str) -> None:
    """Nothing on the way waits for the end of the stream, or for a buffer to be full."""
    async with signed_up(nginx) as client:
        chat = await client.new_chat("Through nginx")
        async with contextlib.aclosing(client.follow(f"chat/{chat['id']}", "now", transport=transport)) as events:  # type: ignore[arg-type]
            first = asyncio.ensure_future(one(events))
            begun = await client.complete("demo:1000", [{"role": "user", "content": "Hello"}], chat_id=chat["id"])
            event = await first
            while event.type != "message_delta":
                event = await one(events)
            assert await client.stop(begun.task_id), "it was still being written when its first word was here"
            while event.type != "cancelled":
                event = await one(events)


async def test_a_long_poll_passes_and_returns_with_the_next_event(nginx: Nginx, server: Running) -> None:
    async with signed_up(nginx) as client, httpx.AsyncClient(base_url=nginx.url, timeout=WAIT_S, trust_env=False) as http:
        chat = await client.new_chat("Through nginx")
        http.headers["authorization"] = f"Bearer {client.credentials.token}"
        asked = {"after": (await client.page(f"chat/{chat['id']}")).next, "live": "long-poll", "timeout_s": 60}
        waits = asyncio.ensure_future(http.get(f"/api/v1/streams/chat/{chat['id']}/events", params=asked))
        account = UUID((await client.me()).id)
        while not server.system.live.count(account):  # nothing there offers an event
            assert not waits.done(), "it returned before there was anything"
            await asyncio.sleep(0.02)
        await client.add_message(chat["id"], "user", "Now")
        answer = await waits
        assert [event["data"]["type"] for event in answer.json()["events"]] == ["message_added"]


async def test_the_brake_on_guessing_passwords_tells_people_behind_the_proxy_apart(nginx: Nginx) -> None:
    async def sign_in(address: str, password: str) -> int:
        from_there = httpx.AsyncHTTPTransport(local_address=address)
        async with httpx.AsyncClient(base_url=nginx.url, timeout=WAIT_S, transport=from_there) as http:
            return (await http.post("/api/v1/auths/signin", json={"email": "ada@example.org", "password": password})).status_code

    async with signed_up(nginx):
        guesses = [await sign_in("127.0.0.2", "incorrect horse") for _ in range(GUESSES_OF_ONE_FROM_ONE_PLACE + 1)]
        assert guesses[-1] == 429
        assert await sign_in("127.0.0.1", PASSWORD) == 200


async def test_the_server_s_own_page_is_known_behind_the_proxy(nginx: Nginx) -> None:
    """A page of the proxy's own address is the server's own page: its socket opens, and its cookie changes things."""
    async with signed_up(nginx) as client, httpx.AsyncClient(base_url=nginx.url, timeout=WAIT_S, trust_env=False) as http:
        http.cookies.set("token", str(client.credentials.token))
        body = {"chat": {"title": "By cookie"}}
        assert (await http.post("/api/v1/chats/new", json=body, headers={"origin": nginx.url})).status_code == 200
        assert (await http.post("/api/v1/chats/new", json=body, headers={"origin": "http://evil.example"})).status_code == 403


async def test_a_body_of_many_megabytes_reaches_the_server(nginx: Nginx) -> None:
    async with signed_up(nginx) as client:
        chat = await client.new_chat("Through nginx")
        content = "x" * 3 * 1024 * 1024
        await client.add_message(chat["id"], "user", content)
        (message,) = (await client.chat(chat["id"]))["chat"]["history"]["messages"].values()
        assert message["content"] == content
