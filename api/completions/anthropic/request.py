"""What the body of ``POST /v1/messages`` asks for, as chat completions say it.

Source: https://docs.anthropic.com/en/api/messages.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from api.completions.parameters import Check, instance, number, require_parameters, shortened, texts, whole
from domain.errors import BadRequest

CHECKS: Final[Mapping[str, tuple[Check, str]]] = {
    "model": instance("text", str),
    "messages": instance("a list", list),
    "max_tokens": (whole, "a whole number"),
    "system": instance("text or a list of text blocks", str, list),
    "stream": instance("true or false", bool),
    "stop_sequences": (texts, "a list of texts"),
    "temperature": (number, "a number"),
    "top_p": (number, "a number"),
    "top_k": (whole, "a whole number"),
    "tools": instance("a list", list),
    "tool_choice": instance("an object", dict),
    "thinking": instance("an object", dict),
    "metadata": instance("an object", dict),
    "output_config": instance("an object", dict),
}
# Parameters that have another name in chat completions, or that only Anthropic's own servers know. All others go to the provider.
OWN_KEYS: Final = frozenset(
    {
        *("model", "messages", "max_tokens", "system", "stream", "stop_sequences", "tools", "tool_choice", "thinking", "metadata"),
        *("output_config", "cache_control", "container", "context_management", "diagnostics", "inference_geo", "mcp_servers", "prefill"),
        *("service_tier", "speed", "user_profile_id", "workspace_id"),
        # Keys of Open WebUI's completions that would name a chat here.
        *("chat_id", "session_id", "id", "parent_id", "user_message", "parent_message", "message_ids", "params", "n"),
    }
)
CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}

Message = dict[str, Any]


def completion_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The body as a chat completion's. Raises ``BadRequest`` that names what does not fit."""
    require_parameters(data, CHECKS)
    for name in ("model", "messages", "max_tokens"):
        if not data.get(name):
            raise BadRequest(f"expected {name}", param=name)
    messages = [message for index, one in enumerate(data["messages"]) for message in messages_of(one, f"messages[{index}]")]
    if system := data.get("system"):
        messages.insert(0, {"role": "system", "content": text_of(system, "system")})
    return {**params_of(data), "model": data["model"], "messages": messages}


