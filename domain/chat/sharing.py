"""A snapshot of a chat behind a link: a part of what can happen in a chat (``domain/chat/``, which says whose chat it is)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, assert_never
from uuid import UUID

import msgspec

from domain.errors import BadRequest

# ---------------------------------------------------------------------------------------------------------------- facts


class ChatVersionShared(msgspec.Struct, frozen=True):
    """The link shows the chat as of ``version`` to everyone who is signed in, or to ``user_ids`` alone."""

    share_id: UUID
    version: int
    everyone: bool = True
    user_ids: Sequence[UUID] = []


class ChatVersionUnshared(msgspec.Struct, frozen=True):
    share_id: UUID


SharingFact = ChatVersionShared | ChatVersionUnshared
SHARING_TYPES: Final[Mapping[str, type[Any]]] = {
    "chat_snapshot_shared": ChatVersionShared,
    "chat_snapshot_unshared": ChatVersionUnshared,
}

# ------------------------------------------------------------------------------------------------------------- commands


class ShareVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Share the chat as of ``version``. Sharing again updates the same link."""

    chat_id: UUID
    by: UUID
    share_id: UUID  # of a new link; random, so that it cannot be guessed
    version: int


class SetShareLinkAccess(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID
    everyone: bool
    user_ids: Sequence[UUID]


class RemoveShareLink(msgspec.Struct, frozen=True, kw_only=True):
    chat_id: UUID
    by: UUID


SharingCommand = ShareVersion | SetShareLinkAccess | RemoveShareLink

# ---------------------------------------------------------------------------------------------------------------- state


class ShareLink(msgspec.Struct, frozen=True):
    """The link to a snapshot."""

    share_id: UUID
    version: int  # that the link shows
    everyone: bool
    user_ids: frozenset[UUID]
    shared_version: int  # of the event that shared it

    def is_open_to(self, user_id: UUID) -> bool:
        """Whether it was given to them."""
        return self.everyone or user_id in self.user_ids


# --------------------------------------------------------------------------------------------------------------- decide


def decide(known: ShareLink | None, command: SharingCommand) -> list[SharingFact]:
    """The facts that the command leads to. An empty list means "already so", a ``Refusal`` means "no"."""
    match command:
        case ShareVersion():
            return share_version(known, command)
        case SetShareLinkAccess():
            return set_share_link_access(known, command)
        case RemoveShareLink():
            return [] if known is None else [ChatVersionUnshared(known.share_id)]
        case _:
            assert_never(command)


def share_version(known: ShareLink | None, command: ShareVersion) -> list[SharingFact]:
    if known is None:
        return [ChatVersionShared(command.share_id, command.version)]
    if command.version in (known.version, known.shared_version):
        return []  # nothing but the sharing itself has happened since
    return [ChatVersionShared(known.share_id, command.version, known.everyone, sorted(known.user_ids))]


def set_share_link_access(known: ShareLink | None, command: SetShareLinkAccess) -> list[SharingFact]:
    if known is None:
        raise BadRequest("expected a chat of which a snapshot is shared: POST …/share makes the link")
    if (known.everyone, known.user_ids) == (command.everyone, frozenset(command.user_ids)):
        return []
    return [ChatVersionShared(known.share_id, known.version, command.everyone, sorted(set(command.user_ids)))]


# --------------------------------------------------------------------------------------------------------------- evolve


def evolve(fact: SharingFact, version: int) -> ShareLink | None:
    """The link after it, and None where there is none."""
    match fact:
        case ChatVersionShared():
            return ShareLink(fact.share_id, fact.version, fact.everyone, frozenset(fact.user_ids), version)
        case ChatVersionUnshared():
            return None
        case _:
            assert_never(fact)
