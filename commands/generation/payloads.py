"""What a model was sent for one answer: for an auditor who asks, and for the readers of the chat."""

from typing import Any
from uuid import UUID

import msgspec

from commands.accounts.principal import Principal
from commands.chats.chat_reader import ChatReader
from commands.ports import Blobs, EventLog
from domain.errors import MessageNotFound
from domain.generation import MessageStarted
from domain.log.codec import decode_event
from domain.log.stream import chat_stream
from projections.chat import blob_of


class SentPayload(msgspec.Struct, frozen=True):
    """``sha256`` None: not noted (the answer was imported, or is older than the hashes), or hidden from this reader."""

    sha256: str | None
    size_bytes: int | None = None  # None: it was not kept
    content: bytes | None = None  # canonical JSON
    redacted: bool = False


class Payloads:
    def __init__(self, reader: ChatReader, log: EventLog, blobs: Blobs) -> None:
        self._reader = reader
        self._log = log
        self._blobs = blobs

    async def of(self, principal: Principal, chat_id: UUID, message_id: UUID) -> SentPayload:
        """Raises ``ChatNotFound``, and ``MessageNotFound`` for a message that no generation began."""
        head = await self._reader.head(principal, chat_id)
        redaction = await self._reader.redaction(principal, chat_id, head, 0)
        stream = chat_stream(chat_id)
        related = await self._log.read_relatives(stream, [message_id], until=head.version)
        stored = next((one for one in related if one.message_id == message_id and one.type == "message_start"), None)
        if stored is None:
            raise MessageNotFound(message_id)
        shown = redaction.of(stored) if redaction is not None else stored
        start: MessageStarted = decode_event(shown).data
        if start.payload_sha256 is msgspec.UNSET:
            return SentPayload(None, redacted=shown is not stored)
        reference: Any = start.payload
        blob = blob_of(reference)
        if blob is None:
            return SentPayload(start.payload_sha256)
        return SentPayload(start.payload_sha256, reference.get("size_bytes"), await self._blobs.get(stream, blob))
