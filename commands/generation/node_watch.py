"""This node's heartbeat, and the watch over other nodes' runs.

Each node writes a heartbeat. A node is dead if its heartbeat did not change for a whole lease during which this node's own writes
succeeded; time without successful writes is not counted, so a stall of Postgres declares no node dead. The node that notices closes the
dead node's open generations as ``interrupted``, with the text so far, and lets its open calls to users expire.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final
from uuid import UUID

import structlog

from commands.calls.calls import Calls
from commands.calls.relays import Relaying
from commands.generation.answer_streams import StreamsByKind
from commands.generation.runs import Runs, close_generation
from commands.ports import Blobs, EventLog, NodeBeat, Nodes
from domain.errors import LogUnavailable
from domain.generation import GenerationInterrupted

logger = structlog.get_logger("runs")

BEATS_PER_LEASE: Final = 5
GAP_BEATS_MAX: Final = 2  # the longest time between two of our heartbeats that counts towards the lease


class NodeWatch:
    """This node's heartbeat, and its watch over the others."""

    def __init__(
        self,
        nodes: Nodes,
        log: EventLog,
        blobs: Blobs,
        streams: StreamsByKind,
        runs: Runs,
        calls: Calls,
        relaying: Relaying,
        node_id: UUID,
        *,
        lease_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._nodes = nodes
        self._log = log
        self._blobs = blobs
        self._streams = streams
        self._runs = runs
        self._calls = calls
        self._relaying = relaying
        self._node_id = node_id
        self._lease_s = lease_s
        self._clock = clock
        self._beat = 0
        self._silent: dict[UUID, tuple[NodeBeat, float]] = {}  # the newest beat seen, and for how many seconds it has been
        self._task: asyncio.Task[None] | None = None
        self.interrupted = 0
        self.beaten_at = 0.0

    async def start(self) -> None:
        """Returns after the first beat: no run may start before it."""
        await self.tick()
        self._task = asyncio.create_task(self._run(), name="node watch")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if not len(self._runs) and not len(self._calls):
            with contextlib.suppress(LogUnavailable):
                await self._nodes.leave(self._node_id)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / BEATS_PER_LEASE)
            try:
                await self.tick()
            except LogUnavailable as error:
                logger.warning("no_beat", error=str(error))
            except Exception:
                logger.exception("keeper_failed")  # counted by its absence: the next tick tries again

    async def tick(self) -> None:
        """One beat, one look at the others."""
        head = await self._log.head()
        self._beat += 1
        await self._nodes.beat(self._node_id, NodeBeat(self._beat, min(self._runs.open_since(head), self._calls.open_since(head))))
        now_s = self._clock()
        # A longer gap between two beats of ours means that we were away, or Postgres was: it says nothing about the others.
        watched_s = min(now_s - self.beaten_at, GAP_BEATS_MAX * self._lease_s / BEATS_PER_LEASE)
        self.beaten_at = now_s
        beats = dict(await self._nodes.beats())
        beats.pop(self._node_id, None)
        for gone in self._silent.keys() - beats.keys():
            del self._silent[gone]
        for node_id, beat in beats.items():
            known = self._silent.get(node_id)
            silent_s = known[1] + watched_s if known is not None and known[0].beat == beat.beat else 0.0
            self._silent[node_id] = (beat, silent_s)
            if silent_s > self._lease_s:
                await self._bury(node_id, beat)

    async def _bury(self, node_id: UUID, beat: NodeBeat) -> None:
        for left in await self._nodes.open_generations(since=beat.open_since):
            if left.node_id != node_id:
                continue
            streams = self._streams[left.stream.kind]
            if await close_generation(streams, self._blobs, left.stream, left.message_id, GenerationInterrupted(node_id)):
                self.interrupted += 1
                logger.info("generation_interrupted", stream=str(left.stream), message_id=str(left.message_id), node=str(node_id))
        for call in await self._nodes.open_calls(since=beat.open_since):
            if call.node_id == node_id:
                await self._calls.expire_of_node(call.call_id, call.stream)
                logger.info("call_expired", chat=str(call.stream), call_id=str(call.call_id), node=str(node_id))
        await self._relaying.close_of_node(node_id)
        await self._nodes.leave(node_id)
        self._silent.pop(node_id, None)
