"""``Nodes`` in memory."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from adapters.memory.log import CALL_TYPES, MemoryLog, call_id_of
from commands.ports import NodeBeat, OpenGeneration, WaitingCall
from domain.generation import MessageStarted
from domain.log.codec import decode
from domain.log.stream import Stream

ENDS: Final = frozenset({"message_end", "error", "cancelled", "interrupted"})


class MemoryNodes:
    """``log`` is read for generations that have no end."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._beats: dict[UUID, NodeBeat] = {}

    async def beat(self, node_id: UUID, beat: NodeBeat) -> None:
        self._beats[node_id] = beat

    async def beats(self) -> Mapping[UUID, NodeBeat]:
        return dict(self._beats)

    async def leave(self, node_id: UUID) -> None:
        self._beats.pop(node_id, None)

    async def open_generations(self, *, since: int) -> Sequence[OpenGeneration]:
        opened: dict[tuple[Stream, UUID | None], OpenGeneration] = {}
        for event in self._log.events[since:]:
            if event.type == "message_start":
                start = decode("chat", event.type, event.data)
                assert isinstance(start, MessageStarted)
                assert event.message_id is not None
                opened[event.stream, event.message_id] = OpenGeneration(
                    event.stream, event.message_id, start.task_id, start.node_id, event.version, start.model
                )
            elif event.type in ENDS:
                opened.pop((event.stream, event.message_id), None)
        return list(opened.values())

    async def open_calls(self, *, since: int) -> Sequence[WaitingCall]:
        opened: dict[tuple[Stream, str], WaitingCall] = {}
        for event in self._log.events[since:]:
            if event.type == "call":
                call = decode("chat", event.type, event.data)
                opened[event.stream, str(call.call_id)] = WaitingCall(event.stream, call.call_id, call.node_id)
            elif event.type in CALL_TYPES:
                opened.pop((event.stream, call_id_of(event)), None)
        return list(opened.values())
