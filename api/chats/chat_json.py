"""A whole chat as JSON: what ``GET /api/v1/chats/{id}``, snapshots and exports of all chats send.

A short chat is one piece. A long one is written page by page: a client that reads slowly, or not at all, costs a page.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Response
from litestar.response import Stream

from api.formats.page_json import page_message
from commands.chats.chat_pages import ChatPages

PIECE_BYTES: Final = 64 * 1024  # what is worth a write
MEDIA_TYPE: Final = "application/json"

_encode: Final = msgspec.json.encode


async def chat_response(pages: ChatPages, chat_id: UUID | None = None, *, for_page: bool = False, **more: Any) -> Response[Any]:
    """The chat under its own id, or another one, with ``more`` beside it. ``for_page``: with what Open WebUI's page needs besides."""
    if pages.is_short:
        return Response(short_chat(pages, chat_id, more, for_page=for_page), media_type=MEDIA_TYPE)
    return Stream(chat_pieces(pages, chat_id, for_page=for_page, **more), media_type=MEDIA_TYPE)


def short_chat(pages: ChatPages, chat_id: UUID | None, more: dict[str, Any], *, for_page: bool) -> bytes:
    made = {"id": chat_id or pages.chat_id, **pages.view.to_json(), **more}
    if for_page:
        messages = made["chat"]["history"]["messages"]
        for message_id, message in messages.items():
            messages[message_id] = msgspec.Raw(page_message(_encode(message)))
        made["chat"]["messages"] = [messages[message_id] for message_id in pages.view.branch(pages.view.current_id)]
    return _encode(made)


async def chat_pieces(pages: ChatPages, chat_id: UUID | None = None, *, for_page: bool = False, **more: Any) -> AsyncGenerator[bytes, None]:
    """The JSON of ``chat_response`` in pieces of about ``PIECE_BYTES``."""
    if pages.is_short:
        yield short_chat(pages, chat_id, more, for_page=for_page)
        return
    waiting = bytearray()
    async for piece in written(pages, chat_id or pages.chat_id, more, for_page=for_page):
        waiting += piece
        while len(waiting) >= PIECE_BYTES:
            yield bytes(waiting[:PIECE_BYTES])
            del waiting[:PIECE_BYTES]
    yield bytes(waiting)


async def in_form(pieces: AsyncIterator[bytes], *, for_page: bool) -> AsyncIterator[bytes]:
    """The JSON of one message. One in several pieces, of which a blob is a part, is too large to be read once more for the page."""
    first = await anext(pieces)
    second = await anext(pieces, None)
    if second is None:
        yield page_message(first) if for_page else first
        return
    yield first
    yield second
    async for piece in pieces:
        yield piece


async def written(pages: ChatPages, chat_id: UUID, more: dict[str, Any], *, for_page: bool) -> AsyncIterator[bytes]:
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
        async for piece in in_form(message, for_page=for_page):
            yield piece
        before = b","
    yield b'},"currentId":' + _encode(view.current_id) + b'},"messages":['
    before = b""
    async for _, message in pages.branch():
        yield before
        async for piece in in_form(message, for_page=for_page):
            yield piece
        before = b","
    yield b"]}," + members(head) + b"}"


def members(known: dict[str, Any]) -> bytes:
    """The members of an object as JSON, without its braces."""
    return _encode(known)[1:-1]
