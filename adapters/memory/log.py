"""``EventLog`` in memory, with the semantics of the one in Postgres."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from commands.metrics import MetricFigure
from commands.ports import ANY, EXISTS, Appended, AppendRequest, KnownCommand, LineBroken, QuotaGuard
from domain.errors import BadRequest, ClaimTaken, CommandMismatch, ConcurrencyConflict
from domain.log.codec import EVENT_BYTES_MAX, OUTLINE_END, encode, encode_actor
from domain.log.event import StoredEvent
from domain.log.stream import Kind, Stream

ENDS = frozenset({"message_end", "error", "cancelled", "interrupted"})
ADDED_TYPES = ("message_added", "message_start")
ANSWER_TYPES = ("message_delta", "content_block")
CALL_TYPES = frozenset({"call", "call_answered", "call_expired"})


def as_outline(event: StoredEvent) -> StoredEvent:
    return msgspec.structs.replace(event, actor=None, data=OUTLINE_END if event.type == "message_end" else event.data)


def parent_of(event: StoredEvent) -> UUID | None:
    parent_id = msgspec.json.decode(event.data)["parent_id"]
    return UUID(parent_id) if parent_id is not None else None


def call_id_of(event: StoredEvent) -> str:
    call_id: str = msgspec.json.decode(event.data)["call_id"]
    return call_id


class MemoryLog:
    """Everything in lists and dicts. ``on_committed`` is called with the events of each append before its caller goes on."""

    def __init__(self, on_committed: Callable[[Sequence[StoredEvent]], None] = lambda _: None) -> None:
        self.on_committed = on_committed
        self.quota_guard: QuotaGuard | None = None  # asked before what an account appends
        self.events: list[StoredEvent] = []
        self._streams: dict[Stream, list[StoredEvent]] = {}
        self._kinds: dict[UUID, Kind] = {}
        self._commands: dict[tuple[UUID, str], KnownCommand] = {}
        self._claims: dict[tuple[str, str], Stream] = {}
        self._originals: dict[tuple[Stream, int], datetime] = {}

    @property
    def write_failure(self) -> None:
        """As that of ``PostgresLog``: memory is always written."""
        return None

    @property
    def last_success_at(self) -> float:
        """It is never away."""
        return asyncio.get_running_loop().time()

    def figures(self) -> Iterator[MetricFigure]:
        """Nothing to watch."""
        return iter(())

    async def start(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def append(self, request: AppendRequest, queued: Callable[[], None] | None = None) -> Appended:
        if self.quota_guard is not None and request.actor is not None:
            await self.quota_guard.require(request)
        if queued is not None:
            queued()
        line = request.line
        if line is None:
            return self._append(request)
        if line.broken:
            raise LineBroken
        line.broken = True  # unless it is written
        appended = self._append(request)
        line.broken = appended.repeated
        return appended

    def _append(self, request: AppendRequest) -> Appended:
        encoded = [[(event.message_id, *encode(event.data)) for event in append.events] for append in request.appends]
        for rows in encoded:
            for _, name, data in rows:
                if len(data) > EVENT_BYTES_MAX:
                    raise BadRequest(f"an event holds at most {EVENT_BYTES_MAX} bytes, this {name} has {len(data)}")
        if len({append.stream.id for append in request.appends}) < len(request.appends):
            raise BadRequest("a request appends to each of its streams once, this one names one twice")
        command = request.command
        if command is not None:
            known = self._commands.get((command.actor_id, command.key))
            if known is not None:
                if known.request_hash != command.request_hash:
                    raise CommandMismatch(command.key)
                return known.appended
        for append in request.appends:
            if self._kinds.get(append.stream.id, append.stream.kind) != append.stream.kind:
                raise BadRequest(f"there is no {append.stream}: the id is that of another kind of stream")
            current = len(self._streams.get(append.stream, ()))
            if append.expected not in (current, ANY) and not (append.expected == EXISTS and current > 0):
                raise ConcurrencyConflict(append.stream, expected=append.expected, current=current)
        for claim in request.claims:
            if (claim.kind, claim.key) in self._claims:
                raise ClaimTaken(claim.kind, claim.key)
        return self._write(request, encoded)

    async def require_account(self, user_id: UUID) -> None:
        if self.quota_guard is not None:
            await self.quota_guard.require_account(user_id)

    def _write(self, request: AppendRequest, encoded: Sequence[Sequence[tuple[UUID | None, str, bytes]]]) -> Appended:
        at = datetime.now(UTC)
        if self.events:
            at = max(at, self.events[-1].at)
        actor = encode_actor(request.actor) if request.actor is not None else None
        written: list[StoredEvent] = []
        versions: list[int] = []
        for append, rows in zip(request.appends, encoded, strict=True):
            stream_events = self._streams.setdefault(append.stream, [])
            for number, (message_id, name, data) in enumerate(rows):
                position, version = len(self.events) + 1, len(stream_events) + 1
                origin = append.origins[number] if append.origins else None
                if origin is not None:
                    self._originals[append.stream, version] = origin.at
                caused = origin.actor if origin is not None else actor
                event = StoredEvent(position, append.stream, version, name, message_id, caused, data, at)
                self._kinds[append.stream.id] = append.stream.kind
                stream_events.append(event)
                self.events.append(event)
                written.append(event)
            versions.append(len(stream_events))
        for claim in request.claims:
            self._claims[claim.kind, claim.key] = claim.stream
        answer = request.command.answer if request.command is not None else b"null"
        appended = Appended(len(self.events), versions, at, False, answer)
        if request.command is not None:
            first = msgspec.structs.replace(appended, repeated=True)
            self._commands[request.command.actor_id, request.command.key] = KnownCommand(request.command.request_hash, first)
        if written:
            self.on_committed(written)
        return appended

    async def read(
        self, stream: Stream, *, after: int = 0, until: int | None = None, limit: int, without_deltas: bool = False
    ) -> Sequence[StoredEvent]:
        events = self._streams.get(stream, [])[after:until]
        return [event for event in events if not (without_deltas and event.type == "message_delta")][:limit]

    async def read_outline(self, stream: Stream, *, after: int = 0, until: int, limit: int) -> Sequence[StoredEvent]:
        events = await self.read(stream, after=after, until=until, limit=len(self.events), without_deltas=True)
        return [as_outline(event) for event in events if event.type != "content_block"][:limit]

    async def read_message(self, stream: Stream, message_id: UUID, *, after: int) -> Sequence[StoredEvent]:
        return [event for event in self._streams.get(stream, [])[after:] if event.message_id == message_id]

    async def read_head(self, stream: Stream, types: Sequence[str]) -> Sequence[StoredEvent]:
        outline = self._streams.get(stream, [])
        newest = [event.version for event in outline if event.type in types][-1:]
        wanted = {event.version for event in outline if event.message_id is None} | {*newest, len(outline)}
        return [as_outline(event) for event in outline if event.version in wanted]

    async def read_relatives(self, stream: Stream, message_ids: Collection[UUID], *, until: int) -> Sequence[StoredEvent]:
        events = [event for event in self._streams.get(stream, [])[:until] if event.type not in ANSWER_TYPES]
        parents = {(event.message_id, parent_of(event)) for event in events if event.type in ADDED_TYPES}
        family: set[UUID | None] = set(message_ids)
        family |= {above for one, above in parents if one in message_ids} | {one for one, above in parents if above in message_ids}
        always = {*ADDED_TYPES, *ENDS, "message_deleted"}
        saying_nothing = {"chat_branch_selected", *CALL_TYPES}
        newest = {event.message_id: event.version for event in events if event.type not in always | saying_nothing}
        return [
            as_outline(event)
            for event in events
            if event.message_id is not None
            and event.message_id in family
            and (event.type in always or newest.get(event.message_id) == event.version)
        ]

    async def read_messages(self, stream: Stream, message_ids: Collection[UUID], *, until: int) -> Sequence[StoredEvent]:
        events = self._streams.get(stream, [])[:until]
        return [as_outline(event) for event in events if event.message_id in message_ids and event.type not in ANSWER_TYPES]

    async def read_open_starts(self, stream: Stream, *, until: int) -> Sequence[StoredEvent]:
        started: dict[UUID | None, StoredEvent] = {}
        for event in self._streams.get(stream, [])[:until]:
            if event.type == "message_start":
                started[event.message_id] = as_outline(event)
            elif event.type in ENDS:
                started.pop(event.message_id, None)
        return list(started.values())

    async def read_open_calls(self, stream: Stream, *, until: int) -> Sequence[StoredEvent]:
        opened: list[StoredEvent] = []
        for event in self._streams.get(stream, [])[:until]:
            if event.type == "call":
                opened.append(as_outline(event))
            elif event.type in CALL_TYPES:
                opened = [one for one in opened if call_id_of(one) != call_id_of(event)]
        return opened

    async def read_call(self, call_id: UUID) -> Sequence[StoredEvent]:
        return [event for event in self.events if event.type in CALL_TYPES and call_id_of(event) == str(call_id)]

    async def read_log(self, *, after: int, limit: int) -> Sequence[StoredEvent]:
        return self.events[after : after + limit]

    async def version(self, stream: Stream) -> int:
        return len(self._streams.get(stream, ()))

    async def version_at(self, stream: Stream, at: datetime) -> int:
        return sum(self._originals.get((stream, event.version), event.at) <= at for event in self._streams.get(stream, ()))

    async def original_times(self, stream: Stream, *, after: int, until: int) -> Mapping[int, datetime]:
        return {version: at for (of, version), at in self._originals.items() if of == stream and after < version <= until}

    async def times(self, stream: Stream, versions: Collection[int]) -> Mapping[int, datetime]:
        return {event.version: event.at for event in self._streams.get(stream, ()) if event.version in versions}

    async def head(self) -> int:
        return len(self.events)

    async def find_command(self, actor_id: UUID, key: str) -> KnownCommand | None:
        return self._commands.get((actor_id, key))

    async def find_claim(self, kind: str, key: str) -> Stream | None:
        return self._claims.get((kind, key))

    async def streams(self, kind: Kind) -> Sequence[Stream]:
        return [stream for stream in self._streams if stream.kind == kind]

    def claimed(self, kind: str) -> list[Stream]:
        """The streams that hold a claim of this kind, in the order in which they claimed it."""
        return [stream for (claim_kind, _), stream in self._claims.items() if claim_kind == kind]
