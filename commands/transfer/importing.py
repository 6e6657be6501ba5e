"""Imports a sequence of whole chats into the log, with a few requests in flight, so that memory does not grow with the file."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final
from uuid import UUID

import msgspec

from commands.transfer.whole_chat import Added, Prepared, WholeChats
from domain.chat.whole_chat import WholeChat
from domain.errors import ImportRefused
from domain.log.event import Actor

IN_FLIGHT: Final = 4  # requests: while one commits, the next ones are prepared
REFUSALS_KEPT_MAX: Final = 1_000


class Summary(msgspec.Struct):
    """Counts of the chats so far, by outcome."""

    imported: int = 0
    there: int = 0  # imported before
    refused: int = 0
    events: int = 0  # written by this import
    position: int = 0  # of the newest of them
    refusals: list[ImportRefused] = []  # the first ones
    notes: list[str] = []  # what of the first chats could not be kept as it was

    def count(self, outcome: Added | ImportRefused) -> None:
        if isinstance(outcome, ImportRefused):
            self.refused += 1
            if len(self.refusals) < REFUSALS_KEPT_MAX:
                self.refusals.append(outcome)
        elif outcome.outcome == "there":
            self.there += 1
        else:
            self.imported += 1
            self.events += outcome.events
            self.position = max(self.position, outcome.position)


class Importer:
    """One import. ``actor_of`` gives the actor for the chats of an owner; ``counted`` is called with the counts after each request."""

    def __init__(
        self, whole_chats: WholeChats, actor_of: Callable[[UUID], Actor | None], counted: Callable[[Summary], None] = lambda _: None
    ) -> None:
        self.summary = Summary()
        self._whole_chats = whole_chats
        self._actor_of = actor_of
        self._counted = counted
        self._seen: set[int] = set()
        self._waiting: list[Prepared] = []
        self._events = 0
        self._bytes = 0
        self._in_flight: deque[asyncio.Task[list[Added | ImportRefused]]] = deque()

    async def import_all(self, chats: Iterable[WholeChat | ImportRefused]) -> Summary:
        """Import all chats. A refused chat does not affect the others. Any other error ends the import after the requests in flight;
        what was written stays, and repeating the import continues from there.
        """
        try:
            for chat in chats:
                await self._add(chat)
                await asyncio.sleep(0)  # let finished requests settle
            self._start_request()
        except BaseException:
            await asyncio.gather(*self._in_flight, return_exceptions=True)
            raise
        while self._in_flight:
            await self._finish_request()
        return self.summary

    async def _add(self, chat: WholeChat | ImportRefused) -> None:
        if isinstance(chat, ImportRefused):
            self.summary.count(chat)
            return
        if chat.chat_id.int in self._seen:
            self.summary.count(ImportRefused(chat.name, "id", "another chat of this import has the same id"))
            return
        try:
            prepared = await self._whole_chats.prepare(chat)
        except ImportRefused as refusal:
            self.summary.count(refusal)
            return
        self._seen.add(chat.chat_id.int)
        bounds = self._whole_chats.bounds()
        if self._waiting and (
            self._events + len(prepared.events) > bounds.events
            or self._bytes + prepared.bytes > bounds.bytes
            or prepared.chat.owner_id != self._owner()
        ):
            self._start_request()
            while len(self._in_flight) >= IN_FLIGHT:
                await self._finish_request()
        if len(self.summary.notes) < REFUSALS_KEPT_MAX:
            self.summary.notes += [f"{chat.name}: {note}" for note in chat.notes]
        self._waiting.append(prepared)
        self._events += len(prepared.events)
        self._bytes += prepared.bytes

    def _owner(self) -> UUID:
        return self._waiting[0].chat.owner_id

    def _start_request(self) -> None:
        if self._waiting:
            adding = self._whole_chats.add_all(self._waiting, actor=self._actor_of(self._owner()))
            self._in_flight.append(asyncio.create_task(adding, name="import"))
            self._waiting, self._events, self._bytes = [], 0, 0

    async def _finish_request(self) -> None:
        for outcome in await self._in_flight.popleft():
            self.summary.count(outcome)
        self._counted(self.summary)
