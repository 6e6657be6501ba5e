"""Makes a new chat from an existing one: all of it, a shared version of it, or one branch up to a message."""

from collections.abc import Awaitable, Callable, Container, Iterable
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from commands.accounts.principal import Principal, actor_of
from commands.chats.chat_pages import ChatPages
from commands.chats.chat_reader import ChatReader
from commands.chats.share_links import ShareLinks
from commands.content.references import resolve
from commands.ids import new_id
from commands.ports import Blobs, CommandKey, EventLog
from commands.saving.normalised import cut_title
from commands.transfer.whole_chat import WholeChats
from domain.chat.whole_chat import COPY, ImportSource, WholeChat, WholeMessage
from domain.errors import BadRequest, ChatNotFound, CommandMismatch, MessageNotFound, TooLarge
from domain.log.stream import chat_stream
from projections.chat_list import referred_bytes
from projections.messages import Message

COPY_BYTES_MAX: Final = 64 * 1024 * 1024  # of what is copied, with the content of its blobs: a copy is made in memory
# What a copy of a message has anew: where it stands, and what ties it to its own run and its own author.
NOT_COPIED: Final = frozenset({"id", "parentId", "childrenIds", "role", "content", "done", "task_id", "user_id", "client_id"})


class ChatCopy(NamedTuple):
    """The head of the new chat."""

    chat_id: UUID
    title: str
    version: int
    position: int


class CopySource(NamedTuple):
    """What is copied. ``original_id`` is what the copy calls it: a chat, or the share link that led to it."""

    original_id: UUID
    pages: ChatPages
    indexes: Iterable[int]  # of the messages, in the order in which they were added
    title: str  # of the copy
    leaf: str | None = None  # the current message of the copy; None: as in the original


