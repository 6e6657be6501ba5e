"""Direct connections in the page: it asks its user's own provider, and relays what that says, line by line.

Each line comes as an event whose name is the ``channel`` of the question, which is the id of its call; the last one is ``{"done": true}``.
The page goes on with that wherever its user goes meanwhile, but not after a reload: an open call ends with the socket that it names.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

import structlog

from api.dialects.open_webui.line_assembler import LineAssembler
from commands.accounts.principal import Principal, actor_of
from commands.calls.call_answers import CallAnswers
from domain.errors import StenographError, TooLarge, Unavailable
from domain.log.codec import decode_event
from domain.log.event import Actor, StoredEvent
from domain.routing.call import CALL_TYPES, CallOpened

logger = structlog.get_logger("page")

KIND: Final = "request:chat:completion"
FRAMES_PER_S: Final = 2000  # of a page that relays: a local model may say some hundred tokens a second, each in a line
RETRY_S: Final = 0.05
RETRIES_FOR_S: Final = 30.0  # of a line, while nothing more is read from the page, and of the error where that was given up
ENDED_MAX: Final = 1000  # sessions that have ended and may still be named by a completion that is about to begin
LOST: Final = "the connection to the page that asked your provider was lost"
NOT_TAKEN: Final = "the server could not take what your provider said"

Session = tuple[str, UUID]  # the id of a socket and the account that is signed in there


class DirectCall:
    """An open call that a page is to answer. It is known until its end is in the log."""

    __slots__ = ("asked", "done", "lines", "seq")

    def __init__(self) -> None:
        self.asked = False  # whether the page has the question: it must not get it twice
        self.done = False  # whether the page has said all, or nothing more of it is taken
        self.seq = 0  # of the next chunk
        self.lines = LineAssembler()


class PageDirect:
    """The open calls of one socket, for as long as one account is signed in there: made and ended by ``DirectSessions``.

    ``allow(frames_per_s)`` says how many frames a second the page may send from now on; None: as many as any other.
    """

    def __init__(self, sessions: "DirectSessions", principal: Principal, session_id: UUID, allow: Callable[[int | None], None]) -> None:
        self.session: Session = (str(session_id), principal.user_id)
        self.actor = actor_of(principal)
        self.calls: dict[UUID, DirectCall] = {}
        self._sessions = sessions
        self._allow = allow
        self._numbers: dict[int, UUID] = {}  # of acknowledgements: the calls that they answer

    def expect(self, call_id: UUID) -> bool:
        """The call is open. Whether the page has yet to be asked."""
        self._sessions.asked_of[call_id] = self
        return not self.calls.setdefault(call_id, DirectCall()).asked

    def asked(self, opened: CallOpened, number: int) -> dict[str, Any] | None:
        """The question as the page reads it, which it acknowledges under ``number``; None: the call has ended, or the page was asked.

        The page looks for its connection by the number that it has given it.
        """
        call = self.calls.get(opened.call_id)
        if call is None or call.asked:
            return None
        if not self._relays():
            self._allow(FRAMES_PER_S)
        call.asked = True
        self._numbers[number] = opened.call_id
        data = dict(opened.data)
        model = {"id": data.get("model"), "urlIdx": data.pop("url_index", None)}
        return {**data, "model": model, "session_id": self.session[0]}

    def over(self, call_id: UUID) -> None:
        """The end of the call is in the log. To repeat it changes nothing."""
        call = self.calls.get(call_id)
        if call is not None:
            self._close(call)
            del self.calls[call_id]
            self._sessions.asked_of.pop(call_id, None)
            self._numbers = {number: asked for number, asked in self._numbers.items() if asked != call_id}

    def _close(self, call: DirectCall) -> None:
        relayed, call.done = self._relays(), True
        if relayed and not self._relays():
            self._allow(None)

    def _relays(self) -> bool:
        return any(call.asked and not call.done for call in self.calls.values())

    async def acknowledge(self, number: int, data: Any) -> None:
        """The page's answer to the question, unless it only says that lines will follow. Raises what ``CallAnswers.answer`` raises."""
        call_id = self._numbers.pop(number, None)
        if call_id is None or (isinstance(data, dict) and data.keys() == {"status"}):
            return
        try:
            await self._sessions.answer(self.actor, call_id, data, session_id=self.session[0])
        except Unavailable:
            self.fail(call_id, NOT_TAKEN)
            raise

    async def hear(self, name: str, data: Any) -> None:
        """What the page says under this name, which may be none of these calls. Raises what ``CallAnswers.chunk`` raises.

        A line that is too large, or that could not be handed on, ends the call with an error.
        """
        call_id = call_id_of(name)
        call = self.calls.get(call_id) if call_id is not None else None
        if call_id is None or call is None or not call.asked or call.done:
            return
        try:
            line = call.lines.add(data) if isinstance(data, str) else data
            if line is None:
                return
            await self._sessions.chunk(self.actor, call_id, call.seq, line, session_id=self.session[0])
        except TooLarge as error:
            self.fail(call_id, error.detail)
            raise
        except Unavailable:
            self.fail(call_id, NOT_TAKEN)
            raise
        except StenographError:
            self._close(call)
            raise
        call.seq += 1
        if isinstance(data, dict) and data.get("done"):
            self._close(call)

    def fail(self, call_id: UUID, message: str) -> None:
        """End an open call with an error, unless the page has said all."""
        call = self.calls.get(call_id)
        if call is not None and not call.done:
            self._close(call)
            self._sessions.fail(self.actor, call_id, self.session[0], message)


