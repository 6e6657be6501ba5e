"""``/api/chat/completions``: begin a turn, and be told where its stream begins or be streamed it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.completions.actions import action_of, run_action
from api.completions.turns import Turns
from api.request.bodies import CONTENT_BYTES
from api.request.caller import Caller
from commands.functions.actions import Actions
from commands.generation.turn import StartedTurn

# Keys of the request that are ours or the reference system's: everything else goes to the provider as it is.
OWN_KEYS: Final = (
    frozenset({"model", "messages", "stream", "stream_options", "n", "params", "files", "features", "variables"})
    | {"chat_id", "session_id", "id", "parent_id", "user_message", "parent_message", "message_ids"}
    | {"filter_ids", "tool_ids", "skill_ids", "tool_servers", "model_item", "background_tasks"}
    | {"assistant_message_id", "regeneration_message_id", "folder_id", "chat_variables"}
)


class BegunOut(msgspec.Struct):
    """Subscribe to ``chat/{chat_id}`` after ``version``, and nothing of the turn is missed."""

    status: bool
    task_id: UUID
    task_ids: Sequence[UUID]
    chat_id: UUID
    message_id: UUID
    message_ids: Sequence[UUID]
    version: int
    position: int


class CompletionsController(Controller):
    path = "/api/chat"
    tags = ("completions",)

    @post("/completions", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def complete(
        self,
        data: JSONBody[dict[str, Any]],
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        turns: NamedDependency[Turns],
        actions: NamedDependency[Actions],
    ) -> Response[Any]:
        """Ask one model or several. With ``session_id`` the answer is at once; with ``stream`` it is SSE that tails the log.

        A body with ``actionId`` runs that action instead.
        """
        action_id = action_of(data)
        if action_id is not None:
            return await run_action(action_id, data, request, caller, actions)
        return await complete(data, request, caller, turns)


async def complete(data: Mapping[str, Any], request: Request[Any, Any, Any], caller: Caller, turns: Turns) -> Response[Any]:
    started = await turns.begin(data, caller, own_keys=OWN_KEYS)
    return Response(begun_out(started)) if data.get("session_id") else await turns.answer(request, caller, started, data)


def begun_out(started: StartedTurn) -> BegunOut:
    tasks, messages = started.task_ids, started.message_ids
    return BegunOut(True, tasks[0], tasks, started.chat_id, messages[0], messages, started.version, started.position)
