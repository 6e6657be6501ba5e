"""``/api/chat/completions``: begin a turn, and be told where its stream begins or be streamed it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
from litestar import Controller, Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, SkipValidation

from adapters.delivery.hub import Hub
from api.completions.answering import answer
from api.completions.parameters import require_messages, require_parameters
from api.request.bodies import CONTENT_BYTES
from api.request.caller import Caller
from api.streams.access import LiveConnections
from api.streams.sse import PING_S
from api.streams.tailing import tail_stream
from commands.accounts import Principal
from commands.chats import Chats
from commands.generation.completion import Answerer, Completions, Question, StartedTurn, Turn
from commands.ids import bound_id
from commands.ports import Blobs, EventLog
from commands.references import resolve_blobs
from domain.errors import BadRequest, ChatNotFound, MessageNotFound
from domain.stream import chat_stream
from projections.chat import text_of
from projections.ports import ChatQueries

# Keys of the request that are ours or the reference system's: everything else goes to the provider as it is.
OWN_KEYS: Final = (
    frozenset({"model", "messages", "stream", "stream_options", "n", "params", "files", "features", "variables", "metadata"})
    | {"chat_id", "session_id", "id", "parent_id", "user_message", "parent_message", "message_ids"}
    | {"filter_ids", "tool_ids", "skill_ids", "tool_servers", "model_item", "background_tasks"}
    | {"assistant_message_id", "regeneration_message_id"}
)
CONTEXT_MESSAGES_MAX: Final = 100_000  # the provider limits what its model accepts
MESSAGE_KEYS: Final = frozenset({"id", "parentId", "childrenIds", "role", "content"})


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
        completions: NamedDependency[Completions],
        chats: NamedDependency[Chats],
        chat_queries: NamedDependency[SkipValidation[ChatQueries]],
        log: NamedDependency[SkipValidation[EventLog]],
        blobs: NamedDependency[SkipValidation[Blobs]],
        hub: NamedDependency[Hub],
        live: NamedDependency[SkipValidation[LiveConnections]],
        epoch: NamedDependency[UUID],
    ) -> Response[Any]:
        """Ask one model or several. With ``session_id`` the answer is at once; with ``stream`` it is SSE that tails the log."""
        turn = await turn_of(data, caller.principal, chats, chat_queries, blobs, own_keys=OWN_KEYS)
        started = await completions.begin(turn, caller.actor, caller.key)
        if data.get("session_id"):
            return Response(begun_out(started))
        events = tail_stream(hub, log, live, caller.principal, chat_stream(started.chat_id), started.version, idle_s=PING_S)
        return await answer(request, started, data, events, epoch)


def begun_out(started: StartedTurn) -> BegunOut:
    tasks, messages = started.task_ids, started.message_ids
    return BegunOut(True, tasks[0], tasks, started.chat_id, messages[0], messages, started.version, started.position)


async def turn_of(
    data: Mapping[str, Any], principal: Principal, chats: Chats, chat_queries: ChatQueries, blobs: Blobs, *, own_keys: frozenset[str]
) -> Turn:
    """What the request asks for; all but ``own_keys`` of it goes to the provider. Raises ``BadRequest`` that says what was expected,
    ``ChatNotFound``.
    """
    require_parameters(data)
    user_id = principal.user_id
    chat_id = chat_of(data, user_id)
    messages: Sequence[Mapping[str, Any]] = require_messages(data.get("messages") or [])
    parent_id = optional_id(data, "parent_id", user_id)
    question = question_of(data, user_id, messages)
    if not messages:
        if chat_id is None:
            raise BadRequest("expected messages, or the chat_id of a chat that holds them")
        _, chat = await chats.state(chat_id)
        if not chat.may_write(user_id):
            raise ChatNotFound(chat_id)
        messages = await context(chat_queries, blobs, chat_id, question.parent_id if question is not None else parent_id)
        if question is not None:
            messages = [*messages, {"role": "user", "content": question.content}]
        if not messages:
            raise BadRequest("expected messages, or a chat that holds some")
    given_params = data.get("params")
    params = {
        **{name: value for name, value in data.items() if name not in own_keys},
        **(given_params if isinstance(given_params, Mapping) else {}),
    }
    return Turn(
        chat_id=chat_id, question=question, parent_id=parent_id, answerers=answerers_of(data, user_id), messages=messages, params=params
    )


async def context(chat_queries: ChatQueries, blobs: Blobs, chat_id: UUID, leaf_id: UUID | None) -> list[dict[str, Any]]:
    """The branch down to ``leaf_id`` (the current one if None), as providers take it."""
    try:
        view, ids = await chat_queries.branch(chat_id, leaf=leaf_id, limit=CONTEXT_MESSAGES_MAX)
    except MessageNotFound:
        view, ids = await chat_queries.branch(chat_id, limit=CONTEXT_MESSAGES_MAX)
    await resolve_blobs(blobs, chat_id, view)
    return [{"role": view.messages[one]["role"], "content": text_of(view.messages[one])} for one in ids]


def chat_of(data: Mapping[str, Any], user_id: UUID) -> UUID | None:
    given = data.get("chat_id")
    if given is None or given == "":
        return None
    if not isinstance(given, str):
        raise BadRequest(f"expected chat_id as text, received {type(given).__name__}")
    if given.startswith(("local:", "temporary:")):
        return None  # the reference keeps such a chat in the tab alone; here it is logged, and in nobody's list
    return bound_id(user_id, given)[0]


def question_of(data: Mapping[str, Any], user_id: UUID, messages: Sequence[Mapping[str, Any]]) -> Question | None:
    given = data.get("user_message") or data.get("parent_message")
    if given is not None:
        if not isinstance(given, dict) or "content" not in given:
            raise BadRequest("expected user_message as an object with content")
        message_id, client_id = bound_id(user_id, given["id"]) if isinstance(given.get("id"), str) else (None, None)
        parent_id = optional_id(given, "parentId", user_id)
        fields = {name: value for name, value in given.items() if name not in MESSAGE_KEYS}
        return Question(given["content"], message_id, parent_id, client_id, fields)
    if messages and messages[-1]["role"] == "user":
        return Question(messages[-1].get("content"))
    return None


def answerers_of(data: Mapping[str, Any], user_id: UUID) -> list[Answerer]:
    several = data.get("message_ids")
    if several:
        if not isinstance(several, list) or not all(is_answerer(one) for one in several):
            raise BadRequest("expected message_ids as a list of {model_id, message_id}, both text", param="message_ids")
        made = []
        for one in several:
            message_id, client_id = bound_id(user_id, one["message_id"]) if one.get("message_id") else (uuid4(), None)
            fields = {name: value for name, value in one.items() if name not in ("model_id", "message_id")}
            made.append(Answerer(one["model_id"], message_id, client_id, fields))
        return made
    model = data.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("expected model as text", param="model")
    given = data.get("id")
    message_id, client_id = bound_id(user_id, given) if isinstance(given, str) and given else (uuid4(), None)
    return [Answerer(model, message_id, client_id), *(Answerer(model, uuid4()) for _ in range(1, data.get("n") or 1))]


def is_answerer(given: Any) -> bool:
    return isinstance(given, dict) and isinstance(given.get("model_id"), str) and isinstance(given.get("message_id"), str | None)


def optional_id(data: Mapping[str, Any], name: str, user_id: UUID) -> UUID | None:
    given = data.get(name)
    if given is None or given == "":
        return None
    if not isinstance(given, str):
        raise BadRequest(f"expected {name} as text or null")
    return bound_id(user_id, given)[0]