def params_of(data: Mapping[str, Any]) -> dict[str, Any]:
    params = {name: value for name, value in data.items() if name not in OWN_KEYS and value is not None}
    params["max_completion_tokens"] = data["max_tokens"]
    if stop := data.get("stop_sequences"):
        params["stop"] = stop
    if tools := data.get("tools"):
        params["tools"] = [tool_of(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    if choice := data.get("tool_choice"):
        match choice:
            case {"type": "tool", "name": str() as name}:
                params["tool_choice"] = {"type": "function", "function": {"name": name}}
            case {"type": kind} if kind in CHOICES:
                params["tool_choice"] = CHOICES[kind]
            case _:
                raise BadRequest(f"expected tool_choice as auto, any, none or a tool, received {shortened(choice)}", param="tool_choice")
        if choice.get("disable_parallel_tool_use"):
            params["parallel_tool_calls"] = False
    if isinstance(user_id := (data.get("metadata") or {}).get("user_id"), str):
        params["user"] = user_id
    config = data.get("output_config") or {}
    if effort := config.get("effort"):
        params["reasoning_effort"] = effort
    match config.get("format"):
        case {"type": "json_schema", "schema": dict() as schema}:
            params["response_format"] = {"type": "json_schema", "json_schema": {"name": "output", "schema": schema, "strict": True}}
        case _:
            pass
    return params


def tool_of(tool: Any, param: str) -> dict[str, Any]:
    match tool:
        case {"name": str() as name, "input_schema": dict() as schema} if tool.get("type") in (None, "custom"):
            description = tool.get("description")
            function = {"name": name, "parameters": schema, **({"description": description} if description else {})}
            return {"type": "function", "function": function}
        case _:
            expected = "a tool with a name and an input_schema (no tools of the server's own run here)"
            raise BadRequest(f"expected {expected}, received {shortened(tool)}", param=param)


def messages_of(message: Any, param: str) -> Iterator[Message]:
    """One message of theirs: results of tools are messages of their own in chat completions."""
    match message:
        case {"role": "user" | "assistant" | "system" as role, "content": str() as text}:
            yield {"role": role, "content": text}
        case {"role": "user", "content": list() as blocks}:
            yield from user_messages(blocks, f"{param}.content")
        case {"role": "assistant", "content": list() as blocks}:
            yield assistant_message(blocks, f"{param}.content")
        case {"role": "system", "content": list() as blocks}:
            yield {"role": "system", "content": text_of(blocks, f"{param}.content")}
        case _:
            expected = "a message with a role (user, assistant) and content"
            raise BadRequest(f"expected {expected}, received {shortened(message)}", param=param)


def user_messages(blocks: Sequence[Any], param: str) -> Iterator[Message]:
    parts: list[dict[str, Any]] = []
    for index, block in enumerate(blocks):
        match block:
            case {"type": "tool_result", "tool_use_id": str() as call_id}:
                content = block.get("content") or ""
                inner = [{"type": "text", "text": content}] if isinstance(content, str) else content
                if not isinstance(inner, list):
                    raise BadRequest(
                        f"expected content as text or blocks, received {shortened(content)}", param=f"{param}[{index}].content"
                    )
                made = [part_of(one, f"{param}[{index}].content[{at}]") for at, one in enumerate(inner)]
                yield {"role": "tool", "tool_call_id": call_id, "content": "".join(one["text"] for one in made if one["type"] == "text")}
                parts += [one for one in made if one["type"] != "text"]  # a tool's message holds text alone
            case _:
                parts.append(part_of(block, f"{param}[{index}]"))
    if parts:
        is_text = all(part["type"] == "text" for part in parts)
        yield {"role": "user", "content": "".join(part["text"] for part in parts) if is_text else parts}


def assistant_message(blocks: Sequence[Any], param: str) -> Message:
    said: list[str] = []
    calls: list[dict[str, Any]] = []
    for index, block in enumerate(blocks):
        match block:
            case {"type": "text", "text": str() as text}:
                said.append(text)
            case {"type": "tool_use", "id": str() as call_id, "name": str() as name, "input": given}:
                function = {"name": name, "arguments": msgspec.json.encode(given).decode()}
                calls.append({"id": call_id, "type": "function", "function": function})
            case {"type": "thinking" | "redacted_thinking"}:
                pass  # no provider takes back in chat completions what a model thought
            case _:
                raise BadRequest(
                    f"expected a block out of text, tool_use, thinking, received {shortened(block)}", param=f"{param}[{index}]"
                )
    message: Message = {"role": "assistant", "content": "".join(said) if said or not calls else None}
    return {**message, "tool_calls": calls} if calls else message


def part_of(block: Any, param: str) -> dict[str, Any]:
    match block:
        case {"type": "text", "text": str() as text}:
            return {"type": "text", "text": text}
        case {"type": "image", "source": {"type": "base64", "media_type": str() as media_type, "data": str() as data}}:
            return {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{data}"}}
        case {"type": "image", "source": {"type": "url", "url": str() as url}}:
            return {"type": "image_url", "image_url": {"url": url}}
        case {"type": "document", "source": {"type": "text", "data": str() as text}}:
            return {"type": "text", "text": text}
        case {"type": "document", "source": {"type": "base64", "media_type": str() as media_type, "data": str() as data}}:
            title = block.get("title")
            file = {"filename": title if isinstance(title, str) else "document", "file_data": f"data:{media_type};base64,{data}"}
            return {"type": "file", "file": file}
        case _:
            expected = "text, image (base64, url), document (base64, text) or tool_result"
            raise BadRequest(f"expected a block out of {expected}, received {shortened(block)}", param=param)


def text_of(content: Any, param: str) -> str:
    if isinstance(content, str):
        return content
    parts = [part_of(block, f"{param}[{index}]") for index, block in enumerate(content)]
    if any(part["type"] != "text" for part in parts):
        raise BadRequest("expected blocks of text alone", param=param)
    return "\n\n".join(part["text"] for part in parts)
