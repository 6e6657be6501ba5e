"""LibreChat's export of one conversation: ``{conversationId, title, messages: [{messageId, parentMessageId, text, …}], …}``.

``messages`` is a list, or with ``recursive`` a tree of ``children``.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from commands.transfer.foreign.rows import message, other_keys, row

SOURCE: Final = "librechat"
NO_PARENT: Final = "00000000-0000-0000-0000-000000000000"


def is_row(given: Mapping[str, Any]) -> bool:
    messages = given.get("messages", given.get("messagesTree"))
    return "conversationId" in given and isinstance(messages, list)


def open_webui_row(given: Mapping[str, Any]) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for said in every(given.get("messages", given.get("messagesTree"))):
        parent = said.get("parentMessageId")
        is_users = said.get("isCreatedByUser") is True
        messages.append(
            message(
                str(said.get("messageId", len(messages))),
                parent if parent != NO_PARENT else None,
                "user" if is_users else "assistant",
                text_of(said),
                said.get("createdAt"),
                model=None if is_users else said.get("model"),
                files=said.get("files"),
                original=other_keys(said, "messageId", "parentMessageId", "isCreatedByUser", "text", "createdAt", "children", "files"),
            )
        )
    options = given.get("options")
    times = [one["timestamp"] for one in messages if "timestamp" in one]
    return row(
        given["conversationId"],
        given.get("title"),
        messages,
        messages[-1]["id"] if messages else None,
        times[0] if times else None,
        times[-1] if times else None,
        options=options,
        **other_keys(given, "conversationId", "title", "messages", "messagesTree", "options"),
    )


def every(messages: Any) -> Iterator[Mapping[str, Any]]:
    """Each message before its children."""
    waiting = [messages]
    while waiting:
        some = waiting.pop()
        for number, said in enumerate(some if isinstance(some, list) else ()):
            if isinstance(said, dict):
                yield said
                if said.get("children"):
                    waiting += [some[number + 1 :], said["children"]]
                    break


def text_of(said: Mapping[str, Any]) -> str:
    """``text``, or the text parts of ``content``, where newer servers keep it."""
    text = said.get("text")
    if isinstance(text, str) and text:
        return text
    content = said.get("content")
    texts: list[str] = []
    for part in content if isinstance(content, list) else ():
        given = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        value = given.get("value") if isinstance(given, dict) else given
        if isinstance(value, str):
            texts.append(value)
    return "\n".join(texts)
