"""Questions that the server has for the user: the open ones of a chat, and answers to them."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api.request.bodies import FIELDS_BYTES
from api.request.caller import Caller
from commands.calls.call_answers import CallAnswers
from commands.calls.calls import Call, Calls, bound_session
from commands.chats.chat_reader import ChatReader
from commands.ports import Appended
from domain.errors import BadRequest, CallNotFound
from domain.log.stream import chat_stream
from domain.routing.call import CallAnswered, CallLapsed, CallOpened


class CallOut(msgspec.Struct):
    """``state`` is ``open``, ``answered`` or ``expired``. ``data`` is the question."""

    call_id: UUID
    message_id: UUID
    kind: str
    session_id: str | None
    data: Any
    at: datetime
    expires_at: datetime | None
    relayed: bool
    state: Literal["open", "answered", "expired"]
    reason: str | None = None


class AnswerIn(msgspec.Struct, forbid_unknown_fields=True):
    data: Any = None
    session_id: str | None = None


class ResolveIn(msgspec.Struct):
    call_id: str
    action: Literal["approve", "reject", "answer"]
    answers: Any = None
    timed_out: bool = False


class AnsweredOut(msgspec.Struct):
    """``version`` and ``position`` are those of the ``call_answered`` event; null where a direct connection's run writes it later."""

    status: bool
    call_id: UUID
    version: int | None
    position: int | None


class CallsController(Controller):
    path = "/api/v1/chats"
    tags = ("calls",)

    @get("/{chat_id:str}/calls")
    async def open_calls(
        self,
        chat_id: FromPath[str],
        caller: NamedDependency[Caller],
        chat_reader: NamedDependency[ChatReader],
        calls: NamedDependency[Calls],
        call_answers: NamedDependency[CallAnswers],
    ) -> list[CallOut]:
        """The calls to the caller in this chat that wait for an answer, the oldest first."""
        known_id = caller.bound(chat_id)
        await chat_reader.head(caller.principal, known_id)
        return [call_out(call, await call_answers.question(call)) for call in await calls.open_calls(caller.actor, chat_stream(known_id))]

    @get("/{chat_id:str}/calls/{call_id:uuid}")
    async def call(
        self,
        chat_id: FromPath[str],
        call_id: FromPath[UUID],
        caller: NamedDependency[Caller],
        calls: NamedDependency[Calls],
        call_answers: NamedDependency[CallAnswers],
    ) -> CallOut:
        """One call to the caller, which may have ended, with its whole question."""
        call = await found(calls, caller, call_id, chat_id)
        return call_out(call, await call_answers.question(call))

    @post("/{chat_id:str}/calls/{call_id:uuid}/answer", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def answer(
        self,
        chat_id: FromPath[str],
        call_id: FromPath[UUID],
        data: JSONBody[AnswerIn],
        caller: NamedDependency[Caller],
        calls: NamedDependency[Calls],
        call_answers: NamedDependency[CallAnswers],
    ) -> AnsweredOut:
        """Answer an open call. The first answer counts: a later one is refused as ``call_answered`` or ``call_expired`` (409)."""
        call, session_id = await found(calls, caller, call_id, chat_id), bound_session(data.session_id)
        appended = await call_answers.answer(caller.actor, call_id, data.data, session_id=session_id, key=caller.key)
        return answered_out(call, appended)

    @post("/{chat_id:str}/messages/{message_id:str}/resolve", status_code=200, request_max_body_size=FIELDS_BYTES)
    async def resolve(
        self,
        chat_id: FromPath[str],
        message_id: FromPath[str],
        data: JSONBody[ResolveIn],
        caller: NamedDependency[Caller],
        calls: NamedDependency[Calls],
        call_answers: NamedDependency[CallAnswers],
    ) -> AnsweredOut:
        """Answer an open call below the message, as the reference's clients do: with yes, with no, or with ``answers``."""
        try:
            call_id = UUID(data.call_id)
        except ValueError:
            raise CallNotFound(data.call_id) from None
        call = await found(calls, caller, call_id, chat_id)
        if call.message_id != caller.bound(message_id):
            raise CallNotFound(call_id)
        match data.action:
            case "approve" | "reject" if data.answers is not None:
                raise BadRequest(f"expected answers only with the action answer, received them with {data.action}", param="answers")
            case "answer":
                answer = {"answers": data.answers, "timed_out": True} if data.timed_out else data.answers
            case _:
                answer = data.action == "approve"
        return answered_out(call, await call_answers.answer(caller.actor, call_id, answer, key=caller.key))


async def found(calls: Calls, caller: Caller, call_id: UUID, chat_id: str) -> Call:
    """Raises ``CallNotFound`` unless the caller was asked, in this chat."""
    call = await calls.find(caller.actor, call_id)
    if call.stream != chat_stream(caller.bound(chat_id)):
        raise CallNotFound(call_id)
    return call


def call_out(call: Call, opened: CallOpened) -> CallOut:
    reason = call.end.reason if isinstance(call.end, CallLapsed) else None
    state: Literal["open", "answered", "expired"] = (
        "open" if call.end is None else "answered" if isinstance(call.end, CallAnswered) else "expired"
    )
    return CallOut(
        call_id=opened.call_id,
        message_id=call.message_id,
        kind=opened.kind,
        session_id=opened.session_id,
        data=opened.data,
        at=call.at,
        expires_at=opened.expires_at,
        relayed=opened.relayed,
        state=state,
        reason=reason,
    )


def answered_out(call: Call, appended: Appended | None) -> AnsweredOut:
    version, position = (appended.versions[0], appended.position) if appended is not None else (None, None)
    return AnsweredOut(True, call.opened.call_id, version, position)
