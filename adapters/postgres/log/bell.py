"""The bell between processes: on a connection of its own, LISTEN to what the others' commits announce of themselves, and NOTIFY for
ephemeral signals (typing, presence).

A commit announces itself in its own transaction (``sql/functions/append_batch.sql``), so the announcements come in the order of the log,
and what they hold of its events is what was committed. What a lost one costs is one poll; a lost signal is lost, as it may be.

A commit whose announcement nobody hears would cost more without a use, so a process announces only while others listen. They say so: each
greets the others when it begins to listen, answers a greeting that it hears for the first time, and repeats its own.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
import structlog

from adapters.postgres.connections.connection import FAILURES
from adapters.postgres.connections.queries import text
from domain.log.event import StoredEvent
from domain.log.stream import Stream

logger = structlog.get_logger("bell")

CHANNEL: Final = text("bell_channel")
NOTIFY: Final = text("notify")
LOG_HEAD: Final = text("log_head")
PAYLOAD_BYTES_MAX: Final = 7_900  # Postgres refuses 8,000
SIGNALS_WAITING_MAX: Final = 2_000
CALL_TIMEOUT_S: Final = 5.0
HEARTBEAT_S: Final = 5.0
GONE_HEARTBEATS: Final = 3  # after so many without a greeting a process listens no more
RETRY_S: Final = 0.5

Connect = Callable[[], Awaitable["asyncpg.Connection[Any]"]]


class AnnouncedEvent(msgspec.Struct, frozen=True, array_like=True):
    """One event, as ``append_batch`` announces it."""

    position: int
    kind: Any  # a ``Kind``, perhaps one of a later version
    stream_id: UUID
    version: int
    type: str
    message_id: UUID | None
    actor: msgspec.Raw
    data: msgspec.Raw


class Chime(msgspec.Struct, frozen=True):
    """One notification: a commit, signals as they go to subscribers, or neither, which is a greeting."""

    node: UUID
    head: int = 0  # of the log after a commit
    at: datetime | None = None  # the time of ``events``
    events: list[AnnouncedEvent] = []  # of the commit, where they fit
    signals: list[msgspec.Raw] = []


class Bell:
    """``committed(events)`` gets another process's commit. ``rung(head)`` is called instead where its events have to be read, and
    ``signalled(signal)`` for signals. None of them may block.
    """

    def __init__(
        self,
        node_id: UUID,
        connect: Connect,
        *,
        rung: Callable[[int], None],
        committed: Callable[[Sequence[StoredEvent]], None],
        signalled: Callable[[bytes], None],
        interval_s: float = 0.01,
    ) -> None:
        self._node_id = node_id
        self._own = f'"{node_id}"'  # how our own notifications begin
        self._connect = connect
        self._rung = rung
        self._committed = committed
        self._signalled = signalled
        self._interval_s = interval_s
        self._signals: deque[bytes] = deque(maxlen=SIGNALS_WAITING_MAX)
        self._greets = False  # whether a greeting is to be sent
        self._others: dict[UUID, float] = {}  # when each greeted last, by the loop's clock in seconds
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.notifications = 0

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="bell")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def announce_as(self) -> UUID | None:
        """In whose name commits of this process are to be announced: None while no other process listens."""
        return self._node_id if self._others else None

    def signal(self, signal: bytes) -> None:
        """An ephemeral signal for the other processes. The oldest go when too many wait."""
        self._signals.append(signal)
        self._wake.set()

    def _greet(self) -> None:
        self._greets = True
        self._wake.set()

    async def _run(self) -> None:
        while True:
            connection: asyncpg.Connection[Any] | None = None
            try:
                connection = await self._connect()
                channel = await connection.fetchval(CHANNEL)
                await connection.add_listener(channel, self._heard)
                await self._listen_and_notify(connection, channel)
            except FAILURES as error:
                logger.warning("bell_failed", error=f"{type(error).__name__}: {error}")
            finally:
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(RETRY_S)

    async def _listen_and_notify(self, connection: "asyncpg.Connection[Any]", channel: str) -> None:
        """Until the connection fails. What was announced before we listened is not heard again: the head is read first, for everyone."""
        loop = asyncio.get_running_loop()
        beats_at = notifies_at = loop.time()
        while True:
            self._wake.clear()
            if loop.time() >= beats_at:
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    head = await connection.fetchval(LOG_HEAD)
                self._rung(head or 0)
                self._forget_the_gone()
                self._greets = True
                beats_at = loop.time() + HEARTBEAT_S
            # One a tick, also when more waits than one holds: the next tick takes the rest.
            if self._has_news and loop.time() >= notifies_at:
                self._greets = False  # a greeting that is heard meanwhile asks for one more; a new connection greets anyhow
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    await connection.execute(NOTIFY, channel, self._chime().decode())
                self.notifications += 1
                notifies_at = loop.time() + self._interval_s
            if self._has_news:
                await asyncio.sleep(min(beats_at, notifies_at) - loop.time())
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(beats_at):
                        await self._wake.wait()

    @property
    def _has_news(self) -> bool:
        return self._greets or bool(self._signals)

    def _chime(self) -> bytes:
        signals: list[msgspec.Raw] = []
        size = 100
        while self._signals and size + len(self._signals[0]) < PAYLOAD_BYTES_MAX:
            signal = self._signals.popleft()
            size += len(signal) + 1
            signals.append(msgspec.Raw(signal))
        if not signals and self._signals:
            self._signals.popleft()  # one that fits nowhere would stay for ever
        return msgspec.json.encode(Chime(self._node_id, signals=signals))

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        said = str(payload)
        if self._own in said[:60]:
            return
        try:
            chime = _decoder.decode(said)
        except msgspec.DecodeError:
            logger.warning("bell_not_understood", payload=said[:200])
            return
        if not chime.head:  # who announces commits need not listen: a command does not
            if chime.node not in self._others:
                self._greet()
            self._others[chime.node] = asyncio.get_running_loop().time()
        if chime.events and chime.at is not None:
            self._committed(stored(chime.events, chime.at))
        elif chime.head:
            self._rung(chime.head)
        for signal in chime.signals:
            self._signalled(bytes(signal))

    def _forget_the_gone(self) -> None:
        since_s = asyncio.get_running_loop().time() - GONE_HEARTBEATS * HEARTBEAT_S
        self._others = {node: heard_s for node, heard_s in self._others.items() if heard_s > since_s}


_decoder: Final = msgspec.json.Decoder(Chime)


def stored(events: Sequence[AnnouncedEvent], at: datetime) -> list[StoredEvent]:
    return [
        StoredEvent(
            event.position,
            Stream(event.kind, event.stream_id),
            event.version,
            event.type,
            event.message_id,
            None if (actor := bytes(event.actor)) == b"null" else actor,
            bytes(event.data),
            at,
        )
        for event in events
    ]
