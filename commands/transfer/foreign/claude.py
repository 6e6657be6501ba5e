"""Claude's ``conversations.json``: ``{uuid, name, created_at, chat_messages: [{uuid, sender, text, content: [block…], …}], …}``.

Newer exports name each message's parent; in older ones each is below the one before it.
"""

from collections.abc import Mapping
from typing import Any, Final

from commands.transfer.foreign.rows import message, other_keys, row

SOURCE: Final = "claude"
ROLES: Final[Mapping[Any, str]] = {"human": "user", "assistant": "assistant"}
NO_PARENT: Final = "00000000-0000-4000-8000-000000000000"


def is_row(given: Mapping[str, Any]) -> bool:
    return isinstance(given.get("chat_messages"), list)


def open_webui_row(given: Mapping[str, Any]) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    known: set[str] = set()
    for number, said in enumerate(given["chat_messages"]):
        if not isinstance(said, dict):
            said = {"text": "", "original": said}
        named = said.get("parent_message_uuid")
        parent = named if isinstance(named, str) and named in known else messages[-1]["id"] if messages and named != NO_PARENT else None
        message_id = said["uuid"] if isinstance(said.get("uuid"), str) else str(number)
        known.add(message_id)
        messages.append(
            message(
                message_id,
                parent,
                ROLES.get(said.get("sender"), str(said.get("sender"))),
                text_of(said),
                said.get("created_at"),
                files=files_of(said),
                original=other_keys(said, "uuid", "sender", "text", "created_at", "parent_message_uuid"),
            )
        )
    current = given.get("current_leaf_message_uuid") or (messages[-1]["id"] if messages else None)
    return row(
        given.get("uuid"),
        given.get("name") or None,
        messages,
        current,
        given.get("created_at"),
        given.get("updated_at"),
        **other_keys(given, "uuid", "name", "chat_messages", "created_at", "updated_at"),
    )


def text_of(said: Mapping[str, Any]) -> str:
    """The text blocks; ``text`` where there are none: it holds placeholders for blocks that it cannot show."""
    content = said.get("content")
    blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    texts = [block["text"] for block in blocks if block.get("type") == "text" and isinstance(block.get("text"), str)]
    text = said.get("text")
    return "\n".join(texts) or (text if isinstance(text, str) else "")


def files_of(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    files: list[dict[str, Any]] = []
    for key in ("attachments", "files", "files_v2"):
        given = said.get(key)
        for one in given if isinstance(given, list) else ():
            name = one.get("file_name") if isinstance(one, dict) else None
            if isinstance(name, str) and all(file["name"] != name for file in files):
                files.append({"type": "file", "name": name})
    return files
