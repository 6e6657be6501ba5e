"""A request that waits for its batch, encoded, and the arguments of the one call for all requests of a batch."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID, uuid4

from commands.ports import Appended, AppendRequest, CommandKey, Line, StreamAppend
from commands.tracing import CURRENT, Span
from domain.errors import BadRequest
from domain.log.codec import EVENT_BYTES_MAX, encode, encode_actor

SEPARATOR: Final = b"\x1e"
QUOTED_COMMA: Final = '","'
NONE: Final = ("{}",)
# Who asks for requests that have no caller's key: their keys are random, so they need no owner.
NO_USER_ID: Final = UUID(int=0)
FOLLOWS: Final = -2  # less the number of a touch is the expected version "to which that touch leads" (sql/functions/append_batch.sql)
NOWHERE: Final = -10  # no version: nothing can follow


class Waiting:
    """One request on its way: its events encoded, and the future of its caller."""

    __slots__ = (
        "actor",
        "actors",
        "asked_before",
        "asked_s",
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
        "span",
        "types",
    )

    def __init__(self, request: AppendRequest, done: "asyncio.Future[Appended]") -> None:
        self.request = request
        self.done = done
        self.asked_before = False  # and the connection broke before Postgres said whether it was committed
        self.span: Span | None = CURRENT.get()
        self.asked_s = 0.0 if self.span is None else asyncio.get_running_loop().time()
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
            command = CommandKey(NO_USER_ID, uuid4().hex, b"")
        if request.claims:
            keys.extend([(claim.kind, claim.key) for claim in request.claims])
        if command is not None:
            keys.append((command.actor_id, command.key))
        self.command = command
        self.keys = keys

    def lead_to(self, versions: dict[Line, int]) -> None:
        """Note to which version its line comes with it. Whether a claim is taken is found out later than its followers are looked at."""
        line = self.request.line
        if line is not None:
            versions[line] = NOWHERE if self.request.claims else self.request.appends[0].expected + self.counts[0]

    @property
    def is_in_broken_line(self) -> bool:
        return self.request.line is not None and self.request.line.broken

    def break_line(self) -> None:
        """It was not written."""
        if self.request.line is not None:
            self.request.line.broken = True

    def follows(self, taken: Set[Any], led_to: Mapping[Line, int]) -> bool:
        """Whether all that it shares with ``taken`` is the stream of its line, which is led to the version that it expects."""
        request = self.request
        if request.line is None or led_to.get(request.line, NOWHERE) != request.appends[0].expected:
            return False
        return taken & set(self.keys) == {request.appends[0].stream.id.int}

    def _take_origins(self, append: StreamAppend, actors: list[bytes | None], originals: list[datetime | None]) -> None:
        if append.origins and len(append.origins) != len(append.events):
            raise BadRequest(f"expected an origin for each of {len(append.events)} events, received {len(append.origins)}")
        actors += [origin.actor for origin in append.origins] or [self.actor] * len(append.events)
        originals += [origin.at for origin in append.origins] or [None] * len(append.events)


def call_arguments(batch: Sequence[Waiting]) -> tuple[str, ...]:
    """The arrays of ``append_batch`` (sql/functions/append_batch.sql), all as text.

    The driver looks at every element of a list in Python, 2 µs each, and at every list, 6 µs each; reading a text costs
    Postgres less than that. JSON goes between record separators, which it can't hold itself (RFC 8259 §7).
    """
    appends: list[StreamAppend] = []
    counts: list[int] = []
    types: list[str] = []
    message_ids: list[UUID | None] = []
    datas: list[bytes] = []
    for one in batch:
        appends += one.request.appends
        counts += one.counts
        types += one.types
        message_ids += one.message_ids
        datas += one.datas
    every_append, one_each = _up_to(len(appends)), _ones(len(appends))
    are_tokens = len(datas) == len(appends) and 0 not in counts  # one event each
    return (
        *_commands(batch),
        *_claims(batch),
        every_append
        if len(appends) == len(batch)  # one each, so they have their requests' numbers
        else _numbers([number for number, one in enumerate(batch, 1) for _ in one.counts]),
        _ids([append.stream.id for append in appends]),
        _array([append.stream.kind for append in appends]),
        _numbers(_expected(appends)),
        *(
            (one_each, every_append, one_each)
            if are_tokens
            else (
                _numbers(counts),
                _numbers([touch for touch, count in enumerate(counts, 1) for _ in range(count)]),
                _numbers([number for count in counts for number in range(1, count + 1)]),
            )
        ),
        f'{{"{QUOTED_COMMA.join(types)}"}}' if types else "{}",  # quoted: an emitter may call its type "null"
        _ids(message_ids),
        _actors(batch, len(datas)),
        SEPARATOR.join(datas).decode(),
        _originals(batch),
    )


def _expected(appends: Sequence[StreamAppend]) -> Iterable[int]:
    """The version that each expects; where one before it is of the same stream, that one's number behind ``FOLLOWS``."""
    expected = [append.expected for append in appends]
    streams = {append.stream.id.int for append in appends}
    if len(streams) < len(appends):
        touches: dict[int, int] = {}
        for number, append in enumerate(appends, 1):
            before = touches.get(append.stream.id.int)
            if before is not None:
                expected[number - 1] = FOLLOWS - before
            touches[append.stream.id.int] = number
    return expected


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


def _actors(batch: Sequence[Waiting], events: int) -> str:
    """The actor of each event: of none where no request has one, as those of tokens."""
    if not [one for one in batch if one.actor is not None or one.actors is not None]:
        return "\x1e" * (events - 1)
    return SEPARATOR.join([actor or b"" for one in batch for actor in one.actors or [one.actor] * one.events]).decode()


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


@lru_cache(maxsize=1024)
def _up_to(count: int) -> str:
    return _numbers(range(1, count + 1))


@lru_cache(maxsize=1024)
def _ones(count: int) -> str:
    return _numbers([1] * count)


def _numbers(numbers: Iterable[int]) -> str:
    """``{1,2,3}``: the way a list of numbers prints is nearly that already."""
    return f"{{{str([*numbers])[1:-1]}}}"
