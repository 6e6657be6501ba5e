"""What a chat refers to, looked up for whoever reads it: content that is kept elsewhere, and its folder."""

from uuid import UUID

from commands.folder import FolderTrees
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


async def leave_gone_folder(folders: FolderTrees, chat: ChatView) -> None:
    """A chat whose folder is gone, or never was, is in none: the folder's own stream says whether it is there."""
    if chat.folder_id is not None and chat.owner_id is not None:
        _, known = await folders.of(chat.owner_id)
        if chat.folder_id not in known.by_id:
            chat.folder_id = None
