"""Where in a chat something happens that a client asks for by ``chat_id`` and ``id``, and whether it may be."""

from typing import Final
from uuid import UUID

import msgspec

from commands.chats.chats import Chats
from commands.ids import bound_id
from domain.errors import BadRequest, ChatToActInNotFound
from domain.log.event import Actor

NOT_STORED: Final = ("local:", "temporary:")  # chats that the reference keeps in the tab alone


class ChatPlace(msgspec.Struct, frozen=True):
    chat_id: UUID
    message_id: UUID | None  # None: the client named none, or one that the chat does not have
    by: UUID | None  # in whose name commands are given; None for an admin in a chat of others


async def place_of(chats: Chats, chat_id: object, message_id: object, actor: Actor) -> ChatPlace | None:
    """None for a chat that is not stored: no id, an empty one, ``local:…``, ``temporary:…``.

    Raises ``BadRequest`` for a channel and for what is no text, ``ChatToActInNotFound`` for a chat that this account may not write.
    """
    if chat_id is None or chat_id == "" or (isinstance(chat_id, str) and chat_id.startswith(NOT_STORED)):
        return None
    if not isinstance(chat_id, str):
        raise BadRequest(f"expected chat_id as text or null, received {type(chat_id).__name__}", param="chat_id")
    if chat_id.startswith("channel:"):
        raise BadRequest("expected the id of a chat, received that of a channel", param="chat_id")
    known_id, _ = bound_id(actor.id, chat_id)
    _, chat = await chats.state(known_id)
    if chat.owner_id is None or chat.deleted or not (chat.may_write(actor.id) or actor.role == "admin"):
        raise ChatToActInNotFound(chat_id)
    by = actor.id if chat.may_write(actor.id) else None
    if not isinstance(message_id, str) or not message_id:
        return ChatPlace(known_id, None, by)
    known_message_id, _ = bound_id(actor.id, message_id)
    nodes = await chats.message_nodes(known_id, [known_message_id])
    node = nodes.get(known_message_id)
    return ChatPlace(known_id, known_message_id if node is not None and not node.deleted else None, by)
