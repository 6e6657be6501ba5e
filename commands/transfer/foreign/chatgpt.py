"""ChatGPT's ``conversations.json``: ``{title, create_time, mapping: {id: {message, parent, children}}, current_node, …}``.

A node without a message, or with one that nobody was shown (a system's own, a model's call of a tool and what came back), passes its
children on to the message above it; hidden ones are kept under ``original`` of the chat.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from commands.transfer.foreign.rows import message, other_keys, row

SOURCE: Final = "chatgpt"
ROLES: Final = frozenset({"user", "assistant", "system"})
Node = Mapping[str, Any]


def is_row(given: Mapping[str, Any]) -> bool:
    return isinstance(given.get("mapping"), dict)


def open_webui_row(given: Mapping[str, Any]) -> dict[str, Any]:
    nodes: dict[str, Node] = {key: node for key, node in given["mapping"].items() if isinstance(node, dict)}
    shown = {key for key, node in nodes.items() if is_shown(node.get("message"))}
    messages = [message_of(key, nodes[key], above(key, nodes, shown)) for key in in_order(nodes) if key in shown]
    current = given.get("current_node")
    if isinstance(current, str) and current in nodes and current not in shown:
        current = above(current, nodes, shown)
    hidden = [node["message"] for key, node in nodes.items() if key not in shown and node.get("message")]
    return row(
        given.get("conversation_id") or given.get("id"),
        given.get("title"),
        messages,
        current,
        given.get("create_time"),
        given.get("update_time"),
        hidden_messages=hidden,
        **other_keys(given, "id", "title", "mapping", "current_node", "create_time", "update_time"),
    )


def is_shown(said: Any) -> bool:
    if not isinstance(said, dict) or not isinstance(said.get("author"), dict) or said["author"].get("role") not in ROLES:
        return False
    metadata = said["metadata"] if isinstance(said.get("metadata"), dict) else {}
    is_call = said.get("recipient") not in (None, "all")
    return not is_call and not metadata.get("is_visually_hidden_from_conversation") and bool(text_of(said) or files_of(said))


def in_order(nodes: Mapping[str, Node]) -> Iterator[str]:
    """Each node after the one above it, siblings as they are listed; then those that no list leads to."""
    seen: set[str] = set()
    waiting = [key for key, node in nodes.items() if node.get("parent") not in nodes][::-1]
    while waiting:
        key = waiting.pop()
        if key in seen:
            continue
        seen.add(key)
        yield key
        children = nodes[key].get("children")
        waiting.extend(child for child in reversed(children if isinstance(children, list) else []) if child in nodes)
    yield from (key for key in nodes if key not in seen)


def above(key: str, nodes: Mapping[str, Node], shown: set[str]) -> str | None:
    """The nearest message above that is shown."""
    passed = {key}
    parent = nodes[key].get("parent")
    while isinstance(parent, str) and parent in nodes and parent not in passed:
        if parent in shown:
            return parent
        passed.add(parent)
        parent = nodes[parent].get("parent")
    return None


def message_of(key: str, node: Node, parent_id: str | None) -> dict[str, Any]:
    said = node["message"]
    metadata = said["metadata"] if isinstance(said.get("metadata"), dict) else {}
    model = metadata.get("model_slug")
    return message(
        key,
        parent_id,
        said["author"]["role"],
        text_of(said),
        said.get("create_time"),
        model=model if isinstance(model, str) and said["author"]["role"] == "assistant" else None,
        files=files_of(said),
        original=other_keys(said, "id", "author", "create_time"),
    )


def text_of(said: Node) -> str:
    content = said.get("content")
    if not isinstance(content, dict):
        return content if isinstance(content, str) else ""
    parts = content.get("parts")
    if isinstance(parts, list):
        return "\n".join(part if isinstance(part, str) else part["text"] for part in parts if isinstance(part, str) or is_text(part))
    texts = (content.get("text"), content.get("result"), content.get("content"))
    return next((text for text in texts if isinstance(text, str)), "")


def is_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)


def files_of(said: Node) -> list[dict[str, Any]]:
    """Attachments and pictures by name: the export may hold them in files of their own."""
    metadata = said.get("metadata")
    attachments = metadata.get("attachments") if isinstance(metadata, dict) else None
    named = [one for one in attachments if isinstance(one, dict)] if isinstance(attachments, list) else []
    files = [{"type": "file", "id": one.get("id"), "name": one.get("name") or one.get("id")} for one in named]
    known = {one["id"] for one in files}
    content = said.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    for part in parts if isinstance(parts, list) else ():
        pointer = part.get("asset_pointer") if isinstance(part, dict) else None
        if isinstance(pointer, str) and pointer.rpartition("/")[2] not in known:
            files.append({"type": "image", "id": pointer, "name": pointer.rpartition("/")[2]})
    return files
