"""A person's folders as an aggregate: a tree that sorts their chats.

The facts are in the person's own stream, beside those of their account; ``evolve`` ignores the others. A chat names its folder
(``chat_moved``), so it may name one that was deleted or never existed: then it is in no folder.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Final, assert_never
from uuid import UUID

import msgspec

from domain.accounts.name import trimmed_name
from domain.errors import BadRequest, FolderCycle, FolderExists, FolderNameTaken, FolderNotFound, Forbidden
from domain.log.event import Event
from domain.values.fields import differing

FOLDERS_MAX: Final = 1000
DEPTH_MAX: Final = 32  # of a folder without a parent: 1
FOLDER_NAME_CHARACTERS_MAX: Final = 200
FOLDER_BYTES_MAX: Final = 64 * 1024  # of the data and the meta of one folder, as JSON
FOLDERS_BYTES_MAX: Final = 1024 * 1024  # of all of them

# ---------------------------------------------------------------------------------------------------------------- facts
# ``data`` (system prompt, files …) and ``meta`` (icon …) are the clients' own: merged key by key, unknown keys are kept.


class FolderCreated(msgspec.Struct, frozen=True):
    folder_id: UUID
    name: str
    parent_id: UUID | None = None
    client_id: str | None = None  # the client's own id, if that is no uuid
    data: Mapping[str, Any] = {}
    meta: Mapping[str, Any] = {}


class FolderRenamed(msgspec.Struct, frozen=True):
    folder_id: UUID
    name: str


class FolderMoved(msgspec.Struct, frozen=True):
    folder_id: UUID
    parent_id: UUID | None


class FolderConfigured(msgspec.Struct, frozen=True):
    """Changed keys only; shallow merge."""

    folder_id: UUID
    data: Mapping[str, Any] = {}
    meta: Mapping[str, Any] = {}


class FolderExpanded(msgspec.Struct, frozen=True):
    folder_id: UUID


class FolderCollapsed(msgspec.Struct, frozen=True):
    folder_id: UUID


class FolderDeleted(msgspec.Struct, frozen=True):
    """The folder and everything below it."""

    folder_id: UUID


FolderFact = FolderCreated | FolderRenamed | FolderMoved | FolderConfigured | FolderExpanded | FolderCollapsed | FolderDeleted
FolderEvent = Event[FolderFact]

FOLDER_TYPES: Final[Mapping[str, type[Any]]] = {
    "folder_created": FolderCreated,
    "folder_renamed": FolderRenamed,
    "folder_moved": FolderMoved,
    "folder_configured": FolderConfigured,
    "folder_expanded": FolderExpanded,
    "folder_collapsed": FolderCollapsed,
    "folder_deleted": FolderDeleted,
}

# ------------------------------------------------------------------------------------------------------------- commands


class CreateFolder(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    folder_id: UUID
    name: str
    parent_id: UUID | None = None
    client_id: str | None = None
    data: Mapping[str, Any] = {}
    meta: Mapping[str, Any] = {}


class ChangeFolder(msgspec.Struct, frozen=True, kw_only=True):
    """Change the name, keys, or both."""

    user_id: UUID
    folder_id: UUID
    name: str | None = None  # None: unchanged
    data: Mapping[str, Any] = {}
    meta: Mapping[str, Any] = {}


class MoveFolder(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    folder_id: UUID
    parent_id: UUID | None  # None: to the top level


class ExpandFolder(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    folder_id: UUID
    expanded: bool


class DeleteFolder(msgspec.Struct, frozen=True, kw_only=True):
    user_id: UUID
    folder_id: UUID


FolderCommand = CreateFolder | ChangeFolder | MoveFolder | ExpandFolder | DeleteFolder

# ---------------------------------------------------------------------------------------------------------------- state


class Folder(msgspec.Struct, frozen=True):
    name: str
    parent_id: UUID | None
    created_version: int
    updated_version: int
    client_id: str | None = None
    data: Mapping[str, Any] = {}
    meta: Mapping[str, Any] = {}
    is_expanded: bool = False
    size_bytes: int = 0  # of data and meta


class Folders(msgspec.Struct, frozen=True):
    """All folders of one person."""

    by_id: Mapping[UUID, Folder] = {}

    def subtree(self, folder_id: UUID) -> list[UUID]:
        """The folder and all below it, parents first; empty if it does not exist."""
        return subtrees(self.by_id, [folder_id] if folder_id in self.by_id else [])


NO_FOLDERS: Final = Folders()


def subtrees(by_id: Mapping[UUID, Folder], roots: Iterable[UUID]) -> list[UUID]:
    """The roots and all folders below them, each once."""
    children: dict[UUID | None, list[UUID]] = {}
    for folder_id, folder in by_id.items():
        children.setdefault(folder.parent_id, []).append(folder_id)
    found = dict.fromkeys(roots)
    waiting = list(found)
    while waiting:
        below = [child for child in children.get(waiting.pop(), ()) if child not in found]
        found.update(dict.fromkeys(below))
        waiting += below
    return list(found)


def same_name(name: str) -> str:
    """The key by which two siblings' names are compared."""
    return unicodedata.normalize("NFC", name).casefold()


