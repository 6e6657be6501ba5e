"""Calls: the server asks the person, in a chat, and the first of their clients that answers has answered."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from stenograph_client.errors import Conflict, NotFound
from stenograph_client.events import Event

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
    async def call(self, chat_id: str, call_id: str) -> Call: ...

    async def answer_call(self, chat_id: str, call_id: str, data: Any) -> None: ...


class CallWatch:
    """Has ``on_call`` answer the open calls among a chat's events: each once, and cancelled when it is over before that.

    ``session_id`` is this client's, as it began its completions: a call that names another one waits ``grace_s`` for that.
    """

    def __init__(self, answers: Answers, on_call: OnCall, *, session_id: str | None = None, grace_s: float = GRACE_S) -> None:
        self._answers = answers
        self._on_call = on_call
        self._session_id = session_id
        self._grace_s = grace_s
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failure: BaseException | None = None

    def feed(self, event: Event) -> None:
        """The next event of the chat. Raises what ``on_call`` raised for an earlier one."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        call_id = event.data.get("call_id") if isinstance(event.data, dict) else None
        if not isinstance(call_id, str):
            return
        if event.type == "call" and call_id not in self._tasks:
            chat_id = event.stream.partition("/")[2]
            task = self._tasks[call_id] = asyncio.create_task(self._answer(chat_id, call_id, event.data.get("session_id")))
            task.add_done_callback(self._done)
        elif event.type in ("call_answered", "call_expired") and (task_of := self._tasks.get(call_id)) is not None:
            task_of.cancel()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks = {call_id: one for call_id, one in self._tasks.items() if one is not task}
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()

    async def _answer(self, chat_id: str, call_id: str, session_id: str | None) -> None:
        if session_id is not None and session_id != self._session_id:
            await asyncio.sleep(self._grace_s)
        try:
            call = await self._answers.call(chat_id, call_id)
        except NotFound:
            return  # another person was asked
        if call.state != "open":
            return
        data = await self._on_call(call)
        if data is not UNANSWERED:
            with contextlib.suppress(Conflict, NotFound):  # another client was quicker, or the call is over
                await self._answers.answer_call(chat_id, call_id, data)

    async def aclose(self) -> None:
        """Leave the calls that are not answered yet to others."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
