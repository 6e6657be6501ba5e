"""The one way into the log: everything that waits goes in one call, one round trip, one commit.

No timer: while a batch is in flight the next one gathers. The requests of a line go in one batch where they can. When much waits it goes
as two, on a connection each: Postgres is at the one while this process makes the other and hands out the last. The second connection is
opened when so much waits for the first time. A batch runs in the appender's own task and is never cancelled with a caller. A time-out or
a lost connection is an unknown outcome: the connection is dropped and the same call is made again, saying so, until it is answered or
``hold_s`` is over.

One that gives way (a bulk load) leaves the append lock to others for three times as long as it took it, whenever others write: the
positions of its batches say so, since they are dense. Its batches are small then.
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

from adapters.deadline import NEVER, Deadline
from adapters.postgres.appending.waiting import Waiting, call_arguments
from adapters.postgres.connections.connection import FAILURES, outcome_unknown, passes, refuses_data
from adapters.postgres.connections.queries import text
from commands.metrics import EVENTS, SHORT_SECONDS, Histogram
from commands.ports import Appended, AppendRequest, Line, LineBroken
from commands.tracing import CommittedBatch, CommittedRequest
from domain.errors import BadRequest, ClaimTaken, CommandMismatch, ConcurrencyConflict, LogUnavailable, Overloaded, StenographError
from domain.log.event import StoredEvent
from domain.log.stream import Stream

logger = structlog.get_logger("appender")

CALL: Final = text("append_batch")
ANNOUNCE_AS: Final = text("announce_as")
SENDERS: Final = 2  # batches in flight at once: Postgres takes one after the other, so more would only wait at its lock
HALF_REQUESTS_MIN: Final = 32  # a batch is not halved below it: under light load that would only make more commits
GIVES_WAY_EVENTS_MAX: Final = 100  # of a batch beside others: a millisecond or two under the lock, for which tokens wait
GIVES_WAY_TIMES: Final = 3  # as long as a batch took, before the next one
GIVES_WAY_MOST_S: Final = 0.1  # after a batch: what takes longer than that is held up by Postgres, and not by us
CALL_TIMEOUT_S: Final = 10.0
CLOSE_S: Final = 5.0
RETRY_FIRST_S: Final = 0.02
RETRY_MOST_S: Final = 1.0
WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024


class BatchSender:
    """One batch on its way: its connection, and the task that writes on it."""

    __slots__ = ("_deadline", "_is_overdue", "_loop", "announces_as", "connection", "task", "wake")

    def __init__(self, connection: "asyncpg.Connection[Any]") -> None:
        self.announces_as: UUID | None = None  # what the connection was told
        self.connection: asyncpg.Connection[Any] | None = connection
        self.task: asyncio.Task[None] | None = None
        self.wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._deadline = Deadline(self._loop, self._end_call)
        self._is_overdue = False

    async def call(self, requests: int, asked_before: bool, arguments: Sequence[str]) -> Any:
        """The row of one ``append_batch``. Raises ``TimeoutError`` after ``CALL_TIMEOUT_S``, and what the driver raises."""
        assert self.connection is not None
        self._deadline.set(self._loop.time() + CALL_TIMEOUT_S)
        try:
            return await self.connection.fetchrow(CALL, requests, asked_before, *arguments)
        except FAILURES:
            if self._is_overdue:
                raise TimeoutError(f"no answer within {CALL_TIMEOUT_S:g} s") from None
            raise
        finally:
            self._deadline.set(NEVER)

    def _end_call(self) -> None:
        """The driver fails a call whose connection is gone."""
        self._is_overdue = True
        if self.connection is not None:
            self.connection.terminate()

    def drop(self) -> None:
        if self.connection is not None:
            self.connection.terminate()
            self.connection = self.announces_as = None
        self._is_overdue = False

    async def close(self) -> None:
        self._deadline.close()
        if self.connection is not None:
            with contextlib.suppress(Exception):  # it may be lost already, and nothing depends on it any more
                await self.connection.close(timeout=1)


class Appender:
    """``connect`` opens one of the appender's own connections. ``committed`` gets each batch's events before any caller does;
    of two batches that were in flight together, the later one may come first.

    ``announce_as`` is asked before each batch for the process in whose name Postgres announces the commit to other processes; None: it is
    not announced.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable["asyncpg.Connection[Any]"]],
        committed: Callable[[Sequence[StoredEvent]], None],
        *,
        batch_events_max: int = 1000,
        batch_bytes_max: int = BATCH_BYTES_MAX,
        hold_s: float = 40.0,
        yields_to_others: bool = False,
        announce_as: Callable[[], UUID | None] = lambda: None,
    ) -> None:
        self._connect = connect
        self._committed = committed
        self._announce_as = announce_as
        self._batch_events_max = batch_events_max
        self._batch_bytes_max = batch_bytes_max
        self._hold_s = hold_s
        self._waiting: deque[Waiting] = deque()
        self._waiting_bytes = 0
        self._gives_way = yields_to_others
        self.is_beside_others = False  # whether others wrote between this one's last two batches
        self._senders: list[BatchSender] = []
        self._senders_max = 1 if yields_to_others else SENDERS
        self._opening: asyncio.Task[None] | None = None  # of one more of them
        self._in_flight: set[Any] = set()  # the keys of what is on its way
        self._closing = False
        self._loop: asyncio.AbstractEventLoop  # from ``start`` on: to ask for it costs a system call, for every token
        self.batches = 0
        self.events = 0  # that were committed
        self.conflicts = 0  # requests whose stream had moved on
        self.retries = 0
        self.batch_events = Histogram(EVENTS)
        self.batch_s = Histogram(SHORT_SECONDS)  # from the first call to the commit
        self.newest = 0  # position of the last event that was written here
        self.pauses = 0  # in which others came first
        self.last_success_at = 0.0  # the loop's clock, seconds
        self.failing: str | None = None  # why the last append that was asked of Postgres failed
        self.failing_since = 0.0  # the loop's clock, seconds

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._add_sender()
        self.last_success_at = self._loop.time()

    async def close(self) -> None:
        """Everything that waits is appended first, within ``CLOSE_S``."""
        self._closing = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        self._wake()
        tasks = [sender.task for sender in self._senders if sender.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=CLOSE_S)
            for task in late:
                task.cancel()
        for sender in self._senders:
            await sender.close()

    async def _add_sender(self) -> None:
        sender = BatchSender(await self._connect())
        sender.task = asyncio.create_task(self._run(sender), name="appender")
        self._senders.append(sender)

    async def _open_another(self) -> None:
        """One more sender. Those that are there take all batches until then, and as long as this fails."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await self._add_sender()
        except (*FAILURES, StenographError) as error:
            logger.warning("appender_not_connected", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(RETRY_MOST_S)

    def _wake(self) -> None:
        """Start the senders that ``_gather`` has something for. For nothing woken, a task costs as much as a token's request."""
        waiting = len(self._waiting)
        if self._closing or waiting >= (HALF_REQUESTS_MIN if self._in_flight else 2 * HALF_REQUESTS_MIN):
            for sender in self._senders:
                sender.wake.set()
            if len(self._senders) < self._senders_max and not self._closing and (self._opening is None or self._opening.done()):
                self._opening = asyncio.create_task(self._open_another(), name="appender opens")
        elif waiting and not self._in_flight:
            self._senders[0].wake.set()

    @property
    def waiting_events(self) -> int:
        return sum(one.events for one in self._waiting)

    @property
    def waiting_bytes(self) -> int:
        return self._waiting_bytes

    async def append(self, request: AppendRequest, queued: Callable[[], None] | None = None) -> Appended:
        """See ``EventLog.append``."""
        if self._closing:
            raise LogUnavailable("the server is going away; nothing was written")
        waiting = Waiting(request, self._loop.create_future())
        if self._waiting_bytes + waiting.bytes > WAITING_BYTES_MAX and self._waiting:
            raise Overloaded("the append queue (bytes)", WAITING_BYTES_MAX)
        self._waiting.append(waiting)
        self._waiting_bytes += waiting.bytes
        if queued is not None:
            queued()
        if not self._in_flight or len(self._waiting) == HALF_REQUESTS_MIN:
            self._wake()
        # A caller that is cancelled cancels this future, and nothing else: the request goes on without it, unless it waits in a line
        # that its caller breaks.
        return await waiting.done

    async def _run(self, sender: BatchSender) -> None:
        loop = self._loop
        while True:
            sender.wake.clear()
            if batch := self._gather(sender):
                keys = set().union(*[one.keys for one in batch])
                self._in_flight |= keys
                before, began = self.newest, loop.time()
                try:
                    await self._write(sender, batch)
                finally:
                    self._in_flight -= keys
                    self._wake()
                if self._gives_way:
                    self.is_beside_others = self._others_wrote(before, batch)
                    if self.is_beside_others and not self._closing:
                        self.pauses += 1
                        await asyncio.sleep(min(GIVES_WAY_TIMES * (loop.time() - began), GIVES_WAY_MOST_S))
            elif self._closing and not self._waiting:
                return
            else:
                await sender.wake.wait()

    def _others_wrote(self, before: int, batch: list[Waiting]) -> bool:
        """Whether somebody did between our batch before this one, which ended at ``before``, and the end of this one."""
        return before > 0 and self.newest - before > sum(one.events for one in batch)

    def _gather(self, sender: BatchSender) -> list[Waiting]:
        """The next batch, in the order of arrival. A request that shares a key with one before it waits for a later batch,
        unless it follows that one in a line.

        While another batch is in flight, ``HALF_REQUESTS_MIN`` or nothing. While none is, the first sender leaves half to the other.
        """
        waiting = self._waiting
        requests_max = len(waiting)
        if self._in_flight:
            if requests_max < HALF_REQUESTS_MIN:
                return []
        elif sender is not self._senders[0]:
            return []
        elif requests_max >= 2 * HALF_REQUESTS_MIN and len(self._senders) > 1:
            requests_max //= 2
        batch: list[Waiting] = []
        held_back: list[Waiting] = []
        taken = set(self._in_flight)
        led_to: dict[Line, int] | None = None
        events = size = 0
        bytes_max = self._batch_bytes_max
        events_max = min(self._batch_events_max, GIVES_WAY_EVENTS_MAX) if self.is_beside_others else self._batch_events_max
        while waiting and len(batch) < requests_max:
            one = waiting[0]
            if batch and (events + one.events > events_max or size + one.bytes > bytes_max):
                break
            waiting.popleft()
            is_free = taken.isdisjoint(one.keys)
            if not is_free:
                if led_to is None:
                    led_to = {}
                    for before in batch:
                        before.lead_to(led_to)
                is_free = one.follows(taken, led_to)
            if is_free:
                batch.append(one)
                events += one.events
                size += one.bytes
                if led_to is not None:
                    one.lead_to(led_to)
            else:
                held_back.append(one)
            taken.update(one.keys)
        if held_back:
            waiting.extendleft(reversed(held_back))
        self._waiting_bytes -= size
        return batch

    async def _write(self, sender: BatchSender, batch: list[Waiting]) -> None:
        if behind := [one for one in batch if one.is_in_broken_line]:
            self._fail(behind, LineBroken())
            batch = [one for one in batch if not one.is_in_broken_line]
            if not batch:
                return
        began_s = self._loop.time()
        try:
            self._settle(batch, await self._call(sender, batch), began_s)
        except asyncpg.PostgresError as error:
            if not refuses_data(error):
                logger.error("append_failed", sqlstate=error.sqlstate, error=str(error), requests=len(batch))
                self._fail(batch, LogUnavailable(f"the append failed: {error.args[0]}"))
                return
            if len(batch) > 1:
                # A row that Postgres refuses for its data fails alone, not its neighbours.
                middle = len(batch) // 2
                await self._write(sender, batch[:middle])
                await self._write(sender, batch[middle:])
                return
            logger.error("request_refused_by_postgres", sqlstate=error.sqlstate, error=str(error))
            self._fail(batch, BadRequest(f"Postgres refused the request's data: {error.args[0]}"))
        except StenographError as error:
            self._fail(batch, error)
        except Exception as error:
            # The appender's own loop must live; whoever waits must not wait for ever.
            logger.exception("append_failed")
            self._fail(batch, LogUnavailable(f"the append failed: {error}"))

    def _fail(self, batch: list[Waiting], error: StenographError | LineBroken) -> None:
        for one in batch:
            one.break_line()
            if not one.done.done():
                one.done.set_exception(error)
                one.done.exception()  # a caller that left does not read it, and that is no fault

    async def _call(self, sender: BatchSender, batch: list[Waiting]) -> Any:
        """One call, repeated until it is answered. Raises ``LogUnavailable`` after ``hold_s``, or the server's "no"."""
        loop = self._loop
        arguments = call_arguments(batch)
        began = loop.time()
        deadline = began + self._hold_s
        pause_s = RETRY_FIRST_S
        asked_before = any(one.asked_before for one in batch)
        while True:
            try:
                if sender.connection is None or self._announce_as() != sender.announces_as:
                    await self._set_up(sender)
                row = await sender.call(len(batch), asked_before, arguments)
                self.batches += 1
                self.last_success_at = loop.time()
                self.batch_s.observe(self.last_success_at - began)
                self.failing = None
                return row
            except FAILURES as error:
                if not (isinstance(error, asyncpg.PostgresError) and refuses_data(error)):
                    self._note_failure(error)
                if not passes(error):
                    raise
                self.retries += 1
                if outcome_unknown(error):
                    asked_before = True
                    for one in batch:
                        one.asked_before = True
                    sender.drop()
                if loop.time() + pause_s > deadline:
                    raise LogUnavailable(f"Postgres did not take the events within {self._hold_s:g} s: {error}") from error
                logger.warning("append_retry", error=f"{type(error).__name__}: {error}", requests=len(batch), pause_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_MOST_S)

    async def _set_up(self, sender: BatchSender) -> None:
        """A connection for the sender where it has none, told in whose name its commits are announced."""
        async with asyncio.timeout(CALL_TIMEOUT_S):
            if sender.connection is None:
                sender.connection = await self._connect()
            if (node := self._announce_as()) != sender.announces_as:
                await sender.connection.fetchval(ANNOUNCE_AS, str(node or ""))
                sender.announces_as = node

    def _note_failure(self, error: BaseException) -> None:
        if self.failing is None:
            self.failing_since = self._loop.time()
        self.failing = f"{type(error).__name__}: {error}"

    def _settle(self, batch: list[Waiting], row: Any, began_s: float) -> None:
        outcomes, positions, versions, answers, at = row["outcomes"], row["positions"], row["versions"], row["answers"], row["recorded"]
        committed: list[StoredEvent] = []
        touch = claim = 0
        traced: list[tuple[Waiting, Appended]] = []
        results: list[Appended | StenographError] = []
        for one, outcome, position in zip(batch, outcomes, positions, strict=True):
            first_touch, first_claim = touch, claim
            touch += len(one.counts)
            claim += len(one.request.claims)
            after = versions[first_touch:touch]
            match outcome:
                case 0:
                    answer = one.command.answer if one.command is not None else b"null"
                    appended = Appended(position, after, at, False, answer)
                    results.append(appended)
                    if one.span is not None:
                        traced.append((one, appended))
                    types, message_ids, datas = one.types, one.message_ids, one.datas
                    actors = one.actors or [one.actor] * one.events
                    number, position = 0, position - one.events
                    for append, version, count in zip(one.request.appends, after, one.counts):  # noqa: B905  # as many, see ``Waiting``
                        stream = append.stream
                        for at_version in range(version - count + 1, version + 1):
                            position += 1
                            committed.append(
                                StoredEvent(
                                    position, stream, at_version, types[number], message_ids[number], actors[number], datas[number], at
                                )
                            )
                            number += 1
                case 1:
                    answer = answers[len(results)]
                    results.append(Appended(position, after, msgspec.json.decode(answer, type=datetime)))
                case 2:
                    results.append(repeated(one, position, answers[len(results)]))
                case 3:
                    assert one.command is not None
                    results.append(CommandMismatch(one.command.key))
                case 4:
                    self.conflicts += 1
                    results.append(conflict(one, after))
                case 5:
                    taken = one.request.claims[position - 1 - first_claim]
                    results.append(ClaimTaken(taken.kind, taken.key))
                case _:
                    results.append(BadRequest(other_kind(one.request.appends[position - 1 - first_touch].stream)))
        self.events += len(committed)
        self.batch_events.observe(len(committed))
        if committed:
            self.newest = max(self.newest, committed[-1].position)
            if traced:
                note_commit(traced, len(batch), len(committed), began_s)
            self._committed(committed)
        for one, result in zip(batch, results, strict=True):
            if type(result) is not Appended or result.repeated:
                one.break_line()
            done = one.done
            if done.done():
                continue
            if type(result) is Appended:
                done.set_result(result)
            else:
                assert isinstance(result, StenographError)
                done.set_exception(result)
                done.exception()  # see _fail


