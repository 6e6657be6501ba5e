"""Content of a chat that is stored beside the log as a blob, put in the place of the reference to it."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec

from commands.content.large_values import JSON
from commands.ports import Blobs
from domain.log.stream import Stream, chat_stream
from projections.chat import ChatView, blob_of, names_blob

T = TypeVar("T")
# From so many messages on the work on a whole chat runs in a thread, so that the event loop goes on serving other requests.
# ``THREAD_ROWS`` in adapters/postgres/reading/chat_queries.py is the same bound: change both.
THREAD_MESSAGES: Final = 500


async def resolve_blobs(blobs: Blobs, chat_id: UUID, chat: ChatView) -> None:
    """Replace the references in the chat's own keys and in its messages by the content; a blob that is missing leaves its reference."""
    stream = chat_stream(chat_id)
    await resolve(blobs, stream, chat.fields)
    for message in await in_thread_if_long(chat, lambda: list(chat.messages.naming("blob"))):
        await resolve(blobs, stream, message)


async def resolve(blobs: Blobs, stream: Stream, keys: dict[str, Any]) -> None:
    """Replace the references among the values, at any depth: a file of a message may be kept as a blob."""
    for key, value in keys.items():
        if names_blob(value):
            keys[key] = await value_of(blobs, stream, value)


async def value_of(blobs: Blobs, stream: Stream, value: Any) -> Any:
    """A copy of the value with the content of blobs in the place of the references to them; where a blob is missing, the reference."""
    if isinstance(value, list):
        return [await value_of(blobs, stream, one) if names_blob(one) else one for one in value]
    if not isinstance(value, dict):
        return value
    blob = blob_of(value)
    kept = await blobs.get(stream, blob) if blob is not None else None
    if kept is not None:
        return msgspec.json.decode(kept) if value.get("media_type") == JSON else kept.decode()
    return {key: await value_of(blobs, stream, one) if names_blob(one) else one for key, one in value.items()}


async def in_thread_if_long(chat: ChatView, work: Callable[[], T]) -> T:
    """Run ``work`` on all messages of the chat, in a thread where these are many."""
    return await asyncio.to_thread(work) if len(chat.messages) >= THREAD_MESSAGES else work()
