"""``POST /api/v1/chats/import``: the caller's chats from elsewhere, as Open WebUI's clients send them."""

from typing import Any
from uuid import UUID

import msgspec
from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, SkipValidation

from api.chats.chat import actor_of
from api.request.ids import bound_id
from commands.accounts import Principal
from commands.chats import Chats
from commands.ports import Blobs, EventLog
from commands.transfer import open_webui
from commands.transfer.whole_chat import Added, Outcome, Prepared, WholeChats
from domain.errors import BadRequest, ImportRefused
from domain.folder import Folders
from domain.stream import chat_stream


class ImportIn(msgspec.Struct):
    """``chats``, or one chat alone: ``{chat, meta, pinned, folder_id, created_at, updated_at …}``."""

    chats: Any = None  # a list of such; looked at below, since a dependency of ours has the same name
    chat: dict[str, Any] | None = None
    id: str | None = None
    title: str | None = None
    meta: dict[str, Any] | None = None
    archived: bool | None = None
    pinned: bool | None = None
    folder_id: str | None = None
    current_message_id: str | None = None
    created_at: int | float | str | None = None
    updated_at: int | float | str | None = None


class ImportedOut(msgspec.Struct):
    """One chat. ``outcome``: imported now, or there already."""

    id: UUID
    title: str
    version: int
    position: int
    outcome: Outcome
    pinned: bool
    archived: bool
    folder_id: UUID | None
    meta: dict[str, Any]


class ImportController(Controller):
    path = "/api/v1/chats"
    tags = ("chats",)

    @post("/import", status_code=200)
    async def import_chats(
        self,
        data: JSONBody[ImportIn],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        log: NamedDependency[SkipValidation[EventLog]],
        blobs: NamedDependency[SkipValidation[Blobs]],
        my_folders: NamedDependency[SkipValidation[Folders]],
    ) -> list[ImportedOut] | ImportedOut:
        """Import chats as one's own. All of them are looked through first: where one is refused, none is written. Safe to repeat."""
        if not isinstance(data.chats, list | None) or (data.chats is None and data.chat is None):
            raise BadRequest("expected chats, a list, or one chat")
        rows = (
            data.chats
            if data.chats is not None
            else [{key: value for key, value in msgspec.structs.asdict(data).items() if key != "chats"}]
        )
        whole_chats = WholeChats(log, blobs, chats)
        prepared = [await whole_chats.prepare(whole_chat(row, principal.user_id, number, my_folders)) for number, row in enumerate(rows, 1)]
        repeated = len({one.chat.chat_id for one in prepared}) < len(prepared)
        if repeated:
            raise BadRequest("expected each chat once, found two with the same id")
        outcomes = await whole_chats.add_all(prepared, actor=actor_of(principal))
        made = [await answer(log, one, outcome) for one, outcome in zip(prepared, outcomes, strict=True)]
        return made if data.chats is not None else made[0]


def whole_chat(row: Any, owner_id: UUID, number: int, folders: Folders) -> Any:
    """A folder of the caller's is the chat's folder here; any other is only kept as what the source said."""
    given = row.get("folder_id") if isinstance(row, dict) else None
    folder_id = bound_id(owner_id, given)[0] if isinstance(given, str) and given else None
    return open_webui.whole_chat(row, owner_id, name=f"number {number}", folder_id=folder_id if folder_id in folders.by_id else None)


async def answer(log: EventLog, one: Prepared, outcome: Added | ImportRefused) -> ImportedOut:
    if isinstance(outcome, ImportRefused):
        raise outcome
    chat = one.chat
    version = len(one.events) if outcome.outcome == "imported" else await log.version(chat_stream(chat.chat_id))
    position = outcome.position or await log.head()
    return ImportedOut(
        chat.chat_id, chat.title, version, position, outcome.outcome, chat.pinned, chat.archived, chat.folder_id, {"tags": list(chat.tags)}
    )
