"""The WebSocket: who is let in, who hears of whom, and how all are told to go."""

import asyncio
from uuid import UUID

import httpx
import msgspec
import pytest
import websockets

from api.settings import Settings
from tests.api.conftest import Running, running

pytestmark = pytest.mark.anyio


async def test_a_header_a_ticket_or_a_first_hello_lets_in(server: Running) -> None:
    user = await server.sign_up()
    by_header = await server.connect(user)
    assert by_header.frames[0]["user"] == {"id": user.id, "name": "Ada", "role": "admin"}
    ticket = (await user.post("/api/v1/auths/ticket")).json()["ticket"]
    by_ticket = await server.connect(query=f"?ticket={ticket}")
    assert (await by_ticket.op("welcome"))["epoch"] == server.epoch
    by_hello = await server.connect()
    await by_hello.say(op="hello", token=user.token)
    welcome = await by_hello.op("welcome")
    assert welcome["limits"]["subscriptions"] == 1000
    assert len({wire.frames[0]["session_id"] for wire in (by_header, by_ticket, by_hello)}) == 3


async def test_a_ticket_is_good_once(server: Running) -> None:
    user = await server.sign_up()
    ticket = (await user.post("/api/v1/auths/ticket")).json()["ticket"]
    await (await server.connect(query=f"?ticket={ticket}")).op("welcome")
    assert await (await server.connect(query=f"?ticket={ticket}")).closed() == 4401
    assert await (await server.connect(query="?ticket=made-up")).closed() == 4401


async def test_who_is_not_known_is_closed_out(server: Running) -> None:
    wire = await server.connect()
    await wire.say(op="hello", token="nonsense")
    assert await wire.closed() == 4401
    assert await (await server.connect(authorization="Bearer nonsense")).closed() == 4401


async def test_a_page_of_another_origin_is_turned_away(server: Running) -> None:
    user = await server.sign_up()
    evil = await server.connect(origin="https://evil.example", authorization=f"Bearer {user.token}")
    assert await evil.closed() == 1008
    own = await server.connect(origin=server.url, authorization=f"Bearer {user.token}")
    await own.op("welcome")


async def test_an_account_has_a_bounded_number_of_connections(settings: Settings) -> None:
    async with running(msgspec.structs.replace(settings, connections_per_user_max=2)) as server:
        user = await server.sign_up()
        first, _ = await server.connect(user), await server.connect(user)
        third = await server.connect(authorization=f"Bearer {user.token}")
        assert await third.closed() == 4409
        await first.socket.close()
        while server.system.live.count(UUID(user.id)) > 1:  # noqa: ASYNC110  # nothing there offers an event
            await asyncio.sleep(0.001)
        await server.connect(user)


async def test_typing_reaches_the_others_and_is_never_kept(server: Running) -> None:
    ada, bob = await server.sign_up(), await server.sign_up("Bob")
    chat_id = await ada.new_chat()
    stream = f"chat/{chat_id}"
    await ada.post(f"/api/v1/chats/{chat_id}/access", {"user_id": bob.id, "permission": "write"})
    mine, theirs = await server.connect(ada), await server.connect(bob)
    for wire in (mine, theirs):
        await wire.say(op="subscribe", id=1, stream=stream, after="now")
        await wire.op("caught_up", stream=stream)
    await mine.say(op="typing", stream=stream, typing=True)
    heard = await theirs.op("ephemeral")
    assert heard["user"]["id"] == ada.id
    assert heard["data"]["data"] == {"typing": True}
    await mine.say(op="subscribe", id=2, stream="chat/none", after="now")
    await mine.op("error")
    assert not any(frame["op"] == "ephemeral" for frame in mine.frames)
    assert (await ada.get(f"/api/v1/chats/{chat_id}")).json()["version"] == 2


async def test_a_token_that_ends_takes_its_connection_along(settings: Settings) -> None:
    async with running(settings) as server:
        server.system.sessions._token_lifetime_s = 1
        user = await server.sign_up()
        wire = await server.connect(user)
        assert await wire.closed() == 4401


async def test_a_server_that_goes_away_sends_everybody_another_delay(settings: Settings) -> None:
    async with running(settings) as server:
        user = await server.sign_up()
        wires = [await server.connect(user) for _ in range(8)]
        await server.system.drain()
        delays = [(await wire.op("reconnect"))["after_ms"] for wire in wires]
        assert len(set(delays)) > 4
        assert {await wire.closed() for wire in wires} == {1012}
        with pytest.raises(websockets.InvalidStatus) as refused:
            await server.connect(user)
        assert refused.value.response.status_code == 503
        answer = await user.post(
            "/api/chat/completions", {"model": "demo", "messages": [{"role": "user", "content": "x"}], "session_id": "s"}
        )
        assert (answer.status_code, answer.json()["code"]) == (503, "log_unavailable")
        ready = await user.get("/ready")
        assert isinstance(ready, httpx.Response)
        assert ready.status_code == 503
