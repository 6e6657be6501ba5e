"""A chat as Open WebUI exports it and its importer takes it: an array with one chat, in which the tree stands in ``history``.

What it does not know (``state``, ``timings``, ``blocks`` …) stands beside what it does: it keeps such keys.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from api.formats.transcript import Transcript
from projections.chat import seconds
from projections.messages import Message

MEDIA_TYPE: Final = "application/json"
_encode: Final = msgspec.json.encode


async def open_webui(transcript: Transcript) -> AsyncIterator[bytes]:
    """Of a whole chat: the transcript must name all messages. The active branch stands a second time in ``messages``, as there."""
    await transcript.read_models()
    view = transcript.view
    chat_id = str(transcript.chat_id)
    outer = {key: value for key, value in view.head_to_json().items() if key not in ("access", "version")}
    inner = {
        **view.fields,
        "id": chat_id,
        "title": view.title,
        "models": view.fields.get("models") or transcript.models,
        "params": view.fields.get("params") or {},
        "files": view.fields.get("files") or [],
        "tags": list(view.tags),
        "timestamp": seconds(view.created_at) * 1000,
    }
    for key in ("history", "messages"):
        inner.pop(key, None)
    yield b'[{"id":' + _encode(chat_id) + b"," + members(outer) + b',"chat":{' + members(inner) + b',"history":{"messages":{'
    is_first = True
    async for message in transcript.messages(transcript.indexes):
        yield (b"" if is_first else b",") + _encode(message["id"]) + b":" + _encode(as_there(message))
        is_first = False
    yield b'},"currentId":' + _encode(view.current_id) + b'},"messages":['
    is_first = True
    async for message in transcript.messages(transcript.tree.branch()):
        yield (b"" if is_first else b",") + _encode(as_there(message))
        is_first = False
    yield b"]}}]\n"


def members(known: dict[str, Any]) -> bytes:
    """The members of an object, without its braces."""
    return _encode(known)[1:-1]


def as_there(message: Message) -> Message:
    """``error`` shows there whatever it says, so only an answer that failed has one; nothing waits for one that is over."""
    return {**message, "done": message.get("state") != "streaming"}
