"""A chat read from the log: its events without the tokens of what has ended, and with those of what is still open."""

import re
from typing import Any, Final
from uuid import UUID

from commands.ports import Blobs, EventLog
from domain.event import Stored
from domain.stream import Stream
from projections.chat import ChatView, view

SHA256: Final = re.compile(r"[0-9a-f]{64}")
PAGE_EVENTS: Final = 10_000
ENDS: Final = frozenset({"message_end", "error", "cancelled", "interrupted"})


async def read_chat(log: EventLog, chat_id: UUID, *, until: int | None = None) -> ChatView:
    """The chat as of version ``until``, or as it is now. Exact to the last token, and never behind what was written before the call."""
    stream = Stream("chat", chat_id)
    if until is None:
        until = await log.version(stream)
    events: list[Stored] = []
    after = 0
    while True:
        page = await log.read(stream, after=after, until=until, limit=PAGE_EVENTS, without_deltas=True)
        events.extend(page)
        if len(page) < PAGE_EVENTS:
            break
        after = page[-1].version
    open_since: dict[UUID, int] = {}
    for event in events:
        if event.message_id is not None:
            if event.type == "message_start":
                open_since[event.message_id] = event.version
            elif event.type in ENDS:
                open_since.pop(event.message_id, None)
    for message_id, started in open_since.items():
        said = await log.read_message(stream, message_id, after=started)
        events.extend(event for event in said if event.type == "message_delta" and event.version <= until)
    if open_since:
        events.sort(key=lambda event: event.version)
    chat = view(events)
    chat.version = until
    return chat


async def resolve_blobs(blobs: Blobs, chat_id: UUID, chat: ChatView) -> None:
    """Put content that is kept by reference back where it belongs."""
    for message in chat.messages.values():
        blob = blob_of(message.get("content"))
        if blob is not None:
            kept = await blobs.get(Stream("chat", chat_id), blob)
            if kept is not None:
                message["content"] = kept.decode()


def blob_of(content: Any) -> str | None:
    """The sha256, in hex, of content that is kept by reference. A client may write what looks like one, and is not."""
    blob = content.get("blob") if isinstance(content, dict) else None
    return blob if isinstance(blob, str) and SHA256.fullmatch(blob) else None
