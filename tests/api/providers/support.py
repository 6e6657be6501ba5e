"""A model server that says what it was asked with, and an admin who adds it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.adapters.providers.scripted import END, LAST, NDJSON_HEAD, SSE_HEAD, Asked, Peer, Server, chunk, said, serving, whole
from tests.api.conftest import Running, User

MODEL = "m1"
Answer = Callable[[Peer, Asked], Awaitable[None]]
LINE = b'{"message": {"content": "Hello"}, "done": false}\n{"done": true, "done_reason": "stop"}\n'


async def hello(peer: Peer, asked: Asked) -> None:
    if asked.path.endswith("/api/chat"):
        await peer.send(NDJSON_HEAD, chunk(LINE), LAST)
    else:
        await peer.send(SSE_HEAD, chunk(said("Hello") + END), LAST)


@asynccontextmanager
async def model_server(*models: str, answer: Answer = hello, key: str = "") -> AsyncIterator[Server]:
    """Speaks OpenAI's and Ollama's protocol. With ``key`` it refuses whoever does not have it."""
    listed = {"data": [{"id": model} for model in models or (MODEL,)]}
    tags = {"models": [{"model": model, "name": model} for model in models or (MODEL,)]}

    async def script(peer: Peer) -> None:
        while True:
            asked = await peer.asked()
            if key and asked.headers.get("authorization") != f"Bearer {key}":
                await peer.send(whole(b'{"error": {"message": "no such key"}}', "401 Unauthorized"))
            elif asked.path.endswith("/api/tags"):
                await peer.send(whole(json.dumps(tags).encode()))
            elif asked.path.endswith("/api/version"):
                await peer.send(whole(b'{"version": "0.9.1", "secret": "not for clients"}'))
            elif asked.method == "GET":
                await peer.send(whole(json.dumps(listed).encode()))
            else:
                await answer(peer, asked)

    async with serving(script) as server:
        yield server


def questions(server: Server) -> list[Asked]:
    """The requests for an answer."""
    return [asked for asked in server.asked if asked.method == "POST"]


async def everywhere(server: Running) -> None:
    """What was written holds on every process."""
    await server.settled()
    for system in server.systems:
        await system.provider_registry.settled()


async def models_of(server: Running, user: User) -> list[str]:
    await everywhere(server)
    return [model["id"] for model in (await user.get("/api/models")).json()["data"] if not model["id"].startswith("demo")]


async def ask(user: User, model: str) -> Any:
    """The text of an answer, or the refusal."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": False}
    answer = await user.post("/v1/chat/completions", body)
    said_ = answer.json()
    return said_["choices"][0]["message"]["content"] if answer.status_code == 200 else (answer.status_code, said_["error"]["code"])


async def provider_events(server: Running) -> list[dict[str, Any]]:
    system = server.systems[0]
    stored = await system.log.read_log(after=0, limit=10_000)
    return [
        {"type": one.type, "stream": str(one.stream), "by": json.loads(one.actor or b"null"), **json.loads(one.data)}
        for one in stored
        if one.stream.kind == "provider"
    ]


async def added(admin: User, url: str, kind: str = "openai", **more: Any) -> dict[str, Any]:
    answer = await admin.post("/api/v1/providers/", {"kind": kind, "base_url": url, **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def until(is_so: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110  # a condition on somebody else's state has no event
            await asyncio.sleep(0.01)
