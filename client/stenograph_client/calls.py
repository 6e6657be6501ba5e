"""Calls: the server asks the person, in a chat or a channel, and the first of their clients that answers has answered."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar

import msgspec

from stenograph_client.backoff import Answer, Backoff, answer_to_status
from stenograph_client.errors import ApiError, Conflict, NotFound, ServerUnreachable
from stenograph_client.events import Event

T = TypeVar("T")
GRACE_S: Final = 2.0  # how long the tab that a call names goes first


class Call(msgspec.Struct, frozen=True):
    """One question. ``kind`` is ``confirmation``, ``input``, ``execute`` …; ``data`` is the question as its kind has it."""

    call_id: str
    message_id: str
    kind: str
    data: Any = None
    session_id: str | None = None  # the tab that acts first
    state: str = "open"  # or answered, expired
    relayed: bool = False  # the answer goes to what asked, and is not in the log
    expires_at: datetime | None = None


class Unanswered:
    """What ``on_call`` returns to leave a call to the person's other clients: ``UNANSWERED``."""

    def __repr__(self) -> str:
        return "UNANSWERED"


UNANSWERED: Final = Unanswered()
OnCall = Callable[[Call], Awaitable[Any]]


class Answers(Protocol):
    """Where calls are fetched and answered: the chats of a ``Client``, or one channel. The first id is the chat's or the channel's."""

    async def call(self, chat_id: str, call_id: str, /) -> Call: ...

    async def answer_call(self, chat_id: str, call_id: str, data: Any, /) -> None: ...


class CallWatch:
    """Has ``on_call`` answer the open calls among the events of a chat or a channel: each once, and cancelled when it is over before that.

    ``session_id`` is this client's, as it began its completions: a call that names another one waits ``grace_s`` for that. With
    ``user_id`` nothing is asked of the server about calls to other people, which all members of a channel see. A server that does not
    answer is asked again, as a follow comes back to it, after what a ``backoff`` says.
    """

    def __init__(
        self,
        answers: Answers,
        on_call: OnCall,
        *,
        session_id: str | None = None,
        user_id: str | None = None,
        grace_s: float = GRACE_S,
        backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        self._answers = answers
        self._on_call = on_call
        self._session_id = session_id
        self._user_id = user_id
        self._grace_s = grace_s
        self._backoff = backoff
        self._asked: set[str] = set()  # calls that were begun and are not known to be over: none is asked twice
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._listing: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._failed = asyncio.Event()

    async def watch(self, items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """The items of a follow, each event of which is fed. What ``on_call`` raises is raised here at once, without another item."""
        failed = asyncio.create_task(self._failed.wait())
        coming: asyncio.Task[T] | None = None
        try:
            while True:
                coming = asyncio.create_task(next_of(items))
                await asyncio.wait({coming, failed}, return_when=asyncio.FIRST_COMPLETED)
                self._raise_failure()
                try:
                    item = coming.result()
                except StopAsyncIteration:
                    return
                if isinstance(item, Event):
                    self.feed(item)
                yield item
        finally:
            running = [task for task in (failed, coming) if task is not None and not task.done()]
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def feed(self, event: Event) -> None:
        """The next event. Raises what ``on_call`` raised for an earlier one."""
        self._raise_failure()
        call_id = event.data.get("call_id") if isinstance(event.data, dict) else None
        if not isinstance(call_id, str):
            return
        if event.type == "call":
            if self._user_id is None or event.data.get("user_id") == self._user_id:
                self.begin(event.stream.partition("/")[2], call_id, event.data.get("session_id"))
        elif event.type in ("call_answered", "call_expired"):
            self._asked.discard(call_id)
            if (task_of := self._tasks.get(call_id)) is not None:
                task_of.cancel()

    def begin(self, chat_id: str, call_id: str, session_id: str | None = None) -> None:
        """A call that may be open, as of an event or of a list of open calls. To repeat it changes nothing."""
        if call_id not in self._asked:
            self._asked.add(call_id)
            task = self._tasks[call_id] = asyncio.create_task(self._answer(chat_id, call_id, session_id))
            task.add_done_callback(self._done)

    def begin_listed(self, chat_id: str, open_calls: Callable[[], Awaitable[Sequence[Call]]]) -> None:
        """``begin`` all that ``open_calls`` returns. It is awaited meanwhile, and again where the server does not answer."""
        task = asyncio.create_task(self._begin_listed(chat_id, open_calls))
        self._listing.add(task)
        task.add_done_callback(self._done)

    async def _begin_listed(self, chat_id: str, open_calls: Callable[[], Awaitable[Sequence[Call]]]) -> None:
        for call in await until_answered(open_calls, self._backoff()):
            self.begin(chat_id, call.call_id, call.session_id)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._listing.discard(task)
        self._tasks = {call_id: one for call_id, one in self._tasks.items() if one is not task}
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
            self._failed.set()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            self._failed.clear()
            raise failure

    async def _answer(self, chat_id: str, call_id: str, session_id: str | None) -> None:
        if session_id is not None and session_id != self._session_id:
            await asyncio.sleep(self._grace_s)
        try:
            call = await until_answered(lambda: self._answers.call(chat_id, call_id), self._backoff())
        except NotFound:
            return  # another person was asked
        if call.state != "open":
            self._asked.discard(call_id)
            return
        data = await self._on_call(call)
        if data is not UNANSWERED:
            with contextlib.suppress(Conflict, NotFound):  # another client was quicker, or the call is over
                await until_answered(lambda: self._answers.answer_call(chat_id, call_id, data), self._backoff())

    async def aclose(self) -> None:
        """Leave the calls that are not answered yet to others."""
        tasks = [*self._tasks.values(), *self._listing]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def next_of(items: AsyncGenerator[T, None]) -> T:
    return await anext(items)


async def until_answered(ask: Callable[[], Awaitable[T]], backoff: Backoff) -> T:
    """What ``ask`` returns. Where the server does not answer, or is not ready, it is asked again, for ever, as a follow comes back to it.

    Raises ``ApiError`` for a refusal, which would be the same again.
    """
    while True:
        try:
            return await ask()
        except ServerUnreachable:
            pause_s = backoff.next_s()
        except ApiError as refusal:
            if answer_to_status(refusal.status) is Answer.PAUSE:
                pause_s = backoff.pause_s()
            elif refusal.status >= 500:
                pause_s = backoff.next_s()
            else:
                raise
        await asyncio.sleep(pause_s)
