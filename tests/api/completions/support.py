"""A provider that says what a test scripts, and the server that asks it."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from api.settings import Settings
from tests.adapters.providers.scripted import LAST, SSE_HEAD, Asked, Peer, Server, chunk, serving, whole
from tests.api.conftest import Running, running

MODEL = "big/model:7b"
MODELS = {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 1_700_000_000}]}
Answer = Callable[[Peer, Asked], Awaitable[None]]


@asynccontextmanager
async def server_asking(settings: Settings, answer: Answer, dsn: str | None = None) -> AsyncIterator[tuple[Running, Server]]:
    """A server whose only provider has the one model ``MODEL`` and answers each question by ``answer``."""

    async def script(peer: Peer) -> None:
        while True:
            asked = await peer.asked()
            if asked.path.endswith("/models"):
                await peer.send(whole(json.dumps(MODELS).encode()))
            else:
                await answer(peer, asked)

    async with serving(script) as upstream:
        with_provider = msgspec.structs.replace(settings, openai_base_urls=(f"{upstream.url}/v1",))
        async with running(with_provider, dsn) as server:
            yield server, upstream


def streaming(*events: bytes) -> Answer:
    async def answer(peer: Peer, _: Asked) -> None:
        await peer.send(SSE_HEAD, *(chunk(event) for event in events), LAST)

    return answer


def refusing(status: str, **error: Any) -> Answer:
    async def answer(peer: Peer, _: Asked) -> None:
        await peer.send(whole(json.dumps({"error": error}).encode(), status))

    return answer