def note_commit(traced: Sequence[tuple[Waiting, Appended]], requests: int, events: int, began_s: float) -> None:
    """Tell their traces that these requests were committed, in a batch of so many requests and events."""
    now_s = asyncio.get_running_loop().time()
    made = [
        CommittedRequest(
            one.span,
            now_s - one.asked_s,
            appended.position,
            one.events,
            [(append.stream, version) for append, version in zip(one.request.appends, appended.versions, strict=True) if append.events],
        )
        for one, appended in traced
        if one.span is not None
    ]
    made[0].span.committed(CommittedBatch(made, requests, events, now_s - began_s))


class First(msgspec.Struct):
    """What is known of a repeated command."""

    versions: list[int]
    answer: msgspec.Raw
    at: datetime


def repeated(waiting: Waiting, position: int, answer: bytes) -> Appended:
    first = msgspec.json.decode(answer, type=First)
    # A key of our own making is only ever asked again by us: then it was this very request, and not a caller's repetition.
    ours = waiting.request.command is None
    return Appended(position, first.versions, first.at, not ours, bytes(first.answer))


def other_kind(stream: Stream) -> str:
    return f"there is no {stream}: the id is that of another kind of stream"


def conflict(waiting: Waiting, current: Sequence[int]) -> ConcurrencyConflict:
    for append, head in zip(waiting.request.appends, current, strict=True):
        if append.expected not in (head, -1) and not (append.expected == -2 and head > 0):
            return ConcurrencyConflict(append.stream, expected=append.expected, current=head)
    append = waiting.request.appends[0]
    return ConcurrencyConflict(append.stream, expected=append.expected, current=current[0])
