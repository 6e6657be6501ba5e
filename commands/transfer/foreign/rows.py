"""The parts of a row that all foreign exports are turned into."""

from collections.abc import Iterable, Mapping
from typing import Any

from domain.values.times import seconds_since_1970


def message(message_id: str, parent_id: str | None, role: str, content: Any, timestamp: Any, **more: Any) -> dict[str, Any]:
    """One message; ``more`` without what is None or empty."""
    fields = {key: value for key, value in more.items() if value not in (None, "", [], {})}
    done = {"done": True} if role == "assistant" else {}
    seconds = seconds_since_1970(timestamp)
    times = {"timestamp": timestamp if seconds is None else seconds} if timestamp is not None else {}
    return {"id": message_id, "parentId": parent_id, "role": role, "content": content, **times, **done, **fields}


def row(
    source_id: Any, title: Any, messages: Iterable[Mapping[str, Any]], current_id: Any, created_at: Any, updated_at: Any, **original: Any
) -> dict[str, Any]:
    by_id = {one["id"]: one for one in messages}
    models = list(dict.fromkeys(one["model"] for one in by_id.values() if isinstance(one.get("model"), str)))
    return {
        "id": source_id,
        "title": title,
        "created_at": created_at,
        "updated_at": updated_at,
        "chat": {"models": models, "history": {"messages": by_id, "currentId": current_id if current_id in by_id else None}},
        **{key: value for key, value in original.items() if value not in (None, "", [], {})},
    }


def other_keys(of: Mapping[str, Any], *known: str) -> dict[str, Any]:
    return {key: value for key, value in of.items() if key not in known}
