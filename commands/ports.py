"""What commands need from the outside: the log, secrets that are not in it, and the clock.

An adapter satisfies a port by shape. Each has an in-memory twin (``adapters/memory``), and one contract suite runs against both.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec

from domain.event import Actor, Event, Stored
from domain.stream import Stream

ANY: Final = -1  # expected version: whatever the stream is at
EXISTS: Final = -2  # expected version: the stream has at least one event


class Origin(msgspec.Struct, frozen=True):
    """Of an event that is restored: who caused it, as JSON, and when it was recorded first."""

    actor: bytes | None
    at: datetime  # UTC


class StreamAppend(msgspec.Struct, frozen=True):
    """What one request adds to one stream. ``expected`` is the number of events the caller has seen, 0 for a new stream."""

    stream: Stream
    events: Sequence[Event[Any]]
    expected: int
    origins: Sequence[Origin] = ()  # one for each event where they are restored: they stand for the request's actor and for now


class CommandKey(msgspec.Struct, frozen=True):
    """An idempotency key. The same actor and key with another hash is refused; with the same it gets the first answer."""

    actor_id: UUID
    key: str
    request_hash: bytes  # sha256 of what was asked
    answer: bytes = b"null"  # JSON: what the first caller gets beside the versions, and every later one again


class Claim(msgspec.Struct, frozen=True):
    """What must be unique: an e-mail address, the first admin, the pair of a dm."""

    kind: str
    key: str
    stream: Stream


class AppendRequest(msgspec.Struct, frozen=True):
    """All of ``appends`` or nothing. May be empty of events where only the command is to be remembered."""

    appends: Sequence[StreamAppend]
    actor: Actor | None = None
    command: CommandKey | None = None
    claims: Sequence[Claim] = ()


class Appended(msgspec.Struct, frozen=True):
    """Committed. ``versions`` are those after the request, one for each of its appends, in their order."""

    position: int  # of the last event of the request
    versions: Sequence[int]
    at: datetime | None = None  # None where nothing had to be written
    repeated: bool = False  # the command was known: nothing was written now
    answer: bytes = b"null"


class EventLog(Protocol):
    async def append(self, request: AppendRequest) -> Appended:
        """Append all of ``request`` or nothing. Returns after the commit; is not undone when the caller is cancelled.

        Raises ``ConcurrencyConflict`` if a stream has moved on, ``ClaimTaken``, ``CommandMismatch``, ``ContentRefused``,
        ``BadRequest`` for an event over 256 KiB: nothing was written. Raises ``Overloaded`` when too much waits already.
        Raises ``LogUnavailable`` if Postgres stayed silent for longer than the bound: it may have been written; repeat
        with the same command key or the same expected versions.
        """
        ...

    async def read(
        self, stream: Stream, *, after: int = 0, until: int | None = None, limit: int, without_deltas: bool = False
    ) -> Sequence[Stored]:
        """Events of one stream with ``after < version <= until``, in order, ``limit`` at most."""
        ...

    async def read_outline(self, stream: Stream, *, after: int = 0, until: int, limit: int) -> Sequence[Stored]:
        """As ``read``, but without the deltas and blocks of answers, with ``OUTLINE_END`` for each ``message_end`` and no actors:
        what a fold needs of what is over.
        """
        ...

    async def read_message(self, stream: Stream, message_id: UUID, *, after: int) -> Sequence[Stored]:
        """All events of one message above version ``after``, in order: what a generation has said so far."""
        ...

    async def read_head(self, stream: Stream, types: Sequence[str]) -> Sequence[Stored]:
        """What a fold begins with that reads messages only when it needs them, in order and of one moment: all events that are about
        no message, the newest event of ``types``, and the newest of all. As in an outline.
        """
        ...

    async def read_relatives(self, stream: Stream, message_ids: Collection[UUID], *, until: int) -> Sequence[Stored]:
        """Events with ``version <= until`` of these messages, of the messages that they were added below and of those that were added
        below them, in order: what added, ended and deleted each, and the newest that changed it besides. As in an outline.
        """
        ...

    async def read_open_starts(self, stream: Stream, *, until: int) -> Sequence[Stored]:
        """Every ``message_start`` with ``version <= until`` whose generation has no end there. Takes longer in a longer stream."""
        ...

    async def read_log(self, *, after: int, limit: int) -> Sequence[Stored]:
        """Events of all streams with ``position > after``, in order."""
        ...

    async def version(self, stream: Stream) -> int:
        """The stream's newest version; 0 if it has none."""
        ...

    async def version_at(self, stream: Stream, at: datetime) -> int:
        """The newest version that was written at ``at`` or before; 0 if none was. Restored events count from when they were first."""
        ...

    async def original_times(self, stream: Stream, *, after: int, until: int) -> Mapping[int, datetime]:
        """When restored events with ``after < version <= until`` were recorded first. The others were when they say themselves."""
        ...

    async def times(self, stream: Stream, versions: Collection[int]) -> Mapping[int, datetime]:
        """When these versions were written; one that is not there is left out."""
        ...

    async def head(self) -> int:
        """The newest position; 0 in an empty log."""
        ...

    async def find_command(self, actor_id: UUID, key: str) -> "KnownCommand | None": ...

    async def find_claim(self, kind: str, key: str) -> Stream | None:
        """Who holds it."""
        ...