class ChatCopier:
    """Copies chats for people who may read them.

    With an idempotency key a repeated request gets the first copy. Raises ``ChatNotFound``, ``CommandMismatch``, ``TooLarge`` above
    ``COPY_BYTES_MAX``, and what ``WholeChats.add`` raises.
    """

    def __init__(self, reader: ChatReader, share_links: ShareLinks, log: EventLog, blobs: Blobs, whole_chats: WholeChats) -> None:
        self._reader = reader
        self._blobs = blobs
        self._share_links = share_links
        self._log = log
        self._whole_chats = whole_chats

    async def clone(self, principal: Principal, chat_id: UUID, title: str | None, key: CommandKey | None) -> ChatCopy:
        return await self._copy("clone", principal, key, partial(self._whole, principal, chat_id, title))

    async def clone_shared(self, principal: Principal, share_id: str, key: CommandKey | None) -> ChatCopy:
        return await self._copy("clone shared", principal, key, partial(self._shared, principal, share_id))

    async def fork(self, principal: Principal, chat_id: UUID, leaf: UUID | None, key: CommandKey | None) -> ChatCopy:
        """The branch that ends in ``leaf``; None: the current one. Raises ``BadRequest`` for a chat without messages."""
        return await self._copy("fork", principal, key, partial(self._branch, principal, chat_id, leaf))

    async def _whole(self, principal: Principal, chat_id: UUID, title: str | None) -> CopySource:
        pages = await self._reader.pages(principal, chat_id)
        return CopySource(chat_id, pages, range(len(pages.tree())), title or f"Clone of {pages.view.title}")

    async def _shared(self, principal: Principal, share_id: str) -> CopySource:
        link_id, pages = await self._share_links.shared_pages(principal, share_id)
        return CopySource(link_id, pages, range(len(pages.tree())), f"Clone of {pages.view.title}")

    async def _branch(self, principal: Principal, chat_id: UUID, leaf: UUID | None) -> CopySource:
        pages = await self._reader.pages(principal, chat_id)
        tree = pages.tree()
        index = tree.index(str(leaf)) if leaf is not None else None
        if leaf is not None and index is None:
            raise MessageNotFound(leaf)
        indexes = tree.branch(index)
        if not indexes:
            raise BadRequest("expected a chat with messages, this one has none to fork")
        return CopySource(chat_id, pages, indexes, f"{pages.view.title} (fork)", leaf=tree.id(indexes[-1]))

    async def _copy(self, what: str, principal: Principal, key: CommandKey | None, read: Callable[[], Awaitable[CopySource]]) -> ChatCopy:
        copy_id = new_id(principal.user_id, key, what)
        known = await self._first_copy(copy_id, key)
        if known is not None:
            return known
        chat = await self._whole_chat(copy_id, principal.user_id, await read())
        command = msgspec.structs.replace(key, answer=msgspec.json.encode(chat.title)) if key is not None else None
        added = await self._whole_chats.add(chat, actor=actor_of(principal), command=command)
        if added.outcome == "imported":
            return ChatCopy(copy_id, chat.title, added.version, added.position)
        # The same request, or another one with the same key, was carried out at the same time.
        known = await self._first_copy(copy_id, key)
        if known is None:
            raise ChatNotFound(copy_id)
        return known

    async def _first_copy(self, copy_id: UUID, key: CommandKey | None) -> ChatCopy | None:
        """The copy that an earlier request with this key has made."""
        known = await self._log.find_command(key.actor_id, key.key) if key is not None else None
        if key is None or known is None:
            return None
        if known.request_hash != key.request_hash:
            raise CommandMismatch(key.key)
        return ChatCopy(copy_id, msgspec.json.decode(known.appended.answer, type=str), known.appended.versions[0], known.appended.position)

    async def _whole_chat(self, copy_id: UUID, owner_id: UUID, source: CopySource) -> WholeChat:
        """Pin, folder and tags belong to the owner: they are copied only for the owner."""
        view, original_id = source.pages.view, str(source.original_id)
        is_own = view.owner_id == owner_id
        messages = await self._copies(source)
        current = source.leaf or view.current_id
        current_id = UUID(current) if current is not None and any(one.message_id == UUID(current) for one in messages) else None
        fields = {key: value for key, value in view.fields.items() if key != "client_id"}
        await resolve(self._blobs, chat_stream(source.pages.chat_id), fields)
        fields |= {"originalChatId": original_id, "branchPointMessageId": current}
        return WholeChat(
            chat_id=copy_id,
            owner_id=owner_id,
            title=cut_title(source.title),
            origin=ImportSource(COPY, original_id),
            messages=messages,
            current_id=current_id,
            folder_id=view.folder_id if is_own else None,
            fields=fields,
            tags=view.tags if is_own else [],
            pinned=is_own and view.pinned,
        )

    async def _copies(self, source: CopySource) -> list[WholeMessage]:
        """The messages, in the order in which they were added: siblings keep theirs. Raises ``TooLarge``."""
        pages, tree = source.pages, source.pages.tree()
        stream = chat_stream(pages.chat_id)
        size_bytes = referred_bytes(pages.view.fields)
        copies: list[WholeMessage] = []
        ids: set[str] = set()
        async for _, _, message in pages.messages(tree, source.indexes):
            size_bytes += len(msgspec.json.encode(message)) + referred_bytes(message)
            if size_bytes > COPY_BYTES_MAX:
                raise TooLarge("a chat to copy", size_bytes, COPY_BYTES_MAX)
            await resolve(self._blobs, stream, message)
            copies.append(copy_of(message, ids))
            ids.add(message["id"])
        return copies


def copy_of(message: Message, ids: Container[str]) -> WholeMessage:
    """One message of a copy that holds ``ids`` already."""
    parent_id = message["parentId"]
    return WholeMessage(
        UUID(message["id"]),
        UUID(parent_id) if parent_id in ids else None,
        message["role"],
        message["content"],
        fields=fields_of(message),
        key=f"history.messages.{message['id']}",
    )


def fields_of(message: Message) -> dict[str, Any]:
    fields = {key: value for key, value in message.items() if key not in NOT_COPIED}
    if message["role"] == "assistant":
        fields.setdefault("added_by", None)  # generated: the copy is not what its owner has written
    if fields.get("state") == "streaming":
        fields["state"] = "interrupted"  # no run goes on with the copy
    return fields
