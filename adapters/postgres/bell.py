"""The bell between processes: NOTIFY after the commit, at most one per tick, and LISTEN on a connection of its own.

It only wakes. The truth is read from the table; what a lost bell costs is one poll. Ephemeral signals (typing, presence)
ride along and are lost with it, as they may be.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
import structlog

from adapters.postgres.connection import FAILURES
from adapters.postgres.queries import text

logger = structlog.get_logger("bell")

CHANNEL: Final = "stenograph"
NOTIFY: Final = text("notify")
LOG_HEAD: Final = text("log_head")
PAYLOAD_BYTES_MAX: Final = 7_900  # Postgres refuses 8,000
SIGNALS_WAITING_MAX: Final = 2_000
CALL_TIMEOUT_S: Final = 5.0
HEARTBEAT_S: Final = 5.0
RETRY_S: Final = 0.5

Connect = Callable[[], Awaitable["asyncpg.Connection[Any]"]]


class Chime(msgspec.Struct, frozen=True):
    """One notification. ``signals`` are ephemeral frames, as they go to subscribers."""

    node: UUID
    head: int
    signals: list[msgspec.Raw] = []


class Bell:
    """``rung(head)`` and ``signalled(signal)`` are called for other processes' chimes; neither may block."""

    def __init__(
        self,
        node_id: UUID,
        connect: Connect,
        *,
        rung: Callable[[int], None],
        signalled: Callable[[bytes], None],
        interval_s: float = 0.01,
    ) -> None:
        self._node_id = node_id
        self._connect = connect
        self._rung = rung
        self._signalled = signalled
        self._interval_s = interval_s
        self._head = 0
        self._told = 0
        self._signals: deque[bytes] = deque(maxlen=SIGNALS_WAITING_MAX)
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.notifications = 0

    async def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._notify(), name="bell notifier"),
            asyncio.create_task(self._listen(), name="bell listener"),
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def ring(self, head: int) -> None:
        """This process has committed up to ``head``."""
        self._head = head
        self._wake.set()

    def signal(self, signal: bytes) -> None:
        """An ephemeral signal for the other processes. The oldest go when too many wait."""
        self._signals.append(signal)
        self._wake.set()

    async def _notify(self) -> None:
        connection: asyncpg.Connection[Any] | None = None
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                try:
                    async with asyncio.timeout(CALL_TIMEOUT_S):
                        if connection is None:
                            connection = await self._connect()
                        # One a tick, also when the log moves on or more waits than one holds: the next tick takes the rest.
                        if self._head > self._told or self._signals:
                            head = self._head
                            await connection.execute(NOTIFY, CHANNEL, self._chime(head).decode())
                            self._told = head
                            self.notifications += 1
                            if self._signals:
                                self._wake.set()
                except FAILURES as error:
                    logger.warning("bell_not_rung", error=f"{type(error).__name__}: {error}")
                    if connection is not None:
                        connection.terminate()
                        connection = None
                    self._wake.set()
                    await asyncio.sleep(RETRY_S)
                await asyncio.sleep(self._interval_s)
        finally:
            if connection is not None:
                connection.terminate()

    def _chime(self, head: int) -> bytes:
        signals: list[msgspec.Raw] = []
        size = 100
        while self._signals and size + len(self._signals[0]) < PAYLOAD_BYTES_MAX:
            signal = self._signals.popleft()
            size += len(signal) + 1
            signals.append(msgspec.Raw(signal))
        if not signals and self._signals:
            self._signals.popleft()  # one that fits nowhere would stay for ever
        return msgspec.json.encode(Chime(self._node_id, head, signals))

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        try:
            chime = msgspec.json.decode(str(payload), type=Chime)
        except msgspec.DecodeError:
            logger.warning("bell_not_understood", payload=str(payload)[:200])
            return
        if chime.node == self._node_id:
            return
        self._rung(chime.head)
        for signal in chime.signals:
            self._signalled(bytes(signal))

    async def _listen(self) -> None:
        while True:
            connection: asyncpg.Connection[Any] | None = None
            try:
                connection = await self._connect()
                await connection.add_listener(CHANNEL, self._heard)
                # What was rung before we listened is not heard again: look at the head once, and wake everyone.
                while True:
                    async with asyncio.timeout(CALL_TIMEOUT_S):
                        head = await connection.fetchval(LOG_HEAD)
                    self._rung(head or 0)
                    await asyncio.sleep(HEARTBEAT_S)
            except FAILURES as error:
                logger.warning("bell_not_heard", error=f"{type(error).__name__}: {error}")
            finally:
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(RETRY_S)
