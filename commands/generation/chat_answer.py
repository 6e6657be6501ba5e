"""An answer in a chat as its filters meet it: what an outlet is shown of the chat, and what becomes of its edits.

What an outlet makes of a message is ``message_edited`` by the server, with the text before it as ``originalContent``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import structlog

from commands.chats.chats import Chats
from commands.content.references import resolve_blobs
from commands.filters.filtered_body import Body
from commands.generation.context import MESSAGES_MAX
from commands.generation.filtering import output_of
from commands.ports import Blobs
from domain.chat.commands import ChatCommand, EditMessage, NotePlugin
from domain.errors import ConcurrencyConflict, TooManyLostRaces
from domain.generation import FilterApplied, MessageEnded
from domain.log.stream import Stream, chat_stream
from projections.chat import ChatView, text_of
from projections.messages import Message
from projections.ports import ChatQueries

logger = structlog.get_logger("filters")

# Keys of a stored message that an outlet sees, besides its id, role and content.
SHOWN_KEYS: Final = ("timestamp", "info", "usage", "sources", "files")
ATTEMPTS_MAX: Final = 32  # to write what an outlet made, while others write to the chat
GONE: Final = "gone"


class ChatAnswer:
    """``AnswerPlace``. ``is_saved``: the chat holds what was said before. Otherwise an outlet sees what the model was asked."""

    def __init__(self, chats: Chats, blobs: Blobs, chat_queries: ChatQueries, *, chat_id: UUID, message_id: UUID, is_saved: bool) -> None:
        self._chats = chats
        self._blobs = blobs
        self._chat_queries = chat_queries
        self._chat_id = chat_id
        self._is_saved = is_saved
        self.message_id = message_id

    @property
    def stream(self) -> Stream:
        return chat_stream(self._chat_id)

    async def note(self, traces: Sequence[FilterApplied]) -> None:
        await self._chats.handle_all(self._notes(traces), actor=None, attempts_max=None)

    async def shown(self, asked: Sequence[Mapping[str, Any]], ended: MessageEnded) -> tuple[list[Body], Any]:
        """The branch down to the answer, or what was asked and the answer."""
        limit = MESSAGES_MAX if self._is_saved else 1
        view, ids = await self._chat_queries.branch(self._chat_id, leaf=self.message_id, limit=limit)
        await resolve_blobs(self._blobs, self._chat_id, view)
        made = [shown(view.messages[one]) for one in ids]
        if not self._is_saved:
            made = [*({"role": one["role"], "content": one.get("content")} for one in asked), *made]
        made[-1] |= {"finish_reason": ended.finish_reason, "output": output_of(view.messages[ids[-1]])}
        return made, view

    async def write(self, traces: Sequence[FilterApplied], edits: Mapping[UUID, Mapping[str, Any]], seen: Any) -> None:
        """Only upon what the filters saw: where a person has edited a message meanwhile, their words stand."""
        view: ChatView = seen
        known = {message_id: persons_edit(view, message_id) for message_id in edits}
        for _ in range(ATTEMPTS_MAX):
            changes: list[ChatCommand] = [
                EditMessage(chat_id=self._chat_id, by=None, message_id=one, fields=fields) for one, fields in edits.items()
            ]
            try:
                await self._chats.handle_all([*self._notes(traces), *changes], actor=None, expected_version=view.version if edits else None)
                return
            except ConcurrencyConflict:
                view, _ = await self._chat_queries.branch(self._chat_id, leaf=self.message_id, limit=MESSAGES_MAX)
                left = {one: fields for one, fields in edits.items() if persons_edit(view, one) == known[one]}
                if len(left) < len(edits):
                    logger.warning("outlet_dropped", chat_id=str(self._chat_id), messages=[str(one) for one in edits.keys() - left.keys()])
                edits = left
        raise TooManyLostRaces(self.stream, ATTEMPTS_MAX)

    def _notes(self, traces: Sequence[FilterApplied]) -> list[NotePlugin]:
        return [NotePlugin(chat_id=self._chat_id, message_id=self.message_id, trace=trace) for trace in traces]


def shown(message: Message) -> Body:
    return {
        "id": message["id"],
        "role": message["role"],
        "content": text_of(message),
        **{name: message[name] for name in SHOWN_KEYS if name in message},
    }


def persons_edit(view: ChatView, message_id: UUID) -> Any:
    """Who has edited the message, when, and what it says since; None without an edit. What functions emit is no edit. A message that
    has gone counts as edited.
    """
    if str(message_id) not in view.messages:
        return GONE
    message = view.messages[str(message_id)]
    return (message["edited_by"], message.get("edited_at"), message.get("content")) if "edited_by" in message else None
