"""``/api/v1/folders``: the caller's own folders, a tree that sorts their chats.

``version`` is that of the caller's own stream (``user/…``), where folders stand, and what ``If-Match`` is compared with.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
from litestar import Controller, Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, SkipValidation

from api.chats.chat import actor_of, delete_chat
from api.chats.lists import for_own_chats
from api.request.idempotency import expected_version, new_id
from api.request.ids import bound_id
from commands.accounts import Principal
from commands.chats import Chats
from commands.folders import FolderTrees
from commands.generation.runs import Runs
from commands.ports import Appended, CommandKey, EventLog
from domain.chat.commands import MoveChat
from domain.errors import ConcurrencyConflict
from domain.folder import ChangeFolder, CreateFolder, DeleteFolder, ExpandFolder, Folder, MoveFolder, existing
from domain.stream import user_stream
from projections.ports import ChatFilter, History


class NewFolderIn(msgspec.Struct):
    name: str
    parent_id: str | None = None
    id: str | None = None
    data: dict[str, Any] | None = None
    meta: dict[str, Any] | None = None


class ChangeFolderIn(msgspec.Struct):
    """What is absent or null stays; of ``data`` and ``meta`` every key that is not sent."""

    name: str | None = None
    data: dict[str, Any] | None = None
    meta: dict[str, Any] | None = None


class ParentIn(msgspec.Struct):
    parent_id: str | None = None  # null: out of any


class ExpandedIn(msgspec.Struct):
    is_expanded: bool


class FolderOut(msgspec.Struct, kw_only=True):
    id: UUID
    parent_id: UUID | None
    user_id: UUID
    name: str
    items: None = None  # the reference's clients know the key; the chats of a folder have a list of their own
    meta: Mapping[str, Any]
    data: Mapping[str, Any]
    is_expanded: bool
    created_at: int  # seconds since 1970
    updated_at: int
    client_id: str | None
    version: int


class ChangedFolderOut(FolderOut, kw_only=True):
    position: int


class DeletedFolderOut(msgspec.Struct):
    id: UUID
    version: int
    position: int


class FoldersController(Controller):
    path = "/api/v1/folders"
    tags = ("folders",)

    @get("/")
    async def list_folders(self, principal: NamedDependency[Principal], folders: NamedDependency[FolderTrees]) -> list[FolderOut]:
        """All of them, in the order of their making: ``parent_id`` says how they stand in each other."""
        version, known = await folders.of(principal.user_id)
        times = await folders.times(principal.user_id, known.by_id.values())
        return [shown(principal.user_id, folder_id, folder, times, version) for folder_id, folder in known.by_id.items()]

    @post("/", status_code=200)
    async def new_folder(
        self,
        data: JSONBody[NewFolderIn],
        request: Request[Any, Any, Any],
        principal: NamedDependency[Principal],
        folders: NamedDependency[FolderTrees],
        key: NamedDependency[CommandKey | None],
    ) -> ChangedFolderOut:
        """Make one, at the top or in ``parent_id``. No two beside each other have one name, whatever their case."""
        user_id = principal.user_id
        folder_id, client_id = bound_id(user_id, data.id) if data.id else (new_id(principal, key, uuid4(), "folder"), None)
        command = CreateFolder(
            user_id=user_id,
            folder_id=folder_id,
            name=data.name,
            parent_id=optional(user_id, data.parent_id),
            client_id=client_id,
            data=data.data or {},
            meta=data.meta or {},
        )
        appended = await folders.handle(command, actor=actor_of(principal), key=key, expected_version=expected_version(request))
        return await changed(folders, user_id, folder_id, appended)

    @get("/{folder_id:str}")
    async def get_folder(
        self, folder_id: FromPath[str], principal: NamedDependency[Principal], folders: NamedDependency[FolderTrees]
    ) -> FolderOut:
        """One of them."""
        known_id, _ = bound_id(principal.user_id, folder_id)
        version, known = await folders.of(principal.user_id)
        folder = existing(known, known_id)
        return shown(principal.user_id, known_id, folder, await folders.times(principal.user_id, [folder]), version)

    @post("/{folder_id:str}/update", status_code=200)
    async def change(
        self,
        folder_id: FromPath[str],
        data: JSONBody[ChangeFolderIn],
        request: Request[Any, Any, Any],
        principal: NamedDependency[Principal],
        folders: NamedDependency[FolderTrees],
        key: NamedDependency[CommandKey | None],
    ) -> ChangedFolderOut:
        """Give it another name, other keys in ``data`` (system prompt, files …) and ``meta`` (icon …), or both, by shallow merge."""
        known_id, _ = bound_id(principal.user_id, folder_id)
        command = ChangeFolder(user_id=principal.user_id, folder_id=known_id, name=data.name, data=data.data or {}, meta=data.meta or {})
        appended = await folders.handle(command, actor=actor_of(principal), key=key, expected_version=expected_version(request))
        return await changed(folders, principal.user_id, known_id, appended)

    @post("/{folder_id:str}/update/parent", status_code=200)
    async def move(
        self,
        folder_id: FromPath[str],
        data: JSONBody[ParentIn],
        request: Request[Any, Any, Any],
        principal: NamedDependency[Principal],
        folders: NamedDependency[FolderTrees],
        key: NamedDependency[CommandKey | None],
    ) -> ChangedFolderOut:
        """Put it, with all that is in it, into another folder, or with null to the top."""
        known_id, _ = bound_id(principal.user_id, folder_id)
        command = MoveFolder(user_id=principal.user_id, folder_id=known_id, parent_id=optional(principal.user_id, data.parent_id))
        appended = await folders.handle(command, actor=actor_of(principal), key=key, expected_version=expected_version(request))
        return await changed(folders, principal.user_id, known_id, appended)

    @post("/{folder_id:str}/update/expanded", status_code=200)
    async def expand(
        self,
        folder_id: FromPath[str],
        data: JSONBody[ExpandedIn],
        request: Request[Any, Any, Any],
        principal: NamedDependency[Principal],
        folders: NamedDependency[FolderTrees],
        key: NamedDependency[CommandKey | None],
    ) -> ChangedFolderOut:
        """Show it open or closed, in every tab."""
        known_id, _ = bound_id(principal.user_id, folder_id)
        command = ExpandFolder(user_id=principal.user_id, folder_id=known_id, expanded=data.is_expanded)
        appended = await folders.handle(command, actor=actor_of(principal), key=key, expected_version=expected_version(request))
        return await changed(folders, principal.user_id, known_id, appended)

    @delete("/{folder_id:str}", status_code=200)
    async def remove(
        self,
        folder_id: FromPath[str],
        request: Request[Any, Any, Any],
        principal: NamedDependency[Principal],
        folders: NamedDependency[FolderTrees],
        chats: NamedDependency[Chats],
        runs: NamedDependency[Runs],
        log: NamedDependency[SkipValidation[EventLog]],
        history: NamedDependency[SkipValidation[History]],
        delete_contents: FromQuery[bool] = True,
    ) -> DeletedFolderOut:
        """Delete it with all folders below it, and the chats in them; those only come out of it with ``delete_contents=false``.

        The chats first, the folder last: what is interrupted is finished by asking once more. The log keeps what was said.
        """
        user_id = principal.user_id
        known_id, _ = bound_id(user_id, folder_id)
        expected = expected_version(request)
        version, known = await folders.of(user_id)
        if expected not in (None, version):
            raise ConcurrencyConflict(user_stream(user_id), expected=expected or 0, current=version)
        existing(known, known_id)
        only_from = frozenset(known.subtree(known_id))

        async def empty(chat_id: UUID) -> None:
            if delete_contents:
                await delete_chat(chats, runs, principal, chat_id, only_from)
            else:
                command = MoveChat(chat_id=chat_id, by=user_id, folder_id=None, only_from=only_from)
                await chats.handle(command, actor=actor_of(principal))

        chosen = ChatFilter(in_folder=True, folder_ids=only_from)
        await for_own_chats(history, principal, chosen, await log.head(), empty)
        appended = await folders.handle(DeleteFolder(user_id=user_id, folder_id=known_id), actor=actor_of(principal))
        return DeletedFolderOut(known_id, appended.versions[0], appended.position)


def optional(user_id: UUID, given: str | None) -> UUID | None:
    return bound_id(user_id, given)[0] if given else None


async def changed(folders: FolderTrees, user_id: UUID, folder_id: UUID, appended: Appended) -> ChangedFolderOut:
    """The folder as the command has made it, also where the command is repeated after the folder has gone."""
    version = appended.versions[0]
    folder = (await folders.as_of(user_id, version)).by_id[folder_id]
    out = shown(user_id, folder_id, folder, await folders.times(user_id, [folder]), version)
    return ChangedFolderOut(**msgspec.structs.asdict(out), position=appended.position)


def shown(user_id: UUID, folder_id: UUID, folder: Folder, times: Mapping[int, datetime], version: int) -> FolderOut:
    """``times`` are those of the versions that made and last changed it."""
    return FolderOut(
        id=folder_id,
        parent_id=folder.parent_id,
        user_id=user_id,
        name=folder.name,
        meta=folder.meta,
        data=folder.data,
        is_expanded=folder.is_expanded,
        created_at=int(times[folder.created_version].timestamp()),
        updated_at=int(times[folder.updated_version].timestamp()),
        client_id=folder.client_id,
        version=version,
    )
