"""Plain clients of WebSocket and server-sent events that are cut at random bytes: no event is lost, none comes twice."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.api.conftest import Running, User
from tests.clients.cutting import Cutting, cutting
from tests.clients.programs import run_node, run_python

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

T = TypeVar("T")
MODEL = "demo:90"  # takes three seconds
SEEDS = (1, 2)
PING_S = 0.01  # less than a word takes: pings stand everywhere between the frames


@pytest.fixture
def many_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.streams.sse.PING_S", PING_S)
    monkeypatch.setattr("api.completions.turns.PING_S", PING_S)


async def begun(user: User) -> str:
    """The id of a chat in which an answer is being written."""
    chat_id = await user.new_chat()
    await user.ask(chat_id, MODEL)
    return chat_id


async def asked_by(program: Coroutine[Any, Any, T], proxy: Cutting, user: User, chat_id: str) -> T:
    """What the program has seen of an answer that begins once it is there: on a busy machine its start takes longer than an answer."""
    running, connected = asyncio.create_task(program), asyncio.create_task(proxy.used.wait())
    try:
        await asyncio.wait({running, connected}, return_when=asyncio.FIRST_COMPLETED)
        await user.ask(chat_id, MODEL)
        return await running
    finally:
        running.cancel()
        connected.cancel()


async def assert_whole(user: User, chat_id: str, events: list[dict[str, Any]]) -> None:
    assert [event["version"] for event in events] == list(range(1, len(events) + 1))
    text = "".join(event["data"]["data"]["text"] for event in events if event["data"]["type"] == "message_delta")
    assert text == await answer_of(user, chat_id)
    assert len(text.split()) == 90


async def answer_of(user: User, chat_id: str) -> str:
    messages = (await user.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["messages"]
    return str(next(message["content"] for message in messages.values() if message["role"] == "assistant"))


@pytest.mark.parametrize("seed", SEEDS)
async def test_websocket_client(server: Running, tmp_path: Path, seed: int) -> None:
    user = await server.sign_up()
    chat_id = await begun(user)
    async with cutting(server.url, seed=seed) as proxy:
        seen = await run_python("with_websocket_client.py", tmp_path, url=proxy.url, token=user.token, chat_id=chat_id)
    print(seen["client"], seen["version"], proxy.cuts, "cuts")
    await assert_whole(user, chat_id, seen["events"])
    assert proxy.cuts >= 3
    assert seen["refused"] == 4401


@pytest.mark.parametrize("seed", SEEDS)
async def test_socketio(server: Running, tmp_path: Path, seed: int) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    async with cutting(server.url, seed=seed) as proxy:
        program = run_python("with_socketio.py", tmp_path, url=proxy.url, token=user.token, chat_id=chat_id)
        seen = await asked_by(program, proxy, user, chat_id)
    print(seen["client"], seen["version"], proxy.cuts, "cuts")
    whole = await answer_of(user, chat_id)
    assert seen["shown"][-1] == whole
    assert [text for text in seen["shown"] if not whole.startswith(text)] == []  # no gap and no repeat at any moment
    assert len(seen["shown"]) > 3
    assert seen["joins"] >= 3
    assert proxy.cuts >= 3


@pytest.mark.parametrize("seed", SEEDS)
async def test_socketio_of_node(server: Running, tmp_path: Path, seed: int) -> None:
    """A chat, and a channel in which is spoken meanwhile: its client keeps the offset, so each message comes once and in order."""
    user, stranger = await server.sign_up(), await server.sign_up("Stranger")
    created = await user.post("/api/v1/channels/create", {"type": "group", "name": "room"})
    chat_id, channel_id = await user.new_chat(), created.json()["id"]
    async with cutting(server.url, seed=seed) as proxy:
        given = (proxy.url, server.url, user.token, stranger.token, chat_id, channel_id, "60")
        (seen,) = await asked_by(run_node("socket_io.js", tmp_path, *given), proxy, user, chat_id)
    print(seen["client"], seen["version"], proxy.cuts, "cuts")
    whole = await answer_of(user, chat_id)
    assert seen["shown"][-1] == whole
    assert [text for text in seen["shown"] if not whole.startswith(text)] == []
    assert seen["heard"] == [str(number) for number in range(60)]
    assert seen["strangers"] == 0
    assert seen["joins"] >= 3
    assert proxy.cuts >= 3


@pytest.mark.usefixtures("many_pings")
@pytest.mark.parametrize("seed", SEEDS)
async def test_aiohttp(server: Running, tmp_path: Path, seed: int) -> None:
    user = await server.sign_up()
    chat_id = await begun(user)
    async with cutting(server.url, seed=seed) as proxy:
        seen = await run_python("with_aiohttp.py", tmp_path, url=proxy.url, token=user.token, chat_id=chat_id, model=MODEL)
    print(seen["client"], seen["version"], proxy.cuts, "cuts")
    completed = seen["completed"]
    assert completed["text"] == await answer_of(user, completed["chat_id"])
    assert len(completed["text"].split()) == 90
    assert completed["connections"] >= 3
    await assert_whole(user, chat_id, seen["followed"]["events"])


@pytest.mark.parametrize("seed", SEEDS)
async def test_ws(server: Running, tmp_path: Path, seed: int) -> None:
    user = await server.sign_up()
    chat_id = await begun(user)
    async with cutting(server.url, seed=seed) as proxy:
        (seen,) = await run_node("ws.js", tmp_path, proxy.url, user.token, chat_id)
    print(seen["client"], seen["version"], proxy.cuts, "cuts")
    await assert_whole(user, chat_id, seen["events"])
    assert proxy.cuts >= 3
    assert seen["refused"] == 4401


@pytest.mark.usefixtures("many_pings")
async def test_eventsource(server: Running, tmp_path: Path) -> None:
    user = await server.sign_up()
    chat_id = await begun(user)
    async with cutting(server.url, seed=1, cuts_max=3) as proxy:  # it waits three seconds after each
        (seen,) = await run_node("eventsource.js", tmp_path, proxy.url, user.token, chat_id)
    print(seen["client"], seen["version"], proxy.cuts, "cuts")
    await assert_whole(user, chat_id, seen["events"])
    assert (proxy.cuts, seen["connections"]) == (3, 4)
    assert seen["refused"] == {"code": 401, "state": 2}
