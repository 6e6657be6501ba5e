"""The ports of commands: the log, secrets that are not in it, passwords, tokens and heartbeats.

An adapter satisfies a port by shape. Each has an in-memory twin (``adapters/memory``), and one contract suite runs against both.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec

from domain.log.event import Actor, Event, StoredEvent
from domain.log.stream import Kind, Stream

ANY: Final = -1  # expected version: whatever the stream is at
EXISTS: Final = -2  # expected version: the stream has at least one event


class Origin(msgspec.Struct, frozen=True):
    """The origin of a restored event: its actor as JSON, and the time at which it was first recorded."""

    actor: bytes | None
    at: datetime  # UTC


class StreamAppend(msgspec.Struct, frozen=True):
    """The events that one request adds to one stream. ``expected`` is the version that the caller has seen, 0 for a new stream."""

    stream: Stream
    events: Sequence[Event[Any]]
    expected: int
    origins: Sequence[Origin] = ()  # of restored events, one for each: instead of the request's actor and the current time


class CommandKey(msgspec.Struct, frozen=True):
    """An idempotency key. The same actor and key with another hash is refused; with the same it gets the first answer."""

    actor_id: UUID
    key: str
    request_hash: bytes  # sha256 of the request
    answer: bytes = b"null"  # JSON that a repeated request gets again, beside the versions


class Claim(msgspec.Struct, frozen=True):
    """A key that must be unique: an e-mail address, the first admin, the pair of a dm."""

    kind: str
    key: str
    stream: Stream


class Line:
    """Requests to one stream, each of which was decided on what those before it lead to. None is written behind one that was not.

    The versions alone do not say that: another process may have written at the version of the one that was lost.
    """

    __slots__ = ("broken",)

    def __init__(self) -> None:
        self.broken = False  # set by the log, and by whoever gives a request up


class LineBroken(Exception):
    """Nothing was written, since a request before this one in its line was not."""


class AppendRequest(msgspec.Struct, frozen=True):
    """All of ``appends`` or nothing. Without events only the command is remembered. ``line`` is one of the first append's stream."""

    appends: Sequence[StreamAppend]
    actor: Actor | None = None
    command: CommandKey | None = None
    claims: Sequence[Claim] = ()
    line: Line | None = None


class Appended(msgspec.Struct, frozen=True):
    """The result of a committed request. ``versions`` are those after it, one for each of its appends, in their order."""

    position: int  # of the last event of the request
    versions: Sequence[int]
    at: datetime | None = None  # None if no event was written
    repeated: bool = False  # the command was known: nothing was written
    answer: bytes = b"null"


class QuotaGuard(Protocol):
    """Asked by a log before it takes what an account says. Raises ``QuotaReached``, ``RateReached``, ``ChatFull``."""

    async def require(self, request: AppendRequest) -> None:
        """The request may be appended."""
        ...

    async def require_account(self, user_id: UUID) -> None:
        """The account may write more content."""
        ...


