"""A snapshot of a chat behind a link: a part of what can happen in a chat (``domain/chat/``, which says whose chat it is)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, assert_never
from uuid import UUID

import msgspec

from domain.errors import BadRequest

# ---------------------------------------------------------------------------------------------------------------- facts


class ChatSnapshotShared(msgspec.Struct, frozen=True):
    """The link shows the chat as of ``version`` to everyone who is signed in, or to ``user_ids`` alone."""

    share_id: UUID
    version: int
    everyone: bool = True
    user_ids: Sequence[UUID] = []


class ChatSnapshotUnshared(msgspec.Struct, frozen=True):
    share_id: UUID


SharingFact = ChatSnapshotShared | ChatSnapshotUnshared
SHARING_TYPES: Final[Mapping[str, type[Any]]] = {
    "chat_snapshot_shared": ChatSnapshotShared,
    "chat_snapshot_unshared": ChatSnapshotUnshared,
}

# ------------------------------------------------------------------------------------------------------------- commands


class ShareSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Share the chat as of ``version``. Sharing again updates the same link."""

    chat_id: UUID
    by: UUID
    share_id: UUID  # of a new link; random, so that it cannot be guessed
    version: int


class SetSnapshotAccess(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID
    everyone: bool
    user_ids: Sequence[UUID]


class UnshareSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID


SharingCommand = ShareSnapshot | SetSnapshotAccess | UnshareSnapshot

# ---------------------------------------------------------------------------------------------------------------- state


class Share(msgspec.Struct, frozen=True):
    """The link to a snapshot."""

    share_id: UUID
    version: int  # that the link shows
    everyone: bool
    user_ids: frozenset[UUID]
    shared_version: int  # of the event that shared it

    def shows(self, user_id: UUID) -> bool:
        """Whether it was given to them."""
        return self.everyone or user_id in self.user_ids


# --------------------------------------------------------------------------------------------------------------- decide


def decide(known: Share | None, command: SharingCommand) -> list[SharingFact]:
    """The facts that the command leads to. An empty list means "already so", a ``Refusal`` means "no"."""
    match command:
        case ShareSnapshot():
            return share_snapshot(known, command)
        case SetSnapshotAccess():
            return set_snapshot_access(known, command)
        case UnshareSnapshot():
            return [] if known is None else [ChatSnapshotUnshared(known.share_id)]
        case _:
            assert_never(command)


def share_snapshot(known: Share | None, command: ShareSnapshot) -> list[SharingFact]:
    if known is None:
        return [ChatSnapshotShared(command.share_id, command.version)]
    if command.version in (known.version, known.shared_version):
        return []  # nothing but the sharing itself has happened since
    return [ChatSnapshotShared(known.share_id, command.version, known.everyone, sorted(known.user_ids))]


def set_snapshot_access(known: Share | None, command: SetSnapshotAccess) -> list[SharingFact]:
    if known is None:
        raise BadRequest("expected a chat of which a snapshot is shared: POST …/share makes the link")
    if (known.everyone, known.user_ids) == (command.everyone, frozenset(command.user_ids)):
        return []
    return [ChatSnapshotShared(known.share_id, known.version, command.everyone, sorted(set(command.user_ids)))]


# --------------------------------------------------------------------------------------------------------------- evolve


def evolve(fact: SharingFact, version: int) -> Share | None:
    """The link after it, and None where there is none."""
    match fact:
        case ChatSnapshotShared():
            return Share(fact.share_id, fact.version, fact.everyone, frozenset(fact.user_ids), version)
        case ChatSnapshotUnshared():
            return None
        case _:
            assert_never(fact)