class KnownCommand(msgspec.Struct, frozen=True):
    request_hash: bytes
    appended: Appended


class Blobs(Protocol):
    """Content over what an event may hold, kept by its sha256 under the stream that refers to it."""

    async def put(self, stream: Stream, content: bytes) -> str:
        """Returns the sha256 in hex. To repeat it changes nothing."""
        ...

    async def get(self, stream: Stream, sha256: str) -> bytes | None: ...


class Credentials(Protocol):
    """Hashes of passwords and API keys. Rows are only ever added; the newest password counts."""

    async def add_password(self, user_id: UUID, password_hash: str) -> None: ...

    async def password(self, user_id: UUID) -> str | None:
        """The newest hash."""
        ...

    async def add_api_key(self, key_id: UUID, user_id: UUID, key_hash: bytes) -> None: ...

    async def api_key_owner(self, key_hash: bytes) -> tuple[UUID, UUID] | None:
        """``(key_id, user_id)``; whether the key still counts stands in the user's stream."""
        ...

    async def secret(self, name: str, proposed: bytes) -> bytes:
        """The secret of that name; ``proposed`` becomes it where there is none yet, for every process."""
        ...


class Tickets(Protocol):
    """One-use, short-lived. ``ticket_hash`` is a sha256: the ticket itself is not kept."""

    async def put(self, ticket_hash: bytes, user_id: UUID, session: Mapping[str, Any], ttl_s: float) -> None: ...

    async def take(self, ticket_hash: bytes) -> tuple[UUID, Mapping[str, Any]] | None:
        """Returns it once, to one caller in the cluster; None when it is unknown, used or too old."""
        ...


class NodeBeat(msgspec.Struct, frozen=True):
    beat: int  # a counter that only the node itself moves: clocks of two machines are never compared
    open_since: int  # a position: what the node runs was started above it


class OpenGeneration(msgspec.Struct, frozen=True):
    stream: Stream
    message_id: UUID
    task_id: UUID
    node_id: UUID
    started_version: int


class Nodes(Protocol):
    """Who is alive, and what a dead one left open."""

    async def beat(self, node_id: UUID, beat: NodeBeat) -> None: ...

    async def beats(self) -> Mapping[UUID, NodeBeat]:
        """The newest beat of every node that has not said goodbye."""
        ...

    async def leave(self, node_id: UUID) -> None: ...

    async def open_generations(self, *, since: int) -> Sequence[OpenGeneration]:
        """Every generation, of any node, that began above position ``since`` and has no end in the log."""
        ...


class PasswordHasher(Protocol):
    """Slow on purpose, so it runs off the event loop, a few at a time."""

    async def hash(self, password: str) -> str: ...

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Takes as long for ``None`` as for a hash: whether an account exists is not told by the time it takes."""
        ...


class TokenClaims(msgspec.Struct, frozen=True):
    user_id: UUID
    token_id: UUID
    generation: int
    expires_at: int  # seconds since 1970


class Tokens(Protocol):
    """Signed session tokens."""

    def issue(self, claims: TokenClaims) -> str: ...

    def read(self, token: str) -> TokenClaims | None:
        """None for anything that was not signed here, or that has expired."""
        ...


class UserList(Protocol):
    async def users(self, *, offset: int, limit: int) -> tuple[Sequence[UUID], int]:
        """Ids in the order of their making, and how many there are in all."""
        ...


class Activity(Protocol):
    async def note_active(self, user_ids: Sequence[UUID]) -> None:
        """These people were seen just now."""
        ...

    async def last_active(self, user_ids: Sequence[UUID]) -> Mapping[UUID, datetime]:
        """When each was last seen; who never was is left out."""
        ...
