"""``/v1/completions`` and ``/v1/embeddings`` by OpenAI's own client: what the provider is asked, and what comes back of it."""

from __future__ import annotations  # the clients' classes are not loaded for the sake of a signature

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from api.settings import Settings
from tests.adapters.providers.scripted import DONE, LAST, SSE_HEAD, Asked, Peer, chunk, event, serving, whole
from tests.api.completions.support import MODEL, Answer, refusing, server_asking
from tests.api.conftest import Running, running
from tests.clients.packages import openai

pytestmark = pytest.mark.anyio

EMBEDDINGS = {
    "object": "list",
    "data": [{"object": "embedding", "index": index, "embedding": [0.25, float(index)]} for index in range(2)],
    "model": MODEL,
    "usage": {"prompt_tokens": 2, "total_tokens": 2},
}


def completion(text: str, finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "text": text, "finish_reason": finish_reason, "logprobs": None}
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": MODEL, "choices": [choice]}


async def answer(peer: Peer, asked: Asked) -> None:
    if asked.path.endswith("/embeddings"):
        await peer.send(whole(json.dumps(EMBEDDINGS).encode()))
    elif asked.json.get("stream"):
        await peer.send(SSE_HEAD, chunk(event(completion("Once "))), chunk(event(completion("upon", "stop"))), chunk(DONE), LAST)
    else:
        await peer.send(whole(json.dumps(completion("Once upon", "stop")).encode()))


@contextlib.asynccontextmanager
async def asking(settings: Settings, by: Answer = answer) -> AsyncIterator[tuple[openai.AsyncOpenAI, Running, Any]]:
    async with server_asking(settings, by) as (server, upstream):
        user = await server.sign_up()
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=user.token, max_retries=0) as client:
            yield client, server, upstream


async def test_embeddings_come_from_the_provider_that_has_the_model(settings: Settings) -> None:
    async with asking(settings) as (client, server, upstream):
        head = await server.system.log.head()
        made = await client.embeddings.create(model=MODEL, input=["one", "two"], dimensions=2, encoding_format="float")
        assert [one.embedding for one in made.data] == [[0.25, 0.0], [0.25, 1.0]]
        asked = upstream.asked[-1]
        assert asked.path == "/v1/embeddings"
        assert asked.json == {"model": MODEL, "input": ["one", "two"], "dimensions": 2, "encoding_format": "float"}
        assert await server.system.log.head() == head


async def test_a_prompt_is_completed_whole_and_streamed(settings: Settings) -> None:
    async with asking(settings) as (client, _, upstream):
        made = await client.completions.create(model=MODEL, prompt="Tell me", max_tokens=5)
        assert made.choices[0].text == "Once upon"
        assert upstream.asked[-1].json == {"model": MODEL, "prompt": "Tell me", "max_tokens": 5}
        stream = await client.completions.create(model=MODEL, prompt="Tell me", stream=True)
        assert [one.choices[0].text async for one in stream] == ["Once ", "upon"]


async def test_who_leaves_a_completion_ends_it_at_the_provider(settings: Settings) -> None:
    async def endless(peer: Peer, _: Asked) -> None:
        await peer.send(SSE_HEAD, chunk(event(completion("Once "))))
        await peer.left()

    async with asking(settings, endless) as (client, _, upstream):
        stream = await client.completions.create(model=MODEL, prompt="Tell me", stream=True)
        assert (await anext(aiter(stream))).choices[0].text == "Once "
        await stream.close()
        await upstream.left.wait()


@pytest.mark.parametrize(("status", "expected"), [("400 Bad Request", "BadRequestError"), ("429 Too Many Requests", "RateLimitError")])
async def test_a_providers_refusal_keeps_its_status(settings: Settings, status: str, expected: str) -> None:
    async with asking(settings, refusing(status, message="not like this", code="their_code")) as (client, _, _):
        for asked in (
            client.embeddings.create(model=MODEL, input="one"),
            client.completions.create(model=MODEL, prompt="Tell me"),
            client.completions.create(model=MODEL, prompt="Tell me", stream=True),
        ):
            with pytest.raises(getattr(openai, expected)) as raised:
                await asked
            assert raised.value.code == "their_code"


