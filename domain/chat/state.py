"""What a decision about a chat reads, folded from its events by ``evolve.py``. Texts of messages are not part of it."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

import msgspec

from domain.chat.facts import Permission
from domain.chat.sharing import ShareLink
from domain.generation import Generation
from domain.routing.call import OpenCall
from domain.values.idmap import IdMap, NotLoaded


class Pick(msgspec.Struct, frozen=True):
    """The model that an arena picked for an answer."""

    model: str
    requested_model: str  # the arena


class MessageNode(msgspec.Struct, frozen=True):
    """One message of the tree, without its text."""

    parent_id: UUID | None
    role: str
    children: tuple[UUID, ...] = ()
    deleted: bool = False
    changed_version: int = 0  # of the newest event that changed what it says; the deltas of an open answer do not count
    pick: Pick | None = None  # of an arena's answer
    generated: bool = False  # a generation has begun it


class Grant(msgspec.Struct, frozen=True):
    """One person's access to a chat that is not theirs."""

    permission: Permission
    since: int  # the version at which this access began; a change of the permission does not begin it anew


class Chat(msgspec.Struct, frozen=True):
    """Holds only what a decision reads.

    A state may be partial (``partial.py``): then ``messages`` is a ``PartialMap``. Everything that is loaded is exact, and a decision
    that reads more raises ``NotLoaded``.
    """

    owner_id: UUID | None = None  # None: there is no such chat yet
    title: str = ""
    renamed: bool = False  # whether it ever had another title than the one it was made with
    listed: bool = True
    deleted: bool = False
    pinned: bool = False
    archived: bool = False
    folder_id: UUID | None = None
    settings_version: int = 0  # of the newest event that changed the title or the chat's other keys
    tags: frozenset[str] = frozenset()
    grants: Mapping[UUID, Grant] = {}
    share: ShareLink | None = None
    messages: IdMap[MessageNode] = IdMap()
    current_id: UUID | None = None
    open_generations: Mapping[UUID, Generation] = {}  # a handful; closed ones are not kept here
    generations_loaded: bool = True  # False: ``open_generations`` holds those of loaded messages, and there may be more
    open_calls: Mapping[UUID, OpenCall] = {}  # questions to users that wait for an answer; a handful
    calls_loaded: bool = True  # False: ``open_calls`` may lack some

    def require_generations(self) -> None:
        """Raises ``NotLoaded`` unless ``open_generations`` holds every open generation of the chat."""
        if not self.generations_loaded:
            raise NotLoaded((), generations=True)

    def require_calls(self) -> None:
        """Raises ``NotLoaded`` unless ``open_calls`` holds every open call of the chat."""
        if not self.calls_loaded:
            raise NotLoaded((), calls=True)

    def may_read(self, user_id: UUID) -> bool:
        return not self.deleted and (user_id == self.owner_id or user_id in self.grants)

    def may_write(self, user_id: UUID) -> bool:
        grant = self.grants.get(user_id)
        return not self.deleted and (user_id == self.owner_id or (grant is not None and grant.permission == "write"))

    def access_since(self, user_id: UUID) -> int:
        """The version at which this person's access began; 0 for the owner, who was there from the beginning, and for those without one."""
        grant = self.grants.get(user_id)
        return grant.since if grant is not None else 0

    def may_see_snapshot(self, share_id: UUID, user_id: UUID) -> bool:
        """Whether this link is there, and for them. Whoever may read the chat may see what was shared of it."""
        if self.share is None or self.share.share_id != share_id or self.deleted:
            return False
        return self.share.is_open_to(user_id) or self.may_read(user_id)


EMPTY: Final = Chat()


def tag_id(name: str) -> str:
    """What makes two tags the same one, as in the reference system."""
    return name.strip().lower().replace(" ", "_")
