"""Deletes a chat: its open generations are ended first, since a chat in which one is open is not deleted."""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from commands.chats.chats import Chats
from commands.generation.runs import Runs
from domain.chat.commands import DeleteChat
from domain.errors import BadRequest, GenerationOpen
from domain.log.event import Actor
from domain.log.stream import chat_stream

ATTEMPTS_MAX: Final = 5  # against completions that begin at the same moment


async def delete_chat(chats: Chats, runs: Runs, actor: Actor, chat_id: UUID, only_from: Collection[UUID] | None = None) -> None:
    """Stop what runs in the chat, then delete it; with ``only_from`` only if it is in one of these folders. Raises what ``decide`` does."""
    for _ in range(ATTEMPTS_MAX):
        try:
            await chats.handle(DeleteChat(chat_id=chat_id, by=actor.id, only_from=only_from), actor=actor)
        except GenerationOpen as still_open:
            await runs.stop(chat_stream(chat_id), still_open.message_id, actor.id)
        else:
            return
    raise BadRequest("new answers keep starting in this chat; try again")
