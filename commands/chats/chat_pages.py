"""A whole chat, read page by page as of one version: what is in memory of it at once does not grow with the chat.

The log is immutable, so a page that is read later is of the same version: nothing is held open between two pages, however slowly
they are taken.
"""

import codecs
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from commands.content.large_values import JSON
from commands.ports import Blobs
from domain.log.redaction import Redaction
from domain.log.stream import chat_stream
from projections.chat import ChatView, blob_of, message_to_json, names_blob, placed_first
from projections.messages import Message
from projections.outline import Outline, Place
from projections.ports import ChatQueries
from projections.redaction import redact_view

PAGE_BYTES: Final = 256 * 1024
PAGE_MESSAGES: Final = 500
BLOB_PART_BYTES: Final = 1024 * 1024

_encode: Final = msgspec.json.encode


class ChatPages:
    """``view`` is the chat without messages and ``outline`` says where these stand; or ``view`` is all of a short chat, without outline."""

    def __init__(
        self,
        chat_queries: ChatQueries,
        blobs: Blobs,
        chat_id: UUID,
        view: ChatView,
        outline: Outline | None,
        *,
        redaction: Redaction | None = None,
        page_messages: int = PAGE_MESSAGES,
    ) -> None:
        """``redaction``: what is hidden from the reader."""
        if redaction is not None:
            redact_view(view, redaction)
        self._redaction = redaction
        self._chat_queries = chat_queries
        self._blobs = blobs
        self.chat_id = chat_id
        self.view = view
        self.outline = outline
        self._page_messages = page_messages

    @property
    def is_short(self) -> bool:
        """Whether all of it is in memory: there is no content of blobs to be read, either."""
        messages = self.view.messages
        if self.outline is not None or names_blob(self.view.fields):
            return False
        return not any(messages.names(one, "blob") for one in messages)

    def tree(self) -> Outline:
        """Where the messages stand, also of a short chat."""
        if self.outline is not None:
            return self.outline
        messages = self.view.messages
        in_order = sorted(messages, key=self.view.ordinals.__getitem__)
        return Outline([Place(one, messages.parent_of(one), 0) for one in in_order], self.view.current_id)

    def without(self, message_ids: Collection[str]) -> None:
        """Leave these messages out, as if they had been deleted."""
        if self.outline is None:
            self.view.without(self.view.messages.keys() & message_ids)
        else:
            self.outline, self.view.current_id = self.outline.without(message_ids, self.view.current_id)

    async def all_messages(self) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
        """The id of each message and its JSON, in pieces. Each is to be taken before the next message is asked for."""
        if self.outline is None:
            for message_id in self.view.messages:
                yield message_id, self._json(self.view, message_id)
        else:
            async for one in self._paged(self.outline, range(len(self.outline))):
                yield one

    async def branch(self) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
        """The same of the current branch, from its root."""
        if self.outline is None:
            for message_id in self.view.branch(self.view.current_id):
                yield message_id, self._json(self.view, message_id)
        else:
            async for one in self._paged(self.outline, self.outline.branch()):
                yield one

    async def _paged(self, outline: Outline, indexes: Iterable[int]) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
        for page in outline.pages(indexes, bytes_max=PAGE_BYTES, messages_max=self._page_messages):
            view = await self._page(outline, page)
            for message_id in map(outline.id, page):
                yield message_id, self._json(view, message_id)

    async def messages(self, tree: Outline, indexes: Iterable[int]) -> AsyncIterator[tuple[int, int, Message]]:
        """``(index, ordinal, message)`` of these messages, with references in the place of blobs. ``tree`` is that of this chat."""
        if self.outline is None:
            for index in indexes:
                message_id = tree.id(index)
                yield index, self.view.ordinals[message_id], message_to_json(self.view.messages[message_id])
            return
        for page in tree.pages(indexes, bytes_max=PAGE_BYTES, messages_max=self._page_messages):
            view = await self._page(tree, page)
            for index in page:
                message_id = tree.id(index)
                yield index, view.ordinals[message_id], message_to_json(view.messages[message_id])

    async def _page(self, outline: Outline, page: Sequence[int]) -> ChatView:
        """The messages of one page, each in its place."""
        ids = [outline.id(index) for index in page]
        view = await self._chat_queries.messages(self.chat_id, ids, at=self.view.version)
        if self._redaction is not None:
            view.version = self.view.version
            redact_view(view, self._redaction)
        for index, message_id in zip(page, ids, strict=True):
            view.messages.move(message_id, outline.parent_id(index))
            view.messages.children_of(message_id)[:] = outline.children(index)
        return view

    async def _json(self, view: ChatView, message_id: str) -> AsyncIterator[bytes]:
        if not view.messages.names(message_id, "blob"):
            kept = view.messages.kept(message_id)
            assert kept is not None  # one that was looked into may name anything
            yield bytes(kept)
            return
        message = placed_first(message_to_json(view.messages[message_id]))
        async for piece in self._value(message):
            yield piece

    async def members(self, known: Mapping[str, Any]) -> AsyncIterator[bytes]:
        """The members of an object of the chat as JSON, without its braces, with the content of blobs in the place of the references to
        them. A blob that is missing leaves its reference.
        """
        before = b""
        for key, value in known.items():
            yield before + _encode(key) + b":"
            before = b","
            async for piece in self._value(value):
                yield piece

    async def _value(self, value: Any) -> AsyncIterator[bytes]:
        """Any value, in the same way."""
        if not names_blob(value):
            yield _encode(value)
            return
        blob = blob_of(value)
        first = await self._part(blob, 0) if blob is not None else None
        if blob is not None and first is not None:
            async for piece in self._content(blob, first, value.get("media_type") == JSON):
                yield piece
        elif isinstance(value, dict):
            yield b"{"
            async for piece in self.members(value):
                yield piece
            yield b"}"
        else:
            before = b"["
            for one in value:
                yield before
                before = b","
                async for piece in self._value(one):
                    yield piece
            yield b"]"

    async def _content(self, blob: str, part: bytes, is_json: bool) -> AsyncIterator[bytes]:
        """A blob as JSON, which it is already or as one string, from its first part on."""
        text = codecs.getincrementaldecoder("utf-8")()
        offset = 0
        if not is_json:
            yield b'"'
        while part:
            offset += len(part)
            yield part if is_json else _encode(text.decode(part))[1:-1]
            part = await self._part(blob, offset) or b"" if len(part) == BLOB_PART_BYTES else b""
        if not is_json:
            yield b'"'

    async def _part(self, blob: str, offset: int) -> bytes | None:
        return await self._blobs.part(chat_stream(self.chat_id), blob, offset=offset, bytes_max=BLOB_PART_BYTES)
