"""``/api/v1/tasks``: small tasks that clients give a model about a conversation: a title, tags, questions to go on with.

The answer is a completion whose content is JSON, as far as the model does what it is asked to. It is logged like any completion below
``/v1``: in a chat of its own that no list shows.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api.completions.openai import OWN_KEYS
from api.completions.turns import Turns
from api.request.bodies import CONTENT_BYTES
from api.request.caller import Caller
from api.settings import Settings
from commands.accounts.principal import Principal
from commands.background.prompts import prompt_for
from commands.background.work import CURRENT_MODEL
from commands.generation.turn import TaskKind
from domain.errors import BadRequest

# The tasks by their names in the path.
KINDS: Final[Mapping[str, TaskKind]] = {"title": "title", "tags": "tags", "follow_up": "follow_ups"}


class ModelTasksController(Controller):
    path = "/api/v1/tasks"
    tags = ("completions",)

    @get("/config")
    async def config(self, principal: NamedDependency[Principal], settings: NamedDependency[Settings]) -> dict[str, Any]:
        """Which tasks there are. Those below are asked of the model that the request names; those after an answer of the task model."""
        model = None if settings.task_model == CURRENT_MODEL else settings.task_model
        return {
            "TASK_MODEL": model,
            "TASK_MODEL_EXTERNAL": model,
            "ENABLE_TITLE_GENERATION": settings.task_title,
            "ENABLE_TAGS_GENERATION": settings.task_tags,
            "ENABLE_FOLLOW_UP_GENERATION": settings.task_follow_ups,
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
        settings: NamedDependency[Settings],
    ) -> Response[Any]:
        """Ask ``model`` for a title, for tags or for follow-up questions about ``messages``."""
        kind = KINDS.get(task)
        if kind is None:
            raise BadRequest(f"expected a task of {', '.join(KINDS)}, received {task[:80]!r}", param="task")
        prompt = prompt_for(kind, conversation_of(data.get("messages")), settings.task_prompts)
        asked = {"model": data.get("model"), "messages": [{"role": "user", "content": prompt}]}
        return await turns.answer(request, caller, await turns.begin(asked, caller, own_keys=OWN_KEYS), asked)


def conversation_of(messages: Any) -> Sequence[Any]:
    """Raises ``BadRequest``."""
    if not isinstance(messages, list) or not messages:
        raise BadRequest("expected messages as a list that is not empty", param="messages")
    return messages