class EventLog(Protocol):
    async def require_account(self, user_id: UUID) -> None:
        """To be asked before something is stored for an append: a blob that a refused request has left would count for nobody.

        Raises ``QuotaReached`` and ``RateReached`` where the account may write no more content.
        """
        ...

    async def append(self, request: AppendRequest, queued: Callable[[], None] | None = None) -> Appended:
        """Append all of ``request`` or nothing. Returns after the commit; is not undone when the caller is cancelled.

        ``queued`` is called once the request has its place: what is asked for from then on comes behind it. Raises ``LineBroken``.

        Raises ``ConcurrencyConflict`` if a stream has moved on, ``ClaimTaken``, ``CommandMismatch``, ``ContentRefused``,
        ``BadRequest`` for an event over 256 KiB, ``QuotaReached``, ``ChatFull``: nothing was written. Raises ``Overloaded`` when too much
        waits already. Raises ``LogUnavailable`` if Postgres stayed silent for longer than the bound: it may have been written; repeat
        with the same command key or the same expected versions.
        """
        ...

    async def read(
        self, stream: Stream, *, after: int = 0, until: int | None = None, limit: int, without_deltas: bool = False
    ) -> Sequence[StoredEvent]:
        """Events of one stream with ``after < version <= until``, in order, ``limit`` at most."""
        ...

    async def read_outline(self, stream: Stream, *, after: int = 0, until: int, limit: int) -> Sequence[StoredEvent]:
        """As ``read``, but without deltas, blocks and actors, and with ``OUTLINE_END`` as the data of each ``message_end``.

        Enough to fold a state: answers that have ended count, their texts do not.
        """
        ...

    async def read_message(self, stream: Stream, message_id: UUID, *, after: int) -> Sequence[StoredEvent]:
        """All events of one message above version ``after``, in order: the text of a generation so far."""
        ...

    async def read_head(self, stream: Stream, types: Sequence[str]) -> Sequence[StoredEvent]:
        """What a fold begins with that reads messages only when it needs them, in order and of one moment: all events that are about
        no message, the newest event of ``types``, and the newest of all. As in an outline.
        """
        ...

    async def read_relatives(self, stream: Stream, message_ids: Collection[UUID], *, until: int) -> Sequence[StoredEvent]:
        """Events with ``version <= until`` of these messages, of the messages that they were added below and of those that were added
        below them, in order: what added, ended and deleted each, and the newest that changed it besides. As in an outline.
        """
        ...

    async def read_messages(self, stream: Stream, message_ids: Collection[UUID], *, until: int) -> Sequence[StoredEvent]:
        """All events with ``version <= until`` of these messages, in order. As in an outline."""
        ...

    async def read_open_starts(self, stream: Stream, *, until: int) -> Sequence[StoredEvent]:
        """Every ``message_start`` with ``version <= until`` whose generation has no end there. Takes longer in a longer stream."""
        ...

    async def read_open_calls(self, stream: Stream, *, until: int) -> Sequence[StoredEvent]:
        """Every ``call`` with ``version <= until`` that has no answer and has not expired there, in order."""
        ...

    async def read_call(self, call_id: UUID) -> Sequence[StoredEvent]:
        """The events of one call, in whatever chat it was made, in order: the question, and its answer or its end."""
        ...

    async def read_log(self, *, after: int, limit: int) -> Sequence[StoredEvent]:
        """Events of all streams with ``position > after``, in order."""
        ...

    async def version(self, stream: Stream) -> int:
        """The stream's newest version; 0 if it has none."""
        ...

    async def version_at(self, stream: Stream, at: datetime) -> int:
        """The newest version written at ``at`` or before; 0 if there is none. Restored events count at their original times."""
        ...

    async def original_times(self, stream: Stream, *, after: int, until: int) -> Mapping[int, datetime]:
        """The original times of restored events with ``after < version <= until``, by version. Other events are left out."""
        ...

    async def times(self, stream: Stream, versions: Collection[int]) -> Mapping[int, datetime]:
        """When these versions were written. A version that does not exist is left out."""
        ...

    async def head(self) -> int:
        """The newest position; 0 in an empty log."""
        ...

    async def find_command(self, actor_id: UUID, key: str) -> "KnownCommand | None": ...

    async def streams(self, kind: Kind) -> Sequence[Stream]:
        """All streams of a kind of which there are few (not chats, channels, accounts), in any order."""
        ...

    async def find_claim(self, kind: str, key: str) -> Stream | None:
        """The stream that holds the claim; None if it is free."""
        ...


class KnownCommand(msgspec.Struct, frozen=True):
    request_hash: bytes
    appended: Appended


