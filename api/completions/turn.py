"""What a completion request asks for, read from its body."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

from api.completions.parameters import require_messages, require_parameters
from commands.accounts import Principal
from commands.chats import Chats
from commands.generation.completion import Answerer, Question, Turn
from commands.ids import bound_id
from commands.ports import Blobs
from commands.references import resolve_blobs
from domain.errors import BadRequest, ChatNotFound, MessageNotFound
from projections.chat import text_of
from projections.ports import ChatQueries

CONTEXT_MESSAGES_MAX: Final = 100_000  # the provider limits what its model accepts
MESSAGE_KEYS: Final = frozenset({"id", "parentId", "childrenIds", "role", "content"})


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
