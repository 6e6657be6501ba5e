"""Which accounts have a live connection, to any process, and who hears of it: those who share a followed channel with them.

Nothing is stored. Each process says to the others who came and who went, and from time to time who all are here, so that one that is gone
without a word is forgotten. A client gets at most one frame for each tick, whoever comes and goes, and however many channels it follows.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from adapters.delivery.hub import Hub
from api.streams.channel_access import ChannelAccess
from api.streams.frames import frame
from api.streams.websocket_protocol import text_frame

OP: Final = "presence"
TICK_S: Final = 2.0  # so a client gets at most 30 frames a minute
GRACE_TICKS: Final = 3  # a page that is loaded anew does not come and go
REFRESH_TICKS: Final = 15  # every 30 s a process says who all are here
FORGOTTEN_TICKS: Final = 40  # who was not said to be there for so long is gone with the process
IDS_OF_A_SIGNAL: Final = 150  # what fits into one notification
IDS_OF_A_FRAME: Final = 100  # the others are told at the next tick


class Presence:
    """``here`` are the accounts that are connected to this process now; ``relay`` tells the other processes."""

    def __init__(
        self,
        node_id: UUID,
        here: Callable[[], Collection[UUID]],
        relay: Callable[[bytes], None],
        deliver: Callable[[Collection[UUID], Collection[UUID]], None],
    ) -> None:
        self._node = str(node_id)
        self._now_here = here
        self._relay = relay
        self._deliver = deliver
        self._ticks = 0
        self._here: dict[UUID, int] = {}  # and for how many ticks they were not seen
        self._elsewhere: dict[UUID, dict[str, int]] = {}  # by process: the tick at which it was last said
        self._told: set[UUID] = set()  # as the clients here know it
        self._touched: dict[UUID, None] = {}  # of whom that may have changed
        self._asked = False  # whether another process wants to know who all are here

    def is_present(self, user_id: UUID) -> bool:
        return user_id in self._here or user_id in self._elsewhere

    def on_signal(self, content: dict[str, Any]) -> None:
        """What another process says."""
        node = content["node"]
        if node == self._node:
            return
        self._asked = self._asked or bool(content.get("ask"))
        for name in content.get("present", ()):
            user_id = UUID(name)
            self._elsewhere.setdefault(user_id, {})[node] = self._ticks
            self._touched[user_id] = None
        for name in content.get("absent", ()):
            self._forget(UUID(name), node)

    def _forget(self, user_id: UUID, node: str) -> None:
        nodes = self._elsewhere.get(user_id)
        if nodes is not None:
            nodes.pop(node, None)
            if not nodes:
                del self._elsewhere[user_id]
            self._touched[user_id] = None

    def tick(self) -> None:
        """To be called every ``TICK_S``."""
        came, went = self._look_around()
        if self._ticks == 0:
            self._relay(frame(OP, node=self._node, ask=True))
        if self._asked or self._ticks % REFRESH_TICKS == 0:
            self._asked, came = False, list(self._here)
        self._ticks += 1
        for some in batches(came):
            self._relay(frame(OP, node=self._node, present=some))
        for some in batches(went):
            self._relay(frame(OP, node=self._node, absent=some))
        for user_id, nodes in list(self._elsewhere.items()):
            for node in [node for node, tick in nodes.items() if self._ticks - tick > FORGOTTEN_TICKS]:
                self._forget(user_id, node)
        self._tell()

    def close(self) -> None:
        """This process ends: nobody is here any more."""
        for some in batches(list(self._here)):
            self._relay(frame(OP, node=self._node, absent=some))
        self._here.clear()

    def _look_around(self) -> tuple[list[UUID], list[UUID]]:
        """Who has come and who has gone, here."""
        now = self._now_here()
        came = [user_id for user_id in now if user_id not in self._here]
        self._here.update(dict.fromkeys(now, 0))
        went = []
        for user_id in self._here.keys() - set(now):
            self._here[user_id] += 1
            if self._here[user_id] > GRACE_TICKS:
                del self._here[user_id]
                went.append(user_id)
        self._touched |= dict.fromkeys([*came, *went])
        return came, went

    def _tell(self) -> None:
        changed = [user_id for user_id in self._touched if self.is_present(user_id) != (user_id in self._told)]
        now, later = changed[:IDS_OF_A_FRAME], changed[IDS_OF_A_FRAME:]
        self._touched = dict.fromkeys(later)
        if now:
            present = [user_id for user_id in now if self.is_present(user_id)]
            absent = [user_id for user_id in now if not self.is_present(user_id)]
            self._told.update(present)
            self._told.difference_update(absent)
            self._deliver(present, absent)


class PresenceDelivery:
    """To each connection what concerns people with whom its person shares a channel that it follows."""

    def __init__(self, hub: Hub, access: ChannelAccess) -> None:
        self._hub = hub
        self._access = access

    def deliver(self, present: Collection[UUID], absent: Collection[UUID]) -> None:
        changed = frozenset([*present, *absent])
        concerned: dict[Any, frozenset[UUID]] = {}
        for stream in self._hub.streams("channel"):
            readers = self._access.readers_among(stream.id, changed)
            if not readers:
                continue
            for subscription in self._hub.subscriptions(stream):
                if subscription.ends_after is None:
                    known = concerned.get(subscription.owner)
                    concerned[subscription.owner] = readers if known is None or known == readers else known | readers
        bodies: dict[frozenset[UUID], bytes] = {}
        for connection, ids in concerned.items():
            others = ids - {connection.principal.user_id} if connection.principal.user_id in ids else ids
            if not others:
                continue
            body = bodies.get(others)
            if body is None:
                said = {"present": [one for one in present if one in others], "absent": [one for one in absent if one in others]}
                body = bodies[others] = msgspec.json.encode({"type": "presence", "data": said, "message_id": None})
            head = b'{"op":"ephemeral","stream":"user/%b","user":null,"data":' % str(connection.principal.user_id).encode()
            connection.send_signal(text_frame(head, body, b"}"))


def batches(user_ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    return (user_ids[at : at + IDS_OF_A_SIGNAL] for at in range(0, len(user_ids), IDS_OF_A_SIGNAL))
