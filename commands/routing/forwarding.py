"""Requests that are no turns of a chat: they go to the provider that has the model, and nothing of them is logged."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from commands.providers.provider import Forwarder
from commands.routing.router import Router
from domain.errors import BadRequest, ProviderFailed
from domain.log.event import Actor

ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024  # of one that does not stream: 2,048 embeddings of 3,072 numbers, and some more


async def forward(router: Router, path: str, data: Mapping[str, Any], actor: Actor) -> AsyncGenerator[bytes, None]:
    """The body of the provider's answer to ``data``, as it comes. Raises ``BadRequest``, ``ProviderFailed``, and what
    ``Router.route`` raises. An arena is refused: what it picked would be nowhere."""
    model = data.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("expected model as text", param="model")
    route = await router.route(model, actor)
    if not isinstance(route.provider, Forwarder) or route.selected_model_id is not None:
        raise BadRequest(f"expected a model whose provider has {path}, received {model[:200]}", param="model")
    return route.provider.forward(path, {**data, "model": route.upstream})


async def whole(pieces: AsyncGenerator[bytes, None]) -> bytes:
    """All of it. Raises ``ProviderFailed``, also above ``ANSWER_BYTES_MAX``."""
    body = bytearray()
    try:
        async for piece in pieces:
            body += piece
            if len(body) > ANSWER_BYTES_MAX:
                raise ProviderFailed("provider_garbage", f"expected at most {ANSWER_BYTES_MAX} bytes, received more")
    finally:
        await pieces.aclose()
    return bytes(body)
