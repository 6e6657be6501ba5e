"""The one way into the log: everything that waits goes in one call, one round trip, one commit.

No timer: while a batch is in flight the next one gathers. When much waits it goes as two, on a connection each: Postgres is
at the one while this process makes the other and hands out the last. A batch runs in the appender's own task and is never
cancelled with a caller. A time-out or a lost connection is an unknown outcome: the connection is dropped and the same call is
made again, saying so, until it is answered or ``hold_s`` is over.

One that gives way (a bulk load) leaves the append lock to others for three times as long as it took it, whenever others write: the
positions of its batches say so, since they are dense. Its batches are small then.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import msgspec
import structlog

from adapters.postgres.connection import FAILURES, outcome_unknown, passes, refuses_data
from adapters.postgres.queries import text
from commands.ports import Appended, AppendRequest, CommandKey, StreamAppend
from domain.errors import BadRequest, ClaimTaken, CommandMismatch, ConcurrencyConflict, LogUnavailable, Overloaded, StenographError
from domain.log.codec import EVENT_BYTES_MAX, encode, encode_actor
from domain.log.event import StoredEvent
from domain.log.stream import Stream

log = structlog.get_logger("appender")

CALL: Final = text("append_batch")
ANNOUNCE_AS: Final = text("announce_as")
SENDERS: Final = 2  # batches in flight at once: Postgres takes one after the other, so more would only wait at its lock
HALF_REQUESTS_MIN: Final = 32  # a batch is not halved below it: under light load that would only make more commits
GIVES_WAY_EVENTS_MAX: Final = 100  # of a batch beside others: a millisecond or two under the lock, for which tokens wait
GIVES_WAY_TIMES: Final = 3  # as long as a batch took, before the next one
GIVES_WAY_MOST_S: Final = 0.1  # after a batch: what takes longer than that is held up by Postgres, and not by us
CALL_TIMEOUT_S: Final = 10.0
CLOSE_S: Final = 5.0
SEPARATOR: Final = b"\x1e"
NONE: Final = ("{}",)
RETRY_FIRST_S: Final = 0.02
RETRY_MOST_S: Final = 1.0
WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
# Who asks for requests that have no caller's key: their keys are random, so they need no owner.
NOBODY: Final = UUID(int=0)


class Waiting:
    """One request on its way: its events encoded, and whoever waits for it."""

    __slots__ = (
        "actor",
        "actors",
        "asked_before",
        "bytes",
        "command",
        "counts",
        "datas",
        "done",
        "events",
        "keys",
        "message_ids",
        "originals",
        "request",
        "types",
    )

    def __init__(self, request: AppendRequest, done: "asyncio.Future[Appended]") -> None:
        self.request = request
        self.done = done
        self.asked_before = False  # with an outcome that nobody knows
        self.actor = encode_actor(request.actor) if request.actor is not None else None
        # Of requests that restore something: each event's own actor, and when it was recorded first.
        self.actors: list[bytes | None] | None = None
        self.originals: list[datetime | None] | None = None
        # An element for each event of all its appends, in order.
        types: list[str] = []
        message_ids: list[UUID | None] = []
        datas: list[bytes] = []
        counts: list[int] = []  # how many of them each append has
        size = 0
        needs_key = is_restored = False
        # What a batch holds once. An id's number, because it is hashed faster than the id.
        keys: list[Any] = []
        for append in request.appends:
            keys.append(append.stream.id.int)
            events = append.events
            counts.append(len(events))
            for event in events:
                name, data = encode(event.data)
                length = len(data)
                if length > EVENT_BYTES_MAX:
                    raise BadRequest(f"an event holds at most {EVENT_BYTES_MAX} bytes, this {name} has {length}")
                types.append(name)
                message_ids.append(event.message_id)
                datas.append(data)
                size += length
            if append.expected < 0:
                needs_key = True
            if append.origins:
                is_restored = True
        self.types, self.message_ids, self.datas, self.counts = types, message_ids, datas, counts
        self.bytes = size
        self.events = len(datas)
        if len(keys) > 1 and len(set(keys)) < len(keys):
            raise BadRequest("a request appends to each of its streams once, this one names one twice")
        if is_restored:
            self.actors, self.originals = [], []
            for append in request.appends:
                self._take_origins(append, self.actors, self.originals)
        command = request.command
        if command is None and (needs_key or not datas):
            # What was asked at exact versions is recognised by its events; everything else needs a key to be asked again by.
            command = CommandKey(NOBODY, uuid4().hex, b"")
        if request.claims:
            keys.extend([(claim.kind, claim.key) for claim in request.claims])
        if command is not None:
            keys.append((command.actor_id, command.key))
        self.command = command
        self.keys = keys

    def _take_origins(self, append: StreamAppend, actors: list[bytes | None], originals: list[datetime | None]) -> None:
        if append.origins and len(append.origins) != len(append.events):
            raise BadRequest(f"expected an origin for each of {len(append.events)} events, received {len(append.origins)}")
        actors += [origin.actor for origin in append.origins] or [self.actor] * len(append.events)
        originals += [origin.at for origin in append.origins] or [None] * len(append.events)


class BatchSender:
    """One batch on its way: its connection, and the task that writes on it."""

    __slots__ = ("announces_as", "connection", "task", "wake")

    def __init__(self) -> None:
        self.announces_as: UUID | None = None  # what the connection was told
        self.connection: asyncpg.Connection[Any] | None = None
        self.task: asyncio.Task[None] | None = None
        self.wake = asyncio.Event()

    def drop(self) -> None:
        if self.connection is not None:
            self.connection.terminate()
            self.connection = self.announces_as = None


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
        self._senders = [BatchSender() for _ in range(1 if yields_to_others else SENDERS)]
        self._in_flight: set[Any] = set()  # the keys of what is on its way
        self._closing = False
        self.batches = 0
        self.retries = 0
        self.newest = 0  # position of the last event that was written here
        self.pauses = 0  # in which others came first
        self.last_success_at = 0.0  # the loop's clock, seconds
        self.failing: str | None = None  # why the last append that was asked of Postgres failed
        self.failing_since = 0.0  # the loop's clock, seconds

    async def start(self) -> None:
        for sender in self._senders:
            sender.connection = await self._connect()
            sender.task = asyncio.create_task(self._run(sender), name="appender")
        self.last_success_at = asyncio.get_running_loop().time()

    async def close(self) -> None:
        """Everything that waits is appended first, within ``CLOSE_S``."""
        self._closing = True
        self._wake()
        tasks = [sender.task for sender in self._senders if sender.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=CLOSE_S)
            for task in late:
                task.cancel()
        for sender in self._senders:
            if sender.connection is not None:
                with contextlib.suppress(Exception):  # it may be lost already, and nothing depends on it any more
                    await sender.connection.close(timeout=1)

    def _wake(self) -> None:
        """Start the senders that ``_gather`` has something for. For nothing woken, a task costs as much as a token's request."""
        waiting = len(self._waiting)
        if self._closing or waiting >= (HALF_REQUESTS_MIN if self._in_flight else 2 * HALF_REQUESTS_MIN):
            for sender in self._senders:
                sender.wake.set()
        elif waiting and not self._in_flight:
            self._senders[0].wake.set()

    @property
    def waiting_events(self) -> int:
        return sum(one.events for one in self._waiting)

    async def append(self, request: AppendRequest) -> Appended:
        """See ``EventLog.append``."""
        if self._closing:
            raise LogUnavailable("the server is going away; nothing was written")
        waiting = Waiting(request, asyncio.get_running_loop().create_future())
        if self._waiting_bytes + waiting.bytes > WAITING_BYTES_MAX and self._waiting:
            raise Overloaded("the append queue (bytes)", WAITING_BYTES_MAX)
        self._waiting.append(waiting)
        self._waiting_bytes += waiting.bytes
        if not self._in_flight or len(self._waiting) == HALF_REQUESTS_MIN:
            self._wake()
        # A caller that is cancelled cancels this future, and nothing else: the request goes on without it.
        return await waiting.done

    async def _run(self, sender: BatchSender) -> None:
        loop = asyncio.get_running_loop()
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
        """The next batch, in the order of arrival. Whatever shares a key with what is before it waits for a later one.

        While another batch is in flight, ``HALF_REQUESTS_MIN`` or nothing. While none is, the first sender leaves half to the other.
        """
        waiting = self._waiting
        requests_max = len(waiting)
        if self._in_flight:
            if requests_max < HALF_REQUESTS_MIN:
                return []
        elif sender is not self._senders[0]:
            return []
        elif requests_max >= 2 * HALF_REQUESTS_MIN:
            requests_max //= 2
        batch: list[Waiting] = []
        held_back: list[Waiting] = []
        taken = set(self._in_flight)
        events = size = 0
        bytes_max = self._batch_bytes_max
        events_max = min(self._batch_events_max, GIVES_WAY_EVENTS_MAX) if self.is_beside_others else self._batch_events_max
        while waiting and len(batch) < requests_max:
            one = waiting[0]
            if batch and (events + one.events > events_max or size + one.bytes > bytes_max):
                break
            waiting.popleft()
            if taken.isdisjoint(one.keys):
                batch.append(one)
                events += one.events
                size += one.bytes
            else:
                held_back.append(one)
            taken.update(one.keys)
        if held_back:
            waiting.extendleft(reversed(held_back))
        self._waiting_bytes -= size
        return batch

    async def _write(self, sender: BatchSender, batch: list[Waiting]) -> None:
        try:
            self._settle(batch, await self._call(sender, batch))
        except asyncpg.PostgresError as error:
            if not refuses_data(error):
                log.error("append_failed", sqlstate=error.sqlstate, error=str(error), requests=len(batch))
                self._fail(batch, LogUnavailable(f"the append failed: {error.args[0]}"))
                return
            if len(batch) > 1:
                # A row that Postgres refuses for its data fails alone, not its neighbours.
                middle = len(batch) // 2
                await self._write(sender, batch[:middle])
                await self._write(sender, batch[middle:])
                return
            log.error("request_refused_by_postgres", sqlstate=error.sqlstate, error=str(error))
            self._fail(batch, BadRequest(f"Postgres refused the request's data: {error.args[0]}"))
        except StenographError as error:
            self._fail(batch, error)
        except Exception as error:
            # The appender's own loop must live; whoever waits must not wait for ever.
            log.exception("append_failed")
            self._fail(batch, LogUnavailable(f"the append failed: {error}"))

    def _fail(self, batch: list[Waiting], error: StenographError) -> None:
        for one in batch:
            if not one.done.done():
                one.done.set_exception(error)
                one.done.exception()  # a caller that left does not read it, and that is no fault

    async def _call(self, sender: BatchSender, batch: list[Waiting]) -> Any:
        """One call, repeated until it is answered. Raises ``LogUnavailable`` after ``hold_s``, or the server's "no"."""
        loop = asyncio.get_running_loop()
        arguments = call_arguments(batch)
        deadline = loop.time() + self._hold_s
        pause_s = RETRY_FIRST_S
        asked_before = any(one.asked_before for one in batch)
        while True:
            try:
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    if sender.connection is None:
                        sender.connection = await self._connect()
                    if (node := self._announce_as()) != sender.announces_as:
                        await sender.connection.fetchval(ANNOUNCE_AS, str(node or ""))
                        sender.announces_as = node
                    row = await sender.connection.fetchrow(CALL, len(batch), asked_before, *arguments)
                self.batches += 1
                self.last_success_at = loop.time()
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
                log.warning("append_retry", error=f"{type(error).__name__}: {error}", requests=len(batch), pause_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_MOST_S)

    def _note_failure(self, error: BaseException) -> None:
        if self.failing is None:
            self.failing_since = asyncio.get_running_loop().time()
        self.failing = f"{type(error).__name__}: {error}"

    def _settle(self, batch: list[Waiting], row: Any) -> None:
        outcomes, positions, versions, answers, at = row["outcomes"], row["positions"], row["versions"], row["answers"], row["recorded"]
        committed: list[StoredEvent] = []
        touch = claim = 0
        results: list[Appended | StenographError] = []
        for one, outcome, position in zip(batch, outcomes, positions, strict=True):
            first_touch, first_claim = touch, claim
            touch += len(one.counts)
            claim += len(one.request.claims)
            after = versions[first_touch:touch]
            match outcome:
                case 0:
                    answer = one.command.answer if one.command is not None else b"null"
                    results.append(Appended(position, after, at, False, answer))
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
                    results.append(conflict(one, after))
                case 5:
                    taken = one.request.claims[position - 1 - first_claim]
                    results.append(ClaimTaken(taken.kind, taken.key))
                case _:
                    results.append(BadRequest(other_kind(one.request.appends[position - 1 - first_touch].stream)))
        if committed:
            self.newest = max(self.newest, committed[-1].position)
            self._committed(committed)
        for one, result in zip(batch, results, strict=True):
            done = one.done
            if done.done():
                continue
            if type(result) is Appended:
                done.set_result(result)
            else:
                assert isinstance(result, StenographError)
                done.set_exception(result)
                done.exception()  # see _fail


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


