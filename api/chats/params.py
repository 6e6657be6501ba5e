"""The settings that a chat's questions go out with: temperature, a system prompt … Changed one by one."""

from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Controller, Request, patch
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, SkipValidation

from api.chats.chat import CommandOut, actor_of, answered
from api.chats.past import readable
from api.chats.references import resolve
from api.request.idempotency import expected_version
from api.request.ids import bound_id
from commands.accounts import Principal
from commands.chats import Chats
from commands.ports import Blobs, CommandKey
from domain.chat.commands import ConfigureChat, ExpectUnchanged
from domain.errors import ChatChanged
from domain.stream import chat_stream
from projections.ports import History

ATTEMPTS_MAX: Final = 8  # against others who change the chat's settings at the same moment


class ParamsIn(msgspec.Struct):
    params: dict[str, Any]


class ParamsController(Controller):
    path = "/api/v1/chats"
    tags = ("chats",)

    @patch("/{chat_id:str}/params")
    async def change_params(
        self,
        chat_id: FromPath[str],
        data: JSONBody[ParamsIn],
        request: Request[Any, Any, Any],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        history: NamedDependency[SkipValidation[History]],
        blobs: NamedDependency[SkipValidation[Blobs]],
        key: NamedDependency[CommandKey | None],
    ) -> CommandOut:
        """Change some of the chat's ``params``; those that are not named stay, and null takes one away."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        expected = expected_version(request)
        for attempt in range(ATTEMPTS_MAX):
            view = await readable(history, principal, known_id)
            known = await params_of(blobs, known_id, view.fields)
            params = merged(known, data.params)
            unchanged = ExpectUnchanged(chat_id=known_id, by=principal.user_id, since=view.version, settings=True)
            changes = [ConfigureChat(chat_id=known_id, by=principal.user_id, fields={"params": params})] if params != known else []
            try:
                appended = await chats.handle_all([unchanged, *changes], actor=actor_of(principal), key=key, expected_version=expected)
            except ChatChanged:
                if attempt == ATTEMPTS_MAX - 1:
                    raise
                continue
            return answered(known_id, appended)
        raise AssertionError("unreachable")


async def params_of(blobs: Blobs, chat_id: UUID, fields: dict[str, Any]) -> dict[str, Any]:
    """What the chat says of itself; an imported one may say anything."""
    own = {"params": fields.get("params")}
    await resolve(blobs, chat_stream(chat_id), own)
    params = own["params"]
    return params if isinstance(params, dict) else {}


def merged(known: dict[str, Any], sent: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**known, **sent}.items() if value is not None or key not in sent}
