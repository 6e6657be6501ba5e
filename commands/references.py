"""Content of a chat that is stored beside the log as a blob, put in the place of the reference to it."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec

from commands.large_values import JSON
from commands.ports import Blobs
from domain.stream import Stream, chat_stream
from projections.chat import ChatView, blob_of

T = TypeVar("T")
# From so many messages on the work on a whole chat runs in a thread, so that the event loop goes on serving other requests.
# ``THREAD_ROWS`` in adapters/postgres/chat_queries.py is the same bound: change both.
THREAD_MESSAGES: Final = 500


async def resolve_blobs(blobs: Blobs, chat_id: UUID, chat: ChatView) -> None:
    """Replace the references in the chat's own keys and in its messages by the content; a blob that is missing leaves its reference."""
    stream = chat_stream(chat_id)
    await resolve(blobs, stream, chat.fields)
    for message in await in_thread_if_long(chat, lambda: list(chat.messages.naming("blob"))):
        await resolve(blobs, stream, message)


async def resolve(blobs: Blobs, stream: Stream, keys: dict[str, Any]) -> None:
    """Replace the references among the values, and those in lists of objects: a file of a message may be kept as a blob."""
    for key, value in keys.items():
        if isinstance(value, list):
            if any(isinstance(entry, dict) and any(map(blob_of, entry.values())) for entry in value):
                entries = [dict(entry) if isinstance(entry, dict) else entry for entry in value]  # the list may be others' too
                for entry in entries:
                    if isinstance(entry, dict):
                        await resolve(blobs, stream, entry)
                keys[key] = entries
            continue
        if blob_of(value) is not None:
            keys[key] = await value_of(blobs, stream, value)


async def value_of(blobs: Blobs, stream: Stream, value: Any) -> Any:
    """What a reference refers to; the value itself where it is none, or where its blob is missing."""
    blob = blob_of(value)
    kept = await blobs.get(stream, blob) if blob is not None else None
    if kept is None:
        return value
    return msgspec.json.decode(kept) if value.get("media_type") == JSON else kept.decode()


async def in_thread_if_long(chat: ChatView, work: Callable[[], T]) -> T:
    """Run ``work`` on all messages of the chat, in a thread where these are many."""
    return await asyncio.to_thread(work) if len(chat.messages) >= THREAD_MESSAGES else work()