class DirectSessions:
    """The sockets of this process by which pages may be asked. ``observe`` must see every event of calls."""

    def __init__(self, answers: CallAnswers, *, retries_for_s: float = RETRIES_FOR_S) -> None:
        self._answers = answers
        self._retries_for_s = retries_for_s
        self.asked_of: dict[UUID, PageDirect] = {}  # by the calls that are open
        self._open: dict[Session, PageDirect] = {}
        self._ended: dict[Session, Actor] = {}  # the oldest first
        self._failing: set[asyncio.Task[None]] = set()

    def begin(self, principal: Principal, session_id: UUID, allow: Callable[[int | None], None]) -> PageDirect:
        """The account is signed in at this socket, and may write."""
        made = PageDirect(self, principal, session_id, allow)
        self._open[made.session] = made
        self._ended.pop(made.session, None)
        return made

    def end(self, direct: PageDirect) -> None:
        """The socket has ended or is another account's: its calls end with an error, since a page that comes back has another socket."""
        if self._open.get(direct.session) is not direct:
            return
        del self._open[direct.session]
        self._ended[direct.session] = direct.actor
        if len(self._ended) > ENDED_MAX:
            del self._ended[next(iter(self._ended))]
        for call_id in list(direct.calls):
            direct.fail(call_id, LOST)
            direct.over(call_id)

    def observe(self, stored: StoredEvent) -> None:
        """An event passes in the tail of the log. A call may be opened after the socket that it names has ended."""
        if stored.type not in CALL_TYPES:
            return
        fact = decode_event(stored).data
        if not isinstance(fact, CallOpened):
            asked = self.asked_of.get(fact.call_id)
            if asked is not None:
                asked.over(fact.call_id)
        elif fact.kind == KIND and fact.session_id is not None:
            session = (fact.session_id, fact.user_id)
            if session in self._open:
                self._open[session].expect(fact.call_id)
            elif session in self._ended:
                self.fail(self._ended[session], fact.call_id, fact.session_id, LOST)

    def fail(self, actor: Actor, call_id: UUID, session_id: str, message: str) -> None:
        """Answer the call with an error, in the background."""
        task = asyncio.create_task(self._fail(actor, call_id, session_id, message), name=f"end of direct call {call_id}")
        self._failing.add(task)
        task.add_done_callback(self._failing.discard)

    async def _fail(self, actor: Actor, call_id: UUID, session_id: str, message: str) -> None:
        try:
            await self.answer(actor, call_id, {"error": {"message": message}}, session_id=session_id)
        except StenographError as error:  # nearly always it has ended by itself
            logger.info("direct_call_not_ended", call_id=str(call_id), code=error.code, session=session_id)

    async def answer(self, actor: Actor, call_id: UUID, data: Any, *, session_id: str) -> None:
        """``CallAnswers.answer``, attempted again for some time while it is ``Unavailable``."""
        await self._while_unavailable(lambda: self._answers.answer(actor, call_id, data, session_id=session_id))

    async def chunk(self, actor: Actor, call_id: UUID, seq: int, data: Any, *, session_id: str) -> None:
        """``CallAnswers.chunk``, attempted again for some time while it is ``Unavailable``, as where its run is slower than the page."""
        await self._while_unavailable(lambda: self._answers.chunk(actor, call_id, seq, data, session_id=session_id))

    async def _while_unavailable(self, attempt: Callable[[], Awaitable[Any]]) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._retries_for_s
        while True:
            try:
                await attempt()
                return
            except Unavailable:
                if loop.time() >= until:
                    raise
            await asyncio.sleep(RETRY_S)

    async def settled(self) -> None:
        """Until the errors that were to be said are said."""
        while self._failing:
            await asyncio.wait(self._failing)


def call_id_of(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None
