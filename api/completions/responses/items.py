"""Input and output items of Responses as messages of chat completions, which is what providers take.

Source: https://platform.openai.com/docs/api-reference/responses/create (``input``).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from api.completions.parameters import shortened
from domain.errors import BadRequest

ITEMS_MAX: Final = 10_000
ROLES: Final = frozenset({"user", "assistant", "system", "developer"})
TEXTS: Final = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})

Item = Mapping[str, Any]
Message = dict[str, Any]


def items_of(given: Any) -> list[dict[str, Any]]:
    """The items of ``input``, each with its type. Raises ``BadRequest`` that names the one at fault."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    if not isinstance(given, list) or len(given) > ITEMS_MAX:
        raise BadRequest(f"expected input as text or a list of at most {ITEMS_MAX} items, received {shortened(given)}", param="input")
    items: list[dict[str, Any]] = []
    for index, item in enumerate(given):
        if not isinstance(item, dict):
            raise BadRequest(f"expected an item as an object, received {shortened(item)}", param=f"input[{index}]")
        items.append({"type": "message", **item} if "role" in item else item)
    return items


def messages_of(items: Sequence[Item]) -> list[Message]:
    """What the items say, as messages. Raises ``BadRequest`` that names the item at fault."""
    messages: list[Message] = []
    for index, item in enumerate(items):
        param = f"input[{index}]"
        match item:
            case {"type": "message", "role": role, "content": content} if role in ROLES:
                messages.append({"role": role, "content": content_of(content, f"{param}.content")})
            case {"type": "function_call", "call_id": str() as call_id, "name": str() as name, "arguments": str() as arguments}:
                call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
                add_call(messages, call)
            case {"type": "function_call_output", "call_id": str() as call_id, "output": output}:
                messages.append({"role": "tool", "tool_call_id": call_id, "content": content_of(output, f"{param}.output")})
            case {"type": "reasoning"}:
                pass  # no provider takes back in chat completions what a model thought
            case _:
                kinds = "message (role, content), function_call (call_id, name, arguments), function_call_output (call_id, output)"
                raise BadRequest(f"expected an item out of {kinds}, reasoning; received {shortened(item)}", param=param)
    return messages


def add_call(messages: list[Message], call: Mapping[str, Any]) -> None:
    """A call belongs to the message of the model that it follows: its text, or the call before it."""
    if messages and messages[-1]["role"] == "assistant":
        messages[-1].setdefault("tool_calls", []).append(call)
    else:
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})


def content_of(content: Any, param: str) -> Any:
    """Text where all of it is text, otherwise a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRequest(f"expected text or a list of parts, received {shortened(content)}", param=param)
    parts = [part_of(part, f"{param}[{index}]") for index, part in enumerate(content)]
    return "".join(part["text"] for part in parts) if all(part["type"] == "text" for part in parts) else parts


def part_of(part: Any, param: str) -> dict[str, Any]:
    match part:
        case {"type": kind, "text": str() as text} if kind in TEXTS:
            return {"type": "text", "text": text}
        case {"type": "refusal", "refusal": str() as text}:
            return {"type": "text", "text": text}
        case {"type": "input_image", "image_url": str() as url}:
            detail = part.get("detail")
            return {"type": "image_url", "image_url": {"url": url, **({"detail": detail} if detail else {})}}
        case {"type": "input_file"} if part.get("file_id") is None and isinstance(part.get("file_data"), str):
            return {"type": "file", "file": {name: part[name] for name in ("filename", "file_data") if part.get(name)}}
        case {"type": "input_audio", "input_audio": dict() as audio}:
            return {"type": "input_audio", "input_audio": audio}
        case _:
            expected = "input_text, input_image with an image_url, input_file with file_data, input_audio, output_text or refusal"
            raise BadRequest(f"expected a part of type {expected}, received {shortened(part)}", param=param)


def shown_text(items: Sequence[Item]) -> Any:
    """What a reader of the chat sees as the question: what the user says last, otherwise what the functions gave back."""
    messages = messages_of(items)
    said = next((message["content"] for message in reversed(messages) if message["role"] == "user"), None)
    if said is not None:
        return said
    return "\n\n".join(message["content"] for message in messages if message["role"] == "tool" and isinstance(message["content"], str))


def listed_item(item: Item, item_id: str) -> dict[str, Any]:
    """An input item as it is listed: with an id, and its content as parts."""
    listed = {"id": item_id, "status": "completed", **{name: value for name, value in item.items() if value is not None}}
    content = listed.get("content")
    if listed["type"] == "message" and isinstance(content, str):
        text: dict[str, Any] = {"type": "input_text", "text": content}
        if listed["role"] == "assistant":
            text = {"type": "output_text", "text": content, "annotations": []}
        listed["content"] = [text]
    return listed


def items_of_message(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The items of a question that came by another dialect: its content in chat completions' form."""
    content = message.get("content")
    if not isinstance(content, list):
        return [{"type": "message", "role": message["role"], "content": content if isinstance(content, str) else ""}]
    parts: list[dict[str, Any]] = []
    for part in content:
        match part:
            case {"type": "text", "text": str() as text}:
                parts.append({"type": "input_text", "text": text})
            case {"type": "image_url", "image_url": {"url": str() as url}}:
                parts.append({"type": "input_image", "image_url": url, "detail": "auto"})
            case _:
                pass  # Responses have no part for it
    return [{"type": "message", "role": message["role"], "content": parts}]
