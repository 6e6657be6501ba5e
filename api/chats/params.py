"""The settings that a chat's questions are sent with: temperature, a system prompt … Changed one by one."""

from typing import Any

import msgspec
from litestar import Controller, patch
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api.chats.chat import CommandOut, command_out
from api.request.bodies import FIELDS_BYTES
from api.request.caller import Caller
from commands.chats.params import ChatParams


class ParamsIn(msgspec.Struct):
    params: dict[str, Any]


class ParamsController(Controller):
    path = "/api/v1/chats"
    tags = ("chats",)

    @patch("/{chat_id:str}/params", request_max_body_size=FIELDS_BYTES)
    async def change_params(
        self, chat_id: FromPath[str], data: JSONBody[ParamsIn], caller: NamedDependency[Caller], chat_params: NamedDependency[ChatParams]
    ) -> CommandOut:
        """Change some of the chat's ``params``; those that are not named stay, and null takes one away."""
        known_id, expected = caller.bound(chat_id), caller.expected_version
        appended = await chat_params.change(caller.principal, known_id, data.params, key=caller.key, expected_version=expected)
        return command_out(known_id, appended)
