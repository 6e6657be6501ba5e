"""A stream that is silent for longer than a ping's interval, read by clients that other people wrote."""

from __future__ import annotations  # the clients' classes are not loaded for the sake of a signature

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import httpx_sse
import pytest
import sseclient

from api.settings import Settings
from tests.adapters.providers.scripted import END, LAST, SSE_HEAD, Peer, chunk, said, serving, whole
from tests.api.completions.test_openai import HELLO, MODELS, with_provider
from tests.api.conftest import WAIT_S, Running, User, running
from tests.clients.packages import openai

pytestmark = pytest.mark.anyio

PING_S = 0.02
PINGS = 4  # that pass before the first token, and again in the middle of the answer


@pytest.fixture
async def silent(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[User]:
    """Somebody whose only model is silent for some pings, says a word, is silent again, and says another."""
    monkeypatch.setattr("api.streams.sse.PING_S", PING_S)
    monkeypatch.setattr("api.completions.turns.PING_S", PING_S)

    async def script(peer: Peer) -> None:
        while True:
            asked = await peer.asked()
            if asked.path.endswith("/models"):
                await peer.send(whole(json.dumps(MODELS).encode()))
                continue
            await peer.send(SSE_HEAD)
            for word in ("Hello ", "again"):
                await asyncio.sleep(PING_S * PINGS)
                await peer.send(chunk(said(word)))
            await peer.send(chunk(END), LAST)

    async with serving(script) as upstream, running(with_provider(settings, upstream.url)) as server:
        yield await server.sign_up()


def asked(**more: object) -> dict[str, object]:
    return {"model": "big/model:7b", "messages": HELLO, "stream": True, **more}


async def test_pings_stand_between_frames_and_never_end_one(silent: User) -> None:
    text = (await silent.post("/v1/chat/completions", asked())).text
    assert text.count(": ping\n") >= PINGS
    assert ": ping\n\n" not in text


async def test_openai_reads_it(silent: User) -> None:
    client = openai.AsyncOpenAI(base_url=f"{silent.http.base_url}/v1", api_key=silent.token, max_retries=0)
    async with client:
        stream = await client.chat.completions.create(model="big/model:7b", messages=[{"role": "user", "content": "Hello"}], stream=True)
        texts = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(texts) == "Hello again"


async def test_httpx_sse_reads_it(silent: User) -> None:
    async with httpx_sse.aconnect_sse(silent.http, "POST", "/v1/chat/completions", json=asked()) as source:
        events = [event async for event in source.aiter_sse()]
    assert events[-1].data == "[DONE]"
    assert all(json.loads(event.data)["object"] == "chat.completion.chunk" for event in events[:-1])


async def test_sseclient_reads_it(silent: User) -> None:
    def read() -> list[str]:
        with httpx.stream("POST", f"{silent.http.base_url}/v1/chat/completions", json=asked(), headers=dict(silent.http.headers)) as answer:
            return [event.data for event in sseclient.SSEClient(answer.iter_bytes()).events()]

    events = await asyncio.to_thread(read)
    assert events[-1] == "[DONE]"
    assert all(json.loads(event)["object"] == "chat.completion.chunk" for event in events[:-1])


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("400 Bad Request", "BadRequestError"),
        ("429 Too Many Requests", "RateLimitError"),
        ("401 Unauthorized", "AuthenticationError"),
    ],
)
async def test_openai_raises_what_the_providers_status_means(settings: Settings, status: str, expected: str) -> None:
    async def script(peer: Peer) -> None:
        while True:
            asked = await peer.asked()
            is_list = asked.path.endswith("/models")
            await peer.send(whole(json.dumps(MODELS).encode()) if is_list else whole(b'{"error": {"message": "no"}}', status))

    async with serving(script) as upstream, running(with_provider(settings, upstream.url)) as server:
        user = await server.sign_up()
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=user.token, max_retries=0) as client:
            with pytest.raises(getattr(openai, expected)) as raised:
                await client.chat.completions.create(model="big/model:7b", messages=[{"role": "user", "content": "Hi"}], stream=True)
    assert raised.value.request_id


async def test_openai_finds_models_by_id(server: Running) -> None:
    user = await server.sign_up()
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=user.token, max_retries=0) as client:
        assert (await client.models.retrieve("demo")).id == "demo"
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("nobody/at:all")


async def test_two_hundred_streams_in_one_process_are_not_mixed(settings: Settings) -> None:
    async def script(peer: Peer) -> None:
        """Says the question again, letter by letter."""
        while True:
            asked = await peer.asked()
            if asked.path.endswith("/models"):
                await peer.send(whole(json.dumps(MODELS).encode()))
                continue
            question = asked.json["messages"][0]["content"]
            await peer.send(SSE_HEAD, *(chunk(said(letter)) for letter in question), chunk(END), LAST)

    async with serving(script) as upstream, running(with_provider(settings, upstream.url)) as server:
        user = await server.sign_up()
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=user.token, max_retries=0, timeout=WAIT_S) as client:

            async def ask(question: str) -> str:
                messages: Any = [{"role": "user", "content": question}]
                stream = await client.chat.completions.create(model="big/model:7b", messages=messages, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            questions = [f"question {number}" for number in range(200)]
            assert await asyncio.gather(*map(ask, questions)) == questions
