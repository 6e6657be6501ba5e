"""Chunks of direct connections, on their way from the process that has the tab's connection to the one that runs the answer.

Every chunk passes through one table (``Relays``), in whichever process it arrives: the row of the call knows which chunk comes next and who
may send it, so a tab that comes back at another process goes on where it was. A bell, which may be lost, says that something is there.
Reasons and measurements: docs/decisions/0043-calls-and-direct-connections.md.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol
from uuid import UUID

import msgspec

from domain.errors import CallNotFound, ChunkGap, LogUnavailable, Overloaded

WAITING_MAX: Final = 1_000  # chunks of one connection
WAITING_BYTES_MAX: Final = 4 * 1024 * 1024
TAKE_MAX: Final = 200  # chunks at a time
POLL_S: Final = 1.0  # how often is looked without a bell
OP: Final = "relayed"  # of the signal to the other processes

Outcome = Literal["ok", "repeat", "gap", "full", "unknown"]


class RelayedChunk(NamedTuple):
    seq: int
    session_id: str | None  # the connection that it came from
    chunk: bytes


class Relays(Protocol):
    async def open(self, call_id: UUID, user_id: UUID, node_id: UUID, question: bytes) -> None:
        """Chunks of this account are taken for the call from now on. Safe to repeat."""
        ...

    async def question(self, call_id: UUID, user_id: UUID) -> bytes | None:
        """What ``open`` was given; None where there is no such call of this account."""
        ...

    async def put(
        self, call_id: UUID, user_id: UUID, seq: int | None, session_id: str | None, chunk: bytes, *, waiting_max: int, bytes_max: int
    ) -> tuple[Outcome, int]:
        """Take chunk ``seq``, None: whatever is next. Returns what became of it, and the chunk that is expected from now on."""
        ...

    async def take(self, call_id: UUID, after: int, limit: int) -> Sequence[RelayedChunk]:
        """The chunks above ``after``, in order. Those up to it are forgotten."""
        ...

    async def close(self, call_id: UUID) -> None: ...

    async def close_of_node(self, node_id: UUID) -> None:
        """The node that waited is gone."""
        ...


class Relayed(msgspec.Struct, frozen=True):
    """What is in a chunk: the tab's data, and whether that is the whole answer to the call."""

    data: Any
    is_answer: bool = False


class RelayReader:
    """The chunks of one call, in order, for the process that waits."""

    def __init__(self, relays: Relays, call_id: UUID) -> None:
        self._relays = relays
        self._call_id = call_id
        self._taken = -1
        self.rung = asyncio.Event()
        self.chunks = 0
        self.session_id: str | None = None  # the connection that the newest came from

    async def next(self) -> list[Relayed]:
        """What has come since; waits until something has. Safe to cancel."""
        while True:
            self.rung.clear()
            try:
                taken = await self._relays.take(self._call_id, self._taken, TAKE_MAX)
            except LogUnavailable:  # the one who waits has a bound on the silence
                taken = []
            if taken:
                self._taken, self.session_id = taken[-1].seq, taken[-1].session_id
                self.chunks += len(taken)
                return [msgspec.json.decode(one.chunk, type=Relayed) for one in taken]
            try:
                async with asyncio.timeout(POLL_S):
                    await self.rung.wait()
            except TimeoutError:
                continue


class Relaying:
    """All direct connections of this process: those that wait here, and the chunks that arrive here. ``signal_others`` tells other
    processes, and may lose what it is told.
    """

    def __init__(self, relays: Relays, node_id: UUID, signal_others: Callable[[bytes], None]) -> None:
        self._relays = relays
        self._node_id = node_id
        self._signal_others = signal_others
        self._readers: dict[UUID, RelayReader] = {}

    async def open(self, call_id: UUID, user_id: UUID, question: Any) -> RelayReader:
        reader = self._readers[call_id] = RelayReader(self._relays, call_id)
        await self._relays.open(call_id, user_id, self._node_id, msgspec.json.encode(question))
        return reader

    async def close(self, call_id: UUID) -> None:
        """What is left in Postgres where that is away goes with this node."""
        self._readers.pop(call_id, None)
        with contextlib.suppress(LogUnavailable):
            await self._relays.close(call_id)

    async def close_of_node(self, node_id: UUID) -> None:
        await self._relays.close_of_node(node_id)

    async def question(self, call_id: UUID, user_id: UUID) -> Any:
        """The question of an open direct connection; None where there is none of this account."""
        question = await self._relays.question(call_id, user_id)
        return None if question is None else msgspec.json.decode(question)

    async def put(self, call_id: UUID, user_id: UUID, seq: int | None, data: Any, *, session_id: str | None, is_answer: bool) -> None:
        """Hand on one chunk. One that came before is ignored.

        Raises ``CallNotFound``, ``ChunkGap``, and ``Overloaded`` while the run has not taken what came before.
        """
        chunk = msgspec.json.encode(Relayed(data, is_answer))
        outcome, expected = await self._relays.put(
            call_id, user_id, seq, session_id, chunk, waiting_max=WAITING_MAX, bytes_max=WAITING_BYTES_MAX
        )
        match outcome:
            case "unknown":
                raise CallNotFound(call_id)
            case "gap":
                raise ChunkGap(call_id, expected_seq=expected, received_seq=seq if seq is not None else expected)
            case "full":
                raise Overloaded("this direct connection", WAITING_MAX)
            case "ok":
                if not self.ring(call_id):
                    self._signal_others(msgspec.json.encode({"op": OP, "call_id": call_id}))
            case "repeat":
                pass

    def ring(self, call_id: UUID) -> bool:
        """Something has come for the call. Whether it waits in this process."""
        reader = self._readers.get(call_id)
        if reader is not None:
            reader.rung.set()
        return reader is not None

    def on_signal(self, signal: dict[str, Any]) -> None:
        """Another process has taken a chunk."""
        self.ring(UUID(signal["call_id"]))
