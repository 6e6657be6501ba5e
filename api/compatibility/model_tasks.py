"""``/api/v1/tasks``: small tasks that clients give a model about a conversation: a title, tags, questions to go on with.

The answer is a completion whose content is JSON, as far as the model does what it is asked to. It is logged like any completion below
``/v1``: in a chat of its own that is in nobody's list.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api.completions.openai import OWN_KEYS
from api.completions.turns import Turns
from api.request.bodies import CONTENT_BYTES
from api.request.caller import Caller
from commands.accounts.accounts import Principal
from domain.errors import BadRequest

MESSAGES_SHOWN: Final = 12  # the last ones of the conversation
CHARACTERS_SHOWN: Final = 2_000  # of each
Task = Literal["title", "tags", "follow_up"]
PROMPTS: Final[Mapping[Task, str]] = {
    "title": 'Name what this conversation is about in two to five words, in its language. Answer with JSON alone: {"title": "the name"}',
    "tags": 'Give one to three broad subjects of this conversation, in its language. Answer with JSON alone: {"tags": ["subject"]}',
    "follow_up": (
        "Write three to five short questions that the user might ask next, from the user's point of view and in the language of this "
        'conversation. Answer with JSON alone: {"follow_ups": ["question"]}'
    ),
}


class ModelTasksController(Controller):
    path = "/api/v1/tasks"
    tags = ("completions",)

    @get("/config")
    async def config(self, principal: NamedDependency[Principal]) -> dict[str, Any]:
        """Which tasks there are. Each is asked of the model that the request names."""
        return {
            "TASK_MODEL": None,
            "TASK_MODEL_EXTERNAL": None,
            "ENABLE_TITLE_GENERATION": True,
            "ENABLE_TAGS_GENERATION": True,
            "ENABLE_FOLLOW_UP_GENERATION": True,
            "ENABLE_AUTOCOMPLETE_GENERATION": False,
            "ENABLE_SEARCH_QUERY_GENERATION": False,
            "ENABLE_RETRIEVAL_QUERY_GENERATION": False,
        }

    @post("/{task:str}/completions", status_code=200, request_max_body_size=CONTENT_BYTES)
    async def complete(
        self,
        task: FromPath[str],
        data: JSONBody[dict[str, Any]],
        request: Request[Any, Any, Any],
        caller: NamedDependency[Caller],
        turns: NamedDependency[Turns],
    ) -> Response[Any]:
        """Ask ``model`` for a title, for tags or for follow-up questions about ``messages``."""
        if task not in PROMPTS:
            raise BadRequest(f"expected a task of {', '.join(PROMPTS)}, received {task[:80]!r}", param="task")
        asked = {"model": data.get("model"), "messages": [{"role": "user", "content": prompt_for(task, data.get("messages"))}]}
        return await turns.answer(request, caller, await turns.begin(asked, caller, own_keys=OWN_KEYS), asked)


def prompt_for(task: str, messages: Any) -> str:
    """The task and the conversation. Raises ``BadRequest``."""
    if not isinstance(messages, list) or not messages:
        raise BadRequest("expected messages as a list that is not empty", param="messages")
    said = [f"{one.get('role')}: {words_of(one)[:CHARACTERS_SHOWN]}" for one in messages[-MESSAGES_SHOWN:] if isinstance(one, dict)]
    return f"{PROMPTS[task]}\n\n<conversation>\n{chr(10).join(said)}\n</conversation>"  # type: ignore[index]  # looked up above


def words_of(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text")) for part in content if isinstance(part, dict) and part.get("type") == "text")
    return content if isinstance(content, str) else ""
