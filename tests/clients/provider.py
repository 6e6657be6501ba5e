"""A provider whose models each do one thing, for clients that are to meet all of it on one server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from api.settings import Settings
from tests.adapters.providers.scripted import DONE, LAST, SSE_HEAD, Asked, Peer, chunk, event, said, serving, whole
from tests.api.conftest import Running, running

PING_S = 0.02
PINGS = 4  # that pass before the first word of "silent", and again in the middle of its answer
WORDS = ["One ", "two ", "three ", "four ", "five."]
RETRY_AFTER_S = 1
USAGE = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
MODELS = ("words", "silent", "calling", "endless", "limited", "refusing", "failing", "broken")
ENDED = (said(finish_reason="stop"), event({"choices": [], "usage": USAGE}), DONE)


def refusal(status: str, code: str, *headers: str) -> bytes:
    body = json.dumps({"error": {"message": f"not now: {code}", "type": code, "code": code, "param": None}}).encode()
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def answer(peer: Peer, asked: Asked) -> None:
    match asked.json["model"]:
        case "limited":
            await peer.send(refusal("429 Too Many Requests", "rate_limit_exceeded", f"retry-after: {RETRY_AFTER_S}"))
        case "refusing":
            await peer.send(refusal("400 Bad Request", "context_length_exceeded"))
        case "failing":
            await peer.send(refusal("503 Service Unavailable", "overloaded"))
        case "broken":
            await peer.send(SSE_HEAD, chunk(said("One ")))
            peer.cut()
        case "endless":
            await peer.send(SSE_HEAD, *(chunk(said(word)) for word in WORDS))
            await peer.left()
        case "silent":
            await peer.send(SSE_HEAD)
            for word in ("Hello ", "again"):
                await asyncio.sleep(PING_S * PINGS)
                await peer.send(chunk(said(word)))
            await peer.send(*map(chunk, ENDED), LAST)
        case "calling":
            found = [message for message in asked.json["messages"] if message["role"] == "tool"]
            call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": ""}}
            pieces = (
                [said(f"It is {found[-1]['content']}.")]
                if found
                else [said(tool_calls=[call])]
                + [said(tool_calls=[{"index": 0, "function": {"arguments": piece}}]) for piece in ('{"thing": ', '"the key"}')]
            )
            ended = ENDED if found else (said(finish_reason="tool_calls"), *ENDED[1:])
            await peer.send(SSE_HEAD, *map(chunk, pieces), *map(chunk, ended), LAST)
        case _:
            await peer.send(SSE_HEAD, *(chunk(said(word)) for word in WORDS), *map(chunk, ENDED), LAST)


async def script(peer: Peer) -> None:
    models = {"object": "list", "data": [{"id": model, "object": "model", "created": 1_700_000_000} for model in MODELS]}
    while True:
        asked = await peer.asked()
        if asked.path.endswith("/models"):
            await peer.send(whole(json.dumps(models).encode()))
        else:
            await answer(peer, asked)


@asynccontextmanager
async def server_with_models(settings: Settings) -> AsyncIterator[Running]:
    """A server with all of ``MODELS``, beside the built-in ones."""
    async with serving(script) as upstream:
        with_provider = msgspec.structs.replace(settings, openai_base_urls=(f"{upstream.url}/v1",))
        async with running(with_provider) as server:
            yield server
