"""A whole chat as JSON: what ``GET /api/v1/chats/{id}``, snapshots and exports of all chats send.

A short chat is one piece. A long one is written page by page: a client that reads slowly, or not at all, costs a page.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Response
from litestar.response import Stream

from commands.chats.chat_pages import ChatPages

PIECE_BYTES: Final = 64 * 1024  # what is worth a write
MEDIA_TYPE: Final = "application/json"

_encode: Final = msgspec.json.encode


async def chat_response(pages: ChatPages, chat_id: UUID | None = None, **more: Any) -> Response[Any]:
    """The chat under its own id, or another one, with ``more`` beside it."""
    if pages.is_short:
        return Response(short_chat(pages, chat_id, more), media_type=MEDIA_TYPE)
    return Stream(chat_pieces(pages, chat_id, **more), media_type=MEDIA_TYPE)


def short_chat(pages: ChatPages, chat_id: UUID | None, more: dict[str, Any]) -> bytes:
    return _encode({"id": chat_id or pages.chat_id, **pages.view.to_json(), **more})


async def chat_pieces(pages: ChatPages, chat_id: UUID | None = None, **more: Any) -> AsyncGenerator[bytes, None]:
    """The JSON of ``chat_response`` in pieces of about ``PIECE_BYTES``."""
    if pages.is_short:
        yield short_chat(pages, chat_id, more)
        return
    waiting = bytearray()
    async for piece in written(pages, chat_id or pages.chat_id, more):
        waiting += piece
        while len(waiting) >= PIECE_BYTES:
            yield bytes(waiting[:PIECE_BYTES])
            del waiting[:PIECE_BYTES]
    yield bytes(waiting)


async def written(pages: ChatPages, chat_id: UUID, more: dict[str, Any]) -> AsyncIterator[bytes]:
    """What ``ChatView.to_json`` returns, without the whole of it in memory."""
    view = pages.view
    head = {**view.head_to_json(), **more}
    inner = {key: value for key, value in view.fields.items() if key not in ("history", "messages")}
    inner |= {"title": view.title, "tags": list(view.tags)}
    outer = members({"id": chat_id, "user_id": head.pop("user_id"), "title": head.pop("title")})
    yield b"{" + outer + b',"chat":{'
    async for piece in pages.members(inner):
        yield piece
    yield b',"history":{"messages":{'
    before = b""
    async for message_id, message in pages.all_messages():
        yield before + _encode(message_id) + b":"
        async for piece in message:
            yield piece
        before = b","
    yield b'},"currentId":' + _encode(view.current_id) + b'},"messages":['
    before = b""
    async for _, message in pages.branch():
        yield before
        async for piece in message:
            yield piece
        before = b","
    yield b"]}," + members(head) + b"}"


def members(known: dict[str, Any]) -> bytes:
    """The members of an object as JSON, without its braces."""
    return _encode(known)[1:-1]