class Blobs(Protocol):
    """Content that is too large for an event, stored by its sha256 under the stream that refers to it."""

    async def put(self, stream: Stream, content: bytes) -> str:
        """Returns the sha256 in hex. Idempotent."""
        ...

    async def get(self, stream: Stream, sha256: str) -> bytes | None: ...

    async def part(self, stream: Stream, sha256: str, *, offset: int, bytes_max: int) -> bytes | None:
        """The bytes from ``offset`` on, ``bytes_max`` at most: empty at the end. None where there is no such content."""
        ...


class Session(msgspec.Struct, frozen=True):
    """One sign-in, as it was made. ``generation`` as in ``TokenClaims``: the account's own says whether it still holds."""

    token_id: UUID
    user_id: UUID
    generation: int
    address: str
    user_agent: str
    created_at: datetime
    expires_at: datetime


class KeptSecrets(Protocol):
    """Secrets that events refer to and do not hold, each under a name that is used once."""

    async def keep_secret(self, name: str, value: bytes) -> None:
        """Safe to repeat."""
        ...

    async def kept_secret(self, name: str) -> bytes | None: ...


class Credentials(KeptSecrets, Protocol):
    """Hashes of passwords and API keys, sign-ins, when a credential was used last, and what the server shows to providers.

    Passwords and keys are only ever added; the newest password counts. Sign-ins that have expired are swept out.
    """

    async def add_password(self, user_id: UUID, password_hash: str) -> None: ...

    async def password(self, user_id: UUID) -> str | None:
        """The newest hash."""
        ...

    async def add_api_key(self, key_id: UUID, user_id: UUID, key_hash: bytes) -> None: ...

    async def api_key_owner(self, key_hash: bytes) -> tuple[UUID, UUID] | None:
        """``(key_id, user_id)``; the user's stream says whether the key is still valid."""
        ...

    async def add_session(self, session: Session) -> None: ...

    async def sessions(self, user_id: UUID, *, limit: int) -> Sequence[Session]:
        """The newest first; also those that were revoked."""
        ...

    async def note_used(self, credential_ids: Sequence[UUID]) -> None:
        """These tokens and keys were used just now."""
        ...

    async def last_used(self, credential_ids: Sequence[UUID]) -> Mapping[UUID, datetime]:
        """Those that were never used are left out."""
        ...

    async def secret(self, name: str, proposed: bytes) -> bytes:
        """The secret of that name, the same for every process. If there is none yet, ``proposed`` becomes it."""
        ...

    async def add_provider_secrets(self, secret_id: UUID, secrets: bytes) -> None:
        """Keep a provider's key, headers and proxy, as JSON. Safe to repeat."""
        ...

    async def provider_secrets(self, secret_id: UUID) -> bytes | None:
        """None where they are not known, or were forgotten."""
        ...

    async def forget_provider_secrets(self, secret_id: UUID) -> None:
        """They were replaced."""
        ...


class Tickets(Protocol):
    """Tickets that are short-lived and redeemed once. ``ticket_hash`` is a sha256: the ticket itself is not stored."""

    async def put(self, ticket_hash: bytes, user_id: UUID, session: Mapping[str, Any], ttl_s: float) -> None: ...

    async def take(self, ticket_hash: bytes) -> tuple[UUID, Mapping[str, Any]] | None:
        """The ticket's user and session, for one caller in the cluster. None if it is unknown, used or expired."""
        ...


class NodeBeat(msgspec.Struct, frozen=True):
    beat: int  # a counter of the node itself, so that clocks of two machines are never compared
    open_since: int  # a position below the start of everything that the node runs


class OpenGeneration(msgspec.Struct, frozen=True):
    stream: Stream
    message_id: UUID
    task_id: UUID
    node_id: UUID
    started_version: int
    model: str  # that answers


class WaitingCall(msgspec.Struct, frozen=True):
    """A call to a user that nobody has answered."""

    stream: Stream
    call_id: UUID
    node_id: UUID


