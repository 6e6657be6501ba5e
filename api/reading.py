"""What is kept by reference, put back where it belongs."""

from typing import Any
from uuid import UUID

import msgspec

from commands.ports import Blobs
from commands.whole_chat import JSON
from domain.stream import Stream
from projections.chat import ChatView, blob_of


async def resolve_blobs(blobs: Blobs, chat_id: UUID, chat: ChatView) -> None:
    """Content that was too large for its event, and other keys of an imported chat and its messages."""
    stream = Stream("chat", chat_id)
    await resolve(blobs, stream, chat.fields)
    for message in chat.messages.values():
        await resolve(blobs, stream, message)


async def resolve(blobs: Blobs, stream: Stream, keys: dict[str, Any]) -> None:
    for key, value in keys.items():
        blob = blob_of(value)
        if blob is not None:
            kept = await blobs.get(stream, blob)
            if kept is not None:
                keys[key] = msgspec.json.decode(kept) if value.get("media_type") == JSON else kept.decode()
