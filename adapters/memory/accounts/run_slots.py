"""``RunSlots`` in memory."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from adapters.memory.log import ENDS, MemoryLog
from adapters.memory.nodes import MemoryNodes
from domain.log.stream import chat_stream


class MemoryRunSlots:
    """``log`` and ``nodes`` are read for slots that are free again; that of an answer that is over is forgotten."""

    def __init__(self, log: MemoryLog, nodes: MemoryNodes) -> None:
        self._log = log
        self._nodes = nodes
        self._slots: dict[UUID, tuple[UUID, UUID, UUID, UUID]] = {}  # by task: user, node, chat, message

    async def take(self, user_id: UUID, node_id: UUID, chat_id: UUID, message_ids: Mapping[UUID, UUID], *, runs_max: int) -> int | None:
        held = len((await self._held(user_id)).keys() - message_ids.keys())
        if held + len(message_ids) > runs_max:
            return held
        self._slots |= {task_id: (user_id, node_id, chat_id, message_id) for task_id, message_id in message_ids.items()}
        return None

    async def give_back(self, task_ids: Sequence[UUID]) -> None:
        for task_id in task_ids:
            self._slots.pop(task_id, None)

    async def count(self, user_id: UUID) -> int:
        return len(await self._held(user_id))

    async def _held(self, user_id: UUID) -> Mapping[UUID, object]:
        alive = await self._nodes.beats()
        held: dict[UUID, object] = {}
        for task_id, (by, node_id, chat_id, message_id) in list(self._slots.items()):
            if by == user_id and node_id in alive:
                events = await self._log.read_message(chat_stream(chat_id), message_id, after=0)
                if any(event.type in ENDS for event in events):
                    self._slots.pop(task_id, None)
                else:
                    held[task_id] = None
        return held
