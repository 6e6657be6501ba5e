"""How a function asks a model of this server."""

import json
from collections.abc import AsyncIterator
from typing import Any

from adapters.functions.compat import host
from adapters.functions.compat.responses import StreamingResponse


async def generate_chat_completion(
    request: Any, form_data: dict[str, Any], user: Any = None, bypass_filter: bool = False, bypass_system_prompt: bool = False
) -> Any:
    """The answer of ``form_data["model"]`` for ``user``: a completion, or with ``stream`` a response of lines ``data: …``.

    The access of ``user`` to the model is checked, also with ``bypass_filter``. Raises the server's error where it refuses.
    """
    user_id = getattr(user, "id", None) or (user.get("id") if isinstance(user, dict) else None)
    if not user_id:
        user_id = request.state.metadata.get("user_id") if request is not None else None
    if not user_id:
        raise ValueError("expected the user for whom the model is asked")
    chunks = host.host.complete(str(user_id), form_data)
    if form_data.get("stream"):
        return StreamingResponse(lines(chunks), media_type="text/event-stream")
    return await whole(chunks, str(form_data.get("model")))


async def lines(chunks: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    async for chunk in chunks:
        yield f"data: {json.dumps(chunk)}\n\n"
    yield "data: [DONE]\n\n"


async def whole(chunks: AsyncIterator[dict[str, Any]], model: str) -> dict[str, Any]:
    """One completion of all chunks."""
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    calls: dict[int, dict[str, Any]] = {}
    made: dict[str, Any] = {}
    reason = "stop"
    async for chunk in chunks:
        made = {**made, **{name: value for name, value in chunk.items() if name != "choices"}}
        for choice in chunk["choices"]:
            reason = choice.get("finish_reason") or reason
            delta = choice.get("delta") or {}
            for name in ("content", "reasoning_content"):
                if delta.get(name):
                    message[name] = message.get(name, "") + delta[name]
            for piece in delta.get("tool_calls") or ():
                call = calls.setdefault(piece["index"], {"index": piece["index"], "type": "function", "function": {"arguments": ""}})
                call["id"] = piece.get("id") or call.get("id")
                call["function"]["name"] = piece["function"].get("name") or call["function"].get("name")
                call["function"]["arguments"] += piece["function"].get("arguments") or ""
    if calls:
        message["tool_calls"] = list(calls.values())
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return {**made, "model": model, "object": "chat.completion", "choices": [choice]}


generate_chat_completions = generate_chat_completion  # older names, also in ``open_webui.main``
chat_completion = generate_chat_completion