def searched_name(name: str) -> str:
    """The key by which a name is compared with that of a search, where spaces are written as underscores, as in the reference system."""
    return re.sub(r"[\s_]+", " ", same_name(name)).strip()


def folder_ids_named(folders: Folders, name: str) -> list[UUID]:
    """The folders that a search for ``folder:name`` selects: those with that name, and all below them.

    Without regard to case; spaces may be written as underscores. Empty if there is none.
    """
    wanted = searched_name(name)
    return subtrees(folders.by_id, [folder_id for folder_id, folder in folders.by_id.items() if searched_name(folder.name) == wanted])


# --------------------------------------------------------------------------------------------------------------- decide


def decide(folders: Folders, command: FolderCommand) -> list[FolderEvent]:
    """The events that the command leads to. An empty list means "already so", a ``Refusal`` means "no"."""
    match command:
        case CreateFolder():
            return create_folder(folders, command)
        case ChangeFolder():
            return change_folder(folders, command)
        case MoveFolder():
            return move_folder(folders, command)
        case ExpandFolder(folder_id=folder_id, expanded=expanded):
            if existing(folders, folder_id).is_expanded == expanded:
                return []
            return [Event(None, FolderExpanded(folder_id) if expanded else FolderCollapsed(folder_id))]
        case DeleteFolder(folder_id=folder_id):
            existing(folders, folder_id)
            return [Event(None, FolderDeleted(folder_id))]
        case _:
            assert_never(command)


def create_folder(folders: Folders, command: CreateFolder) -> list[FolderEvent]:
    if command.folder_id in folders.by_id:
        raise FolderExists(command.folder_id)
    name = trimmed_name(command.name, FOLDER_NAME_CHARACTERS_MAX)
    require_place(folders, None, name, command.parent_id)
    if len(folders.by_id) >= FOLDERS_MAX:
        raise Forbidden(f"an account holds at most {FOLDERS_MAX} folders: delete one first")
    require_room(folders, None, command.data, command.meta)
    return [Event(None, FolderCreated(command.folder_id, name, command.parent_id, command.client_id, command.data, command.meta))]


def change_folder(folders: Folders, command: ChangeFolder) -> list[FolderEvent]:
    folder = existing(folders, command.folder_id)
    events: list[FolderEvent] = []
    if command.name is not None:
        name = trimmed_name(command.name, FOLDER_NAME_CHARACTERS_MAX)
        if name != folder.name:
            require_free_name(folders, command.folder_id, name, folder.parent_id)
            events.append(Event(None, FolderRenamed(command.folder_id, name)))
    data, meta = differing(folder.data, command.data), differing(folder.meta, command.meta)
    if data or meta:
        require_room(folders, command.folder_id, {**folder.data, **data}, {**folder.meta, **meta})
        events.append(Event(None, FolderConfigured(command.folder_id, data, meta)))
    return events


def move_folder(folders: Folders, command: MoveFolder) -> list[FolderEvent]:
    folder = existing(folders, command.folder_id)
    if command.parent_id == folder.parent_id:
        return []
    if command.parent_id in folders.subtree(command.folder_id):
        raise FolderCycle(command.folder_id, command.parent_id)
    require_place(folders, command.folder_id, folder.name, command.parent_id)
    return [Event(None, FolderMoved(command.folder_id, command.parent_id))]


def existing(folders: Folders, folder_id: UUID) -> Folder:
    folder = folders.by_id.get(folder_id)
    if folder is None:
        raise FolderNotFound(folder_id)
    return folder


