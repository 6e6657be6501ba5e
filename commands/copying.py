"""Makes a new chat from an existing one: all of it, a shared version of it, or one branch up to a message."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from commands.accounts.accounts import Principal, actor_of
from commands.chat_reader import ChatReader
from commands.ids import new_id
from commands.ports import CommandKey, EventLog
from commands.share_links import ShareLinks
from commands.transfer.whole_chat import WholeChats
from domain.errors import BadRequest, ChatNotFound, CommandMismatch
from domain.whole_chat import COPY, ImportSource, WholeChat, WholeMessage
from projections.chat import ChatView, message_to_json
from projections.messages import Message

TITLE_CHARACTERS_MAX: Final = 1000
BRANCH_MESSAGES_MAX: Final = 1_000_000
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
    view: ChatView
    title: str  # of the copy
    leaf: str | None = None  # the current message of the copy; None: as in the original


class ChatCopier:
    """Copies chats for people who may read them.

    With an idempotency key a repeated request gets the first copy. Raises ``ChatNotFound``, ``CommandMismatch`` and what
    ``WholeChats.add`` raises.
    """

    def __init__(self, reader: ChatReader, share_links: ShareLinks, log: EventLog, whole_chats: WholeChats) -> None:
        self._reader = reader
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
        view = await self._reader.chat_with_references(principal, chat_id)
        await self._reader.resolve_blobs(chat_id, view)
        return CopySource(chat_id, view, title or f"Clone of {view.title}")

    async def _shared(self, principal: Principal, share_id: str) -> CopySource:
        link_id, view = await self._share_links.shared_version(principal, share_id)
        return CopySource(link_id, view, f"Clone of {view.title}")

    async def _branch(self, principal: Principal, chat_id: UUID, leaf: UUID | None) -> CopySource:
        view, ids = await self._reader.branch(principal, chat_id, leaf=leaf, limit=BRANCH_MESSAGES_MAX)
        if not ids:
            raise BadRequest("expected a chat with messages, this one has none to fork")
        return CopySource(chat_id, view, f"{view.title} (fork)", leaf=ids[-1])

    async def _copy(self, what: str, principal: Principal, key: CommandKey | None, read: Callable[[], Awaitable[CopySource]]) -> ChatCopy:
        copy_id = new_id(principal.user_id, key, what)
        known = await self._first_copy(copy_id, key)
        if known is not None:
            return known
        chat = await asyncio.to_thread(whole_chat, copy_id, principal.user_id, await read())
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


def whole_chat(copy_id: UUID, owner_id: UUID, source: CopySource) -> WholeChat:
    """Pin, folder and tags belong to the owner: they are copied only for the owner."""
    view, original_id = source.view, str(source.original_id)
    is_own = view.owner_id == owner_id
    current = source.leaf or view.current_id
    current_id = UUID(current) if current is not None and current in view.messages else None
    fields = {key: value for key, value in view.fields.items() if key != "client_id"}
    fields |= {"originalChatId": original_id, "branchPointMessageId": current}
    return WholeChat(
        chat_id=copy_id,
        owner_id=owner_id,
        title=source.title[:TITLE_CHARACTERS_MAX],
        origin=ImportSource(COPY, original_id),
        messages=list(copies(view)),
        current_id=current_id,
        folder_id=view.folder_id if is_own else None,
        fields=fields,
        tags=view.tags if is_own else [],
        pinned=is_own and view.pinned,
    )


def copies(view: ChatView) -> Iterable[WholeMessage]:
    """The messages, in the order in which they were added: siblings keep theirs."""
    for message_id in sorted(view.messages, key=view.ordinals.__getitem__):
        message = message_to_json(view.messages[message_id])
        parent_id = message["parentId"]
        yield WholeMessage(
            UUID(message_id),
            UUID(parent_id) if parent_id in view.messages else None,
            message["role"],
            message["content"],
            fields=fields_of(message),
            key=f"history.messages.{message_id}",
        )


def fields_of(message: Message) -> dict[str, Any]:
    fields = {key: value for key, value in message.items() if key not in NOT_COPIED}
    if message["role"] == "assistant":
        fields.setdefault("added_by", None)  # generated: the copy is not what its owner has written
    if fields.get("state") == "streaming":
        fields["state"] = "interrupted"  # no run goes on with the copy
    return fields
