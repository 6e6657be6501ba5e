"""What a chat refers to, looked up for whoever reads it: content that is kept elsewhere, and its folder."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec

from commands.folders import FolderTrees
from commands.ports import Blobs
from commands.transfer.whole_chat import JSON
from domain.stream import Stream, chat_stream
from projections.chat import ChatView, blob_of

T = TypeVar("T")
THREAD_MESSAGES: Final = 500


async def resolve_blobs(blobs: Blobs, chat_id: UUID, chat: ChatView) -> None:
    """Content that was too large for its event, and other keys of an imported chat and its messages."""
    stream = chat_stream(chat_id)
    await resolve(blobs, stream, chat.fields)
    for message in await aside(chat, lambda: list(chat.messages.naming("blob"))):
        await resolve(blobs, stream, message)


async def resolve(blobs: Blobs, stream: Stream, keys: dict[str, Any]) -> None:
    for key, value in keys.items():
        blob = blob_of(value)
        if blob is not None:
            kept = await blobs.get(stream, blob)
            if kept is not None:
                keys[key] = msgspec.json.decode(kept) if value.get("media_type") == JSON else kept.decode()


async def leave_gone_folder(folders: FolderTrees, chat: ChatView) -> None:
    """A chat whose folder is gone, or never was, is in none: the folder's own stream says whether it is there."""
    if chat.folder_id is not None and chat.owner_id is not None:
        _, known = await folders.of(chat.owner_id)
        if chat.folder_id not in known.by_id:
            chat.folder_id = None


async def sent(chat_id: UUID, chat: ChatView) -> dict[str, Any]:
    """The whole chat, ready for JSON."""
    return {"id": chat_id, **await aside(chat, chat.shown)}


async def aside(chat: ChatView, work: Callable[[], T]) -> T:
    """What is to be done with all of a chat's messages: in a thread where they are many, since others wait for their tokens meanwhile."""
    return await asyncio.to_thread(work) if len(chat.messages) >= THREAD_MESSAGES else work()
