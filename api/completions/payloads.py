"""``GET …/messages/{id}/payload``: what the model was sent for an answer."""

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.request.caller import Caller
from commands.generation.payloads import Payloads


class PayloadOut(msgspec.Struct):
    """``payload`` null: it was not kept, the sha256 alone was noted. ``sha256`` null: none was noted, or it is ``redacted``."""

    sha256: str | None
    size_bytes: int | None
    payload: msgspec.Raw
    redacted: bool


class PayloadsController(Controller):
    path = "/api/v1/chats"
    tags = ("completions",)

    @get("/{chat_id:str}/messages/{message_id:str}/payload")
    async def payload(
        self, chat_id: FromPath[str], message_id: FromPath[str], caller: NamedDependency[Caller], payloads: NamedDependency[Payloads]
    ) -> PayloadOut:
        """The model, messages, params and options that its provider was asked with, in the bytes that the sha256 is of."""
        sent = await payloads.of(caller.principal, caller.bound(chat_id), caller.bound(message_id))
        return PayloadOut(sent.sha256, sent.size_bytes, msgspec.Raw(sent.content or b"null"), sent.redacted)
