"""Events that a function emits about a message: kept in the log, and folded into the message where their type says so."""

from typing import Any
from uuid import UUID

from commands.functions.call_context import Emit
from commands.generation.answer_streams import AnswerStreams


def emitter(streams: AnswerStreams, stream_id: UUID, message_id: UUID) -> Emit:
    """The events have no actor: the server runs the function. Raises what ``AnswerStreams.emit_by_server`` raises."""

    async def emit(name: str, data: Any) -> None:
        await streams.emit_by_server(stream_id, message_id, name, data)

    return emit