class Nodes(Protocol):
    """Heartbeats of nodes, and what dead ones have left open."""

    async def beat(self, node_id: UUID, beat: NodeBeat) -> None: ...

    async def beats(self) -> Mapping[UUID, NodeBeat]:
        """The newest beat of every node that has not said goodbye."""
        ...

    async def leave(self, node_id: UUID) -> None: ...

    async def open_generations(self, *, since: int) -> Sequence[OpenGeneration]:
        """Every generation, of any node, that began above position ``since`` and has no end in the log."""
        ...

    async def open_calls(self, *, since: int) -> Sequence[WaitingCall]:
        """Every call, of any node, that was made above position ``since`` and has no end in the log."""
        ...


class PasswordStrength(Protocol):
    async def weakness(self, password: str, hints: Sequence[str]) -> str | None:
        """Why a password is too easy to guess, in a few words; None if it is not. ``hints``: what a guesser knows of its owner."""
        ...


class PasswordHasher(Protocol):
    """Slow on purpose, so it runs off the event loop, a few at a time."""

    async def hash(self, password: str) -> str: ...

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Takes as long for ``None`` as for a hash, so that its duration does not reveal whether an account exists."""
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
        """None if the token was not signed by this server or has expired."""
        ...


class UserSearch(msgspec.Struct, frozen=True, kw_only=True):
    """Which accounts are looked for. ``text``: a piece of a name, or a whole e-mail address, whatever its case; empty finds all."""

    text: str
    by_email: bool = False  # a piece of an address finds its account, too
    inactive: bool = False  # those that are deactivated or pending, too
    by_name: bool = True  # in the order of names; otherwise of their making
    descending: bool = False


class UserList(Protocol):
    async def users(self, *, offset: int, limit: int) -> tuple[Sequence[UUID], int]:
        """One page of ids in the order of creation, and their total number."""
        ...

    async def search(self, asked: "UserSearch", *, offset: int, limit: int) -> tuple[Sequence[UUID], int]:
        """One page of the ids of accounts that are found, and how many these are."""
        ...


class Activity(Protocol):
    async def note_active(self, user_ids: Sequence[UUID]) -> None:
        """Record that these users are active now."""
        ...

    async def last_active(self, user_ids: Sequence[UUID]) -> Mapping[UUID, datetime]:
        """When each user was last active. A user who never was is left out."""
        ...

    async def count_active(self, within_s: float) -> int:
        """How many users were active within the last so many seconds."""
        ...


class RunSlots(Protocol):
    """Which generations each account runs, in all processes. A slot is free again once the log has the end of its generation, or its node
    is gone.
    """

    async def take(self, user_id: UUID, node_id: UUID, chat_id: UUID, message_ids: Mapping[UUID, UUID], *, runs_max: int) -> int | None:
        """Take a slot for each of ``message_ids``, which are by task id: all or none. None: they are taken. Otherwise how many the
        account holds now. Safe to repeat.
        """
        ...

    async def give_back(self, task_ids: Sequence[UUID]) -> None:
        """Their generations were not begun."""
        ...

    async def count(self, user_id: UUID) -> int:
        """How many the account holds now."""
        ...


class AccountUsage(msgspec.Struct, frozen=True):
    day_bytes: int  # written on the day that was asked for
    chats: int  # of its own, as far as a list shows them
    bytes: int  # in all of its own chats, also in those that no list shows; not in deleted ones


class ChatUsage(msgspec.Struct, frozen=True):
    version: int = 0  # of which the others are
    messages: int = 0
    bytes: int = 0


class Usage(Protocol):
    """What accounts and chats use: bytes of a day as they are counted, everything else as of the projection's checkpoint."""

    async def add(self, day: date, written: Mapping[UUID, int]) -> Mapping[UUID, int]:
        """Count the bytes that each account wrote. Returns what each has written on that day, in all processes.

        After a failure of Postgres they may be counted twice.
        """
        ...

    async def of_account(self, user_id: UUID, day: date) -> AccountUsage: ...

    async def of_chat(self, chat_id: UUID) -> ChatUsage: ...
