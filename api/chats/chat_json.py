"""A whole chat as JSON: what ``GET /api/v1/chats/{id}``, snapshots and exports of all chats send."""

from typing import Any
from uuid import UUID

from commands.references import in_thread_if_long
from projections.chat import ChatView


async def chat_to_json(chat_id: UUID, view: ChatView) -> dict[str, Any]:
    return {"id": chat_id, **await in_thread_if_long(view, view.to_json)}
