"""Qwen's export: Open WebUI's rows, but what an answer says stands in ``content_list``, one entry for each phase of it."""

from collections.abc import Mapping
from typing import Any, Final

SOURCE: Final = "qwen"
THINKING: Final = frozenset({"think", "thinking_summary"})


def is_row(given: Mapping[str, Any]) -> bool:
    return any("content_list" in one for one in messages_of(given).values() if isinstance(one, dict))


def messages_of(given: Mapping[str, Any]) -> Mapping[str, Any]:
    chat = given.get("chat")
    history = chat.get("history") if isinstance(chat, dict) else None
    messages = history.get("messages") if isinstance(history, dict) else None
    return messages if isinstance(messages, dict) else {}


def open_webui_row(given: Mapping[str, Any]) -> dict[str, Any]:
    messages = {key: with_content(one) if isinstance(one, dict) else one for key, one in messages_of(given).items()}
    return {**given, "chat": {**given["chat"], "history": {**given["chat"]["history"], "messages": messages}}}


def with_content(said: Mapping[str, Any]) -> Mapping[str, Any]:
    phases = said.get("content_list")
    if said.get("content") or not isinstance(phases, list):
        return said
    texts = [
        one["content"]
        for one in phases
        if isinstance(one, dict) and one.get("phase") not in THINKING and isinstance(one.get("content"), str)
    ]
    return {**said, "content": "\n".join(text for text in texts if text)}
