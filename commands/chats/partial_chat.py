"""Reading a chat in part: the chat itself, which message is looked at, and any messages by their ids.

What is read does not grow with the chat: every query goes by an index (sql/migrations/0008). The log is the only source, and it is
immutable: what is read as of a version is exact at any later time, so a partial state can be completed for as long as it is kept.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar
from uuid import UUID

from commands.aggregate import decoded
from commands.open_generations import counted, open_generations
from commands.ports import EventLog
from domain.chat.evolve import changed, evolve
from domain.chat.partial import LOOKED_AT_TYPES, NOTHING_LOADED, PartialMessages, trimmed, with_loaded
from domain.chat.state import EMPTY, Chat, MessageNode
from domain.generation import Generation
from domain.log.event import Event
from domain.log.stream import Stream
from domain.routing import call
from domain.routing.call import OpenCalls
from domain.values.idmap import NeedsWhole, NotLoaded, UnusualHistory

T = TypeVar("T")
ROUNDS_MAX: Final = 16  # of reading relatives: a message with more deleted ones than that above or below it needs the whole chat
SHORT_EVENTS: Final = 1_000  # a chat of at most so many events is read as a whole: that is one query, too
LOADED_AT_ONCE_MAX: Final = 1_000  # messages that are loaded one by one; for more of them the whole chat is read
MESSAGES_MAX: Final = 256  # messages that are held between two commands; adding one copies them all


class PartialChatReader:
    """``PartialReader`` of chats. ``short_events``: the version up to which a chat is read as a whole."""

    def __init__(self, log: EventLog, *, short_events: int = SHORT_EVENTS, messages_max: int = MESSAGES_MAX) -> None:
        self._log = log
        self._short_events = short_events
        self._messages_max = messages_max

    async def begin(self, stream: Stream) -> tuple[int, Chat]:
        head = await self._log.read_head(stream, LOOKED_AT_TYPES)
        if not head:
            return 0, EMPTY
        version, chat = head[-1].version, NOTHING_LOADED
        if version <= self._short_events:
            raise NeedsWhole(f"{stream} is short")
        looked_at: tuple[int, Event[Any]] | None = None
        for stored, (event_version, event) in zip(head, decoded(head), strict=True):
            if event.message_id is None:
                chat = evolve(chat, event, event_version)
            elif stored.type in LOOKED_AT_TYPES:
                looked_at = event_version, event
        if looked_at is None:
            return version, chat
        current_version, current = looked_at

        def current_id(messages: PartialMessages) -> UUID | None:
            return messages.current(current, current_version)

        return version, changed(chat, current_id=await self._answer(stream, version, current_id))

    async def complete(self, stream: Stream, version: int, chat: Chat, missing: NotLoaded) -> Chat:
        if missing.generations:
            found = await open_generations(self._log, stream, version)
            return changed(chat, open_generations={**found, **chat.open_generations}, generations_loaded=True)

        if missing.calls:
            open_calls: OpenCalls = {}
            for _, event in decoded(await self._log.read_open_calls(stream, until=version)):
                open_calls = call.evolve(open_calls, event.message_id, event.data)
            return changed(chat, open_calls=open_calls, calls_loaded=True)

        if len(missing.keys) > LOADED_AT_ONCE_MAX:
            raise NeedsWhole(f"{len(missing.keys)} messages of {stream}")

        def entries(messages: PartialMessages) -> tuple[Mapping[UUID, MessageNode | None], Mapping[UUID, Generation]]:
            return messages.nodes(missing.keys)

        nodes, generations = await self._answer(stream, version, entries)
        going = {one: await counted(self._log, stream, version, one, generation) for one, generation in generations.items()}
        return with_loaded(chat, nodes, going)

    def trimmed(self, chat: Chat) -> Chat:
        return trimmed(chat, self._messages_max)

    def with_absent(self, chat: Chat, ids: Collection[UUID]) -> Chat:
        return with_loaded(chat, dict.fromkeys(ids), {})

    async def _answer(self, stream: Stream, version: int, question: Callable[[PartialMessages], T]) -> T:
        """The answer to ``question``, once everything that it wanted is read. Raises ``UnusualHistory``."""
        messages = PartialMessages()
        for _ in range(ROUNDS_MAX):
            answer = question(messages)
            if not messages.wanted:
                return answer
            wanted: Collection[UUID] = list(messages.wanted)
            messages.add_events(wanted, list(decoded(await self._log.read_relatives(stream, wanted, until=version))))
        raise UnusualHistory(f"relatives of relatives after {ROUNDS_MAX} rounds")
