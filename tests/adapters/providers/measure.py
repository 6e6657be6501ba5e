"""What a streamed chunk costs this process: ``python -m tests.adapters.providers.measure``.

The provider is a process of its own, so that only our CPU time is counted. Each row is the best of five runs.
"""

import asyncio
import multiprocessing
import sys
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection as Pipe

import httpx
import uvloop

from adapters.providers.http.client import provider_client
from adapters.providers.openai.openai import OpenAIProvider
from adapters.providers.openai.openai_answer import OpenAIReader
from tests.adapters.providers.asking import ask
from tests.adapters.providers.scripted import END, LAST, SSE_HEAD, Peer, chunk, event, serving

EVENT = event(
    {
        "id": "chatcmpl-123456789012345678901234",
        "object": "chat.completion.chunk",
        "created": 1763600000,
        "model": "gemma3-270m",
        "system_fingerprint": "fp_44709d6fcb",
        "choices": [{"index": 0, "delta": {"content": " token"}, "logprobs": None, "finish_reason": None}],
    }
)
RUNS = 5
BULK_CHUNKS = 20_000  # many to a read: one answer as fast as it goes
PACED_CHUNKS, PACED_ANSWERS = 500, 20  # one to a read: 20 answers of 1,000 chunks a second each


async def script(peer: Peer) -> None:
    while True:
        asked = await peer.asked()
        await peer.send(SSE_HEAD)
        if asked.path.startswith("/bulk"):
            for _ in range(BULK_CHUNKS // 100):
                await peer.send(chunk(EVENT) * 100)
        else:
            for _ in range(PACED_CHUNKS):
                await peer.send(chunk(EVENT))
                await asyncio.sleep(0.001)
        await peer.send(chunk(END), LAST)


def serve(pipe: Pipe) -> None:
    async def run() -> None:
        async with serving(script) as server:
            pipe.send(server.url)
            await asyncio.get_running_loop().run_in_executor(None, pipe.recv)

    uvloop.run(run())


async def raw(client: httpx.AsyncClient, url: str) -> None:
    async with client.stream("POST", f"{url}/chat/completions", json={}) as response:
        async for _ in response.aiter_raw():
            pass


async def provider(client: httpx.AsyncClient, url: str) -> None:
    async for _ in OpenAIProvider(client, url).stream(ask()):
        pass


async def best_us(chunks: int, work: Callable[[], Awaitable[object]]) -> float:
    times = []
    for _ in range(RUNS):
        begun = time.process_time()
        await work()
        times.append(time.process_time() - begun)
    return min(times) * 1e6 / chunks


async def measure(url: str) -> None:
    print(f"{'CPU µs a chunk':40}{'many to a read':>16}{'one to a read':>16}")  # noqa: T201 # its result
    clients = {"httpx's transport": httpx.AsyncClient(trust_env=False), "our transport": provider_client()}
    for transport, client in clients.items():
        async with client:
            for what in (raw, provider):
                bulk = await best_us(BULK_CHUNKS, lambda what=what, client=client: what(client, f"{url}/bulk"))  # type: ignore[misc]
                paced = await best_us(
                    PACED_CHUNKS * PACED_ANSWERS,
                    lambda what=what, client=client: asyncio.gather(*(what(client, f"{url}/paced") for _ in range(PACED_ANSWERS))),  # type: ignore[misc]
                )
                print(f"{f'{transport}, {what.__name__}':40}{bulk:16.1f}{paced:16.1f}")  # noqa: T201
    together, single = EVENT * 280, OpenAIReader()

    async def fed(data: bytes, times: int) -> None:
        for _ in range(times):
            single.feed(data)

    many, one = await best_us(28_000, lambda: fed(together, 100)), await best_us(5_000, lambda: fed(EVENT, 5_000))
    print(f"{'the reader alone':40}{many:16.1f}{one:16.1f}")  # noqa: T201


def main() -> int:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    uvloop.run(measure(ours.recv()))
    ours.send(None)
    server.join(5)
    return 0


if __name__ == "__main__":
    sys.exit(main())
