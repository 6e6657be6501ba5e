"""Events that a function emits about a message: kept in the log, and folded into the message where their type says so."""

from typing import Any
from uuid import UUID

from commands.chats.chats import Chats
from commands.functions.call_context import Emit
from domain.chat.commands import Emit as EmitEvent


def emitter(chats: Chats, chat_id: UUID, message_id: UUID) -> Emit:
    """In nobody's name: it is the server that runs the function. Raises what ``Chats.handle`` raises."""

    async def emit(name: str, data: Any) -> None:
        await chats.handle(EmitEvent(chat_id=chat_id, by=None, message_id=message_id, name=name, data=data), attempts_max=None)

    return emit
