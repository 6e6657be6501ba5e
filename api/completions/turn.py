"""What a completion request asks for, read from its body."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

from api.completions.parameters import require_messages, require_parameters
from commands.accounts.principal import Principal
from commands.background.reading import first_line
from commands.calls.calls import bound_session
from commands.calls.direct import DirectTab
from commands.generation.context import SYSTEM_ROLES
from commands.generation.turn import Answerer, NewChat, Question, TaskKind, Turn
from commands.ids import bound_id
from domain.errors import BadRequest

# Keys that say where in its chat a turn is stored, or who follows it there. A client that names the chat alone stores the turn itself.
PLACE_KEYS: Final = ("session_id", "id", "parent_id", "user_message", "parent_message", "message_ids")
# Keys that no provider is sent, and that functions may see.
FUNCTIONS_KEYS: Final = frozenset({"stream", "session_id", "filter_ids", "files", "features", "variables", "tool_ids"})
BACKGROUND_TASKS: Final[Mapping[str, TaskKind]] = {
    "title_generation": "title",
    "tags_generation": "tags",
    "follow_up_generation": "follow_ups",
}
MESSAGE_KEYS: Final = frozenset({"id", "parentId", "childrenIds", "role", "content"})


def turn_of(data: Mapping[str, Any], principal: Principal, *, own_keys: frozenset[str]) -> Turn:
    """What the request asks for; all but ``own_keys`` of it goes to the provider. Raises ``BadRequest`` that says what was expected."""
    require_parameters(data)
    user_id = principal.user_id
    chat_id = chat_of(data, user_id)
    messages = require_messages(data.get("messages") or [])
    new_chat = new_chat_of(data, user_id, messages) if "user_message" in own_keys else None
    if not messages and chat_id is None and new_chat is None:
        raise BadRequest("expected messages, or the chat_id of a chat that holds them")
    continues = optional_id(data, "assistant_message_id", user_id) if "assistant_message_id" in own_keys else None
    if continues is not None and chat_id is None:
        raise BadRequest("expected the chat_id of the answer that assistant_message_id names", param="assistant_message_id")
    names_place = not messages or any(data.get(name) for name in PLACE_KEYS)
    is_stored = new_chat is not None or continues is not None or (chat_id is not None and names_place)
    settings = data.get("params")
    return Turn(
        chat_id=chat_id if is_stored else None,
        new_chat=new_chat,
        context_chat_id=None if is_stored else chat_id,
        question=question_of(data, user_id, messages) if continues is None else None,
        parent_id=optional_id(data, "parent_id", user_id),
        answerers=[beside(answerer, continues) for answerer in answerers_of(data, user_id)],
        messages=messages,
        params={name: value for name, value in data.items() if name not in own_keys},
        settings=settings if isinstance(settings, Mapping) and "params" in own_keys else {},
        beside={name: value for name, value in data.items() if name in FUNCTIONS_KEYS and name in own_keys},
        direct=direct_of(data) if "model_item" in own_keys else None,
        continues=continues,
        background=background_of(data) if is_stored and "background_tasks" in own_keys else {},
        variables=object_of(data, "variables") if "variables" in own_keys else {},
    )


def direct_of(data: Mapping[str, Any]) -> DirectTab | None:
    """The asker's own tab, where ``model_item`` says that it answers: of that its model, and its own number of the provider, and nothing
    else. Raises ``BadRequest``.
    """
    item = data.get("model_item")
    if not isinstance(item, Mapping) or item.get("direct") is not True:
        return None
    session_id = data.get("session_id")
    if not isinstance(session_id, str):
        raise BadRequest("expected the session_id of the tab that answers for a direct model", param="session_id")
    bound_session(session_id)
    model = item.get("id")
    index = item.get("urlIdx")
    return DirectTab(
        session_id,
        model if isinstance(model, str) and model else None,
        stream=data.get("stream") is not False,
        url_index=index if type(index) is int or (isinstance(index, str) and index.isdecimal() and len(index) < 10) else None,
    )


def background_of(data: Mapping[str, Any]) -> Mapping[TaskKind, bool]:
    """The work after the answers that the request names, as true or false."""
    given = object_of(data, "background_tasks")
    return {kind: given[name] for name, kind in BACKGROUND_TASKS.items() if isinstance(given.get(name), bool)}


def object_of(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object that a page sends, or none: what is something else is left out."""
    given = data.get(name)
    return given if isinstance(given, Mapping) else {}


def beside(answerer: Answerer, continues: UUID | None) -> Answerer:
    """A client of Open WebUI names the old answer as the one to be written: what is new gets an id of its own."""
    return Answerer(answerer.model, uuid4(), fields=answerer.fields) if answerer.message_id == continues else answerer


def chat_of(data: Mapping[str, Any], user_id: UUID) -> UUID | None:
    given = data.get("chat_id")
    if given is None or given == "":
        return None
    if not isinstance(given, str):
        raise BadRequest(f"expected chat_id as text, received {type(given).__name__}")
    if given.startswith(("local:", "temporary:")):
        return None  # the reference keeps such a chat in the tab alone; here it is logged, in a chat that no list shows
    return bound_id(user_id, given)[0]


def new_chat_of(data: Mapping[str, Any], user_id: UUID, messages: Sequence[Mapping[str, Any]]) -> NewChat | None:
    """The chat that Open WebUI's page begins: it names the question and no chat, and sends nothing but system prompts."""
    if data.get("chat_id") or not isinstance(data.get("user_message"), dict) or any(one["role"] not in SYSTEM_ROLES for one in messages):
        return None
    models = [answerer.model for answerer in answerers_of(data, user_id)]
    content = data["user_message"].get("content")
    title = first_line(content) if isinstance(content, str) and content.strip() else NewChat().title
    return NewChat(title=title, folder_id=optional_id(data, "folder_id", user_id), fields={"models": models})


def question_of(data: Mapping[str, Any], user_id: UUID, messages: Sequence[Mapping[str, Any]]) -> Question | None:
    given = data.get("user_message") or data.get("parent_message") or None  # an empty object is none
    if given is not None:
        if not isinstance(given, dict) or "content" not in given:
            raise BadRequest("expected user_message as an object with content")
        message_id, client_id = bound_id(user_id, given["id"]) if isinstance(given.get("id"), str) else (None, None)
        parent_id = optional_id(given, "parentId", user_id)
        fields = {name: value for name, value in given.items() if name not in MESSAGE_KEYS}
        # A page names both: a first question that was edited is sent as another beginning of its chat.
        is_first = message_id is not None and "parentId" in given and parent_id is None and data.get("parent_id") is None
        return Question(given["content"], message_id, parent_id, is_first, client_id, fields)
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
