"""Where and for whom something of others is called: a function, or a pipe that answers."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

import msgspec

from domain.log.event import Actor
from domain.log.stream import Stream

Emit = Callable[[str, Any], Awaitable[None]]  # (type, data) of an event for the message


class Ask(Protocol):
    """Puts a question to the user, and returns the answer. Raises a ``Refusal`` where nobody can be asked."""

    async def __call__(self, kind: str, data: Any, session_id: str | None = None, timeout_s: float | None = None) -> Any: ...


Asking = Callable[[Actor, Stream, UUID], Ask]  # (who is asked, the chat or channel, the message): how a function asks there


class CallContext(msgspec.Struct, frozen=True, kw_only=True):
    """Where and for whom a function is called: what its parameters beside the arguments are made of. What is absent is None or empty."""

    actor: Actor  # who asks
    chat_id: str | None = None
    message_id: str | None = None
    session_id: str | None = None
    emit: Emit | None = None
    ask: Ask | None = None
    sub_id: str | None = None  # of an action ``id.sub``: what ``__id__`` is then
    model: Mapping[str, Any] = {}  # as ``/api/models`` lists it
    task: str | None = None  # "title_generation", …: the call is no answer for a person
    task_body: Mapping[str, Any] | None = None
    files: Sequence[Mapping[str, Any]] = ()
    tools: Mapping[str, Any] = {}
    metadata: Mapping[str, Any] = {}  # more for ``__metadata__``, over what is in here
    headers: Mapping[str, str] = {}  # of the caller's request, without those that hold secrets