def require_place(folders: Folders, folder_id: UUID | None, name: str, parent_id: UUID | None) -> None:
    """Raises unless the folder (None: a new one) may have this name and this parent."""
    if parent_id is not None:
        existing(folders, parent_id)
    require_free_name(folders, folder_id, name, parent_id)
    depth = depth_of(folders, parent_id) + (height_of(folders, folder_id) if folder_id is not None else 1)
    if depth > DEPTH_MAX:
        raise BadRequest(f"folders stand at most {DEPTH_MAX} deep, here it would be {depth}")


def require_free_name(folders: Folders, folder_id: UUID | None, name: str, parent_id: UUID | None) -> None:
    wanted = same_name(name)
    for other_id, other in folders.by_id.items():
        if other.parent_id == parent_id and other_id != folder_id and same_name(other.name) == wanted:
            raise FolderNameTaken(other.name, other_id)


def require_room(folders: Folders, folder_id: UUID | None, data: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    size = size_of(data, meta)
    if size > FOLDER_BYTES_MAX:
        raise BadRequest(f"the data and the meta of a folder hold at most {FOLDER_BYTES_MAX} bytes together, these have {size}")
    total = size + sum(other.size_bytes for other_id, other in folders.by_id.items() if other_id != folder_id)
    if total > FOLDERS_BYTES_MAX:
        raise BadRequest(f"the data and the meta of all folders hold at most {FOLDERS_BYTES_MAX} bytes, these would have {total}")


def size_of(data: Mapping[str, Any], meta: Mapping[str, Any]) -> int:
    return len(msgspec.json.encode((data, meta))) if data or meta else 0


def depth_of(folders: Folders, folder_id: UUID | None) -> int:
    """The number of folders up to the root, itself included. For a circle, which history may hold, some number above ``FOLDERS_MAX``."""
    depth = 0
    while folder_id is not None and depth <= FOLDERS_MAX:
        depth += 1
        folder = folders.by_id.get(folder_id)
        folder_id = folder.parent_id if folder is not None else None
    return depth


def height_of(folders: Folders, folder_id: UUID) -> int:
    """The number of levels in its subtree, itself included."""
    heights = {folder_id: 1}
    for below in folders.subtree(folder_id)[1:]:
        heights[below] = heights[folders.by_id[below].parent_id or folder_id] + 1
    return max(heights.values())


# --------------------------------------------------------------------------------------------------------------- evolve


def evolve(folders: Folders, event: Event[Any], version: int) -> Folders:
    """The next state. Total: history cannot be refused, so this never raises."""
    return fold(folders, [(version, event)])


def fold(folders: Folders, events: Iterable[tuple[int, Event[Any]]]) -> Folders:
    """The state after many events: as ``evolve`` one by one, with one copy of the mapping for all of them."""
    by_id: dict[UUID, Folder] | None = None
    for version, event in events:
        if isinstance(event.data, FolderFact):
            by_id = dict(folders.by_id) if by_id is None else by_id
            _apply(by_id, event.data, version)
    return folders if by_id is None else Folders(by_id)


def _apply(by_id: dict[UUID, Folder], fact: FolderFact, version: int) -> None:
    known = by_id.get(fact.folder_id)
    match fact:
        case FolderCreated(folder_id=folder_id) as made:
            size = size_of(made.data, made.meta)
            by_id[folder_id] = Folder(made.name, made.parent_id, version, version, made.client_id, made.data, made.meta, size_bytes=size)
        case _ if known is None:
            pass
        case FolderRenamed(folder_id=folder_id, name=name):
            by_id[folder_id] = changed(known, version, name=name)
        case FolderMoved(folder_id=folder_id, parent_id=parent_id):
            by_id[folder_id] = changed(known, version, parent_id=parent_id)
        case FolderConfigured(folder_id=folder_id):
            data, meta = {**known.data, **fact.data}, {**known.meta, **fact.meta}
            by_id[folder_id] = changed(known, version, data=data, meta=meta, size_bytes=size_of(data, meta))
        case FolderExpanded(folder_id=folder_id):
            by_id[folder_id] = changed(known, version, is_expanded=True)
        case FolderCollapsed(folder_id=folder_id):
            by_id[folder_id] = changed(known, version, is_expanded=False)
        case FolderDeleted(folder_id=folder_id):
            for gone in subtrees(by_id, [folder_id]):
                del by_id[gone]
        case _:
            assert_never(fact)


def changed(folder: Folder, version: int, **fields: Any) -> Folder:
    return msgspec.structs.replace(folder, updated_version=version, **fields)
