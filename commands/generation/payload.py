"""The payload: what a provider is asked, as this server has composed it, and its sha256 for the log.

The sha256 stands in ``message_start``. It is that of the payload's canonical JSON: an object with ``model``, ``messages``, ``params`` and
``options``, keys in the order of their code points at every depth, no white space between them, UTF-8. So a later reader who has the
payload can prove that it is the one. A filter that changes the request afterwards notes the sha256 of what it made of it.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from commands.large_values import BLOB_BYTES_MAX, JSON
from commands.ports import Blobs
from commands.providers import ProviderRequest
from commands.references import THREAD_MESSAGES
from domain.errors import TooLarge
from domain.stream import Stream

_canonical: Final = msgspec.json.Encoder(order="sorted")


class Payload(msgspec.Struct, frozen=True):
    ask: ProviderRequest
    content: bytes  # canonical JSON
    sha256: str  # hex, of ``content``


def encode_payload(ask: ProviderRequest) -> Payload:
    """Raises ``UnicodeEncodeError`` for text with a lone surrogate."""
    content = _canonical.encode({"model": ask.model, "messages": ask.messages, "params": ask.params, "options": ask.options})
    return Payload(ask, content, hashlib.sha256(content).hexdigest())


async def payload_of(ask: ProviderRequest) -> Payload:
    """The payload of a request. That of a long chat is encoded in a thread, so that the event loop goes on."""
    return await asyncio.to_thread(encode_payload, ask) if len(ask.messages) >= THREAD_MESSAGES else encode_payload(ask)


async def keep_payload(payload: Payload, blobs: Blobs, stream: Stream) -> Mapping[str, Any]:
    """Store the payload as a blob of its chat, and return the reference to it. Raises ``TooLarge``."""
    if len(payload.content) > BLOB_BYTES_MAX:
        raise TooLarge("payload", len(payload.content), BLOB_BYTES_MAX)
    return {"blob": await blobs.put(stream, payload.content), "size_bytes": len(payload.content), "media_type": JSON}
