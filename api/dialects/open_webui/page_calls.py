"""The questions of functions in the page: each open call of the chat that the page has joined, as an event with an acknowledgement.

The page's acknowledgement is the answer, as an ``answer`` of the wire protocol is. The tab that the call names is asked at once, others a
moment later, since it may be gone. When a call is over the question is taken back everywhere. This module sends the call of a direct
connection once, and gives the acknowledgement to ``PageDirect``, also when the page shows another chat by then.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import structlog

from api.dialects.open_webui import page_direct
from api.dialects.open_webui.page_context import PageContext
from api.dialects.open_webui.page_direct import PageDirect
from commands.accounts.principal import Principal, actor_of
from domain.errors import StenographError
from domain.log.codec import decode_event
from domain.log.event import StoredEvent
from domain.log.stream import chat_stream
from domain.routing.call import CallAnswered, CallLapsed, CallOpened

logger = structlog.get_logger("page")

# Those that a page answers by itself or by its user. A direct connection is for the tab alone that has it.
ASKED: Final = frozenset(
    {"confirmation", "input", "execute", "execute:python", "execute:tool", "request:user_input", "request:elicitation"}
)
OTHER_TAB_S: Final = 2.0
ASKED_MAX: Final = 64  # that wait for this page

Write = Callable[[dict[str, Any], int | None], None]  # (the envelope, the number under which an acknowledgement is wanted)


class PageCalls:
    """Of one page and one chat, from ``begin`` to ``end``. ``direct`` is None for a page that may answer for no provider."""

    def __init__(
        self,
        context: PageContext,
        principal: Principal,
        chat_id: UUID,
        session_id: UUID,
        numbers: "Numbers",
        direct: PageDirect | None,
        write: Write,
    ) -> None:
        self._context = context
        self._principal = principal
        self._chat_id = chat_id
        self._session_id = session_id
        self._numbers = numbers
        self._direct = direct
        self._write = write
        self._asking: dict[UUID, asyncio.Task[None]] = {}
        self._asked: dict[int, UUID] = {}

    async def begin(self) -> None:
        """Ask what is open. Raises ``LogUnavailable``."""
        for call in await self._context.calls.open_calls(actor_of(self._principal), chat_stream(self._chat_id)):
            self._open(call.opened)

    def end(self) -> None:
        for task in self._asking.values():
            task.cancel()
        self._asking.clear()
        self._asked.clear()

    def observe(self, stored: StoredEvent) -> None:
        """The next event of the chat whose type is one of ``CALL_TYPES``."""
        match decode_event(stored).data:
            case CallOpened() as opened if opened.user_id == self._principal.user_id:
                self._open(opened)
            case CallAnswered(call_id=call_id) | CallLapsed(call_id=call_id):
                self._close(call_id)
            case _:
                pass

    async def answer(self, number: int, data: Any) -> None:
        """The page has acknowledged. What it was not asked, or has answered, changes nothing. Raises what ``CallAnswers.answer`` raises."""
        call_id = self._asked.pop(number, None)
        if call_id is not None:
            await self._context.call_answers.answer(actor_of(self._principal), call_id, data, session_id=str(self._session_id))

    def _open(self, opened: CallOpened) -> None:
        is_named = opened.session_id in (None, str(self._session_id))
        if opened.kind == page_direct.KIND:
            is_asked = opened.session_id == str(self._session_id) and self._direct is not None and self._direct.expect(opened.call_id)
        else:
            is_asked = opened.kind in ASKED
        if is_asked and opened.call_id not in self._asking and len(self._asking) < ASKED_MAX:
            self._asking[opened.call_id] = asyncio.create_task(
                self._ask(opened.call_id, 0.0 if is_named else OTHER_TAB_S), name="page call"
            )

    async def _ask(self, call_id: UUID, wait_s: float) -> None:
        try:
            await asyncio.sleep(wait_s)
            call = await self._context.calls.find(actor_of(self._principal), call_id)
            if call.end is not None:
                self._over(call_id)
                return
            question = await self._context.call_answers.question(call)
        except StenographError as error:
            logger.info("page_not_asked", code=error.code, session=str(self._session_id))
            return
        number = self._numbers.next()
        data = question.data
        if question.kind == page_direct.KIND:
            data = self._direct.asked(question, number) if self._direct is not None else None
            if data is None:
                return
        else:
            self._asked[number] = call_id
        data = {**data, "interaction_id": str(call_id)} if isinstance(data, dict) else data
        self._write(self._envelope(str(call.message_id), question.kind, data), number)

    def _close(self, call_id: UUID) -> None:
        task = self._asking.pop(call_id, None)
        self._over(call_id)
        if task is None:
            return
        task.cancel()
        for number in [number for number, asked in self._asked.items() if asked == call_id]:
            del self._asked[number]
        if task.done() and not task.cancelled():
            self._write(self._envelope(None, "request:interaction:done", {"interaction_id": str(call_id)}), None)

    def _over(self, call_id: UUID) -> None:
        if self._direct is not None:
            self._direct.over(call_id)

    def _envelope(self, message_id: str | None, kind: str, data: Any) -> dict[str, Any]:
        return {"chat_id": str(self._chat_id), "message_id": message_id, "data": {"type": kind, "data": data}}


class Numbers:
    """Of the acknowledgements of one socket: none is given twice."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        self._last += 1
        return self._last
