"""Content that is kept by reference, put back where it belongs."""

from uuid import UUID

from commands.ports import Blobs
from domain.stream import Stream
from projections.chat import ChatView, blob_of


async def resolve_blobs(blobs: Blobs, chat_id: UUID, chat: ChatView) -> None:
    for message in chat.messages.values():
        blob = blob_of(message.get("content"))
        if blob is not None:
            kept = await blobs.get(Stream("chat", chat_id), blob)
            if kept is not None:
                message["content"] = kept.decode()
