"""The messages of one chat by their ids, each as a dict; or, until somebody looks into it, as the JSON that its row holds.

Who reads a long chat looks into few of its messages. The others are sent as they are stored: never decoded to be encoded again.
"""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Final

import msgspec

Message = dict[str, Any]
# Where a message stands in the tree: that is kept beside its JSON.
PLACE: Final = ("id", "parentId", "childrenIds")

_decoder = msgspec.json.Decoder()


class Kept(msgspec.Struct, gc=False):
    """A message that was not decoded yet. ``body`` is the JSON object that clients get of it, but for its place."""

    parent_id: str | None
    children: list[str]
    body: bytes  # never an empty object: it has a role


class Messages(MutableMapping[str, Message]):
    """A mapping like any other: what is asked for is decoded then, and stays so. What says more than that about one decodes nothing."""

    __slots__ = ("_held",)

    def __init__(self, held: Mapping[str, Message | Kept] | None = None) -> None:
        self._held: dict[str, Message | Kept] = dict(held or {})

    def __getitem__(self, message_id: str) -> Message:
        held = self._held[message_id]
        return held if type(held) is dict else self._look_into(message_id, held)  # type: ignore[arg-type]

    def get(self, message_id: str, default: Any = None) -> Any:
        held = self._held.get(message_id)
        return default if held is None else held if type(held) is dict else self._look_into(message_id, held)  # type: ignore[arg-type]

    def __setitem__(self, message_id: str, message: Message) -> None:
        self._held[message_id] = message

    def __delitem__(self, message_id: str) -> None:
        del self._held[message_id]

    def __contains__(self, message_id: object) -> bool:
        return message_id in self._held

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def _look_into(self, message_id: str, kept: Kept) -> Message:
        message: Message = _decoder.decode(kept.body)
        for block in message.get("blocks", ()):
            block["text"] = [block["text"]] if block["text"] else []
        message["id"], message["parentId"], message["childrenIds"] = message_id, kept.parent_id, kept.children
        self._held[message_id] = message
        return message

    def keep(self, message_id: str, parent_id: str | None, body: bytes) -> list[str]:
        """A message as it is stored. Returns its children: to be filled in."""
        children: list[str] = []
        self._held[message_id] = Kept(parent_id, children, body)
        return children

    def kept(self, message_id: str) -> msgspec.Raw | None:
        """All of one as clients get it, where nobody has looked into it."""
        held = self._held[message_id]
        if isinstance(held, dict):
            return None
        # Ids are UUIDs: there is nothing in them to be escaped.
        parent = f'"{held.parent_id}"' if held.parent_id is not None else "null"
        children = '"' + '","'.join(held.children) + '"' if held.children else ""
        place = f'{{"id":"{message_id}","parentId":{parent},"childrenIds":[{children}],'
        return msgspec.Raw(place.encode() + held.body[1:])

    def names(self, message_id: str, key: str) -> bool:
        """Whether it may have this key, at any depth. Decodes nothing."""
        held = self._held[message_id]
        return isinstance(held, dict) or f'"{key}"'.encode() in held.body

    def parent_of(self, message_id: str) -> str | None:
        held = self._held[message_id]
        return held["parentId"] if isinstance(held, dict) else held.parent_id

    def children_of(self, message_id: str) -> list[str]:
        """The message's own list."""
        held = self._held[message_id]
        children: list[str] = held["childrenIds"] if isinstance(held, dict) else held.children
        return children

    def move(self, message_id: str, parent_id: str | None) -> None:
        """Put a message below another one. The lists of children stay as they are."""
        held = self._held[message_id]
        if isinstance(held, dict):
            held["parentId"] = parent_id
        else:
            held.parent_id = parent_id

    def only(self, message_ids: Iterable[str]) -> "Messages":
        """These alone, in this order."""
        return Messages({message_id: self._held[message_id] for message_id in message_ids})

    def naming(self, key: str) -> Iterator[Message]:
        """Those that have this key at any depth, and maybe others."""
        for message_id in list(self._held):
            if self.names(message_id, key):
                yield self[message_id]
