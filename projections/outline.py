"""The tree of a long chat without what its messages say: some 30 bytes for each of them, whatever they hold.

Who writes a long chat to a reader takes its messages page by page, in the order of an outline.
"""

from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final, NamedTuple
from uuid import UUID

NONE: Final = -1
BYTES_MAX: Final = 2**31 - 1  # the most that is noted of one message
ID_BYTES: Final = 16


class Place(NamedTuple):
    """Where one message stands. ``bytes``: about what it takes as JSON."""

    message_id: str
    parent_id: str | None
    bytes: int


class Outline:
    """All messages of a chat by their index, in the order in which they were added."""

    __slots__ = ("_bytes", "_first_child", "_ids", "_next_sibling", "_parents", "_roots", "_strays", "current")

    def __init__(self, places: Sequence[Place], current_id: str | None) -> None:
        indexes = {place.message_id: index for index, place in enumerate(places)}
        self._ids = b"".join([UUID(place.message_id).bytes for place in places])
        self._bytes = array("i", [min(place.bytes, BYTES_MAX) for place in places])
        self._parents = array("i", [NONE if place.parent_id is None else indexes.get(place.parent_id, NONE) for place in places])
        # A restored chat may name a parent that it does not hold.
        self._strays = {
            index: place.parent_id
            for index, (place, parent) in enumerate(zip(places, self._parents, strict=True))
            if place.parent_id is not None and parent == NONE
        }
        self._roots = array("i", [index for index, place in enumerate(places) if place.parent_id is None])
        self._first_child = array("i", [NONE]) * len(places)
        self._next_sibling = array("i", [NONE]) * len(places)
        for index in range(len(places) - 1, -1, -1):
            parent = self._parents[index]
            if parent != NONE:
                self._next_sibling[index] = self._first_child[parent]
                self._first_child[parent] = index
        self.current = indexes.get(current_id, NONE) if current_id is not None else NONE

    def __len__(self) -> int:
        return len(self._parents)

    def id(self, index: int) -> str:
        return str(UUID(bytes=self._ids[index * ID_BYTES : (index + 1) * ID_BYTES]))

    def parent_id(self, index: int) -> str | None:
        parent = self._parents[index]
        return self.id(parent) if parent != NONE else self._strays.get(index)

    def children(self, index: int) -> Iterator[str]:
        """In the order in which they were added."""
        return map(self.id, self.below(index))

    def below(self, index: int) -> Iterator[int]:
        """The indexes of the children, in the same order."""
        child = self._first_child[index]
        while child != NONE:
            yield child
            child = self._next_sibling[child]

    def siblings(self, index: int) -> Sequence[int]:
        """The message among those that stand below the same one, or among the roots."""
        parent = self._parents[index]
        if parent != NONE:
            return list(self.below(parent))
        return [index] if index in self._strays else self._roots

    def index(self, message_id: str) -> int | None:
        wanted = UUID(message_id).bytes
        at = self._ids.find(wanted)
        while at > 0 and at % ID_BYTES:
            at = self._ids.find(wanted, at + 1)
        return at // ID_BYTES if at >= 0 else None

    def depth_first(self) -> Sequence[int]:
        """Each message before what stands below it, and a branch to its end before the next one. No recursion: chats are deep."""
        indexes = array("i")
        waiting = [index for index in range(len(self) - 1, -1, -1) if self._parents[index] == NONE]
        while waiting:
            indexes.append(waiting.pop())
            waiting.extend(reversed(list(self.below(indexes[-1]))))
        return indexes

    def branch(self, leaf: int | None = None) -> Sequence[int]:
        """From the root to the message; None: to the current one."""
        indexes = array("i")
        index = self.current if leaf is None else leaf
        while index != NONE:
            indexes.append(index)
            index = self._parents[index]
        indexes.reverse()
        return indexes

    def pages(self, indexes: Iterable[int], *, bytes_max: int, messages_max: int) -> Iterator[Sequence[int]]:
        """The same indexes in groups that are about ``bytes_max`` large; a larger message is a group of its own."""
        page: list[int] = []
        size = 0
        for index in indexes:
            if page and (size + self._bytes[index] > bytes_max or len(page) == messages_max):
                yield page
                page, size = [], 0
            page.append(index)
            size += self._bytes[index]
        if page:
            yield page

    def without(self, message_ids: Collection[str], current_id: str | None) -> tuple["Outline", str | None]:
        """The outline and the current message as if these messages had been deleted: what stood below one stands below its parent."""
        parents = {self.id(index): self.parent_id(index) for index in range(len(self))}

        def above(message_id: str | None) -> str | None:
            while message_id in message_ids and message_id in parents:
                message_id = parents[message_id]
            return message_id

        kept = [
            Place(message_id, above(parent_id), size)
            for (message_id, parent_id), size in zip(parents.items(), self._bytes, strict=True)
            if message_id not in message_ids
        ]
        return Outline(kept, above(current_id)), above(current_id)
