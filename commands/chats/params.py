"""Changes some of a chat's ``params``: the settings that its questions are sent to a model with."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from commands.accounts.principal import Principal, actor_of
from commands.chats.chat_reader import ChatReader
from commands.chats.chats import Chats
from commands.content.references import resolve
from commands.ports import Appended, Blobs, CommandKey
from domain.chat.commands import ConfigureChat, ExpectUnchanged
from domain.errors import ChatChanged
from domain.log.stream import chat_stream
from projections.chat import ChatView

ATTEMPTS_MAX: Final = 8  # against others who change the chat's settings at the same moment


class ChatParams:
    def __init__(self, chats: Chats, reader: ChatReader, blobs: Blobs) -> None:
        self._chats = chats
        self._reader = reader
        self._blobs = blobs

    async def change(
        self, principal: Principal, chat_id: UUID, changes: Mapping[str, Any], *, key: CommandKey | None, expected_version: int | None
    ) -> Appended:
        """Set these params, or remove those that are null; the others stay.

        Raises ``ChatNotFound``, ``ChatChanged`` if others go on changing the settings, and what ``Chats.handle_all`` raises.
        """
        actor = actor_of(principal)
        for attempt in range(ATTEMPTS_MAX):
            view = await self._reader.head(principal, chat_id)
            known = await self._params_of(chat_id, view)
            params = {name: value for name, value in {**known, **changes}.items() if value is not None or name not in changes}
            unchanged = ExpectUnchanged(chat_id=chat_id, by=actor.id, since=view.version, settings=True)
            configure = [ConfigureChat(chat_id=chat_id, by=actor.id, fields={"params": params})] if params != known else []
            try:
                return await self._chats.handle_all([unchanged, *configure], actor=actor, key=key, expected_version=expected_version)
            except ChatChanged:
                if attempt == ATTEMPTS_MAX - 1:
                    raise
        raise AssertionError  # the last attempt returned or raised

    async def _params_of(self, chat_id: UUID, view: ChatView) -> dict[str, Any]:
        """An imported chat may hold anything under that key: what is no object counts as no params."""
        own = {"params": view.fields.get("params")}
        await resolve(self._blobs, chat_stream(chat_id), own)
        params = own["params"]
        return params if isinstance(params, dict) else {}
