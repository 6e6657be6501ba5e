"""``/v1/messages``."""

from typing import Any

from litestar import Controller, Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.completions.anthropic.events import MessageFrames
from api.completions.anthropic.request import completion_of
from api.completions.openai import OWN_KEYS
from api.completions.turns import Turns
from api.request.bodies import CONTENT_BYTES
from api.request.caller import Caller


class MessagesController(Controller):
    path = "/v1/messages"
    tags = ("anthropic",)

    @post("/", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def create(
        self,
        data: JSONBody[dict[str, Any]],
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        turns: NamedDependency[Turns],
    ) -> Response[Any]:
        """As Anthropic answers, from any model. Logged like any other turn, in a chat of its own that no list shows."""
        started = await turns.begin(completion_of(data), caller, own_keys=OWN_KEYS)
        with_thinking = (data.get("thinking") or {}).get("type") in ("enabled", "adaptive")
        frames = MessageFrames(started.message_ids[0], with_thinking=with_thinking)
        return await turns.answer_with(request, caller, started, frames, frames.message, stream=bool(data.get("stream")))
