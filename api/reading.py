"""Content that is kept by reference, put back where it belongs."""

from typing import Any
from uuid import UUID

from commands.ports import Blobs
from domain.stream import Stream
from projections.chat import ChatView


async def resolve_blobs(blobs: Blobs, chat_id: UUID, chat: ChatView) -> None:
    for message in chat.messages.values():
        content: Any = message.get("content")
        if isinstance(content, dict) and "blob" in content:
            kept = await blobs.get(Stream("chat", chat_id), content["blob"])
            if kept is not None:
                message["content"] = kept.decode()
