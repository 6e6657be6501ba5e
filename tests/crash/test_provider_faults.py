"""A model's server misbehaves: the answer ends in a coded error with what was said so far, and nothing else ends."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from tests.adapters.providers.scripted import END, LAST, SSE_HEAD, Peer, Server, chunk, event, said, serving, whole
from tests.crash.conftest import StartServer
from tests.crash.processes import ServerProcess
from tests.crash.support import Log, Tab, all_ended, people, until

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

IDLE_S = 1.5
SOME = ("One ", "two ", "three ")
SAID = "".join(SOME)
PIECES = tuple(chunk(said(text)) for text in SOME)

# model: the code of the error, what was said before it, and what its detail names
FAULTS = {
    "garbage": ("provider_garbage", "", "expected"),
    "page": ("provider_garbage", "", "expected"),
    "status": ("provider_status", "", "500"),
    "error-frame": ("provider_error", SAID, "out of memory"),
    "cut": ("provider_broke_off", SAID, ""),
    "cut-in-chunk": ("provider_broke_off", SAID, ""),
    "no-end": ("provider_broke_off", SAID, "without"),
    "stall": ("provider_idle", SAID, "silent"),
    "silent": ("provider_idle", "", "no first token"),
}
LISTED = {"object": "list", "data": [{"id": model} for model in (*FAULTS, "good", "endless", "mixed")]}


async def play(peer: Peer) -> None:
    """One connection: the list of models, or the fault that the model is named for."""
    asked = await peer.asked()
    if asked.method == "GET":
        await peer.send(whole(json.dumps(LISTED).encode()).replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1))
        return
    match asked.json["model"]:
        case "good":
            await peer.send(SSE_HEAD, *PIECES, chunk(END), LAST)
        case "mixed":
            await peer.send(SSE_HEAD, PIECES[0], chunk(b"data: {not json\n\n"), PIECES[1], chunk(b"\x00\xff nonsense\n\n"), PIECES[2])
            await peer.send(chunk(END), LAST)
        case "garbage":
            await peer.send(SSE_HEAD, *[chunk(b"\x00\xff\xfe garbage \xc3\x28 " * 50)] * 10, LAST)
        case "page":
            await peer.send(whole(b"<html>Please sign in</html>", content_type="text/html"))
        case "status":
            await peer.send(whole(b'{"error": {"message": "no GPU"}}', "500 Internal Server Error"))
        case "error-frame":
            await peer.send(SSE_HEAD, *PIECES, chunk(event({"error": {"message": "out of memory", "code": 500}})), LAST)
        case "cut":
            await peer.send(SSE_HEAD, *PIECES)
            await asyncio.sleep(0.2)  # what was sent has arrived: a reset would throw it away
            peer.cut()
        case "cut-in-chunk":
            await peer.send(SSE_HEAD, *PIECES, b"40\r\ndata: {")
        case "no-end":
            await peer.send(SSE_HEAD, *PIECES, LAST)
        case "stall":
            await peer.send(SSE_HEAD, *PIECES)
            await peer.left()
        case "silent":
            await peer.left()
        case "endless":
            await peer.send(SSE_HEAD)
            leaving = asyncio.create_task(peer.left())
            while not leaving.done():
                await peer.send(PIECES[0])
                await asyncio.sleep(0.02)
    await asyncio.sleep(0)


@asynccontextmanager
async def with_provider(new_server: StartServer, dsn: str) -> AsyncIterator[tuple[ServerProcess, Server]]:
    async with serving(play) as provider:
        patience = {"provider_connect_timeout_s": 1, "provider_first_token_timeout_s": IDLE_S, "provider_idle_timeout_s": IDLE_S}
        settings = {"openai_base_urls": f"{provider.url}/v1", **patience}
        yield await new_server(dsn, **settings).start(), provider


async def test_each_ends_its_own_answer_with_its_code_and_what_was_said(new_server: StartServer, database: str) -> None:
    async with with_provider(new_server, database) as (server, _), people(server.url, "ada") as (ada,):
        models = [*FAULTS, "good", "mixed", "demo:fail"]
        chats = dict(zip(models, await ada.chats(len(models)), strict=True))
        async with Tab(server.url, ada.token, [f"chat/{chat}" for chat in chats.values()]) as tab:
            await asyncio.gather(*(ada.ask(chat, model) for model, chat in chats.items()))
            await all_ended([tab], [f"chat/{chat}" for chat in chats.values()])
            log = await Log.read(database)
            tab.assert_saw(log)
            # All of it again: the process lives, and a failure leaves nothing behind that spoils the next answer.
            await asyncio.gather(*(ada.ask(chat, "good", "Once more.") for chat in chats.values()))
            await all_ended([tab], [f"chat/{chat}" for chat in chats.values()], 2)
        log = await Log.read(database)
        answers = log.assert_whole()
        first = {answer.stream.removeprefix("chat/"): answer for answer in reversed(answers)}
        for model, (code, content, names) in FAULTS.items():
            answer = first[chats[model]]
            assert answer.end == "error", model
            outcome = answer.outcome
            assert (outcome["code"], outcome["content"]) == (code, content), (model, outcome)
            assert names in outcome["detail"], (model, outcome)
        for model in ("good", "mixed"):
            assert (first[chats[model]].end, first[chats[model]].text) == ("message_end", SAID)
        assert first[chats["demo:fail"]].outcome["code"] == "provider_error"
        assert server.lives
        assert "Traceback" not in server.said(100_000)


async def test_one_that_accepts_no_connection_is_given_up_in_time(new_server: StartServer, database: str) -> None:
    """Nothing is refused: the connection just does not come about, as behind a firewall that drops packets."""
    async with contextlib.AsyncExitStack() as outer:
        async with with_provider(new_server, database) as (server, provider):
            (ada,) = await outer.enter_async_context(people(server.url, "ada"))
            listed = (await ada.http.get("/api/models")).json()["data"]
            assert "good" in {model["id"] for model in listed}
        # The provider is gone now; what has its address takes nobody off its queue, and the queue is full.
        host, port = provider.url.removeprefix("http://").split(":")
        outer.enter_context(socket.create_server((host, int(port)), backlog=0))
        for _ in range(3):
            waiting = outer.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex((host, int(port)))
        chat = await ada.chat()
        tab = await outer.enter_async_context(Tab(server.url, ada.token, [f"chat/{chat}"]))
        await ada.ask(chat, "good")
        await all_ended([tab], [f"chat/{chat}"])
        (answer,) = (await Log.read(database)).assert_whole()
        assert (answer.end, answer.outcome["code"], answer.outcome["content"]) == ("error", "provider_unreachable", "")
        assert server.lives


async def test_leaving_is_not_stopping(new_server: StartServer, database: str) -> None:
    """Whoever asked goes away, by HTTP and by WebSocket: the model is asked on. Whoever stops it cuts it off."""
    async with with_provider(new_server, database) as (server, provider), people(server.url, "ada") as (ada,):
        chat = await ada.chat()
        stream = f"chat/{chat}"
        asked = [{"role": "user", "content": "Go."}]
        body = {"model": "endless", "chat_id": chat, "id": str(uuid4()), "messages": asked, "stream": True}
        async with ada.http.stream("POST", "/api/chat/completions", json=body) as answer:
            async for line in answer.aiter_lines():
                if "One" in line:
                    break
        async with Tab(server.url, ada.token, [stream]) as tab:
            await until(lambda: tab.deltas() >= 5)
        at = tab.last(stream)
        async with Tab(server.url, ada.token, [stream]) as tab:
            await until(lambda: tab.last(stream) >= at + 20)
            assert not tab.ended(stream)
            assert not provider.left.is_set(), "the model was told to stop, and nobody had asked for it"
            (task,) = (await ada.http.get(f"/api/tasks/chat/{chat}")).json()["task_ids"]
            stopped = await ada.post(f"/api/tasks/stop/{task}")
            assert stopped.status_code == 200, stopped.text
            await all_ended([tab], [stream])
            await until(provider.left.is_set)
            log = await Log.read(database)
            tab.assert_saw(log)
        (answer,) = log.assert_whole()
        assert (answer.end, answer.outcome["by"]) == ("cancelled", ada.id)
        assert len(answer.text) >= 20 * len(SOME[0])
