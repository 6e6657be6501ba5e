"""What a completion request may say, checked before anything is written: OpenAI's own parameters by their types.

Bounds are the provider's to check, since they differ. A parameter that is not known here goes to the provider as it is; ``null``
means that it was not given.
Source: https://platform.openai.com/docs/api-reference/chat/create.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from commands.generation.turn import ANSWERS_MAX
from domain.errors import BadRequest

ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})

Check = Callable[[Any], bool]


def number(value: Any) -> bool:
    return type(value) in (int, float)


def whole(value: Any) -> bool:
    return type(value) is int


def instance(expected: str, *types: type) -> tuple[Check, str]:
    return lambda value: isinstance(value, types), expected


def texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))


def objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def parts(value: Any) -> bool:
    """Content: text, or parts that each say of which type they are."""
    return isinstance(value, str) or (objects(value) and all(isinstance(one.get("type"), str) for one in value))


CHECKS: Final[Mapping[str, tuple[Check, str]]] = {
    "stream": instance("true or false", bool),
    "stream_options": instance("an object", dict),
    "temperature": (number, "a number"),
    "top_p": (number, "a number"),
    "presence_penalty": (number, "a number"),
    "frequency_penalty": (number, "a number"),
    "n": (lambda value: whole(value) and 1 <= value <= ANSWERS_MAX, f"a whole number from 1 to {ANSWERS_MAX}"),
    "max_tokens": (whole, "a whole number"),
    "max_completion_tokens": (whole, "a whole number"),
    "seed": (whole, "a whole number"),
    "logprobs": instance("true or false", bool),
    "top_logprobs": (whole, "a whole number"),
    "stop": (texts, "text, or a list of texts"),
    "tools": (objects, "a list of objects"),
    "tool_choice": instance("text or an object", str, dict),
    "parallel_tool_calls": instance("true or false", bool),
    "response_format": instance("an object", dict),
    "logit_bias": instance("an object", dict),
    "metadata": instance("an object", dict),
    "user": instance("text", str),
    "store": instance("true or false", bool),
}

MESSAGE_CHECKS: Final[Mapping[str, tuple[Check, str]]] = {
    "content": (parts, "text, a list of parts that have a type, or null"),
    "name": instance("text", str),
    "refusal": instance("text", str),
    "tool_calls": (objects, "a list of objects"),
    "tool_call_id": instance("text", str),
    "function_call": instance("an object", dict),
}


def require_parameters(data: Mapping[str, Any], checks: Mapping[str, tuple[Check, str]] = CHECKS, within: str = "") -> None:
    """Raises ``BadRequest`` that names the first parameter whose value does not fit; ``within`` stands before its name."""
    for name, (fits, expected) in checks.items():
        value = data.get(name)
        if value is not None and not fits(value):
            raise BadRequest(f"expected {name} as {expected}, received {shortened(value)}", param=f"{within}{name}")


def require_messages(messages: Any) -> Sequence[Mapping[str, Any]]:
    """The messages. Raises ``BadRequest`` that names the one at fault by its index."""
    if not isinstance(messages, list):
        raise BadRequest(f"expected messages as a list, received {shortened(messages)}", param="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise BadRequest(f"expected a message as an object, received {shortened(message)}", param=f"messages[{index}]")
        role = message.get("role")
        if not isinstance(role, str) or role not in ROLES:
            known = ", ".join(sorted(ROLES))
            raise BadRequest(f"expected a role out of {known}, received {shortened(role)}", param=f"messages[{index}].role")
        require_parameters(message, MESSAGE_CHECKS, f"messages[{index}].")
    return messages


def shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