def call_arguments(batch: Sequence[Waiting]) -> tuple[str, ...]:
    """The arrays of ``append_batch`` (sql/functions/append_batch.sql), all as text.

    The driver looks at every element of a list in Python, 2 µs each, and at every list, 6 µs each; reading a text costs
    Postgres less than that. JSON goes between record separators, which it can't hold itself (RFC 8259 §7).
    """
    appends = [append for one in batch for append in one.request.appends]
    counts = [count for one in batch for count in one.counts]
    datas = [data for one in batch for data in one.datas]
    every_append = _numbers(range(1, len(appends) + 1))
    return (
        *_commands(batch),
        *_claims(batch),
        every_append
        if len(appends) == len(batch)  # one each, so they have their requests' numbers
        else _numbers([number for number, one in enumerate(batch, 1) for _ in one.counts]),
        _ids([append.stream.id for append in appends]),
        _array([append.stream.kind for append in appends]),
        _numbers([append.expected for append in appends]),
        _numbers(counts),
        *(
            (every_append, _numbers([1] * len(appends)))
            if len(datas) == len(appends) and 0 not in counts  # one event each: tokens
            else (
                _numbers([touch for touch, count in enumerate(counts, 1) for _ in range(count)]),
                _numbers([number for count in counts for number in range(1, count + 1)]),
            )
        ),
        _array([f'"{name}"' for one in batch for name in one.types]),  # quoted: an emitter may call its type "null"
        _ids([message_id for one in batch for message_id in one.message_ids]),
        SEPARATOR.join([actor or b"" for one in batch for actor in one.actors or [one.actor] * one.events]).decode(),
        SEPARATOR.join(datas).decode(),
        _originals(batch),
    )


