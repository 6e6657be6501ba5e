"""``/v1/completions`` and ``/v1/embeddings``: passed to the provider that has the model."""

from collections.abc import AsyncGenerator
from typing import Any, Final

import msgspec
from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from litestar.response import Stream as StreamResponse

from api.request import openai_errors
from api.request.bodies import CONTENT_BYTES
from api.request.errors import status_of_provider
from api.streams.sse import SSE_HEADERS
from commands.accounts.principal import Principal, actor_of
from commands.routing.forwarding import forward, whole
from commands.routing.router import Router
from domain.errors import ProviderFailed

LONGEST_END: Final = b"\r\n\r\n"
FRAME_ENDS: Final = (b"\n\n", LONGEST_END)


class ForwardingController(Controller):
    path = "/v1"
    tags = ("openai",)

    @post("/completions", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def complete(
        self, data: JSONBody[dict[str, Any]], principal: NamedDependency[Principal], router: NamedDependency[Router]
    ) -> Response[Any]:
        """The provider's completion of a prompt. It is no turn of a chat: nothing is logged, and it ends when the caller leaves."""
        pieces = await forward(router, "/completions", data, actor_of(principal))
        if not data.get("stream"):
            return json_response(await whole(pieces))
        frames = whole_frames(pieces)
        first = await anext(frames, b"")  # the status waits for it: where the provider refuses instead, that is the answer
        return StreamResponse(streamed(first, frames), media_type="text/event-stream", headers=SSE_HEADERS)

    @post("/embeddings", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def embed(
        self, data: JSONBody[dict[str, Any]], principal: NamedDependency[Principal], router: NamedDependency[Router]
    ) -> Response[Any]:
        """The provider's embeddings. Nothing is logged."""
        return json_response(await whole(await forward(router, "/embeddings", data, actor_of(principal))))


def json_response(body: bytes) -> Response[bytes]:
    return Response(body, media_type="application/json")


async def streamed(first: bytes, frames: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The provider's own frames; one of ours for a failure in their midst."""
    try:
        yield first
        async for frame in frames:
            yield frame
    except ProviderFailed as failure:
        more = {"provider": failure.said}
        error = openai_errors.shaped(status_of_provider(failure.said), failure.code, failure.detail, more)
        yield b"data: %b\n\n" % msgspec.json.encode(error)
    finally:
        await frames.aclose()


async def whole_frames(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The same bytes, cut at the ends of frames: half a frame before an error would be read as one, and is no JSON."""
    waiting = bytearray()
    try:
        async for piece in pieces:
            searched = max(0, len(waiting) - len(LONGEST_END) + 1)
            waiting += piece
            ends = [at + len(mark) for mark in FRAME_ENDS if (at := waiting.rfind(mark, searched)) >= 0]
            end = max(ends, default=0)
            if end or len(waiting) > CONTENT_BYTES:
                yield bytes(waiting[: end or None])
                del waiting[: end or None]
        if waiting:
            yield bytes(waiting) + b"\n\n"
    finally:
        await pieces.aclose()
