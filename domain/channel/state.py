"""What a decision about a channel reads, folded from its events by ``evolve.py``. Texts of messages are not part of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from domain.accounts.access import Grants
from domain.channel.facts import ChannelType, MemberRole
from domain.generation import OpenGenerations
from domain.routing.call import OpenCalls
from domain.values.idmap import IdMap, NotLoaded, PartialMap


class Member(msgspec.Struct, frozen=True):
    role: MemberRole
    since: int  # the version at which they joined


class MessageNode(msgspec.Struct, frozen=True):
    """One message, without its text."""

    user_id: UUID | None  # whose it is; of a model's answer who asked; None: a webhook's
    parent_id: UUID | None = None
    deleted: bool = False
    pinned: bool = False
    reactions: Mapping[str, frozenset[UUID]] = {}  # by name: who reacted so
    changed_version: int = 0  # of the newest event that changed what it says


class Webhook(msgspec.Struct, frozen=True):
    """A service that may post."""

    name: str
    profile_image_url: str | None = None
    since: int = 0  # the version at which it was made


class OutgoingWebhook(msgspec.Struct, frozen=True):
    """A service that is sent events."""

    origin: str
    types: Sequence[str]
    since: int


class Channel(msgspec.Struct, frozen=True):
    """Holds only what a decision reads.

    A state may be partial: then ``messages`` is a ``PartialMap``. Everything that is loaded is exact, and a decision that reads more
    raises ``NotLoaded``. A message is its own events: nothing of its thread has to be loaded with it.
    """

    type: ChannelType = "standard"
    owner_id: UUID | None = None  # None: there is no such channel yet
    name: str = ""
    description: str = ""
    is_private: bool = False
    data: Mapping[str, Any] = {}
    meta: Mapping[str, Any] = {}
    archived: bool = False
    deleted: bool = False
    grants: Grants = ()
    admitted: Mapping[tuple[str, str], int] = {}  # by type and id of each principal that grants name: the version that let it in
    members: Mapping[UUID, Member] = {}  # in the order in which they joined
    webhooks: Mapping[UUID, Webhook] = {}  # those that may post
    outgoing: Mapping[UUID, OutgoingWebhook] = {}
    messages: IdMap[MessageNode] = IdMap()
    open_generations: OpenGenerations = {}
    open_calls: OpenCalls = {}  # questions to members that wait for an answer; a handful
    calls_loaded: bool = True  # False: ``open_calls`` may lack some
    generations_loaded: bool = True  # False: ``open_generations`` holds those of loaded messages, and there may be more

    def require_generations(self) -> None:
        """Raises ``NotLoaded`` unless ``open_generations`` holds every open generation of the channel."""
        if not self.generations_loaded:
            raise NotLoaded((), generations=True)

    def require_calls(self) -> None:
        """Raises ``NotLoaded`` unless ``open_calls`` holds every open call of the channel."""
        if not self.calls_loaded:
            raise NotLoaded((), calls=True)

    @property
    def managers(self) -> list[UUID]:
        return [user_id for user_id, member in self.members.items() if member.role == "manager"]


NO_CHANNEL: Final = Channel()
NOTHING_LOADED: Final = msgspec.structs.replace(NO_CHANNEL, messages=PartialMap(), generations_loaded=False, calls_loaded=False)
