"""Waiting until lists and searches hold what was written: they are as old as their projection."""

from collections import OrderedDict
from typing import Final
from uuid import UUID

import msgspec

from commands.ports import EventLog
from domain.errors import BadRequest, ProjectionBehind
from domain.log.event import StoredEvent
from projections.ports import ChatQueries

AT_LEAST_WAIT_S: Final = 10.0
OWN_EVENTS_WAIT_S: Final = 2.0
WRITERS_KEPT: Final = 10_000


class ActorId(msgspec.Struct):
    id: UUID


decode_actor: Final = msgspec.json.Decoder(ActorId).decode


async def require_projected(chat_queries: ChatQueries, position: int) -> None:
    """Wait until lists hold everything up to this position of the log. Raises ``ProjectionBehind`` if they do not in time."""
    if not await chat_queries.reached(position, AT_LEAST_WAIT_S):
        raise ProjectionBehind(position)


class ListWaits:
    """What a list waits for before it is read: the position that its reader names, and what the reader has written."""

    def __init__(self, chat_queries: ChatQueries, log: EventLog) -> None:
        self._chat_queries = chat_queries
        self._log = log
        self._written: OrderedDict[UUID, int] = OrderedDict()  # the position of each person's last event that lists may not hold yet

    def observe(self, stored: StoredEvent) -> None:
        """See every event but deltas, also those of other processes."""
        if stored.actor is None:
            return
        user_id = decode_actor(stored.actor).id
        self._written[user_id] = stored.position
        self._written.move_to_end(user_id)
        if len(self._written) > WRITERS_KEPT:
            self._written.popitem(last=False)

    async def wait(self, user_id: UUID, at_least: int | None) -> bool:
        """Wait until lists hold everything up to ``at_least``, and this person's own events that this process knows of.

        For one's own events no longer than ``OWN_EVENTS_WAIT_S``: a late list is better than none. Returns whether there was anything
        to wait for. Raises ``ProjectionBehind`` if ``at_least`` is not reached in time, ``BadRequest`` if the log is not so long.
        """
        if at_least is not None:
            head = await self._log.head()
            if at_least > head:
                raise BadRequest(f"expected at_least up to {head}, the log's last position; received {at_least}", param="at_least")
            await require_projected(self._chat_queries, at_least)
        written = self._written.get(user_id)
        if written is None:
            return at_least is not None
        if at_least is None or at_least < written:
            await self._chat_queries.reached(written, OWN_EVENTS_WAIT_S)
        if self._written.get(user_id) == written:
            del self._written[user_id]
        return True
