"""The payload: what a provider is asked, as this server has composed it, and its sha256 for the log.

The sha256 stands in ``message_start``. It is that of the payload's canonical JSON: an object with ``model``, ``messages``, ``params`` and
``options``, keys in the order of their code points at every depth, no white space between them, UTF-8. So a later reader who has the
payload can prove that it is the one. A filter that changes the request afterwards notes the sha256 of the changed one.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import structlog

from commands.content.large_values import BLOB_BYTES_MAX, JSON
from commands.content.references import THREAD_MESSAGES
from commands.ports import Blobs
from commands.providers.provider import ProviderRequest
from domain.log.stream import Stream

logger = structlog.get_logger("payload")

_canonical: Final = msgspec.json.Encoder(order="sorted")


class Payload(msgspec.Struct, frozen=True):
    ask: ProviderRequest
    content: bytes  # canonical JSON
    sha256: str  # hex, of ``content``


def encode_payload(ask: ProviderRequest) -> Payload:
    content = _canonical.encode({"model": ask.model, "messages": ask.messages, "params": ask.params, "options": ask.options})
    return Payload(ask, content, hashlib.sha256(content).hexdigest())


async def payload_of(ask: ProviderRequest) -> Payload:
    """The payload of a request. That of a long chat is encoded in a thread, so that the event loop goes on."""
    return await asyncio.to_thread(encode_payload, ask) if len(ask.messages) >= THREAD_MESSAGES else encode_payload(ask)


async def keep_payload(payload: Payload, blobs: Blobs, stream: Stream) -> Mapping[str, Any] | None:
    """Store the payload as a blob of its chat, and return the reference to it. One that is too large is not kept: its chat goes on."""
    if len(payload.content) > BLOB_BYTES_MAX:
        logger.warning("payload_not_kept", stream=str(stream), size_bytes=len(payload.content), bytes_max=BLOB_BYTES_MAX)
        return None
    return {"blob": await blobs.put(stream, payload.content), "size_bytes": len(payload.content), "media_type": JSON}
