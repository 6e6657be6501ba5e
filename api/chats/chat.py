"""``/api/v1/chats``: the core of the reference system's chat routes.

Where the reference answers a command with the whole chat, this answers with the chat's head: its version, and what changed. A
long chat costs no more to edit than a short one (docs/deviations.md).
"""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final, Literal
from uuid import UUID, uuid4

import msgspec
from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, SkipValidation

from api.chats.past import HistoryController, require_reader, version_at
from api.chats.references import leave_gone_folder, resolve_blobs, sent
from api.chats.saving import Saving, parsed
from api.request.idempotency import expected_version, new_id
from api.request.ids import bound_id
from commands.accounts import Principal
from commands.chats import Chats
from commands.folders import FolderTrees
from commands.generation.runs import Runs
from commands.ports import Appended, Blobs, CommandKey, EventLog
from domain.chat.commands import (
    AddMessage,
    ChatCommand,
    ConfigureChat,
    CreateChat,
    DeleteChat,
    DeleteMessage,
    EditMessage,
    Emit,
    RateMessage,
    RenameChat,
    SelectBranch,
    ShareChat,
)
from domain.errors import BadRequest, GenerationOpen
from domain.event import Actor
from projections.ports import History

DELETE_ATTEMPTS_MAX: Final = 5
TITLE_CHARACTERS_MAX: Final = 1000
DEFAULT_TITLE: Final = "New Chat"


class NewChatIn(msgspec.Struct):
    chat: dict[str, Any] = {}
    folder_id: str | None = None


class UpdateChatIn(msgspec.Struct):
    chat: dict[str, Any]
    version: int | None = None  # of the chat that was read before it was changed


class MessageIn(msgspec.Struct):
    content: Any


