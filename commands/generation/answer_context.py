"""For whom and where an answer is made: what a pipe that answers and the filters around it are told."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from commands.functions.call_context import Ask, CallContext
from commands.generation.answer_streams import AnswerStreams
from commands.generation.emitting import emitter
from domain.log.event import Actor

# Keys of a request that ``__metadata__`` repeats.
METADATA_KEYS = ("tool_ids", "files", "features", "variables")


def answer_context(
    streams: AnswerStreams,
    *,
    actor: Actor,
    chat_id: UUID,
    message_id: UUID,
    model: str,
    meta: Mapping[str, Any],
    beside: Mapping[str, Any],
    ask: Ask | None,
) -> CallContext:
    """``beside``: the keys of the request that go to no provider. What is emitted becomes events of the answer, by the server."""

    session_id, files = beside.get("session_id"), beside.get("files")
    return CallContext(
        actor=actor,
        chat_id=str(chat_id),
        message_id=str(message_id),
        session_id=session_id if isinstance(session_id, str) else None,
        emit=emitter(streams, chat_id, message_id),
        ask=ask,
        model={"id": model, "name": model, "info": {"id": model, "meta": dict(meta)}},
        files=[one for one in files if isinstance(one, dict)] if isinstance(files, list) else [],
        metadata={
            "user_id": str(actor.id),
            "chat_id": str(chat_id),
            "message_id": str(message_id),
            "session_id": session_id,
            "filter_ids": beside.get("filter_ids") or [],
            **{name: beside.get(name) for name in METADATA_KEYS},
        },
    )
