"""``POST …/messages/{id}/continue``: go on with an answer that was cut off, as an answer of its own beside it."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api.completions.completions import BegunOut, begun_out
from api.completions.turns import Turns
from api.request.bodies import SMALL_BYTES
from api.request.caller import Caller
from commands.chats.chat_reader import ChatReader
from commands.generation.turn import Answerer, Turn
from domain.errors import BadRequest


class ContinueIn(msgspec.Struct, forbid_unknown_fields=True):
    model: str | None = None  # None: the model of the answer that is continued
    id: str | None = None  # of the new answer; None: the server chooses it
    stream: bool = False
    session_id: str | None = None  # with it the response is at once, also with ``stream``
    params: Mapping[str, Any] = {}  # as in a completion request


class ContinueController(Controller):
    path = "/api/v1/chats"
    tags = ("completions",)

    @post("/{chat_id:str}/messages/{message_id:str}/continue", status_code=200, request_max_body_size=SMALL_BYTES)
    async def continue_answer(
        self,
        chat_id: FromPath[str],
        message_id: FromPath[str],
        data: JSONBody[ContinueIn],
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        chat_reader: NamedDependency[ChatReader],
        turns: NamedDependency[Turns],
    ) -> Response[BegunOut] | Response[Any]:
        """Begin a new answer beside this one that begins with its text. The old answer stays as it is."""
        known_id, continued_id = caller.bound(chat_id), caller.bound(message_id)
        new_id, client_id = caller.new_id("continue", data.id)
        turn = Turn(
            chat_id=known_id,
            question=None,
            parent_id=None,
            answerers=[Answerer(data.model or await model_of(chat_reader, caller, known_id, continued_id), new_id, client_id)],
            messages=[],
            params={},
            settings=data.params,
            continues=continued_id,
        )
        started = await turns.begin_turn(turn, caller)
        if data.stream and data.session_id is None:
            return await turns.answer(request, caller, started, {"stream": True})
        return Response(begun_out(started))


async def model_of(reader: ChatReader, caller: Caller, chat_id: UUID, message_id: UUID) -> str:
    """The model of an answer. Raises ``ChatNotFound``, ``MessageNotFound``, and ``BadRequest`` for a message that names none."""
    view, ids = await reader.branch(caller.principal, chat_id, leaf=message_id, limit=1)
    model = view.messages[ids[-1]].get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest(f"expected model as text: message {message_id} names none", param="model")
    return model
