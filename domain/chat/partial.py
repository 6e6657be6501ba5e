"""The partial state of a chat: single messages, computed from the events of these messages and of their relatives.

``PartialMessages`` collects events and returns exactly the entries that a fold of the whole chat has. It rests on what ``decide``
guarantees: a message is added once, after its parent and before the parent is deleted. A restored log may hold something else; then
it raises ``UnusualHistory``, since only the fold of the whole chat is exact.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

import msgspec

from domain.chat.evolve import changed, evolve
from domain.chat.facts import BranchSelected, ChatEvent, MessageAdded, MessageDeleted
from domain.chat.state import EMPTY, Chat, MessageNode
from domain.generation import Generation, MessageStarted
from domain.values.idmap import PartialMap, UnusualHistory

NOTHING_LOADED: Final = changed(EMPTY, messages=PartialMap(), generations_loaded=False, calls_loaded=False)
# The types that say which message is looked at, until that one is deleted.
LOOKED_AT_TYPES: Final = ("message_added", "message_start", "chat_branch_selected")


class Life(msgspec.Struct):
    """What the events of one message say about it alone."""

    added_version: int = 0  # 0: there is no such message
    parent_id: UUID | None = None  # as it was added
    deleted_version: int | None = None
    alone: Chat = EMPTY  # the fold of its own events

    def apply(self, message_id: UUID, version: int, event: ChatEvent) -> None:
        match event.data:
            case MessageStarted(fills=True):
                pass
            case MessageAdded(parent_id=parent_id) | MessageStarted(parent_id=parent_id):
                if self.added_version:
                    raise UnusualHistory(f"message {message_id} was added twice")
                self.added_version, self.parent_id = version, parent_id
            case MessageDeleted() if self.added_version and self.deleted_version is None:
                self.deleted_version = version
            case _:
                pass
        self.alone = evolve(self.alone, event, version)


class PartialMessages:
    """Messages of one chat as of one version.

    ``add_events`` is given the events of messages, of their parents and of their children, as ``EventLog.read_relatives`` reads them.
    ``nodes`` and ``current`` then answer, or put into ``wanted`` the messages whose relatives have to be added first. That happens
    where a relative was deleted: the messages below it have moved up.
    """

    def __init__(self) -> None:
        self.wanted: set[UUID] = set()
        self._lives: dict[UUID, Life] = {}
        self._added_below: dict[UUID, list[UUID]] = {}  # by the parent that they were added below, in no order
        self._complete: set[UUID] = set()  # messages whose relatives are all known

    def add_events(self, message_ids: Iterable[UUID], events: Sequence[tuple[int, ChatEvent]]) -> None:
        """``events`` of these messages and their relatives, with their versions, in order. Raises ``UnusualHistory``."""
        new = dict[UUID, Life]()
        for version, event in events:
            message_id = event.message_id
            if message_id is None or message_id in self._lives:
                continue
            life = new.setdefault(message_id, Life())
            life.apply(message_id, version, event)
        for message_id, life in new.items():
            if life.parent_id is not None:
                self._added_below.setdefault(life.parent_id, []).append(message_id)
        self._lives |= new
        self._complete.update(message_ids)
        self.wanted -= self._complete

    def nodes(self, message_ids: Iterable[UUID]) -> tuple[Mapping[UUID, MessageNode | None], Mapping[UUID, Generation]]:
        """The entries of ``Chat.messages`` and ``Chat.open_generations``. Not yet right while ``wanted`` is not empty.

        A ``Generation`` counts neither deltas nor blocks: those events are not read here.
        """
        nodes: dict[UUID, MessageNode | None] = {}
        generations: dict[UUID, Generation] = {}
        for message_id in message_ids:
            life = self._life(message_id)
            if life is None:
                continue
            generations.update(life.alone.open_generations)
            node = life.alone.messages.get(message_id)
            if node is not None:
                parent_id = self._parent(life, until=life.deleted_version)
                children = () if node.deleted else tuple(self._children_of(message_id, life))
                node = msgspec.structs.replace(node, parent_id=parent_id, children=children)
            nodes[message_id] = node
        return nodes, generations

    def current(self, event: ChatEvent, version: int) -> UUID | None:
        """``Chat.current_id``, from the newest event of ``LOOKED_AT_TYPES``. Not yet right while ``wanted`` is not empty."""
        if event.message_id is None:
            return None
        life = self._life(event.message_id)
        if life is None or life.deleted_version is None:
            return event.message_id
        if type(event.data) is BranchSelected and life.deleted_version < version:
            raise UnusualHistory(f"message {event.message_id} was selected after it was deleted")
        return self._parent(life, until=None)

    def _life(self, message_id: UUID) -> Life | None:
        if message_id not in self._complete:
            self.wanted.add(message_id)
            return None
        return self._lives.setdefault(message_id, Life())

    def _parent(self, life: Life, *, until: int | None) -> UUID | None:
        """The nearest message above that was not deleted before version ``until``."""
        while life.parent_id is not None:
            parent_id = life.parent_id
            above = self._lives.get(parent_id)
            if above is None and parent_id not in self._complete:
                # A parent is read as a relative of its child; it is missing where the child is itself only a relative.
                self.wanted.add(parent_id)
                return None
            if above is None or not above.added_version:
                return parent_id
            self._require_usual(life, above)
            if above.deleted_version is None or (until is not None and above.deleted_version > until):
                return parent_id
            life = above
        return None

    def _children_of(self, message_id: UUID, life: Life) -> Iterable[UUID]:
        """The children, with those of a deleted one in its place."""
        if message_id not in self._complete:
            self.wanted.add(message_id)
            return
        children = [(self._lives[child_id], child_id) for child_id in self._added_below.get(message_id, ())]
        for child, child_id in sorted(children, key=lambda one: one[0].added_version):
            self._require_usual(child, life)
            if child.deleted_version is None:
                yield child_id
            else:
                yield from self._children_of(child_id, child)

    def _require_usual(self, life: Life, above: Life) -> None:
        if not above.added_version < life.added_version or (
            above.deleted_version is not None and above.deleted_version < life.added_version
        ):
            raise UnusualHistory("a message was added below one that was not there")


def with_loaded(chat: Chat, nodes: Mapping[UUID, MessageNode | None], generations: Mapping[UUID, Generation]) -> Chat:
    """The same partial state, with these entries of the same version."""
    assert isinstance(chat.messages, PartialMap)
    known = chat.open_generations
    more = {one: generation for one, generation in generations.items() if one not in known}
    return changed(chat, messages=chat.messages.with_loaded(nodes), open_generations={**known, **more} if more else known)


def trimmed(chat: Chat, messages_max: int) -> Chat:
    """The same chat; a partial state that holds only the current message where it held more than ``messages_max``."""
    if chat.messages.loaded_count() <= messages_max:
        return chat
    current_id = chat.current_id
    if current_id is None or not chat.messages.is_loaded(current_id):
        return changed(chat, messages=PartialMap())
    return changed(chat, messages=PartialMap({current_id: chat.messages.get(current_id)}))
