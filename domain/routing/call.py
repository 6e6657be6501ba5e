"""Calls to the user: the server asks a person something, below one of a chat's messages, and waits for the answer.

Who is asked is the account for which the server works, and nobody else may answer. The first answer counts. A call is open until it is
answered or has expired; both are events, so every process and every client that reads the stream learns of it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from domain.errors import TooManyCalls
from domain.log.event import Event

CALLS_OF_MESSAGE_MAX: Final = 16  # that are open at the same time
ExpiryReason = Literal["timeout", "cancelled", "server_gone"]


class CallOpened(msgspec.Struct, frozen=True):
    """The question. ``data`` is what the tab is asked, as its kind has it; a reference {"blob", "size_bytes"} where that is large."""

    call_id: UUID
    kind: str  # confirmation, input, execute, request:chat:completion …: any name that an emitter may use
    user_id: UUID  # who is asked
    node_id: UUID  # of the server process that waits
    session_id: str | None = None  # the tab that acts first; None: any tab
    data: Any = None
    expires_at: datetime | None = None  # None: with the answer that it belongs to
    relayed: bool = False  # the answer goes to the process that waits, perhaps in chunks, and is not in the log


class CallAnswered(msgspec.Struct, frozen=True):
    """``data`` is the answer; a reference where that is large. Of a relayed call it only says that there was one."""

    call_id: UUID
    by: UUID
    session_id: str | None = None  # the connection that answered; None: over HTTP
    data: Any = None


class CallLapsed(msgspec.Struct, frozen=True):
    """Nobody waits for the answer any more.

    ``timeout``: the time was over. ``cancelled``: what asked has ended, or was stopped. ``server_gone``: the process that waited is gone.
    """

    call_id: UUID
    reason: ExpiryReason


CallFact = CallOpened | CallAnswered | CallLapsed

CALL_TYPES: Final[Mapping[str, type[Any]]] = {
    "call": CallOpened,
    "call_answered": CallAnswered,
    "call_expired": CallLapsed,
}


class OpenCall(msgspec.Struct, frozen=True):
    message_id: UUID
    user_id: UUID


OpenCalls = Mapping[UUID, OpenCall]  # by the id of the call; a handful


def open_call(calls: OpenCalls, message_id: UUID, call: CallOpened) -> list[Event[CallFact]]:
    """Raises ``TooManyCalls``."""
    if call.call_id in calls:
        return []
    if len(calls_of(calls, message_id)) >= CALLS_OF_MESSAGE_MAX:
        raise TooManyCalls("message", CALLS_OF_MESSAGE_MAX)
    return [Event(message_id, call)]


def expire_all(calls: OpenCalls, message_ids: Sequence[UUID] | None, reason: ExpiryReason) -> list[Event[CallFact]]:
    """The end of all open calls of these messages; None: of all messages."""
    ending = [(call.message_id, call_id) for call_id, call in calls.items() if message_ids is None or call.message_id in message_ids]
    return [Event(message_id, CallLapsed(call_id, reason)) for message_id, call_id in sorted(ending)]


def calls_of(calls: OpenCalls, message_id: UUID) -> list[UUID]:
    return [call_id for call_id, call in calls.items() if call.message_id == message_id]


def evolve(calls: OpenCalls, message_id: UUID | None, fact: CallFact) -> OpenCalls:
    if isinstance(fact, CallOpened):
        return calls if message_id is None else {**calls, fact.call_id: OpenCall(message_id, fact.user_id)}
    return {call_id: call for call_id, call in calls.items() if call_id != fact.call_id}
