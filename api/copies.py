"""A new chat out of one that is there: all of it, a snapshot that was shared, or one branch up to a message."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, SkipValidation

from api.chats import TITLE_CHARACTERS_MAX, actor_of
from api.history import readable
from api.idempotency import new_id
from api.ids import bound_id
from api.reading import resolve_blobs
from api.sharing import shared_for, snapshot
from commands.account import Principal
from commands.chat import Chats
from commands.ports import Blobs, CommandKey, EventLog
from commands.whole_chat import WholeChats
from domain.errors import BadRequest, ChatNotFound
from domain.stream import Stream
from domain.whole_chat import Origin, WholeChat, WholeMessage
from projections.chat import ChatView, shown_message
from projections.messages import Message
from projections.ports import History

SOURCE: Final = "chat"
BRANCH_MESSAGES_MAX: Final = 1_000_000
# What a copy of a message has anew: its place, and what ties it to its own run and its own author.
NOT_COPIED: Final = frozenset({"id", "parentId", "childrenIds", "role", "content", "done", "task_id", "user_id", "client_id"})


class CloneIn(msgspec.Struct):
    title: str | None = None


class ForkIn(msgspec.Struct):
    message_id: str | None = None  # null: the message that is looked at


class CopyOut(msgspec.Struct):
    """The new chat's head: its messages are read from it like any other's."""

    id: UUID
    title: str
    version: int
    position: int


class CopiesController(Controller):
    path = "/api/v1/chats"
    tags = ("chats",)

    @post("/{chat_id:str}/clone", status_code=200)
    async def clone(
        self,
        chat_id: FromPath[str],
        data: JSONBody[CloneIn],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        log: NamedDependency[SkipValidation[EventLog]],
        history: NamedDependency[SkipValidation[History]],
        blobs: NamedDependency[SkipValidation[Blobs]],
        key: NamedDependency[CommandKey | None],
    ) -> CopyOut:
        """A chat of one's own with all that stands in this one, which one must be allowed to read."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        await readable(history, principal, known_id)
        view = await history.chat(known_id)
        copying = Copying(WholeChats(log, blobs, chats), log, blobs, principal, key)
        return await copying.copy(known_id, known_id, view, list(view.messages), data.title or f"Clone of {view.title}", "clone")

    @post("/{share_id:str}/clone/shared", status_code=200)
    async def clone_shared(
        self,
        share_id: FromPath[str],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        log: NamedDependency[SkipValidation[EventLog]],
        history: NamedDependency[SkipValidation[History]],
        blobs: NamedDependency[SkipValidation[Blobs]],
        key: NamedDependency[CommandKey | None],
    ) -> CopyOut:
        """A chat of one's own out of a snapshot that one may see."""
        chat_id, chat = await shared_for(chats, log, principal, share_id)
        view = await snapshot(history, blobs, chat_id, chat)
        copying = Copying(WholeChats(log, blobs, chats), log, blobs, principal, key)
        return await copying.copy(chat_id, UUID(share_id), view, list(view.messages), f"Clone of {view.title}", "clone shared")

    @post("/{chat_id:str}/fork", status_code=200)
    async def fork(
        self,
        chat_id: FromPath[str],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        log: NamedDependency[SkipValidation[EventLog]],
        history: NamedDependency[SkipValidation[History]],
        blobs: NamedDependency[SkipValidation[Blobs]],
        key: NamedDependency[CommandKey | None],
        data: JSONBody[ForkIn | None] = None,
    ) -> CopyOut:
        """A chat of one's own with the branch up to ``message_id``. An answer that is running goes along with what it has said so far."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        await readable(history, principal, known_id)
        named = data.message_id if data is not None else None
        leaf = bound_id(principal.user_id, named)[0] if named else None
        view, ids = await history.branch(known_id, leaf=leaf, limit=BRANCH_MESSAGES_MAX)
        if not ids:
            raise BadRequest("expected a chat with messages, this one has none to fork")
        copying = Copying(WholeChats(log, blobs, chats), log, blobs, principal, key)
        return await copying.copy(known_id, known_id, view, ids, f"{view.title} (fork)", "fork", leaf=ids[-1])


class Copying:
    """Copies one chat for one person."""

    def __init__(self, whole_chats: WholeChats, log: EventLog, blobs: Blobs, principal: Principal, key: CommandKey | None) -> None:
        self._whole_chats = whole_chats
        self._log = log
        self._blobs = blobs
        self._principal = principal
        self._key = key

    async def copy(
        self, chat_id: UUID, original_id: UUID, view: ChatView, ids: list[str], title: str, what: str, *, leaf: str | None = None
    ) -> CopyOut:
        """Make the chat. ``original_id`` is what the copy calls its source: a chat, or the link that led to it."""
        view.messages = view.messages.only(ids)
        await resolve_blobs(self._blobs, chat_id, view)
        made_id = new_id(self._principal, self._key, uuid4(), what)
        made = await asyncio.to_thread(whole_chat, made_id, self._principal.user_id, original_id, view, title, leaf)
        added = await self._whole_chats.add(made, actor=actor_of(self._principal))
        version = await self._log.version(Stream("chat", made_id))
        if version == 0:
            raise ChatNotFound(made_id)
        return CopyOut(made_id, made.title, version, added.position or await self._log.head())


def whole_chat(made_id: UUID, owner_id: UUID, original_id: UUID, view: ChatView, title: str, leaf: str | None) -> WholeChat:
    """Pins, folder and tags are their owner's own, and go along only where that is who copies."""
    is_own = view.owner_id == owner_id
    current = leaf or view.current_id
    current_id = UUID(current) if current is not None and current in view.messages else None
    fields = {key: value for key, value in view.fields.items() if key != "client_id"}
    fields |= {"originalChatId": str(original_id), "branchPointMessageId": current}
    return WholeChat(
        chat_id=made_id,
        owner_id=owner_id,
        title=title[:TITLE_CHARACTERS_MAX],
        origin=Origin(SOURCE, str(original_id)),
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
        message = shown_message(view.messages[message_id])
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
    if fields.get("state") == "streaming":
        fields["state"] = "interrupted"  # nobody goes on with the copy
    return fields
