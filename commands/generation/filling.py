"""Answers that a client has stored without text, and whose text a generation then becomes.

A client may save its chat with the answer in it before it asks for that answer. The generation begins in that message then, once:
``message_start`` says so by ``fills``, and the message keeps its place and the keys that the client has given it.
"""

from collections.abc import Collection
from typing import Any, Final
from uuid import UUID

from domain.chat.commands import ExpectUnchanged
from domain.chat.decide import require_fillable
from domain.chat.state import Chat
from domain.errors import BadRequest, MessageExists
from projections.chat import text_of
from projections.ports import ChatQueries

NO_TEXT: Final[Collection[Any]] = (None, "", [])


async def fill(
    chat_id: UUID, by: UUID, version: int, chat: Chat, message_ids: Collection[UUID], queries: ChatQueries
) -> tuple[UUID | None, ExpectUnchanged]:
    """The parent of the messages that are to be filled, and the command that refuses them if one has changed since ``version``.

    ``chat`` is the state at ``version``. Raises ``MessageExists`` for a message that is no empty answer which a person has added, and
    ``BadRequest`` where they stand below several parents.
    """
    for message_id in message_ids:
        node = chat.messages.get(message_id)
        if node is None or node.deleted:
            raise MessageExists(message_id)
        require_fillable(chat, message_id)
    view = await queries.messages(chat_id, [str(one) for one in message_ids], at=version)
    for message_id in message_ids:
        if not is_empty(view.messages[str(message_id)]):
            raise MessageExists(message_id)
    parents = {node.parent_id for one in message_ids if (node := chat.messages.get(one)) is not None}
    if len(parents) != 1:
        raise BadRequest("expected messages to fill that answer the same one", param="message_ids")
    return parents.pop(), ExpectUnchanged(chat_id=chat_id, by=by, since=version, message_ids=list(message_ids))


def is_empty(message: dict[str, Any]) -> bool:
    """Whether it says nothing. A copy of a generated answer says nothing of who has added it, and is none to fill."""
    return text_of(message) in NO_TEXT and "added_by" in message and not any(message.get(key) for key in ("files", "embeds", "blocks"))
