"""Small tools for lists of messages, and the shapes of answers in OpenAI's form."""

import hashlib
import re
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

Message = dict[str, Any]
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def deep_update(d: dict[str, Any], u: Mapping[str, Any]) -> dict[str, Any]:
    """``d`` with the keys of ``u``, objects merged key by key."""
    for name, value in u.items():
        d[name] = deep_update(d.get(name, {}), value) if isinstance(value, Mapping) else value
    return d


# ------------------------------------------------------------------------------------------------ reading messages


def get_message_list(messages_map: Mapping[str, Message] | None, message_id: str | None) -> list[Message]:
    """The branch from its root to ``message_id``, by ``parentId``."""
    branch: list[Message] = []
    seen: set[str] = set()
    while messages_map and message_id in messages_map and message_id not in seen:
        assert message_id is not None
        seen.add(message_id)
        branch.append(messages_map[message_id])
        message_id = messages_map[message_id].get("parentId")
    return branch[::-1]


def get_content_from_message(message: Message) -> str | None:
    """The text: of content in parts, that of the first one that has text."""
    content = message.get("content")
    if isinstance(content, list):
        return next((part.get("text") for part in content if part.get("type") == "text"), None)
    return content


def get_messages_content(messages: list[Message]) -> str:
    return "\n".join(f"{message['role'].upper()}: {get_content_from_message(message)}" for message in messages)


def _last(messages: list[Message], role: str) -> Message | None:
    return next((message for message in reversed(messages) if message.get("role") == role), None)


def get_last_user_message_item(messages: list[Message]) -> Message | None:
    return _last(messages, "user")


def get_last_assistant_message_item(messages: list[Message]) -> Message | None:
    return _last(messages, "assistant")


def get_last_user_message(messages: list[Message]) -> str | None:
    found = _last(messages, "user")
    return None if found is None else get_content_from_message(found)


def get_last_assistant_message(messages: list[Message]) -> str | None:
    found = _last(messages, "assistant")
    return None if found is None else get_content_from_message(found)


def get_system_message(messages: list[Message]) -> Message | None:
    return next((message for message in messages if message.get("role") == "system"), None)


def remove_system_message(messages: list[Message]) -> list[Message]:
    return [message for message in messages if message.get("role") != "system"]


def pop_system_message(messages: list[Message]) -> tuple[Message | None, list[Message]]:
    return get_system_message(messages), remove_system_message(messages)


# ------------------------------------------------------------------------------------------------ changing messages


def _join(old: str, new: str, append: bool) -> str:
    return f"{old}\n{new}" if append else f"{new}\n{old}"


def update_message_content(message: Message, content: str, append: bool = True) -> Message:
    """Put a line below the text, or above it; in content of parts into each part that has text."""
    if isinstance(message.get("content"), list):
        for part in message["content"]:
            if part.get("type") == "text":
                part["text"] = _join(part["text"], content, append)
    else:
        message["content"] = _join(message.get("content") or "", content, append)
    return message


def replace_message_content(message: Message, content: str) -> Message:
    if isinstance(message.get("content"), list):
        for part in message["content"]:
            if part.get("type") == "text":
                part["text"] = content
    else:
        message["content"] = content
    return message


def replace_system_message_content(content: str, messages: list[Message]) -> list[Message]:
    found = get_system_message(messages)
    if found is not None:
        found["content"] = content
    return messages


def add_or_update_system_message(content: str, messages: list[Message], append: bool = False) -> list[Message]:
    """At the top: into the system message that stands there, or as a new one."""
    if messages and messages[0].get("role") == "system":
        update_message_content(messages[0], content, append)
    else:
        messages.insert(0, {"role": "system", "content": content})
    return messages


def add_or_update_user_message(content: str, messages: list[Message], append: bool = True) -> list[Message]:
    """At the end: into the user's message that stands there, or as a new one."""
    if messages and messages[-1].get("role") == "user":
        update_message_content(messages[-1], content, append)
    else:
        messages.append({"role": "user", "content": content})
    return messages


def prepend_to_first_user_message_content(content: str, messages: list[Message]) -> list[Message]:
    first = next((message for message in messages if message.get("role") == "user"), None)
    if first is not None:
        update_message_content(first, content, append=False)
    return messages


def append_or_update_assistant_message(content: str, messages: list[Message]) -> list[Message]:
    if messages and messages[-1].get("role") == "assistant":
        update_message_content(messages[-1], content)
    else:
        messages.append({"role": "assistant", "content": content})
    return messages


# ------------------------------------------------------------------------------------------------ answers


def openai_chat_message_template(model: str) -> dict[str, Any]:
    choice = {"index": 0, "logprobs": None, "finish_reason": None}
    return {"id": f"{model}-{uuid4()}", "created": int(time.time()), "model": model, "choices": [choice]}


def _said(content: str | None, reasoning_content: str | None, tool_calls: list[Any] | None) -> dict[str, Any]:
    parts = {"content": content, "reasoning_content": reasoning_content, "tool_calls": tool_calls}
    return {name: value for name, value in parts.items() if value}


def openai_chat_chunk_message_template(
    model: str,
    content: str | None = None,
    reasoning_content: str | None = None,
    tool_calls: list[Any] | None = None,
    usage: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A chunk; one that says nothing is the last one."""
    made = {**openai_chat_message_template(model), "object": "chat.completion.chunk"}
    choice = made["choices"][0]
    choice["delta"] = _said(content, reasoning_content, tool_calls)
    if not choice["delta"]:
        choice["finish_reason"] = "stop"
    return {**made, "usage": usage} if usage else made


def openai_chat_completion_message_template(
    model: str,
    message: str | None = None,
    reasoning_content: str | None = None,
    tool_calls: list[Any] | None = None,
    usage: dict[str, Any] | None = None,
) -> dict[str, Any]:
    made = {**openai_chat_message_template(model), "object": "chat.completion"}
    choice = made["choices"][0]
    choice["finish_reason"] = "stop"
    if message is not None:
        choice["message"] = {"role": "assistant", **_said(None, reasoning_content, tool_calls), "content": message}
    return {**made, "usage": usage} if usage else made


# ------------------------------------------------------------------------------------------------ other things


def calculate_sha256_string(string: str) -> str:
    return hashlib.sha256(string.encode()).hexdigest()


def calculate_sha256(file_path: str | Path, chunk_size: int = 65_536) -> str:
    digest = hashlib.sha256()
    with open(file_path, "rb") as file:
        while piece := file.read(chunk_size):
            digest.update(piece)
    return digest.hexdigest()


def validate_email_format(email: str) -> bool:
    return email.endswith("@localhost") or re.match(r"[^@]+@[^@]+\.[^@]+", email) is not None


def sanitize_filename(file_name: str) -> str:
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s]", "", file_name.lower()))


def parse_duration(duration: str) -> timedelta | None:
    """ "1h30m" as a time; None for "0" and "-1". Raises ``ValueError``."""
    if duration in ("-1", "0"):
        return None
    found = re.findall(r"(-?\d+(?:\.\d+)?)(ms|s|m|h|d|w)", duration)
    if not found:
        raise ValueError("Invalid duration string")
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in found))