def _commands(batch: Sequence[Waiting]) -> Iterable[str]:
    """Of the requests that have a key: number, actor, key, hash, answer."""
    keyed = [(number, one.command) for number, one in enumerate(batch, 1) if one.command is not None]
    if not keyed:
        return NONE * 5
    return (
        _numbers([number for number, _ in keyed]),
        _ids([command.actor_id for _, command in keyed]),
        _array([_quoted(command.key) for _, command in keyed]),
        _array([_quoted(f"\\x{command.request_hash.hex()}") for _, command in keyed]),
        _array([_quoted(command.answer.decode()) for _, command in keyed]),
    )


def _claims(batch: Sequence[Waiting]) -> Iterable[str]:
    """Of everything that is claimed: the request's number, kind, key, stream."""
    claims = [(number, claim) for number, one in enumerate(batch, 1) if one.request.claims for claim in one.request.claims]
    if not claims:
        return NONE * 4
    return (
        _numbers([number for number, _ in claims]),
        _array([_quoted(claim.kind) for _, claim in claims]),
        _array([_quoted(claim.key) for _, claim in claims]),
        _ids([claim.stream.id for _, claim in claims]),
    )


def _originals(batch: Sequence[Waiting]) -> str:
    """When each event was recorded first; of no event where none is restored."""
    if not [one for one in batch if one.originals is not None]:
        return "{}"
    times = [at for one in batch for at in one.originals or [None] * one.events]
    return _array([at.astimezone(UTC).isoformat() if at is not None else "NULL" for at in times])


def _ids(ids: Sequence[UUID | None]) -> str:
    """``{0a1b…,NULL}``. This way to print an id takes a third of the time of any other."""
    return _array(["NULL" if id_ is None else "%032x" % id_.int for id_ in ids])  # noqa: UP031  # see above


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _array(elements: list[str]) -> str:
    return f"{{{','.join(elements)}}}"


def _numbers(numbers: Iterable[int]) -> str:
    """``{1,2,3}``: the way a list of numbers prints is nearly that already."""
    return f"{{{str([*numbers])[1:-1]}}}"
