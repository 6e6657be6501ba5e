"""What the body of ``POST /v1/responses`` asks for: parameters for the provider, and what the response says of them again.

Source: https://platform.openai.com/docs/api-reference/responses/create.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from api.completions.parameters import Check, instance, number, require_parameters, shortened, whole
from domain.errors import BadRequest

CHECKS: Final[Mapping[str, tuple[Check, str]]] = {
    "model": instance("text", str),
    "input": instance("text or a list of items", str, list),
    "instructions": instance("text", str),
    "stream": instance("true or false", bool),
    "stream_options": instance("an object", dict),
    "background": instance("true or false", bool),
    "store": instance("true or false", bool),
    "previous_response_id": instance("text", str),
    "conversation": instance("text, or an object with an id", str, dict),
    "metadata": instance("an object", dict),
    "max_output_tokens": (whole, "a whole number"),
    "max_tool_calls": (whole, "a whole number"),
    "temperature": (number, "a number"),
    "top_p": (number, "a number"),
    "top_logprobs": (whole, "a whole number"),
    "tools": instance("a list", list),
    "tool_choice": instance("text or an object", str, dict),
    "parallel_tool_calls": instance("true or false", bool),
    "reasoning": instance("an object", dict),
    "text": instance("an object", dict),
    "truncation": instance("text", str),
    "user": instance("text", str),
    "include": instance("a list", list),
}
# Of the request, said again by the response.
SAID_AGAIN: Final = (
    *("background", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls", "previous_response_id"),
    *("prompt_cache_key", "reasoning", "safety_identifier", "service_tier", "temperature", "text", "tool_choice", "tools", "top_logprobs"),
    *("top_p", "truncation", "user"),
)
# Parameters that are ours, that have another name in chat completions, or that only OpenAI's own servers know. All others go to the
# provider as they are.
OWN_KEYS: Final = frozenset(
    {
        *("model", "input", "instructions", "stream", "stream_options", "background", "store", "previous_response_id", "conversation"),
        *("metadata", "include", "max_output_tokens", "max_tool_calls", "tools", "tool_choice", "text", "reasoning", "truncation"),
        *("prompt", "access_programs", "background_options", "context_management", "image", "moderation", "prompt_cache_options"),
    }
)


def require_body(data: Mapping[str, Any]) -> None:
    """Raises ``BadRequest`` that names the first parameter whose value does not fit."""
    require_parameters(data, CHECKS)
    if not data.get("model"):
        raise BadRequest("expected model as text", param="model")
    if data.get("prompt") is not None:
        raise BadRequest("expected input and instructions: prompts are not stored here", param="prompt")
    if data.get("previous_response_id") and data.get("conversation"):
        raise BadRequest("expected previous_response_id or conversation, received both", param="conversation")
    if data.get("input") is None and not data.get("previous_response_id") and not data.get("conversation"):
        raise BadRequest("expected input, or what it goes on from: previous_response_id or conversation", param="input")


def params_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as chat completions name them. Raises ``BadRequest``."""
    params = {name: value for name, value in data.items() if name not in OWN_KEYS and value is not None}
    if (most := data.get("max_output_tokens")) is not None:
        params["max_completion_tokens"] = most
    if params.get("top_logprobs"):
        params["logprobs"] = True
    if tools := data.get("tools"):
        params["tools"] = tools_of(tools)
    if (choice := data.get("tool_choice")) is not None:
        params["tool_choice"] = tool_choice_of(choice)
    if effort := (data.get("reasoning") or {}).get("effort"):
        params["reasoning_effort"] = effort
    text = data.get("text") or {}
    if verbosity := text.get("verbosity"):
        params["verbosity"] = verbosity
    if (shape := response_format_of(text.get("format"))) is not None:
        params["response_format"] = shape
    return params


def tools_of(tools: Sequence[Any]) -> list[dict[str, Any]]:
    made = []
    for index, tool in enumerate(tools):
        match tool:
            case {"type": "function", "name": str()}:
                keys = ("name", "description", "parameters", "strict")
                function = {name: tool[name] for name in keys if tool.get(name) is not None}
                made.append({"type": "function", "function": function})
            case _:
                raise BadRequest(
                    f"expected a tool of type function with a name (no other tools run here), received {shortened(tool)}",
                    param=f"tools[{index}]",
                )
    return made


def tool_choice_of(choice: Any) -> Any:
    match choice:
        case "none" | "auto" | "required":
            return choice
        case {"type": "function", "name": str() as name}:
            return {"type": "function", "function": {"name": name}}
        case _:
            expected = "none, auto, required, or a function by its name"
            raise BadRequest(f"expected tool_choice as {expected}, received {shortened(choice)}", param="tool_choice")


def response_format_of(shape: Any) -> dict[str, Any] | None:
    match shape:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return {"type": "json_object"}
        case {"type": "json_schema", "name": str(), "schema": dict()}:
            keys = ("name", "description", "schema", "strict")
            return {"type": "json_schema", "json_schema": {name: shape[name] for name in keys if shape.get(name) is not None}}
        case _:
            expected = "text, json_object, or json_schema with a name and a schema"
            raise BadRequest(f"expected the format {expected}, received {shortened(shape)}", param="text.format")


def said_again(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in SAID_AGAIN if data.get(name) is not None}
