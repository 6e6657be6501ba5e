"""A new chat out of one that is there: all of it, a snapshot that was shared, or one branch up to a message."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import msgspec
from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, SkipValidation

from api.chats.chat import TITLE_CHARACTERS_MAX, actor_of
from api.chats.past import readable
from api.chats.references import resolve_blobs
from api.chats.sharing import shared_for, snapshot
from api.request.idempotency import new_id
from api.request.ids import bound_id
from commands.accounts import Principal
from commands.chats import Chats
from commands.ports import Blobs, CommandKey, EventLog
from commands.transfer.whole_chat import WholeChats
from domain.errors import BadRequest, ChatNotFound, CommandMismatch
from domain.whole_chat import ImportSource, WholeChat, WholeMessage
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


class Source(NamedTuple):
    """What is copied. ``original_id`` is what the copy calls it: a chat, or the link that led to it."""

    chat_id: UUID
    original_id: UUID
    view: ChatView
    ids: Sequence[str]  # of the messages that go along
    title: str  # of the copy
    leaf: str | None = None  # the message that the copy is looked at from; None: as in the chat


class Copying:
    """Copies chats for one person, as one request asks."""

    def __init__(self, chats: Chats, log: EventLog, history: History, blobs: Blobs, principal: Principal, key: CommandKey | None) -> None:
        self._chats = chats
        self._log = log
        self._history = history
        self._blobs = blobs
        self._principal = principal
        self._key = key

    async def clone(self, chat_id: UUID, title: str | None) -> CopyOut:
        return await self._copy("clone", partial(self._whole, chat_id, title))

    async def clone_shared(self, share_id: str) -> CopyOut:
        return await self._copy("clone shared", partial(self._shared, share_id))

    async def fork(self, chat_id: UUID, leaf: UUID | None) -> CopyOut:
        return await self._copy("fork", partial(self._branch, chat_id, leaf))

    async def _whole(self, chat_id: UUID, title: str | None) -> Source:
        await readable(self._history, self._principal, chat_id)
        view = await self._history.chat(chat_id)
        return Source(chat_id, chat_id, view, list(view.messages), title or f"Clone of {view.title}")

    async def _shared(self, share_id: str) -> Source:
        chat_id, chat = await shared_for(self._chats, self._log, self._principal, share_id)
        view = await snapshot(self._chats, self._history, self._blobs, chat_id, chat)
        return Source(chat_id, UUID(share_id), view, list(view.messages), f"Clone of {view.title}")

    async def _branch(self, chat_id: UUID, leaf: UUID | None) -> Source:
        await readable(self._history, self._principal, chat_id)
        view, ids = await self._history.branch(chat_id, leaf=leaf, limit=BRANCH_MESSAGES_MAX)
        if not ids:
            raise BadRequest("expected a chat with messages, this one has none to fork")
        return Source(chat_id, chat_id, view, ids, f"{view.title} (fork)", leaf=ids[-1])

    async def _copy(self, what: str, read: Callable[[], Awaitable[Source]]) -> CopyOut:
        """Make the chat, or answer as the first time. Raises ``CommandMismatch``, ``ChatNotFound`` and what ``WholeChats.add`` raises."""
        made_id = new_id(self._principal, self._key, uuid4(), what)
        known = await self._first_answer(made_id)
        if known is not None:
            return known
        source = await read()
        view = source.view
        view.messages = view.messages.only(source.ids)
        await resolve_blobs(self._blobs, source.chat_id, view)
        made = await asyncio.to_thread(whole_chat, made_id, self._principal.user_id, source)
        command = msgspec.structs.replace(self._key, answer=msgspec.json.encode(made.title)) if self._key is not None else None
        whole_chats = WholeChats(self._log, self._blobs, self._chats)
        added = await whole_chats.add(made, actor=actor_of(self._principal), command=command)
        if added.outcome == "imported":
            return CopyOut(made_id, made.title, added.version, added.position)
        # The same request, or another one with the same key, was being answered at the same time.
        known = await self._first_answer(made_id)
        if known is None:
            raise ChatNotFound(made_id)
        return known

    async def _first_answer(self, made_id: UUID) -> CopyOut | None:
        known = await self._log.find_command(self._key.actor_id, self._key.key) if self._key is not None else None
        if self._key is None or known is None:
            return None
        if known.request_hash != self._key.request_hash:
            raise CommandMismatch(self._key.key)
        return CopyOut(made_id, msgspec.json.decode(known.appended.answer, type=str), known.appended.versions[0], known.appended.position)


def provide_copying(
    chats: NamedDependency[Chats],
    log: NamedDependency[SkipValidation[EventLog]],
    history: NamedDependency[SkipValidation[History]],
    blobs: NamedDependency[SkipValidation[Blobs]],
    principal: NamedDependency[Principal],
    key: NamedDependency[CommandKey | None],
) -> Copying:
    return Copying(chats, log, history, blobs, principal, key)


class CopiesController(Controller):
    path = "/api/v1/chats"
    tags = ("chats",)

    @post("/{chat_id:str}/clone", status_code=200)
    async def clone(
        self,
        chat_id: FromPath[str],
        data: JSONBody[CloneIn],
        principal: NamedDependency[Principal],
        copying: NamedDependency[SkipValidation[Copying]],
    ) -> CopyOut:
        """A chat of one's own with all that stands in this one, which one must be allowed to read."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        return await copying.clone(known_id, data.title)

    @post("/{share_id:str}/clone/shared", status_code=200)
    async def clone_shared(self, share_id: FromPath[str], copying: NamedDependency[SkipValidation[Copying]]) -> CopyOut:
        """A chat of one's own out of a snapshot that one may see."""
        return await copying.clone_shared(share_id)

    @post("/{chat_id:str}/fork", status_code=200)
    async def fork(
        self,
        chat_id: FromPath[str],
        principal: NamedDependency[Principal],
        copying: NamedDependency[SkipValidation[Copying]],
        data: JSONBody[ForkIn | None] = None,
    ) -> CopyOut:
        """A chat of one's own with the branch up to ``message_id``. An answer that is running goes along with what it has said so far."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        named = data.message_id if data is not None else None
        return await copying.fork(known_id, bound_id(principal.user_id, named)[0] if named else None)


def whole_chat(made_id: UUID, owner_id: UUID, source: Source) -> WholeChat:
    """Pins, folder and tags are their owner's own, and go along only where that is who copies."""
    view, original_id = source.view, str(source.original_id)
    is_own = view.owner_id == owner_id
    current = source.leaf or view.current_id
    current_id = UUID(current) if current is not None and current in view.messages else None
    fields = {key: value for key, value in view.fields.items() if key != "client_id"}
    fields |= {"originalChatId": original_id, "branchPointMessageId": current}
    return WholeChat(
        chat_id=made_id,
        owner_id=owner_id,
        title=source.title[:TITLE_CHARACTERS_MAX],
        origin=ImportSource(SOURCE, original_id),
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