async def test_a_provider_that_breaks_off_is_an_error_in_the_stream_and_a_status_without_one(settings: Settings) -> None:
    async def breaking(peer: Peer, asked: Asked) -> None:
        await peer.send(SSE_HEAD, chunk(event(completion("Once "))))
        peer.cut()

    async with asking(settings, breaking) as (client, _, _):
        stream = await client.completions.create(model=MODEL, prompt="Tell me", stream=True)
        with pytest.raises(openai.APIError):
            async for one in stream:
                assert one.choices[0].text == "Once "
        with pytest.raises(openai.InternalServerError) as raised:
            await client.completions.create(model=MODEL, prompt="Tell me")
        assert raised.value.status_code == 502


@pytest.mark.parametrize("half", [b'data: {"id": "cmpl-1", "choices": [{"in', b"data: [DONE]\n", b": pi"])
async def test_half_a_frame_of_one_that_breaks_off_is_not_passed_on(settings: Settings, half: bytes) -> None:
    async def breaking(peer: Peer, asked: Asked) -> None:
        await peer.send(SSE_HEAD, chunk(event(completion("Once ")) + half))
        peer.cut()

    async with asking(settings, breaking) as (client, _, _):
        texts: list[str] = []
        with pytest.raises(openai.APIError) as raised:
            async for one in await client.completions.create(model=MODEL, prompt="Tell me", stream=True):
                texts.append(one.choices[0].text)  # what came before the error counts
        assert texts == ["Once "]
        assert "broke off" in raised.value.message


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
async def test_frames_are_passed_on_whatever_pieces_they_come_in(settings: Settings, size: int, newline: bytes) -> None:
    async def answering(peer: Peer, asked: Asked) -> None:
        frames = (b": ping\n\n" + event(completion("Once ")) + event(completion("upon", "stop")) + DONE).replace(b"\n", newline)
        await peer.send(SSE_HEAD, *(chunk(frames[at : at + size]) for at in range(0, len(frames), size)), LAST)

    async with asking(settings, answering) as (client, _, _):
        stream = await client.completions.create(model=MODEL, prompt="Tell me", stream=True)
        assert [one.choices[0].text async for one in stream] == ["Once ", "upon"]


async def test_a_model_that_cannot_do_it_is_named(settings: Settings) -> None:
    async with asking(settings) as (client, _, _):
        with pytest.raises(openai.BadRequestError) as raised:
            await client.embeddings.create(model="demo", input="one")
        assert raised.value.param == "model"
        with pytest.raises(openai.NotFoundError):
            await client.embeddings.create(model="nobody/at:all", input="one")
        with pytest.raises(openai.BadRequestError):
            await client.embeddings.create(model="", input="one")


async def test_ollama_is_asked_by_its_own_openai_api(settings: Settings) -> None:
    async def script(peer: Peer) -> None:
        while True:
            asked = await peer.asked()
            if asked.path.endswith("/api/tags"):
                await peer.send(whole(json.dumps({"models": [{"name": "small:1b", "model": "small:1b"}]}).encode()))
            else:
                await answer(peer, asked)

    async with serving(script) as upstream:
        with_ollama = msgspec.structs.replace(settings, ollama_base_urls=(upstream.url,))
        async with running(with_ollama) as server:
            user = await server.sign_up()
            async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=user.token, max_retries=0) as client:
                made = await client.embeddings.create(model="small:1b", input="one", encoding_format="float")
        assert len(made.data) == 2
        assert (upstream.asked[-1].path, upstream.asked[-1].json["model"]) == ("/v1/embeddings", "small:1b")
