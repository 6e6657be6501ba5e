"""The messages that a model is sent: a chat's branch as providers take it, and what no provider takes left out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from commands.content.references import resolve_blobs
from commands.generation.files import with_files
from commands.ports import Blobs
from domain.errors import MessageNotFound
from projections.chat import text_of
from projections.ports import ChatQueries

Message = Mapping[str, Any]  # as providers take it, in OpenAI's form

MESSAGES_MAX: Final = 100_000  # the provider limits what its model accepts
SYSTEM_ROLES: Final = frozenset({"system", "developer"})
# What clients send with the messages of a saved chat, and no provider knows.
STORED_KEYS: Final = (
    frozenset({"id", "client_id", "parentId", "childrenIds", "timestamp", "edited_at", "user_id", "user", "models", "model", "modelName"})
    | {"modelIdx", "selectedModelId", "arena", "done", "state", "task_id", "blocks", "output", "usage", "info", "timings", "finish_reason"}
    | {"error", "files", "sources", "embeds", "statusHistory", "followUps", "annotation", "feedbackId", "favorite", "merged", "meta"}
    | {"originalContent", "contextSummary", "code_executions", "continues", "added_by", "edited_by", "redacted"}
)


async def branch_of(
    chat_queries: ChatQueries, blobs: Blobs, chat_id: UUID, leaf_id: UUID | None, *, messages_max: int = MESSAGES_MAX
) -> tuple[list[Message], Mapping[str, Any]]:
    """The newest messages of the branch down to ``leaf_id`` (the current one if None), as a model is sent them, and the chat's params.

    A leaf that is not in the chat has no branch: the command that names it is refused where it is decided.
    """
    try:
        view, ids = await chat_queries.branch(chat_id, leaf=leaf_id, limit=messages_max)
    except MessageNotFound:
        (view, _), ids = await chat_queries.branch(chat_id, limit=1), []
    await resolve_blobs(blobs, chat_id, view)
    params = view.fields.get("params")
    branch = [said for one in ids if (said := as_said(view.messages[one])) is not None]
    return branch, params if isinstance(params, dict) else {}


def as_said(message: dict[str, Any]) -> Message | None:
    """Role and content alone. An answer's calls are left out: their results are not in the chat."""
    content = text_of(message)
    if message["role"] == "assistant" and is_empty(content):
        return None
    return {"role": message["role"], "content": with_files(content, message.get("files"))}


def is_empty(content: Any) -> bool:
    return content in (None, "", []) or (isinstance(content, str) and not content.strip())


def is_only_a_question(messages: Sequence[Message]) -> bool:
    """Whether these are no history: nothing but system prompts and at most one message by the user."""
    others = [message["role"] for message in messages if message["role"] not in SYSTEM_ROLES]
    return others in ([], ["user"])


def with_branch(messages: Sequence[Message], branch: Sequence[Message]) -> list[Message]:
    """The branch between the system prompts and the question."""
    systems = [message for message in messages if message["role"] in SYSTEM_ROLES]
    return [*systems, *branch, *(message for message in messages if message["role"] not in SYSTEM_ROLES)]


def without_stored_keys(messages: Iterable[Message]) -> list[Message]:
    return [{name: value for name, value in message.items() if name not in STORED_KEYS} for message in messages]


def sendable(messages: Sequence[Message]) -> list[Message]:
    """Without what a provider refuses: answers that say nothing, calls without results, results without calls."""
    sent: list[Message] = []
    place = 0
    while place < len(messages):
        message = messages[place]
        place += 1
        if message["role"] == "tool":
            continue  # its call is not before it
        if message["role"] != "assistant":
            sent.append(message)
            continue
        end = place
        while end < len(messages) and messages[end]["role"] == "tool":
            end += 1
        sent += in_pairs(message, messages[place:end])
        place = end
    return sent


def in_pairs(answer: Message, results: Sequence[Message]) -> list[Message]:
    """An answer with its calls and their results, as far as each has the other."""
    calls = answer.get("tool_calls")
    known = [call for call in calls if isinstance(call, Mapping)] if isinstance(calls, list) else []
    answered = {result.get("tool_call_id") for result in results}
    paired = [call for call in known if call.get("id") in answered]
    ids = {call.get("id") for call in paired}
    kept = {name: value for name, value in answer.items() if name != "tool_calls"} | ({"tool_calls": paired} if paired else {})
    if not paired and is_empty(kept.get("content")) and not any(kept.get(name) for name in ("refusal", "audio", "function_call")):
        return []
    return [kept, *(result for result in results if result.get("tool_call_id") in ids)]
