"""Calls to the user: a function or a provider asks, and waits until the person has answered, wherever in the cluster that happens.

The question is an event of its chat or channel, and so are its answer and its end (``domain/routing/call.py``). The process that waits
learns of both as every other reader does, from the tail of the log: so an answer that another process took reaches it, and a stop ends
the waiting. In a channel the answer itself is relayed to who waits: every member reads the channel's stream.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import msgspec
import structlog

from commands.call_places import CallAnswer, CallPlace
from commands.calls.relays import Relaying, RelayReader
from commands.content.large_values import JSON, reference
from commands.functions.call_context import Ask
from commands.futures import retrieve_exception
from commands.ports import Appended, Blobs, CommandKey, EventLog
from domain.errors import (
    BadRequest,
    CallExpired,
    CallNotFound,
    CallTaken,
    ChannelNotFound,
    ChatNotFound,
    LogUnavailable,
    TooLarge,
    TooManyCalls,
)
from domain.log.codec import EMITTED_NAME, decode_event
from domain.log.event import Actor, StoredEvent
from domain.log.stream import Kind, Stream
from domain.routing.call import CallAnswered, CallLapsed, CallOpened, ExpiryReason
from projections.chat import blob_of

logger = structlog.get_logger("calls")

TIMEOUT_S: Final = 300.0  # of a call that names none
TIMEOUT_MIN_S: Final = 1.0
TIMEOUT_MAX_S: Final = 24 * 60 * 60.0
CALLS_OF_ACCOUNT_MAX: Final = 64  # that wait in this process
QUESTION_BYTES_MAX: Final = 1024 * 1024
ANSWER_BYTES_MAX: Final = 1024 * 1024
DATA_BYTES_MAX: Final = 64 * 1024  # of a question or an answer in its event; above it is a reference to a blob
SESSION_CHARACTERS_MAX: Final = 200
RETRY_S: Final = 1.0


class Call(NamedTuple):
    """One call as its log has it. ``end`` None: it is open."""

    stream: Stream
    message_id: UUID
    at: datetime
    opened: CallOpened
    end: CallAnswered | CallLapsed | None = None


class CallQuestion(msgspec.Struct, frozen=True):
    """What a person is asked below a message. ``session_id`` names the tab that is to act first."""

    actor: Actor
    stream: Stream
    message_id: UUID
    kind: str
    data: Any
    session_id: str | None = None
    expires_at: datetime | None = None


class WaitingFor(NamedTuple):
    user_id: UUID
    stream: Stream
    position: int  # the log's head before the question was appended
    end: "asyncio.Future[CallAnswered]"


class Calls:
    """All calls that wait in this process, and answers to those of any process. ``observe`` must see every event of the log but deltas."""

    def __init__(
        self,
        log: EventLog,
        blobs: Blobs,
        places: Mapping[Kind, CallPlace],
        relaying: Relaying,
        node_id: UUID,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._log = log
        self._blobs = blobs
        self._places = places
        self._relaying = relaying
        self._node_id = node_id
        self._timeout_s = timeout_s
        self._waiting: dict[UUID, WaitingFor] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    # ---------------------------------------------------------------------------------------------------------- asking

    async def ask(
        self,
        actor: Actor,
        stream: Stream,
        message_id: UUID,
        kind: str,
        data: Any,
        *,
        session_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Ask ``actor`` below the message, and return the answer unchanged. ``session_id`` names the tab that is to act first.

        Raises ``CallExpired`` when the time is over, or what asks was stopped elsewhere; ``BadRequest``, ``TooLarge``, ``TooManyCalls``,
        ``MessageNotFound`` and ``ChatNotFound`` where it cannot be asked. A caller that is cancelled ends the call.
        """
        limit_s = min(max(self._timeout_s if timeout_s is None else timeout_s, TIMEOUT_MIN_S), TIMEOUT_MAX_S)
        expires_at = datetime.now(UTC) + timedelta(seconds=limit_s)
        question = CallQuestion(actor, stream, message_id, kind, data, session_id, expires_at)
        if not self._places[stream.kind].answers_are_public or asks_for_secret(kind, data):
            return await self._ask_for_secret(question, limit_s)
        call = await self.open(question)
        reason: ExpiryReason = "cancelled"
        try:
            async with asyncio.timeout(limit_s):
                answered = await self.wait(call.call_id)
            return await self._value(stream, answered.data)
        except TimeoutError:
            reason = "timeout"
            answered_at_last = await self._expired(call.call_id, reason)
            return await self._value(stream, answered_at_last.data)
        finally:
            self.leave(call.call_id, reason)

    def asking(self, actor: Actor, stream: Stream, message_id: UUID) -> Ask:
        """``ask`` of one person below one message."""

        async def ask(kind: str, data: Any, session_id: str | None = None, timeout_s: float | None = None) -> Any:
            return await self.ask(actor, stream, message_id, kind, data, session_id=session_id, timeout_s=timeout_s)

        return ask

    async def _ask_for_secret(self, question: CallQuestion, limit_s: float) -> Any:
        """The same for an answer that the log must not hold: it is relayed. Raises as ``ask`` does."""
        call_id = uuid4()
        reason: ExpiryReason = "cancelled"
        try:
            reader = await self._relaying.open(call_id, question.actor.id, question.data)
            call = await self.open(question, relayed_as=call_id)
            async with asyncio.timeout(limit_s):
                answer = await self._first_answer(call_id, reader)
            await self.finish(call, question.stream, session_id=reader.session_id, data={"withheld": True})
            return answer
        except TimeoutError:
            reason = "timeout"
            await self.expire(call_id, reason)
            raise CallExpired(call_id, reason) from None
        finally:
            self.leave(call_id, reason)
            await self._relaying.close(call_id)

    async def _first_answer(self, call_id: UUID, reader: RelayReader) -> Any:
        """What the tab has answered, once it has. Raises ``CallExpired``."""
        ended = asyncio.ensure_future(self.wait(call_id))
        ended.add_done_callback(retrieve_exception)
        try:
            while True:
                following = asyncio.ensure_future(reader.next())
                try:
                    await asyncio.wait((following, ended), return_when=asyncio.FIRST_COMPLETED)
                    if not following.done():
                        return ended.result().data
                finally:
                    following.cancel()
                answers = [one for one in following.result() if one.is_answer]
                if answers:
                    return answers[0].data
        finally:
            ended.cancel()

    async def open(self, question: CallQuestion, *, relayed_as: UUID | None = None) -> CallOpened:
        """Ask, and return at once. What follows is ``wait`` and, in any case, ``leave``. Raises as ``ask`` does, but for its end.

        ``relayed_as``: the id under which the answer is relayed, past the log.
        """
        actor, stream, kind = question.actor, question.stream, question.kind
        if not EMITTED_NAME.fullmatch(kind):
            raise BadRequest(f"expected a kind of call like confirmation or execute:tool, received {kind[:80]!r}")
        session = bound_session(question.session_id)
        kept = await self._kept(actor, stream, question.data, "the question", QUESTION_BYTES_MAX)
        head = await self._log.head()
        if sum(one.user_id == actor.id for one in self._waiting.values()) >= CALLS_OF_ACCOUNT_MAX:
            raise TooManyCalls("account", CALLS_OF_ACCOUNT_MAX)
        is_relayed = relayed_as is not None
        call = CallOpened(relayed_as or uuid4(), kind, actor.id, self._node_id, session, kept, question.expires_at, is_relayed)
        end: asyncio.Future[CallAnswered] = asyncio.get_running_loop().create_future()
        end.add_done_callback(retrieve_exception)
        self._waiting[call.call_id] = WaitingFor(actor.id, stream, head, end)
        try:
            await self._places[stream.kind].ask(stream.id, question.message_id, call)
        except BaseException:
            self.leave(call.call_id, "cancelled")  # it may have been written
            raise
        return call

    async def wait(self, call_id: UUID) -> CallAnswered:
        """Returns once the call was answered. Raises ``CallExpired``."""
        return await asyncio.shield(self._waiting[call_id].end)

    def leave(self, call_id: UUID, reason: ExpiryReason) -> None:
        """Wait no more. A call that has no end yet expires; that is written in the background, for as long as Postgres is away."""
        waiting = self._waiting.get(call_id)
        if waiting is None:
            return
        if waiting.end.done():
            del self._waiting[call_id]
            return
        task = asyncio.create_task(self._expire_left(call_id, waiting.stream, reason), name=f"expire call {call_id}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def expire(self, call_id: UUID, reason: ExpiryReason) -> None:
        """Wait no more, and return once that is written: before what follows of it."""
        waiting = self._waiting.get(call_id)
        if waiting is not None and not waiting.end.done():
            await self._expire_left(call_id, waiting.stream, reason)

    async def finish(self, call: CallOpened, stream: Stream, *, session_id: str | None, data: Any) -> None:
        """Note as answered by the person what came to the process that waits in chunks. A call that has ended meanwhile stays as it is."""
        place = self._places[stream.kind]
        with contextlib.suppress(CallNotFound, ChatNotFound, ChannelNotFound, LogUnavailable):  # without it the call ends with its answer
            await place.answer(stream.id, CallAnswer(call.user_id, call.call_id, data, session_id, by_role=True))

    async def _expired(self, call_id: UUID, reason: ExpiryReason) -> CallAnswered:
        """The answer, where one came while the call was about to expire. Raises ``CallExpired``."""
        waiting = self._waiting[call_id]
        await self._places[waiting.stream.kind].expire(waiting.stream.id, call_id, reason)
        return await self.wait(call_id)

    async def _expire_left(self, call_id: UUID, stream: Stream, reason: ExpiryReason) -> None:
        try:
            await self._expire(call_id, stream, reason)
        finally:
            self._waiting.pop(call_id, None)

    async def _expire(self, call_id: UUID, stream: Stream, reason: ExpiryReason) -> None:
        while True:
            try:
                await self._places[stream.kind].expire(stream.id, call_id, reason)
                return
            except (ChatNotFound, ChannelNotFound):
                return  # its calls have ended with it
            except LogUnavailable as error:
                logger.warning("call_not_expired_yet", call_id=str(call_id), error=str(error))
                await asyncio.sleep(RETRY_S)

    def observe(self, stored: StoredEvent) -> None:
        """An event passes in the tail of the log."""
        if stored.type not in ("call_answered", "call_expired") or not self._waiting:
            return
        fact = decode_event(stored).data
        waiting = self._waiting.get(fact.call_id)
        if waiting is None or waiting.end.done() or stored.stream != waiting.stream:
            return
        if isinstance(fact, CallAnswered):
            waiting.end.set_result(fact)
        else:
            waiting.end.set_exception(CallExpired(fact.call_id, fact.reason))

    def open_since(self, head: int) -> int:
        """A position below every call that waits here. ``head`` was read before the call."""
        return min([head, *(waiting.position for waiting in self._waiting.values())])

    async def expire_of_node(self, call_id: UUID, stream: Stream) -> None:
        """The process that waited for it is gone. Raises ``LogUnavailable``."""
        with contextlib.suppress(ChatNotFound, ChannelNotFound):
            await self._places[stream.kind].expire(stream.id, call_id, "server_gone")

    async def close(self) -> None:
        """Write the ends of the calls that wait here: this server is going away."""
        for call_id, waiting in list(self._waiting.items()):
            if not waiting.end.done():
                await self._expire(call_id, waiting.stream, "server_gone")
        if self._ending:
            await asyncio.wait(self._ending)

    # ------------------------------------------------------------------------------------------------------- answering

    async def find(self, actor: Actor, call_id: UUID) -> Call:
        """The call, which may have ended. Raises ``CallNotFound`` unless this person was asked."""
        call = call_of(await self._log.read_call(call_id))
        if call is None or call.opened.user_id != actor.id:
            raise CallNotFound(call_id)
        return call

    async def open_calls(self, actor: Actor, stream: Stream) -> Sequence[Call]:
        """The calls to this person in the chat that wait for an answer, the oldest first, with their questions."""
        found = await self._log.read_open_calls(stream, until=await self._log.version(stream))
        calls = [call for one in found if (call := call_of([one])) is not None and call.opened.user_id == actor.id]
        return [call._replace(opened=await self.with_question(call)) for call in calls]

    async def with_question(self, call: Call) -> CallOpened:
        """The question with what it refers to in its place."""
        return msgspec.structs.replace(call.opened, data=await self._value(call.stream, call.opened.data))

    async def answer(
        self, actor: Actor, call: Call, data: Any, *, session_id: str | None = None, key: CommandKey | None = None
    ) -> Appended:
        """Answer an open call of this person, as ``find`` returned it. The first answer counts; repeated with its ``key`` it is the first.

        Raises ``CallTaken`` and ``CallExpired`` for one that has ended, ``CallNotFound`` where the person may no longer write in the chat.
        """
        call_id = call.opened.call_id
        if key is None or await self._log.find_command(key.actor_id, key.key) is None:
            require_open(call)
        if not await self.may_answer(actor, call.stream):
            raise CallNotFound(call_id)
        kept = await self._kept(actor, call.stream, data, "the answer", ANSWER_BYTES_MAX)
        answer = CallAnswer(actor.id, call_id, kept, session_id, by_role=actor.role == "admin", actor=actor, key=key)
        try:
            return await self._places[call.stream.kind].answer(call.stream.id, answer)
        except (CallNotFound, ChatNotFound, ChannelNotFound):
            require_open(await self.find(actor, call_id))
            raise CallNotFound(call_id) from None

    async def may_answer(self, actor: Actor, stream: Stream) -> bool:
        """Whether they may write there, by what this process knows of it: the append is decided on its newest state."""
        return await self._places[stream.kind].may_answer(actor, stream.id)

    async def _kept(self, actor: Actor, stream: Stream, data: Any, what: str, bytes_max: int) -> Any:
        """As the event holds it. What only looks like a reference is stored as one, so that it comes back as it was."""
        try:
            size = len(msgspec.json.encode(data))
        except (TypeError, UnicodeEncodeError, RecursionError) as error:
            raise BadRequest(f"expected {what} as JSON: {error}") from None
        if size > bytes_max:
            raise TooLarge(what, size, bytes_max)
        if size <= DATA_BYTES_MAX and not (isinstance(data, dict) and "blob" in data):
            return data
        await self._log.require_account(actor.id)
        return await reference(self._blobs, stream, data)

    async def _value(self, stream: Stream, data: Any) -> Any:
        """What ``_kept`` was given."""
        sha256 = blob_of(data)
        if sha256 is None:
            return data
        content = await self._blobs.get(stream, sha256)
        if content is None:
            return data
        return msgspec.json.decode(content) if data.get("media_type") == JSON else content.decode()


def call_of(events: Sequence[StoredEvent]) -> Call | None:
    """One call from its events. The first question and the first end after it count."""
    made: Call | None = None
    for stored in events:
        fact = decode_event(stored).data
        if isinstance(fact, CallOpened) and made is None and stored.message_id is not None:
            made = Call(stored.stream, stored.message_id, stored.at, fact)
        elif made is not None and made.end is None and stored.stream == made.stream and isinstance(fact, CallAnswered | CallLapsed):
            made = made._replace(end=fact)
    return made


def require_open(call: Call) -> None:
    """Raises ``CallTaken``, ``CallExpired``."""
    match call.end:
        case CallAnswered(by=by, session_id=session_id):
            raise CallTaken(call.opened.call_id, by=by, session_id=session_id)
        case CallLapsed(reason=reason):
            raise CallExpired(call.opened.call_id, reason)
        case None:
            return


def asks_for_secret(kind: str, data: Any) -> bool:
    """Whether a person is to type what nobody else may read, such as a password."""
    return kind == "input" and isinstance(data, dict) and data.get("type") == "password"


def bound_session(session_id: str | None) -> str | None:
    """It only says which of the person's own tabs acts first. Raises ``BadRequest``."""
    if session_id is not None and not 0 < len(session_id) <= SESSION_CHARACTERS_MAX:
        raise BadRequest(f"expected a session_id of 1 to {SESSION_CHARACTERS_MAX} characters, received {len(session_id)}")
    return session_id