class AddMessageIn(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: Any
    id: str | None = None
    parent_id: str | None = None
    fields: dict[str, Any] = {}


class EmitIn(msgspec.Struct):
    type: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    data: Any = None


class RatingIn(msgspec.Struct):
    rating: Literal[-1, 0, 1]
    comment: Annotated[str, msgspec.Meta(max_length=10_000)] | None = None


class BranchIn(msgspec.Struct):
    message_id: str


class AccessIn(msgspec.Struct):
    user_id: UUID
    permission: Literal["read", "write"] | None  # null takes it back


class CommandOut(msgspec.Struct):
    """The answer to a command: where the chat is now, and where in the log that stands (``at_least=`` of lists and searches)."""

    id: UUID
    version: int
    position: int
    message_id: UUID | None = None


def actor_of(principal: Principal) -> Actor:
    return Actor(principal.user_id, principal.name, principal.role)


def title_of(chat: Mapping[str, Any]) -> str:
    title = chat.get("title", DEFAULT_TITLE)
    if not isinstance(title, str) or len(title) > TITLE_CHARACTERS_MAX:
        raise BadRequest(f"expected a title of at most {TITLE_CHARACTERS_MAX} characters")
    return title


class ChatsController(HistoryController):
    path = "/api/v1/chats"
    tags = ("chats",)

    @post("/new", status_code=200)
    async def new_chat(
        self,
        data: JSONBody[NewChatIn],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        history: NamedDependency[SkipValidation[History]],
        folders: NamedDependency[FolderTrees],
        key: NamedDependency[CommandKey | None],
    ) -> dict[str, Any]:
        """Make a chat. Everything in ``chat`` is kept; messages are added by their own route or by a completion."""
        given = data.chat.get("id")
        made, client_id = bound_id(principal.user_id, given) if isinstance(given, str) and given else (uuid4(), None)
        chat_id = made if given else new_id(principal, key, made, "chat")
        known = {"id", "title", "history", "messages"}
        fields = {name: value for name, value in data.chat.items() if name not in known}
        folder_id = bound_id(principal.user_id, data.folder_id)[0] if data.folder_id else None
        command = CreateChat(
            chat_id=chat_id, by=principal.user_id, title=title_of(data.chat), folder_id=folder_id, client_id=client_id, fields=fields
        )
        await folders.require(principal.user_id, folder_id, key)
        appended = await chats.handle(command, actor=actor_of(principal), key=key)
        view = await history.chat(chat_id, at=appended.versions[0])
        return {"id": chat_id, **view.shown(), "position": appended.position}

    @get("/{chat_id:str}")
    async def get_chat(
        self,
        chat_id: FromPath[str],
        principal: NamedDependency[Principal],
        history: NamedDependency[SkipValidation[History]],
        log: NamedDependency[SkipValidation[EventLog]],
        blobs: NamedDependency[SkipValidation[Blobs]],
        folders: NamedDependency[FolderTrees],
        epoch: NamedDependency[UUID],
        at: FromQuery[str | None] = None,
    ) -> dict[str, Any]:
        """The chat with its tree of messages, exact to the last token, and the ``version`` to subscribe from.

        ``at``, a cursor or a time: as it was then.
        """
        known_id, _ = bound_id(principal.user_id, chat_id)
        version = await version_at(history, log, epoch, principal, known_id, at)
        view = await history.chat(known_id, at=version)
        require_reader(view if version is None else None, principal, known_id)
        await resolve_blobs(blobs, known_id, view)
        if version is None:
            await leave_gone_folder(folders, view)
        return await sent(known_id, view)

    @post("/{chat_id:str}", status_code=200)
    async def update_chat(
        self,
        chat_id: FromPath[str],
        data: JSONBody[UpdateChatIn],
        request: Request[Any, Any, Any],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        history: NamedDependency[SkipValidation[History]],
        log: NamedDependency[SkipValidation[EventLog]],
        blobs: NamedDependency[SkipValidation[Blobs]],
        key: NamedDependency[CommandKey | None],
    ) -> CommandOut | dict[str, Any]:
        """Rename the chat or change its own keys (models, params …), by shallow merge.

        With ``history`` a whole saved chat: merged by message, never in place of what is there, and answered with the whole chat.
        ``version`` (or ``If-Match``) says what was read before. 409 ``edit_conflict`` where somebody else changed the same since.
        """
        known_id, _ = bound_id(principal.user_id, chat_id)
        if "title" in data.chat:
            title_of(data.chat)
        if "history" in data.chat:
            base = read_version(request, data)
            saving = Saving(chats, history, log, blobs, actor_of(principal))
            saved = await saving.save(known_id, parsed(data.chat, principal.user_id, base), key)
            view = await history.chat(known_id, at=saved.appended.versions[0])
            await resolve_blobs(blobs, known_id, view)
            return {**await sent(known_id, view), "position": saved.appended.position, "kept": saved.kept}
        commands: list[ChatCommand] = []
        if "title" in data.chat:
            commands.append(RenameChat(chat_id=known_id, by=principal.user_id, title=title_of(data.chat)))
        fields = {name: value for name, value in data.chat.items() if name not in ("id", "title", "messages", "tags")}
        if fields:
            commands.append(ConfigureChat(chat_id=known_id, by=principal.user_id, fields=fields))
        if not commands:
            raise BadRequest("expected a chat with a title, other keys of its own, or a history")
        appended = await chats.handle_all(commands, actor=actor_of(principal), key=key, expected_version=read_version(request, data))
        return answered(known_id, appended)

    @delete("/{chat_id:str}", status_code=200)
    async def remove(
        self, chat_id: FromPath[str], principal: NamedDependency[Principal], chats: NamedDependency[Chats], runs: NamedDependency[Runs]
    ) -> bool:
        """Delete the chat: what runs in it is stopped first. The log keeps what it said."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        await delete_chat(chats, runs, principal, known_id)
        return True

    @post("/{chat_id:str}/messages", status_code=200)
    async def add_message(
        self,
        chat_id: FromPath[str],
        data: JSONBody[AddMessageIn],
        request: Request[Any, Any, Any],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        key: NamedDependency[CommandKey | None],
    ) -> CommandOut:
        """Add a message without asking a model. ``parent_id`` null: a root; absent it is not guessed."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        given_id, client_id = bound_id(principal.user_id, data.id) if data.id else (new_id(principal, key, uuid4(), "message"), None)
        parent_id = bound_id(principal.user_id, data.parent_id)[0] if data.parent_id else None
        command = AddMessage(
            chat_id=known_id,
            by=principal.user_id,
            message_id=given_id,
            parent_id=parent_id,
            role=data.role,
            content=data.content,
            client_id=client_id,
            fields=data.fields,
        )
        appended = await chats.handle(command, actor=actor_of(principal), key=key, expected_version=expected_version(request))
        return answered(known_id, appended, given_id)

    @post("/{chat_id:str}/messages/{message_id:str}", status_code=200)
    async def edit_message(
        self,
        chat_id: FromPath[str],
        message_id: FromPath[str],
        data: JSONBody[MessageIn],
        request: Request[Any, Any, Any],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        key: NamedDependency[CommandKey | None],
    ) -> CommandOut:
        """Edit a message's content. The log keeps what it said before."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        known_message_id, _ = bound_id(principal.user_id, message_id)
        command = EditMessage(chat_id=known_id, by=principal.user_id, message_id=known_message_id, fields={"content": data.content})
        appended = await chats.handle(command, actor=actor_of(principal), key=key, expected_version=expected_version(request))
        return answered(known_id, appended, known_message_id)

    @delete("/{chat_id:str}/messages/{message_id:str}", status_code=200)
    async def delete_message(
        self,
        chat_id: FromPath[str],
        message_id: FromPath[str],
        request: Request[Any, Any, Any],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
    ) -> CommandOut:
        """Delete a message and its direct children; what stood below those moves up."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        known_message_id, _ = bound_id(principal.user_id, message_id)
        command = DeleteMessage(chat_id=known_id, by=principal.user_id, message_id=known_message_id)
        appended = await chats.handle(command, actor=actor_of(principal), expected_version=expected_version(request))
        return answered(known_id, appended, known_message_id)

    @post("/{chat_id:str}/messages/{message_id:str}/event", status_code=200)
    async def emit(
        self,
        chat_id: FromPath[str],
        message_id: FromPath[str],
        data: JSONBody[EmitIn],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        key: NamedDependency[CommandKey | None],
    ) -> bool:
        """Emit an event about a message, as filters and tools do: kept in the log, folded into the message where its type says so."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        known_message_id, _ = bound_id(principal.user_id, message_id)
        command = Emit(chat_id=known_id, by=principal.user_id, message_id=known_message_id, name=data.type, data=data.data)
        await chats.handle(command, actor=actor_of(principal), key=key)
        return True

    @post("/{chat_id:str}/messages/{message_id:str}/rating", status_code=200)
    async def rate(
        self,
        chat_id: FromPath[str],
        message_id: FromPath[str],
        data: JSONBody[RatingIn],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        key: NamedDependency[CommandKey | None],
    ) -> CommandOut:
        """Thumbs up (1), down (-1) or neither (0)."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        known_message_id, _ = bound_id(principal.user_id, message_id)
        command = RateMessage(chat_id=known_id, by=principal.user_id, message_id=known_message_id, rating=data.rating, comment=data.comment)
        return answered(known_id, await chats.handle(command, actor=actor_of(principal), key=key), known_message_id)

    @post("/{chat_id:str}/branch", status_code=200)
    async def select_branch(
        self,
        chat_id: FromPath[str],
        data: JSONBody[BranchIn],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        key: NamedDependency[CommandKey | None],
    ) -> CommandOut:
        """Look at another branch: ``message_id`` becomes the current message."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        message_id, _ = bound_id(principal.user_id, data.message_id)
        command = SelectBranch(chat_id=known_id, by=principal.user_id, message_id=message_id)
        return answered(known_id, await chats.handle(command, actor=actor_of(principal), key=key), message_id)

    @post("/{chat_id:str}/access", status_code=200)
    async def share(
        self,
        chat_id: FromPath[str],
        data: JSONBody[AccessIn],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        key: NamedDependency[CommandKey | None],
    ) -> CommandOut:
        """Give one person access to the chat, or with ``permission: null`` take it: their open streams of it end at once."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        command = ShareChat(chat_id=known_id, by=principal.user_id, user_id=data.user_id, permission=data.permission)
        return answered(known_id, await chats.handle(command, actor=actor_of(principal), key=key))


def read_version(request: Request[Any, Any, Any], data: UpdateChatIn) -> int | None:
    """Which version of the chat the caller had read. Raises ``BadRequest`` where header and body differ."""
    given = expected_version(request)
    if given is not None and data.version is not None and given != data.version:
        raise BadRequest(f"expected one version, received {given} in If-Match and {data.version} in the body")
    return given if given is not None else data.version


async def delete_chat(chats: Chats, runs: Runs, principal: Principal, chat_id: UUID, only_from: Collection[UUID] | None = None) -> None:
    """Stop what runs in it, then delete it; with ``only_from`` only if it is in one of these folders. Raises what ``decide`` raises."""
    for _ in range(DELETE_ATTEMPTS_MAX):
        try:
            await chats.handle(DeleteChat(chat_id=chat_id, by=principal.user_id, only_from=only_from), actor=actor_of(principal))
        except GenerationOpen as still_open:
            await runs.stop(chat_id, still_open.message_id, principal.user_id)
        else:
            return
    raise BadRequest("new answers keep starting in this chat; try again")


def answered(chat_id: UUID, appended: Appended, message_id: UUID | None = None) -> CommandOut:
    return CommandOut(chat_id, appended.versions[0], appended.position, message_id)
